"""Settings of commands about models."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from yt8m_distill.config.dataset import SpecOverrides
from yt8m_distill.config.frames import ALL_FRAMES, MOST_FRAMES, FrameSelection
from yt8m_distill.config.inputs import check_checkpoint, check_file, check_run
from yt8m_distill.config.settings import REQUIRED, Settings, group, setting
from yt8m_distill.config.training import DEFAULT_MODEL, PLUGINS
from yt8m_distill.plugins import FRAME_SAMPLINGS

PAPERS_FRAMES = (300, 30, 20, 10, 6)


@dataclass(frozen=True)
class ConversionConfig(Settings):
    """One conversion of a TensorFlow 1 checkpoint."""

    path: str = setting(
        REQUIRED, "TensorFlow 1 checkpoint, or the folder that it is in.", flag="from", reads=check_checkpoint
    )
    train_dir: str = setting(REQUIRED, "Run directory to write.")
    model: str | None = setting(None, "Name of the model. [found by the variables]")
    model_args: Mapping[str, Any] = setting({}, "Arguments that the variables do not show: block_length=15.")
    scope: str | None = setting(None, "Scope of one of several models: model_student. [the only one]")
    selection: FrameSelection = group(ALL_FRAMES, student_frames={"help": "Number k of the model's frames. [all]"})
    frame_counting: Literal["ceil", "authors"] = setting(
        "ceil",
        "Number of frames by stride of a video of n: ceil(n / j), or as the code of Bhardwaj et al. counts them.",
    )
    eigenvalues: str | None = setting(
        None, "File eigenvals.npy, for a model whose input has its whitening reversed.", reads=check_file
    )
    overrides: SpecOverrides = group(SpecOverrides, ("num_classes", "frame_features", "segment_labels", "id_key"))
    plugins: tuple[str, ...] = setting((), PLUGINS)

    def __post_init__(self):
        self.check_settings()
        if self.selection.by_student:
            raise self.error("{frame_sampling}=learned is for students that were trained to choose; this one was not.")
        by_stride = self.selection != ALL_FRAMES and self.selection.stride is not None
        if self.frame_counting == "authors" and not by_stride:
            raise self.error("{frame_counting}=authors goes with {student_stride} only.")


@dataclass(frozen=True)
class FlopsConfig(Settings):
    """One count of what a model computes, that of a name or that of a run directory."""

    frames: tuple[int, ...] = setting(
        (), "Numbers of frames to count for. [300,30,20,10,6; the run's]", at_least=1, at_most=MOST_FRAMES
    )
    model: str | None = setting(None, f"Name of the model (docs/training.md). [{DEFAULT_MODEL}]")
    model_args: Mapping[str, Any] = setting({}, "Arguments of the model: clusters=64,hidden_size=512.")
    overrides: SpecOverrides = group(SpecOverrides, ("max_frames", "frame_features", "segment_labels", "id_key"))
    train_dir: str | None = setting(None, "Run directory whose model to count instead of --model.", reads=check_run)
    which: Literal["student", "teacher"] | None = setting(None, "Model of the run to count. [student, if there is one]")
    frame_sampling: str | None = setting(
        None, "Method of selecting the frames, to count what choosing takes. [the run's]", choices=FRAME_SAMPLINGS
    )
    video_frames: int | None = setting(
        None, "Frames of a video that are chosen among. [the run's --max_frames; 300]", at_least=1, at_most=MOST_FRAMES
    )
    plugins: tuple[str, ...] = setting((), PLUGINS)

    def __post_init__(self):
        self.check_settings()
        if (self.model is None) == (self.train_dir is None):
            raise self.error("give either {model} or {train_dir}, not both and not neither.")
        if self.train_dir is None and not self.frames:
            raise self.error("{frames} is missing: the numbers of frames to count for.")

    @classmethod
    def from_settings(cls, values: Mapping[str, Any], **fields: Any) -> "FlopsConfig":
        if values.get("train_dir") is None:
            useless: tuple[str, ...] = ("which",)
            where = "without"
            values = {"model": DEFAULT_MODEL, **values, "frames": values.get("frames") or PAPERS_FRAMES}
        else:
            useless, where = ("model", "model_args", "feature_names", "feature_sizes", "num_classes"), "with"
        if name := next((name for name in useless if name in values), None):
            raise cls.error(f"{{{name}}} does nothing {where} {{train_dir}}; leave it out.")
        return super().from_settings(values, **fields)
