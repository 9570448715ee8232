"""Settings of commands that read films: which films, what is computed of them, and which of their frames."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from yt8m_distill.config.dataset import LONGEST_VIDEO
from yt8m_distill.config.frames import LONGEST_COUNTED, MOST_FRAMES
from yt8m_distill.config.inputs import check_file, check_path
from yt8m_distill.config.settings import REQUIRED, Settings, group, setting
from yt8m_distill.config.training import PLUGINS

FILMS = "folders, globs and files, separated by commas, or a CSV file with a path a row"
Pixels = Literal["bytes", "unit", "signed", "imagenet"]
FramePositions = Literal["exact", "keyframes"]
FRAME_POSITIONS = get_args(FramePositions)
DEFAULT_BACKBONE = "efficientnet_lite0"
VGGISH = "vggish"
YOUTUBE8M = "youtube8m"  # the backbone of the published features
EXACT, KEYFRAMES = FRAME_POSITIONS
NO_AUDIO = "none"
FIT, NO_PCA = "fit", "none"


@dataclass(frozen=True)
class FeatureSettings(Settings):
    """What is computed of a film, as far as the user sets it; None: the default, or what `features` says."""

    backbone: str | None = setting(
        None,
        "Image network: efficientnet_lite0, youtube8m, a name of keras.applications, or a Keras, SavedModel or ONNX "
        "file. [efficientnet_lite0]",
    )
    backbone_weights: str | None = setting(
        None,
        "Weights file of efficientnet_lite0, or of a network of keras.applications. [its own]",
        reads=check_file,
    )
    model_dir: str | None = setting(None, "Folder with Google's files, for youtube8m and vggish.", reads=check_path)
    image_size: int | None = setting(
        None, "Height and width of the images that a network takes which takes any. [224]", at_least=1, at_most=4096
    )
    pixels: Pixels | None = setting(
        None,
        "Numbers that the network of a file takes: bytes, 0 to 255; unit, 0 to 1; signed, -1 to 1; imagenet, unit "
        "minus the mean of ImageNet, divided by its deviation. [bytes]",
    )
    crop: float | None = setting(
        None,
        "Side of the square that the network sees, as a share of the frame's shorter side; 0: the whole frame. [0.875]",
        at_least=0,
        at_most=1,
    )
    audio: str | None = setting(None, "Feature of the sound: logmel, vggish, or none. [logmel]")
    pca: str | None = setting(
        None,
        "Projection of the image features: fit, on a sample; none; or a .npz file of an earlier fit. "
        "[none; of youtube8m Google's]",
    )
    pca_size: int | None = setting(
        None,
        "Values a frame that a fitted projection keeps. [1024, or what the films are enough for]",
        at_least=1,
        at_most=65536,
    )
    frames_per_second: float | None = setting(None, "Frames to look at in a second of film. [1]", above=0, at_most=1000)
    max_frames: int | None = setting(
        None, "Frames to look at in a film at most. [300]", at_least=1, at_most=LONGEST_COUNTED
    )

    def __post_init__(self):
        self.check_settings()
        if self.pca_size is not None and self.pca != FIT:
            raise self.error("{pca_size} goes with {pca}=fit only.")

    @property
    def given(self) -> dict[str, Any]:
        """The settings that are set."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class FilmFrames(Settings):
    """Which of a film's frames are decoded."""

    student_frames: int | None = setting(
        None, "Number k of frames that a student sees: only they are decoded. [all]", at_least=1, at_most=MOST_FRAMES
    )
    positions: FramePositions = setting(
        EXACT, "Position of these frames: exact, or the nearest keyframes, which cost less.", flag="frame_positions"
    )

    @classmethod
    def from_settings(cls, values: Mapping[str, Any], **fields: Any) -> "FilmFrames":
        frames = super().from_settings(values, **fields)
        if frames.positions != EXACT and frames.student_frames is None:
            raise cls.error("{positions} goes with {student_frames} only.")
        return frames


