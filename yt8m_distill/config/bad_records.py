"""What happens to records that cannot be used."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from yt8m_distill.config.settings import Settings, setting


@dataclass(frozen=True)
class BadRecordPolicy(Settings):
    """What happens to records that cannot be used."""

    on_bad_record: Literal["error", "skip"] = setting(
        "error", "Reaction to a damaged record: an error, or skipping and counting it."
    )
    max_bad_fraction: float = setting(
        0.01, "Share of bytes that may be skipped; beyond it the exit code is 1.", at_least=0, at_most=1
    )

    @classmethod
    def from_settings(cls, values: Mapping[str, Any], **fields: Any) -> "BadRecordPolicy":
        policy = super().from_settings(values, **fields)
        if "max_bad_fraction" in values and not policy.skip:
            raise cls.error("{max_bad_fraction} does nothing without {on_bad_record}=skip.")
        return policy

    @property
    def skip(self) -> bool:
        return self.on_bad_record == "skip"
