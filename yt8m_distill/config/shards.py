"""Settings of commands that read or rewrite TFRecord files."""

from dataclasses import dataclass, field

from yt8m_distill.config.bad_records import BadRecordPolicy
from yt8m_distill.config.dataset import SpecOverrides
from yt8m_distill.config.frames import MOST_FRAMES
from yt8m_distill.config.settings import check_minimum
from yt8m_distill.errors import UserError


@dataclass(frozen=True)
class VerifyConfig:
    """One check of shards.

    Attributes:
        pattern: globs, files, directories, by commas.
        overrides: what the flags say about the records.
        num_workers: files read at once; None: twice as many as the machine has processors, as reading waits for disks.
        output_file: list of the bad files, one path a line.
    """

    pattern: str
    overrides: SpecOverrides = field(default_factory=SpecOverrides)
    num_workers: int | None = None
    output_file: str = "bad_files.txt"

    def __post_init__(self):
        check_minimum("num_workers", self.num_workers, 1)


@dataclass(frozen=True)
class ThinConfig:
    """One rewriting of shards with fewer frames.

    Attributes:
        pattern: globs, files, directories, by commas.
        output_dir: where the thin shards go, under the same names.
        frames: k, kept of each video.
        overrides: what the flags say about the records.
        bad_records: what happens to records that cannot be used.
    """

    pattern: str
    output_dir: str
    frames: int = 30
    overrides: SpecOverrides = field(default_factory=SpecOverrides)
    bad_records: BadRecordPolicy = field(default_factory=BadRecordPolicy)

    def __post_init__(self):
        if not 1 <= self.frames <= MOST_FRAMES:
            raise UserError(f"--frames must be at least 1 and at most {MOST_FRAMES}, not {self.frames}.")