@dataclass(frozen=True)
class FilmReading(Settings):
    """How films are read, which changes no feature."""

    on_bad_video: Literal["skip", "error"] = setting(
        "skip", "Reaction to a film that cannot be decoded at all: skipping and reporting it, or an error."
    )
    workers: int | None = setting(None, "Films to decode at once. [the processors]", at_least=1)


@dataclass(frozen=True)
class FilmInput(Settings):
    """Films to predict, where features are made of them on the way."""

    videos: str = setting(REQUIRED, f"Films to predict, instead of --input_data_pattern: {FILMS}.", flag="input_videos")
    positions: FramePositions = setting(
        EXACT,
        "Frames of a film that are decoded: the exact ones, or the nearest keyframes, which cost less.",
        flag="frame_positions",
    )
    reading: FilmReading = group(FilmReading)
    places: FeatureSettings = group(
        FeatureSettings,
        leave_out=(
            *("image_size", "pixels", "crop", "audio", "pca", "pca_size"),
            *("frames_per_second", "max_frames"),
        ),
        backbone={"help": "File of the image network, where it is not where it was. [the run's]"},
        backbone_weights={"help": "Weights file of the image network. [the run's]"},
        model_dir={"help": "Folder with Google's files. [the run's]"},
    )


@dataclass(frozen=True)
class ExtractConfig(Settings):
    """One extraction of features from films."""

    videos: str = setting(REQUIRED, f"Films: {FILMS}.")
    output_dir: str = setting(REQUIRED, "Folder to write the TFRecord files, features.json and the tables to.")
    labels: str | None = setting(
        None, "CSV file with the labels of each film, by name or number. [none]", reads=check_file
    )
    vocabulary: str | None = setting(
        None, "CSV file of class names and numbers. [numbers in the order of the names]", reads=check_file
    )
    features: str | None = setting(
        None, "File features.json, or its folder, of the extraction whose features these are to be. [new ones]"
    )
    what: FeatureSettings = group(FeatureSettings)
    frames: FilmFrames = group(FilmFrames)
    reading: FilmReading = group(FilmReading)
    plugins: tuple[str, ...] = setting((), PLUGINS)
    fit_films: int | None = setting(
        None, "Films in the sample that projection and ranges are fitted to. [200]", at_least=1
    )
    videos_per_file: int = setting(256, "Videos in each TFRecord file.", at_least=1, at_most=4096)

    @classmethod
    def from_settings(cls, values: Mapping[str, Any], **fields: Any) -> "ExtractConfig":
        config = super().from_settings(values, **fields)
        if config.features and config.fit_films:
            raise cls.error("{fit_films} and {features} do not go together: nothing is fitted.")
        return config


@dataclass(frozen=True)
class BeamExtractConfig(Settings):
    """One extraction as an Apache Beam pipeline, which has flags of its own."""

    videos: str = setting(REQUIRED, f"Films: {FILMS}; also on other file systems that Beam knows.")
    output: str = setting(REQUIRED, "Folder to write the TFRecord files, features.json and the tables to.")
    features: str = setting(
        REQUIRED,
        "File features.json, or its folder, of an extraction of some of the films by extract_features.",
        reads=check_path,
    )
    labels: str | None = setting(
        None, "CSV file with the labels of each film, by name or number. [none]", reads=check_file
    )
    vocabulary: str | None = setting(
        None, "CSV file of class names and numbers. [that beside features.json]", reads=check_file
    )
    frames: FilmFrames = group(FilmFrames)
    on_bad_video: Literal["skip", "error"] = setting(
        "skip", "Reaction to a film that cannot be decoded at all: skipping and reporting it, or an error."
    )
    output_shards: int | None = setting(None, "Number of TFRecord files to write. [the runner chooses]", at_least=1)
    plugins: tuple[str, ...] = setting((), PLUGINS)
    pipeline_args: tuple[str, ...] = setting((), "Flags of Apache Beam.", argument="*")


DEFAULTS = {
    "backbone": DEFAULT_BACKBONE,
    "audio": "logmel",
    "frames_per_second": 1.0,
    "max_frames": LONGEST_VIDEO,
}
