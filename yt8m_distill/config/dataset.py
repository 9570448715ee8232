"""The editions of the data sets: their keys, feature sizes, class counts and longest videos."""

import math
from dataclasses import InitVar, dataclass, field
from typing import Literal

from yt8m_distill.config.settings import Settings, setting
from yt8m_distill.errors import UserError
from yt8m_distill.files.patterns import RANGES_FILE

FRAME, VIDEO, SEGMENT = "frame", "video", "segment"
LEVELS = (FRAME, VIDEO, SEGMENT)
SEGMENT_FRAMES = 5  # of YouTube-8M 2019
ID_KEY = "Key of the videos' ids; empty: ids of file name and record number. [id or video_id]"
LONGEST_VIDEO = 300  # frames, of YouTube-8M
DEFAULT_RANGE = (-2.0, 2.0)  # of the numbers that the bytes of published features stand for
PROJECTION_FILES = ("features.images.npz", "features.sound.npz")  # beside it, where features were made of films
VOCABULARY_FILE = "vocabulary.csv"  # beside it, where films have labels
DESCRIPTION_FILES = (*PROJECTION_FILES, VOCABULARY_FILE, RANGES_FILE)  # in the order in which they are written


@dataclass(frozen=True)
class Edition:
    """One published data set.

    Attributes:
        name: as it is logged and stored in `config.json`.
        id_key: context feature with the video's id.
        features: name and size (values a frame) of every feature, in model input order.
        num_classes: size of the label vocabulary.
        max_frames: frames (one a second) of the longest video.
    """

    name: str
    id_key: str
    features: tuple[tuple[str, int], ...]
    num_classes: int
    max_frames: int

    def features_of(self, level: str) -> tuple[tuple[str, int], ...]:
        """Name and size of every feature of its records of a level: the means of video-level ones have other names."""
        return tuple((f"mean_{name}", size) for name, size in self.features) if level == VIDEO else self.features


YOUTUBE_8M_2017 = Edition("YouTube-8M 2017", "video_id", (("rgb", 1024), ("audio", 128)), 4716, 300)
YOUTUBE_8M_2018 = Edition("YouTube-8M 2018", "id", (("rgb", 1024), ("audio", 128)), 3862, 300)
AUDIOSET = Edition("AudioSet", "video_id", (("audio_embedding", 128),), 527, 10)
EDITIONS = (YOUTUBE_8M_2017, YOUTUBE_8M_2018, AUDIOSET)


