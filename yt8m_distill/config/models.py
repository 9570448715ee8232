"""Settings of commands about models."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from yt8m_distill.config.dataset import SpecOverrides
from yt8m_distill.config.frames import ALL_FRAMES, MOST_FRAMES, FrameSelection
from yt8m_distill.config.settings import check_which
from yt8m_distill.errors import UserError


@dataclass(frozen=True)
class ConversionConfig:
    """One conversion of a TensorFlow 1 checkpoint.

    Attributes:
        path: the checkpoint, or a folder of checkpoints.
        train_dir: the run directory to write.
        model: name in the registry; None: found by the names of the variables.
        model_args: the constructor arguments that the shapes do not show, or show wrongly.
        scope: of the model's variables; None: there is only one.
        selection: the frames that it sees, of a student; `ALL_FRAMES`: a teacher.
        eigenvalues: `.npy` file, of a model whose input has its whitening reversed.
        overrides: names and sizes of the features; found by the shapes where nothing is said.
    """

    path: str
    train_dir: str
    model: str | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)
    scope: str | None = None
    selection: FrameSelection = ALL_FRAMES
    eigenvalues: str | None = None
    overrides: SpecOverrides = field(default_factory=SpecOverrides)


@dataclass(frozen=True)
class FlopsConfig:
    """One count of what a model computes.

    Attributes:
        frames: of a video, one count for each; empty: the frames that the model of `train_dir` sees.
        model: name in the registry; None: the model of `train_dir`.
        model_args: the model's constructor arguments.
        overrides: features and classes; those of YouTube-8M (2018) where nothing is said.
        train_dir: run directory, of which only the configuration is read.
        which: "student" or "teacher" of `train_dir`; None: the student, or the model of a teacher's run.
    """

    frames: tuple[int, ...] = ()
    model: str | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)
    overrides: SpecOverrides = field(default_factory=SpecOverrides)
    train_dir: str | None = None
    which: str | None = None

    def __post_init__(self):
        check_which(self.which)
        if (self.model is None) == (self.train_dir is None):
            raise UserError("give either --model or --train_dir, not both and not neither.")
        if self.train_dir is None and not self.frames:
            raise UserError("--frames is missing: the numbers of frames to count for.")
        for frames in self.frames:
            if not 1 <= frames <= MOST_FRAMES:
                raise UserError(f"--frames must be at least 1 and at most {MOST_FRAMES}, not {frames}.")
