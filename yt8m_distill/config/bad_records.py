"""What happens to records that cannot be used."""

from dataclasses import dataclass

from yt8m_distill.config.settings import check_choice
from yt8m_distill.errors import UserError

ON_BAD_RECORD = ("error", "skip")


@dataclass(frozen=True)
class BadRecordPolicy:
    """What happens to records that cannot be used.

    Attributes:
        on_bad_record: one of `ON_BAD_RECORD`.
        max_bad_fraction: of the bytes; where more was skipped, the exit code is 1.
    """

    on_bad_record: str = "error"
    max_bad_fraction: float = 0.01

    def __post_init__(self):
        check_choice("--on_bad_record", self.on_bad_record, ON_BAD_RECORD)
        if not 0 <= self.max_bad_fraction <= 1:
            raise UserError(f"--max_bad_fraction must be from 0 to 1, not {self.max_bad_fraction}.")

    @property
    def skip(self) -> bool:
        return self.on_bad_record == "skip"
