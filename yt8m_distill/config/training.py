"""What a run is: frozen dataclasses, validated on construction, to and from JSON. Imports no TensorFlow."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from yt8m_distill.config.bad_records import BadRecordPolicy
from yt8m_distill.config.dataset import DatasetSpec, SpecOverrides
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.config.settings import check_choice, check_minimum
from yt8m_distill.errors import UserError
from yt8m_distill.plugins import LOSSES

STUDENT_LOSSES = ("rep", "pred", "ce")
PREDICTION_DISTANCES = ("kl", "squared", "categorical_kl")
REPRESENTATION_MATCHINGS = ("final", "intermediate")
LABEL_LOSSES = ("CrossEntropyLoss", "HingeLoss", "SoftmaxLoss")
TRAINING_MODES = ("serial", "parallel", "teacher", "baseline")
DISTILLING_MODES = ("serial", "parallel")
INPUT_NORMALIZATIONS = ("l2", "unwhiten", "none")
STUDENT_INITS = ("classifier", "teacher")
DISTRIBUTIONS = ("none", "mirrored", "multiworker")
PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Distillation:
    """How a student is matched to its teacher.

    Attributes:
        losses: names in `plugins.LOSSES`, kept in the order of that registry.
        loss_weights: factor of each loss; 1 where missing.
        prediction_distance: one of `PREDICTION_DISTANCES`.
        representation_matching: "final" or "intermediate".
        student_init: the teacher's weights that a student of serial training starts from, one of `STUDENT_INITS`.
    """

    losses: tuple[str, ...] = STUDENT_LOSSES
    loss_weights: Mapping[str, float] = field(default_factory=dict)
    prediction_distance: str = "kl"
    representation_matching: str = "final"
    student_init: str = "classifier"

    def __post_init__(self):
        chosen = set(self.losses)
        if not chosen or chosen - set(LOSSES.names()):
            raise UserError(
                f"--student_losses={','.join(self.losses)} must be one or more of {', '.join(LOSSES.names())}."
            )
        for name, weight in self.loss_weights.items():
            if name not in chosen:
                raise UserError(f"--loss_weights has a weight for '{name}', which is not in --student_losses.")
            if not 0 <= weight < math.inf:
                raise UserError(f"--loss_weights: the weight of '{name}' must be 0 or more, not {weight}.")
        if not any(self.loss_weights.get(name, 1.0) for name in chosen):
            raise UserError("--loss_weights must leave at least one loss with a weight above 0.")
        check_choice("--prediction_distance", self.prediction_distance, PREDICTION_DISTANCES)
        check_choice("--representation_matching", self.representation_matching, REPRESENTATION_MATCHINGS)
        check_choice("--student_init", self.student_init, STUDENT_INITS)
        ordered = tuple(name for name in LOSSES.names() if name in chosen)
        object.__setattr__(self, "losses", ordered)
        weights = {name: float(self.loss_weights.get(name, 1.0)) for name in ordered}
        object.__setattr__(self, "loss_weights", weights)


@dataclass(frozen=True)
class TeacherCache:
    """Where the outputs of the teacher of serial training are stored, so that it runs once over the training videos.

    Attributes:
        directory: holds one cache, which all students of the same teacher share.
        top: only so many of each video's predictions, the highest; None: all.
    """

    directory: str
    top: int | None = None

    def __post_init__(self):
        check_minimum("teacher_cache_top", self.top, 1)


@dataclass(frozen=True)
class Learning:
    """Optimizer, schedule and length of a training; None takes the recipe's value.

    Attributes:
        batch_size: videos a step.
        num_epochs: passes over the training files.
        max_steps: stop a stage after so many steps; None: no limit.
        finetune_epochs: of the second stage of serial training with the loss rep alone; None: `num_epochs`.
        base_learning_rate, learning_rate_decay, learning_rate_decay_examples: the rate is multiplied by the decay each
            time so many examples have been seen.
        optimizer: name of a Keras optimizer.
        weight_decay: each step takes this share of the learning rate off every weight but biases and scales, apart from
            the loss; None: the optimizer's own (0, of AdamW .004).
        ema_momentum: of a moving average of the weights, which is what is evaluated and saved; None: the weights are.
        label_loss: one of `LABEL_LOSSES`.
        regularization_penalty: factor of the model's own regularization terms.
        clip_gradient_norm: each variable's gradient is clipped to this norm by itself; 0 does not clip.
        seed: of weights, dropout, order of the videos and random frames.
        deterministic: the same numbers in every run on the same machine, at some cost of speed.
        precision: one of `PRECISIONS`; what the models compute in. Weights, classifiers and losses stay float32.
        xla: compile the steps with XLA.
    """

    batch_size: int | None = None
    num_epochs: int | None = None
    max_steps: int | None = None
    finetune_epochs: int | None = None
    base_learning_rate: float | None = None
    learning_rate_decay: float | None = None
    learning_rate_decay_examples: int | None = None
    optimizer: str = "Adam"
    weight_decay: float | None = None
    ema_momentum: float | None = None
    label_loss: str = "CrossEntropyLoss"
    regularization_penalty: float | None = None
    clip_gradient_norm: float = 1.0
    seed: int = 0
    deterministic: bool = False
    precision: str = "float32"
    xla: bool = False

    def __post_init__(self):
        for name in ("batch_size", "num_epochs", "max_steps", "finetune_epochs", "learning_rate_decay_examples"):
            check_minimum(name, getattr(self, name), 1)
        for name in ("regularization_penalty", "clip_gradient_norm", "seed"):
            check_minimum(name, getattr(self, name), 0)
        if self.seed >= 2**32:
            raise UserError(f"--seed must be below 2**32, not {self.seed}.")
        for name in ("base_learning_rate", "learning_rate_decay"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"--{name} must be above 0, not {value}.")
        if self.learning_rate_decay is not None and self.learning_rate_decay > 1:
            raise UserError(f"--learning_rate_decay must be at most 1, not {self.learning_rate_decay}.")
        check_minimum("weight_decay", self.weight_decay, 0)
        if self.ema_momentum is not None and not 0 < self.ema_momentum < 1:
            raise UserError(f"--ema_momentum must be between 0 and 1, not {self.ema_momentum}.")
        check_choice("--label_loss", self.label_loss, LABEL_LOSSES)
        check_choice("--precision", self.precision, PRECISIONS)
        if self.xla and self.deterministic:
            raise UserError("--deterministic does not go with --xla, which says nothing of the order of its sums.")


@dataclass(frozen=True)
class Checkpointing:
    """When the training state is written, and how much of it is kept; changes nothing of the result.

    Attributes:
        every_steps: steps between checkpoints; None: by time and after each epoch only.
        every_minutes: minutes between checkpoints.
        keep: how many are kept.
    """

    every_steps: int | None = None
    every_minutes: float = 10.0
    keep: int = 2

    def __post_init__(self):
        check_minimum("checkpoint_every_steps", self.every_steps, 1)
        check_minimum("keep_checkpoints", self.keep, 1)
        if not 0 < self.every_minutes < math.inf:
            raise UserError(f"--checkpoint_every_minutes must be above 0, not {self.every_minutes}.")


@dataclass(frozen=True)
class TrainConfig:
    """One training run. From flags, None and empty fields stand for defaults; in `config.json` all are resolved.

    Attributes:
        model: name in the registry.
        model_args: the model's constructor arguments.
        student_model_args: those of them that the student has otherwise.
        eigenvalues: `.npy` file, for the model argument input_normalization=unwhiten; a weight of the model then.
        training_mode: one of `TRAINING_MODES`; None, where nothing is said of a student: by the model.
        selection: the student's frames; `ALL_FRAMES` for a teacher.
        distillation: how the student is matched; None for a teacher and a baseline.
        teacher_dir: run directory of a finished teacher, or of several, whose predictions are averaged; None:
            `<train_dir>/teacher`, trained on the way.
        teacher_cache: where the teacher's outputs are stored; None: the teacher runs in every step.
        train_data_pattern, validation_data_pattern, eval_data_pattern: globs, files, directories, by commas.
        train_fraction: share of the training videos that is trained on, above 0 and at most 1.
        train_dir: the run directory.
        recipe: "paper" or "sample": where settings that are not given come from.
        overrides: what the flags say about the records.
        data: the format of the records.
        distribution: one of `DISTRIBUTIONS`: on one device, on all of this machine, or on those of several machines.
    """

    model: str
    training_mode: str | None = "serial"
    model_args: Mapping[str, Any] = field(default_factory=dict)
    student_model_args: Mapping[str, Any] = field(default_factory=dict)
    eigenvalues: str | None = None
    selection: FrameSelection = ALL_FRAMES
    distillation: Distillation | None = None
    teacher_dir: str | tuple[str, ...] | None = None
    teacher_cache: TeacherCache | None = None
    train_data_pattern: str | None = None
    validation_data_pattern: str | None = None
    eval_data_pattern: str | None = None
    train_fraction: float = 1.0
    train_dir: str | None = None
    recipe: str | None = None
    overrides: SpecOverrides = field(default_factory=SpecOverrides)
    data: DatasetSpec | None = None
    learning: Learning = field(default_factory=Learning)
    checkpointing: Checkpointing = field(default_factory=Checkpointing)
    bad_records: BadRecordPolicy = field(default_factory=BadRecordPolicy)
    distribution: str = "none"

    def __post_init__(self):
        check_choice("--distribution", self.distribution, DISTRIBUTIONS)
        if self.distribution != "none":
            self._check_goes_with_several_devices()
        if not 0 < self.train_fraction <= 1:
            raise UserError(f"--train_fraction must be above 0 and at most 1, not {self.train_fraction}.")
        if self.training_mode is not None:
            check_choice("--training_mode", self.training_mode, TRAINING_MODES)
        if (self.selection == ALL_FRAMES) != (self.training_mode in ("teacher", None)):
            raise UserError(f"--training_mode={self.training_mode} and --student_frames do not go together.")
        if (self.distillation is not None) != (self.training_mode in DISTILLING_MODES):
            raise UserError(f"--training_mode={self.training_mode} and --student_losses do not go together.")
        self._check_matching()
        self._check_input()
        self._check_teacher_dir()
        if self.teacher_cache is not None:
            self._check_teacher_cache()

    def _check_goes_with_several_devices(self):
        if self.learning.xla:
            raise UserError("--xla goes with one device; leave out --distribution or --xla.")
        if self.learning.precision == "float16":
            raise UserError(
                "--precision=float16 scales its losses on one device only; with --distribution give bfloat16, which "
                "needs no scaling."
            )

    def _check_matching(self):
        matched = self.distillation
        if matched is None or self.training_mode != "parallel" or matched.representation_matching == "final":
            return
        if matched.losses == ("rep",):  # serial training goes on with the labels
            raise UserError(
                "--representation_matching=intermediate with --student_losses=rep alone trains nothing of what the "
                "student computes from the matched states, and --training_mode=parallel has no stage that would: "
                "add ce or pred."
            )

    def _check_input(self):
        unwhiten = self.model_args.get("input_normalization") == "unwhiten"
        if unwhiten and self.eigenvalues is None:
            raise UserError(
                "--input_normalization=unwhiten needs --eigenvalues, the file of the whitening's variances."
            )
        if self.eigenvalues is not None and not unwhiten:
            raise UserError("--eigenvalues does nothing without --input_normalization=unwhiten.")
        if "input_normalization" in self.student_model_args:
            raise UserError("--student_model_args: teacher and student have one --input_normalization.")

    @property
    def teacher_dirs(self) -> tuple[str, ...]:
        """`teacher_dir` as a list; empty where the teacher is trained on the way."""
        given = self.teacher_dir or ()
        return (given,) if isinstance(given, str) else given

    def _check_teacher_dir(self):
        folders = self.teacher_dirs
        if len(folders) < 2:
            object.__setattr__(self, "teacher_dir", folders[0] if folders else None)
        if len(set(folders)) < len(folders):
            raise UserError(f"--teacher_dir={','.join(folders)} names a teacher twice.")
        if folders and self.training_mode != "serial":
            raise UserError(f"--teacher_dir goes with --training_mode=serial, not {self.training_mode}.")

    def _check_teacher_cache(self):
        if self.training_mode != "serial":
            raise UserError(
                "--teacher_cache goes with --training_mode=serial: only there the teacher is finished, and says the "
                f"same of a video in every epoch; not {self.training_mode}."
            )
        if "rep" in self.distillation.losses and self.distillation.representation_matching == "intermediate":
            raise UserError(
                "--teacher_cache does not hold the states of every frame that --representation_matching=intermediate "
                "needs; leave out one of them."
            )

    def of_teacher(self, train_dir: str | None) -> "TrainConfig":
        """The run of the teacher that a student of serial training is matched to.

        Args:
            train_dir: its run directory.
        """
        return dataclasses.replace(
            self,
            training_mode="teacher",
            selection=ALL_FRAMES,
            distillation=None,
            student_model_args={},
            learning=dataclasses.replace(self.learning, finetune_epochs=None),
            teacher_dir=None,
            teacher_cache=None,
            train_dir=train_dir,
        )


# Settings that may differ between two starts of one run: where it runs, where and how often it writes, what happens to
# bad records.
RUNNING_FIELDS = (
    "train_dir",
    "eval_data_pattern",
    "checkpointing",
    "bad_records",
    "teacher_cache.directory",
    "distribution",
)
