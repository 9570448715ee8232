"""Settings of commands that read or rewrite TFRecord files."""

from dataclasses import dataclass

from yt8m_distill.config.bad_records import BadRecordPolicy
from yt8m_distill.config.dataset import SpecOverrides
from yt8m_distill.config.frames import MOST_FRAMES
from yt8m_distill.config.settings import REQUIRED, Settings, group, setting
from yt8m_distill.config.training import VIDEOS


@dataclass(frozen=True)
class VerifyConfig(Settings):
    """One check of shards."""

    pattern: str = setting(REQUIRED, f"Files to check: {VIDEOS}.", argument="PATTERN")
    overrides: SpecOverrides = group(
        SpecOverrides, ("frame_features",), segment_labels={"help": "Whether to check ratings of segments, too."}
    )
    num_workers: int | None = setting(None, "Files to read at once. [twice the processors]", at_least=1)
    output_file: str = setting("bad_files.txt", "File to write the paths of bad files to.")


@dataclass(frozen=True)
class ThinConfig(Settings):
    """One rewriting of shards with fewer frames."""

    pattern: str = setting(REQUIRED, f"Files to rewrite: {VIDEOS}.", argument="IN")
    output_dir: str = setting(REQUIRED, "Folder to write the thin shards to.", argument="OUT_DIR")
    frames: int = setting(30, "Number k of frames to keep of each video.", at_least=1, at_most=MOST_FRAMES)
    overrides: SpecOverrides = group(SpecOverrides, ("frame_features", "segment_labels"))
    bad_records: BadRecordPolicy = group(BadRecordPolicy)