@dataclass(frozen=True)
class DatasetSpec:
    """How to read the records of one data set.

    Attributes:
        edition: name of the edition, or "own features".
        id_key: context feature with the video's id; empty: ids are made of file name and record number.
        feature_names: features to read, in model input order.
        feature_sizes: values a frame of each feature.
        num_classes: labels are in [0, num_classes).
        max_frames: frames read of each video at most; 0 reads all.
        thin_frames: of thin shards, k: the records hold only k of each video's first `max_frames` frames;
            None: they hold all.
        level: one of `LEVELS`. "video": each record holds the means over a video's frames, one float vector a feature,
            which is read as a single frame. "segment": the records are frame-level ones with rated segments, and each
            segment is an example of its own.
        normalized: video level: each video's values, all features together, are brought to 2-norm 1.
        feature_ranges: lowest and highest number that the bytes of each feature stand for; None: -2 and 2.
        thin_sampling: of thin shards, the frame sampling that chose their frames.
        float_frames: whether records may hold frames as lists of floats, which are quantized in the ranges when read.
        extraction: identity of how the features are made of films, where `features.json` says it; empty: unknown.
    """

    edition: str
    id_key: str
    feature_names: tuple[str, ...]
    feature_sizes: tuple[int, ...]
    num_classes: int
    max_frames: int
    thin_frames: int | None = None
    level: str = FRAME
    normalized: bool = True
    feature_ranges: tuple[tuple[float, ...], ...] | None = field(default=None, metadata={"newer": True})
    thin_sampling: str = field(default="uniform", metadata={"newer": True})
    float_frames: bool = field(default=False, metadata={"newer": True})
    extraction: str = field(default="", metadata={"newer": True})

    def __post_init__(self):
        object.__setattr__(self, "feature_names", tuple(self.feature_names))
        object.__setattr__(self, "feature_sizes", tuple(self.feature_sizes))
        if not self.feature_names or len(self.feature_names) != len(self.feature_sizes):
            raise UserError(
                f"feature names {list(self.feature_names)} and sizes {list(self.feature_sizes)} must be as many, "
                "and at least one."
            )
        if len(set(self.feature_names)) != len(self.feature_names):
            raise UserError(f"feature names {list(self.feature_names)} must differ from each other.")
        if min(self.feature_sizes) < 1:
            raise UserError(f"feature sizes must be at least 1, not {list(self.feature_sizes)}.")
        if self.num_classes < 2:
            raise UserError(f"the number of classes must be at least 2, not {self.num_classes}.")
        if self.max_frames < 0:
            raise UserError(f"max_frames must be 0 (all frames) or more, not {self.max_frames}.")
        if self.thin_frames is not None and self.thin_frames < 1:
            raise UserError(f"thin shards must hold at least 1 frame of each video, not {self.thin_frames}.")
        if self.level not in LEVELS:
            raise UserError(f"the level of the records must be one of {', '.join(LEVELS)}, not {self.level}.")
        self._check_ranges()

    def _check_ranges(self):
        if self.feature_ranges is None:
            return
        object.__setattr__(self, "feature_ranges", tuple(map(tuple, self.feature_ranges)))
        if len(self.feature_ranges) != len(self.feature_names):
            raise UserError(f"there must be one range for each of {list(self.feature_names)}.")
        for ends in self.feature_ranges:
            if len(ends) != len(("min", "max")) or not all(map(math.isfinite, ends)) or not ends[0] < ends[1]:
                raise UserError(f"a feature's range must be two finite numbers, the lower first, not {list(ends)}.")

    @property
    def frame_size(self) -> int:
        """Values of one frame, all features together."""
        return sum(self.feature_sizes)

    @property
    def frame_dtype(self) -> str:
        """Of the frames in a batch."""
        return "float32" if self.level == VIDEO else "uint8"

    @property
    def longest_example(self) -> int:
        """Frames of an example at most; 0: there is no limit."""
        return SEGMENT_FRAMES if self.level == SEGMENT else self.max_frames

    def describe(self) -> str:
        """One line for the log."""
        features = " + ".join(f"{n} ({s})" for n, s in zip(self.feature_names, self.feature_sizes, strict=True))
        features += f" with values in {self.describe_ranges()}" if self.feature_ranges else ""
        frames = f"at most {self.max_frames} frames" if self.max_frames else "all frames"
        frames = "means over all frames" if self.level == VIDEO else frames
        frames = f"rated segments of {SEGMENT_FRAMES} frames" if self.level == SEGMENT else frames
        sampling = "" if self.thin_sampling == "uniform" else f" {self.thin_sampling}"
        thin = f", thin shards with {self.thin_frames}{sampling} frames of each video" if self.thin_frames else ""
        where = f"id in '{self.id_key}'" if self.id_key else "ids of file name and number"
        return f"{self.edition}: features {features}, {where}, {self.num_classes} classes, {frames}{thin}"

    def describe_ranges(self) -> str:
        """The range of each feature in words."""
        return " and ".join(f"[{low:.6g}, {high:.6g}]" for low, high in self.feature_ranges or (DEFAULT_RANGE,))


@dataclass(frozen=True)
class SpecOverrides(Settings):
    """The format of the records as far as the user sets it; None leaves it to the first record."""

    feature_names: tuple[str, ...] | None = setting(None, "Names of the features to read. [the edition's]")
    feature_sizes: tuple[int, ...] | None = setting(None, "Bytes per frame of each feature. [as in the first record]")
    num_classes: int | None = setting(None, "Number of classes in the vocabulary. [the edition's]", at_least=2)
    max_frames: int | None = setting(None, "Frames to read of a video at most; 0: all. [the edition's]", at_least=0)
    level: Literal["frame", "video", "segment"] | None = setting(None, "Level of the records.", flag=False)
    id_key: str | None = setting(None, ID_KEY, newer=True)
    trained_id_key: str | None = setting(None, "Key of the ids that a model was trained with.", flag=False, newer=True)
    frame_features: InitVar[bool | None] = setting(
        None, "Whether records must be frame-level (--noframe_features: video-level). [as the first record]"
    )
    segment_labels: InitVar[bool | None] = setting(
        None, "Whether to train on rated segments of 5 frames, each an example, instead of whole videos."
    )

    def __post_init__(self, frame_features: bool | None, segment_labels: bool | None):
        if segment_labels and frame_features is False:
            raise self.error("{segment_labels} and --noframe_features: video-level records have no segments.")
        if segment_labels or frame_features is not None:
            object.__setattr__(self, "level", SEGMENT if segment_labels else FRAME if frame_features else VIDEO)
        self.check_settings()
        if isinstance(self.feature_names, str):  # whose letters would be taken for names
            raise self.error(
                "{feature_names} must be a tuple, such as {}, not {!r}.", (self.feature_names,), self.feature_names
            )
        if self.feature_sizes is None:
            return
        if self.feature_names is None:
            raise self.error("{feature_sizes} needs {feature_names}: sizes are given in the order of the names.")
        if len(self.feature_names) != len(self.feature_sizes):
            names, sizes = ",".join(self.feature_names), ",".join(map(str, self.feature_sizes))
            raise self.error("{feature_names}={} and {feature_sizes}={} must be equally many.", names, sizes)
