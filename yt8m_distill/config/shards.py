"""Settings of commands that read or rewrite TFRecord files."""

from dataclasses import dataclass

from yt8m_distill.config.bad_records import BadRecordPolicy
from yt8m_distill.config.dataset import SpecOverrides
from yt8m_distill.config.frames import MOST_FRAMES, ThinSampling
from yt8m_distill.config.inputs import check_path, check_videos
from yt8m_distill.config.settings import REQUIRED, Settings, group, setting
from yt8m_distill.config.training import VIDEOS


@dataclass(frozen=True)
class VerifyConfig(Settings):
    """One check of shards."""

    pattern: str = setting(REQUIRED, f"Files to check: {VIDEOS}.", reads=check_videos, argument="PATTERN")
    overrides: SpecOverrides = group(
        SpecOverrides, ("frame_features",), segment_labels={"help": "Whether to check ratings of segments, too."}
    )
    num_workers: int | None = setting(None, "Files to read at once. [twice the processors]", at_least=1)
    output_file: str = setting("bad_files.txt", "File to write the paths of bad files to.")


@dataclass(frozen=True)
class QuantizeConfig(Settings):
    """One rewriting of float features as bytes."""

    pattern: str = setting(REQUIRED, f"Files to quantize: {VIDEOS}.", reads=check_videos, argument="IN")
    output_dir: str = setting(REQUIRED, "Folder to write the files and features.json to.", argument="OUT_DIR")
    ranges: str | None = setting(
        None, "File features.json with the ranges to use, that of the training. [fitted]", reads=check_path
    )
    feature_names: tuple[str, ...] | None = setting(None, "Names of the features to write. [all of the first record]")
    feature_sizes: tuple[int, ...] | None = setting(
        None, "Values per frame of each feature, where frames are strings of bytes. [the editions']", at_least=1
    )
    bad_records: BadRecordPolicy = group(BadRecordPolicy)

    def __post_init__(self):
        self.check_settings()
        if self.feature_sizes and len(self.feature_sizes) != len(self.feature_names or ()):
            raise self.error("{feature_sizes} needs {feature_names}, and as many.")


@dataclass(frozen=True)
class ThinConfig(Settings):
    """One rewriting of shards with fewer frames."""

    pattern: str = setting(REQUIRED, f"Files to rewrite: {VIDEOS}.", reads=check_videos, argument="IN")
    output_dir: str = setting(REQUIRED, "Folder to write the thin shards to.", argument="OUT_DIR")
    frames: int = setting(30, "Number k of frames to keep of each video.", at_least=1, at_most=MOST_FRAMES)
    sampling: ThinSampling = setting(
        "uniform", "Method of selecting the k frames, the student's.", flag="frame_sampling"
    )
    overrides: SpecOverrides = group(SpecOverrides, ("frame_features", "segment_labels"))
    bad_records: BadRecordPolicy = group(BadRecordPolicy)
