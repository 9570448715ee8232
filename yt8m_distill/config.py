"""What a run is: frozen dataclasses, validated on construction, to and from JSON. Imports no TensorFlow."""

import contextlib
import dataclasses
import json
import math
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from yt8m_distill.dataset_spec import DatasetSpec, SpecOverrides
from yt8m_distill.errors import UserError

SAMPLINGS = ("uniform", "random", "first", "last", "middle", "first_middle_last", "jittered")
STUDENT_LOSSES = ("rep", "pred", "ce")
PREDICTION_DISTANCES = ("kl", "squared", "categorical_kl")
REPRESENTATION_MATCHINGS = ("final", "intermediate")
LABEL_LOSSES = ("CrossEntropyLoss", "HingeLoss", "SoftmaxLoss")
TRAINING_MODES = ("serial", "parallel", "teacher", "baseline")
DISTILLING_MODES = ("serial", "parallel")
INPUT_NORMALIZATIONS = ("l2", "unwhiten", "none")
ON_BAD_RECORD = ("error", "skip")
STUDENT_INITS = ("classifier", "teacher")
DISTRIBUTIONS = ("none", "mirrored", "multiworker")
PRECISIONS = ("float32", "bfloat16", "float16")
EXPORT_FORMATS = ("saved_model", "litert", "onnx")
LITERT_PRECISIONS = ("float32", "float16", "int8")
EXPERIMENTS = ("table1", "table2", "table4", "table5", "table6", "figure2", "figure3")
DEFAULT_STUDENT_FRAMES = 30
DEFAULT_SEGMENT_MAX_PRED = 100_000
MOST_FRAMES = 10**9  # that can be asked for: numbers of frames are computed with 32 bits

T = typing.TypeVar("T")


@dataclass(frozen=True)
class FrameSelection:
    """k frames of a video, or every j-th.

    Attributes:
        k: frames to keep; a shorter video keeps all its frames, each once.
        stride: j; keeps frames 0, j, 2j, ... Exactly one of `k` and `stride` is set.
        sampling: one of `SAMPLINGS`; `stride` goes with "uniform" only. "jittered" is for training: one frame of each
            of k equal parts, drawn anew in each epoch; evaluation is then "uniform".
        drawn_from: for training: each video's k is drawn anew from these in each epoch; `k` is the largest of them.
            Empty: always `k`.
    """

    k: int | None = None
    stride: int | None = None
    sampling: str = "uniform"
    drawn_from: tuple[int, ...] = ()

    def __post_init__(self):
        _check_choice("--frame_sampling", self.sampling, SAMPLINGS)
        if (self.k is None) == (self.stride is None):
            raise UserError("give either --student_frames (k) or --student_stride (j), not both and not neither.")
        for flag, value in (("--student_frames", self.k), ("--student_stride", self.stride)):
            if value is not None and not 1 <= value <= MOST_FRAMES:
                raise UserError(f"{flag} must be at least 1 and at most {MOST_FRAMES}, not {value}.")
        if self.stride is not None and self.sampling != "uniform":
            raise UserError(f"--student_stride goes with --frame_sampling=uniform only, not {self.sampling}.")
        if self.drawn_from:
            self._check_drawn_from()

    def _check_drawn_from(self):
        if self.stride is not None or self.sampling == "first_middle_last":
            raise UserError("several --student_frames go neither with a stride nor with first_middle_last.")
        if min(self.drawn_from) < 1 or len(set(self.drawn_from)) != len(self.drawn_from):
            raise UserError(f"--student_frames={_joined(self.drawn_from)} must be different numbers of at least 1.")
        if max(self.drawn_from) != self.k:
            raise UserError(f"k must be the largest of {_joined(self.drawn_from)}, not {self.k}.")

    def for_evaluation(self) -> "FrameSelection":
        """What a student trained with this selection is evaluated with: without what is drawn for training only."""
        sampling = "uniform" if self.sampling == "jittered" else self.sampling
        return dataclasses.replace(self, sampling=sampling, drawn_from=())

    def frames(self, longest: int) -> int:
        """Frames kept of a video of `longest` frames."""
        return min(self.k, longest) if self.k is not None else math.ceil(longest / self.stride)

    def describe(self) -> str:
        """The form used in names of run directories: "30" or "every10"; other samplings in front."""
        amount = "-".join(map(str, self.drawn_from)) or (str(self.k) if self.k is not None else f"every{self.stride}")
        return amount if self.sampling == "uniform" else f"{self.sampling}{amount}"


@dataclass(frozen=True)
class Distillation:
    """How a student is matched to its teacher.

    Attributes:
        losses: any of `STUDENT_LOSSES`, kept in that order.
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
        if not chosen or chosen - set(STUDENT_LOSSES):
            raise UserError(
                f"--student_losses={','.join(self.losses)} must be one or more of {', '.join(STUDENT_LOSSES)}."
            )
        for name, weight in self.loss_weights.items():
            if name not in chosen:
                raise UserError(f"--loss_weights has a weight for '{name}', which is not in --student_losses.")
            if not 0 <= weight < math.inf:
                raise UserError(f"--loss_weights: the weight of '{name}' must be 0 or more, not {weight}.")
        if not any(self.loss_weights.get(name, 1.0) for name in chosen):
            raise UserError("--loss_weights must leave at least one loss with a weight above 0.")
        _check_choice("--prediction_distance", self.prediction_distance, PREDICTION_DISTANCES)
        _check_choice("--representation_matching", self.representation_matching, REPRESENTATION_MATCHINGS)
        _check_choice("--student_init", self.student_init, STUDENT_INITS)
        ordered = tuple(name for name in STUDENT_LOSSES if name in chosen)
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
        _check_minimum("teacher_cache_top", self.top, 1)


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
            _check_minimum(name, getattr(self, name), 1)
        for name in ("regularization_penalty", "clip_gradient_norm", "seed"):
            _check_minimum(name, getattr(self, name), 0)
        if self.seed >= 2**32:
            raise UserError(f"--seed must be below 2**32, not {self.seed}.")
        for name in ("base_learning_rate", "learning_rate_decay"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"--{name} must be above 0, not {value}.")
        if self.learning_rate_decay is not None and self.learning_rate_decay > 1:
            raise UserError(f"--learning_rate_decay must be at most 1, not {self.learning_rate_decay}.")
        _check_minimum("weight_decay", self.weight_decay, 0)
        if self.ema_momentum is not None and not 0 < self.ema_momentum < 1:
            raise UserError(f"--ema_momentum must be between 0 and 1, not {self.ema_momentum}.")
        _check_choice("--label_loss", self.label_loss, LABEL_LOSSES)
        _check_choice("--precision", self.precision, PRECISIONS)
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
        _check_minimum("checkpoint_every_steps", self.every_steps, 1)
        _check_minimum("keep_checkpoints", self.keep, 1)
        if not 0 < self.every_minutes < math.inf:
            raise UserError(f"--checkpoint_every_minutes must be above 0, not {self.every_minutes}.")


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
        _check_choice("--on_bad_record", self.on_bad_record, ON_BAD_RECORD)
        if not 0 <= self.max_bad_fraction <= 1:
            raise UserError(f"--max_bad_fraction must be from 0 to 1, not {self.max_bad_fraction}.")

    @property
    def skip(self) -> bool:
        return self.on_bad_record == "skip"


@dataclass(frozen=True)
class TrainConfig:
    """One training run. From flags, None and empty fields stand for defaults; in `config.json` all are resolved.

    Attributes:
        model: name in the registry.
        model_args: the model's constructor arguments.
        student_model_args: those of them that the student has otherwise.
        eigenvalues: `.npy` file, for the model argument input_normalization=unwhiten; a weight of the model then.
        training_mode: one of `TRAINING_MODES`; None, where nothing is said of a student: by the model.
        selection: the student's frames; None for a teacher.
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
    selection: FrameSelection | None = None
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
        _check_choice("--distribution", self.distribution, DISTRIBUTIONS)
        if self.distribution != "none":
            self._check_goes_with_several_devices()
        if not 0 < self.train_fraction <= 1:
            raise UserError(f"--train_fraction must be above 0 and at most 1, not {self.train_fraction}.")
        if self.training_mode is not None:
            _check_choice("--training_mode", self.training_mode, TRAINING_MODES)
        if (self.selection is None) != (self.training_mode in ("teacher", None)):
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
            selection=None,
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


@dataclass(frozen=True)
class Shard:
    """One of several parts of the input files, which together are all of them, each once.

    Attributes:
        index: which one, from 0.
        count: of the parts.
    """

    index: int
    count: int

    def __post_init__(self):
        _check_minimum("num_shards", self.count, 1)
        if not 0 <= self.index < self.count:
            raise UserError(f"--shard_index must be from 0 to {self.count - 1}, not {self.index}.")

    def of(self, files: Sequence[str]) -> tuple[str, ...]:
        """The files of this part: those of part 0 come first, and so on, so that parts in order are all in order."""
        begin, end = (len(files) * place // self.count for place in (self.index, self.index + 1))
        return tuple(files[begin:end])


@dataclass(frozen=True)
class EvalConfig:
    """One evaluation.

    Attributes:
        train_dir: run directory, finished or running.
        eval_data_pattern: None: the run's own.
        which: "student" or "teacher"; None: the student, or the model of a teacher's run.
        branch: of a MixNeXtVLAD, by itself; None: the mixture.
        selection: frames the model sees; None: the run's own.
        batch_size: videos at a time; changes no number.
        precision: one of `PRECISIONS`; what the model computes in. Its weights stay float32.
        xla: compile the model with XLA.
        output_file: metrics as JSON; None: in the run directory.
        full_map: also the mean average precision over all scores.
        per_class_file: CSV with a row for each class; None: not written.
        follow: evaluate every new checkpoint until the run has finished.
        segments: rated segments instead of whole videos; None: as the run was trained.
    """

    train_dir: str
    eval_data_pattern: str | None = None
    which: str | None = None
    branch: int | None = None
    selection: FrameSelection | None = None
    batch_size: int = 128
    precision: str = "float32"
    xla: bool = False
    output_file: str | None = None
    full_map: bool = False
    per_class_file: str | None = None
    follow: bool = False
    segments: bool | None = None
    bad_records: BadRecordPolicy = field(default_factory=BadRecordPolicy)

    def __post_init__(self):
        _check_which(self.which)
        _check_minimum("branch", self.branch, 0)
        _check_minimum("batch_size", self.batch_size, 1)
        _check_choice("--precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class InferenceConfig:
    """One prediction run.

    Attributes:
        output_file: the CSV; gzip when the name ends in .gz.
        train_dir: run directory, finished or running; or
        input_model_tgz: a model packed by `output_model_tgz`.
        input_data_pattern: None: the run's evaluation files.
        which, branch, selection, batch_size, precision, xla: as `EvalConfig`.
        top_k: predictions a video.
        vocabulary: CSV of class names, for a readable listing beside the CSV.
        output_model_tgz: also pack the model into this file.
        segments: all segments of the videos instead of the whole ones; None: as the run was trained.
        segment_max_pred: segments of a class at most; None: `DEFAULT_SEGMENT_MAX_PRED`.
        segment_label_ids_file: CSV of the classes that count for segments; None: all.
        shard: predict only this part of the files, into a file that is named after it; None: all files.
    """

    output_file: str
    train_dir: str | None = None
    input_model_tgz: str | None = None
    input_data_pattern: str | None = None
    which: str | None = None
    branch: int | None = None
    selection: FrameSelection | None = None
    batch_size: int = 128
    precision: str = "float32"
    xla: bool = False
    top_k: int = 20
    vocabulary: str | None = None
    output_model_tgz: str | None = None
    segments: bool | None = None
    segment_max_pred: int | None = None
    segment_label_ids_file: str | None = None
    shard: Shard | None = None
    bad_records: BadRecordPolicy = field(default_factory=BadRecordPolicy)

    def __post_init__(self):
        _check_which(self.which)
        _check_minimum("branch", self.branch, 0)
        _check_minimum("batch_size", self.batch_size, 1)
        _check_choice("--precision", self.precision, PRECISIONS)
        _check_minimum("top_k", self.top_k, 1)
        _check_minimum("segment_max_pred", self.segment_max_pred, 1)
        if (self.train_dir is None) == (self.input_model_tgz is None):
            raise UserError("give either --train_dir or --input_model_tgz, not both and not neither.")
        if self.shard is not None and self.output_model_tgz is not None:
            raise UserError("--output_model_tgz does not go with --num_shards: every part would write the same file.")


@dataclass(frozen=True)
class MergeConfig:
    """One merging of predictions that were made in parts.

    Attributes:
        output_file: the file to write, as --output_file of the parts; gzip when the name ends in .gz.
        parts: globs and files, by commas; None: `<output_file>-00000-of-00004` and so on.
    """

    output_file: str
    parts: str | None = None


@dataclass(frozen=True)
class BeamConfig:
    """One prediction run as an Apache Beam pipeline.

    Attributes:
        predictions: model, input and form of the predictions; `output_file` names the parts.
        output_shards: how many; None: the runner chooses.
        pipeline_args: Beam's own flags.
    """

    predictions: InferenceConfig
    output_shards: int | None = None
    pipeline_args: tuple[str, ...] = ()

    def __post_init__(self):
        _check_minimum("output_shards", self.output_shards, 1)


@dataclass(frozen=True)
class ExportConfig:
    """One export of a trained model.

    Attributes:
        train_dir: run directory, finished or running.
        output_dir: the folder to write; an earlier export there is replaced.
        formats: any of `EXPORT_FORMATS`.
        which, branch, selection: as `EvalConfig`.
        top_k: classes that the SavedModel and the service give of a video.
        vocabulary: CSV of class names.
        litert_precisions: of the weights of LiteRT files, any of `LITERT_PRECISIONS`.
        eval_data_pattern: labelled videos to measure GAP@20 on; None: the run's own, where they can be read.
        eval_videos: about how many of them; 0: none.
    """

    train_dir: str
    output_dir: str
    formats: tuple[str, ...] = ("saved_model",)
    which: str | None = None
    branch: int | None = None
    selection: FrameSelection | None = None
    top_k: int = 20
    vocabulary: str | None = None
    litert_precisions: tuple[str, ...] = LITERT_PRECISIONS
    eval_data_pattern: str | None = None
    eval_videos: int = 20_000

    def __post_init__(self):
        _check_which(self.which)
        _check_minimum("branch", self.branch, 0)
        _check_minimum("top_k", self.top_k, 1)
        _check_minimum("eval_videos", self.eval_videos, 0)
        if self.eval_data_pattern is not None and not self.eval_videos:
            raise UserError("--eval_data_pattern does nothing with --eval_videos=0; leave one of them out.")
        _check_list("--formats", self.formats, EXPORT_FORMATS)
        _check_list("--litert_precisions", self.litert_precisions, LITERT_PRECISIONS)


@dataclass(frozen=True)
class ServeConfig:
    """One service of an exported model.

    Attributes:
        model_dir: an export.
        file: which of its files, as "litert/int8.tflite"; None: the first, the SavedModel where there is one.
        host, port: the address to listen on.
        max_batch: videos that are predicted together, and that a request may have.
        max_waiting: videos that may wait for the model; beyond it the answer is 503.
        max_connections: at the same time; beyond it the answer is 503.
        max_request_mb: of a request.
    """

    model_dir: str
    file: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    max_batch: int = 64
    max_waiting: int = 256
    max_connections: int = 512
    max_request_mb: float = 64.0

    def __post_init__(self):
        for name in ("max_batch", "max_waiting", "max_connections"):
            _check_minimum(name, getattr(self, name), 1)
        if not 0 < self.max_request_mb <= 2000:
            raise UserError(f"--max_request_mb must be above 0 and at most 2000, not {self.max_request_mb}.")
        if not 0 < self.port < 65536:
            raise UserError(f"--port must be from 1 to 65535, not {self.port}.")


@dataclass(frozen=True)
class SegmentEvalConfig:
    """One scoring of a submission of segments.

    Attributes:
        submission_file: `Class,Segments`, as `inference.py --segment_labels` writes it.
        eval_data_pattern: records with rated segments; None: they are in `label_cache`.
        label_cache: the ratings as text; written where it does not exist, else read instead of the records.
        top_n: segments of a class that count.
        output_file: metrics as JSON; None: not written.
        overrides: what the flags say about the records.
    """

    submission_file: str
    eval_data_pattern: str | None = None
    label_cache: str | None = None
    top_n: int = DEFAULT_SEGMENT_MAX_PRED
    output_file: str | None = None
    overrides: SpecOverrides = field(default_factory=SpecOverrides)
    bad_records: BadRecordPolicy = field(default_factory=BadRecordPolicy)

    def __post_init__(self):
        _check_minimum("top_n", self.top_n, 1)
        if self.eval_data_pattern is None and self.label_cache is None:
            raise UserError("give --eval_data_pattern, records with rated segments, or --label_cache.")


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
        _check_minimum("num_workers", self.num_workers, 1)


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


@dataclass(frozen=True)
class NamedRun:
    """A training that a file of runs names.

    Attributes:
        row: its name, the row of the table.
        config: its settings; directories and seed are filled in by the plan.
    """

    row: str
    config: TrainConfig


@dataclass(frozen=True)
class ExperimentConfig:
    """One experiment: many trainings, their table and figures.

    Attributes:
        experiment: one of `EXPERIMENTS`, or the path of a file of runs.
        output_dir: where tables and figures go.
        base: settings that all runs of a named experiment share, as those of a serial student; None: a file of runs.
        named_runs: of a file of runs.
        runs_dir: where the run directories are; experiments that share it share runs. None: `<output_dir>/runs`.
        frames: every k of the students and baselines; empty: the paper's.
        seeds: all runs are repeated with each of them.
        own_rows: also this project's own students.
        full_map: also the mean average precision over all scores.
        measure_speed: also videos per second, at the end.
        vocabulary: CSV of class names, for figures.
        start_new_model: move earlier runs and results aside.
    """

    experiment: str
    output_dir: str
    base: TrainConfig | None = None
    named_runs: tuple[NamedRun, ...] = ()
    runs_dir: str | None = None
    frames: tuple[int, ...] = ()
    seeds: tuple[int, ...] = (0,)
    own_rows: bool = False
    full_map: bool = False
    measure_speed: bool = True
    vocabulary: str | None = None
    start_new_model: bool = False

    def __post_init__(self):
        if (self.base is None) == (not self.named_runs):
            raise UserError(f"--experiment={self.experiment} needs either shared settings or runs.")
        for flag, numbers, least in (("frames", self.frames, 1), ("seeds", self.seeds, 0)):
            if any(number < least for number in numbers) or len(set(numbers)) < len(numbers):
                raise UserError(f"--{flag}={_joined(numbers)} must be different numbers of at least {least}.")
        if not self.seeds:
            raise UserError("--seeds is empty; give how many, or a list.")
        if self.own_rows and self.experiment not in ("table1", "table5", "table6"):
            raise UserError(f"--own_rows goes with table1, table5 and table6, not {self.experiment}.")
        given = self.settings  # without any data, the sample data set is used, which has validation videos
        if self.experiment == "figure2" and given.train_data_pattern and not given.validation_data_pattern:
            raise UserError("--experiment=figure2 shows GAP by epoch and needs --validation_data_pattern.")

    @property
    def settings(self) -> TrainConfig:
        """Of the first run: what all runs have in common is the same in every one."""
        return self.base or self.named_runs[0].config


@dataclass(frozen=True)
class ConversionConfig:
    """One conversion of a TensorFlow 1 checkpoint.

    Attributes:
        path: the checkpoint, or a folder of checkpoints.
        train_dir: the run directory to write.
        model: name in the registry; None: found by the names of the variables.
        model_args: the constructor arguments that the shapes do not show, or show wrongly.
        scope: of the model's variables; None: there is only one.
        selection: the frames that it sees, of a student; None: all of them, a teacher.
        eigenvalues: `.npy` file, of a model whose input has its whitening reversed.
        overrides: names and sizes of the features; found by the shapes where nothing is said.
    """

    path: str
    train_dir: str
    model: str | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)
    scope: str | None = None
    selection: FrameSelection | None = None
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
        _check_which(self.which)
        if (self.model is None) == (self.train_dir is None):
            raise UserError("give either --model or --train_dir, not both and not neither.")
        if self.train_dir is None and not self.frames:
            raise UserError("--frames is missing: the numbers of frames to count for.")
        for frames in self.frames:
            if not 1 <= frames <= MOST_FRAMES:
                raise UserError(f"--frames must be at least 1 and at most {MOST_FRAMES}, not {frames}.")


def _joined(values: tuple[int | str, ...]) -> str:
    return ",".join(map(str, values))


def _check_which(which: str | None):
    if which is not None:
        _check_choice("--which", which, ("student", "teacher"))


def _check_choice(flag: str, value: str, known: tuple[str, ...]):
    if value not in known:
        raise UserError(f"{flag}={value} is unknown; known are {', '.join(known)}.")


def _check_list(flag: str, values: tuple[str, ...], known: tuple[str, ...]):
    if not values or len(set(values)) < len(values):
        raise UserError(f"{flag}={_joined(values)} must be one or more of {', '.join(known)}, each once.")
    for value in values:
        _check_choice(flag, value, known)


def _check_minimum(flag: str, value: float | None, minimum: float):
    if value is not None and not minimum <= value < math.inf:
        raise UserError(f"--{flag} must be at least {minimum}, not {value}.")


def to_json(config: TrainConfig) -> str:
    """The text of `config.json`."""
    return json.dumps(dataclasses.asdict(config), indent=2, sort_keys=True) + "\n"


def from_json(text: str, path: str) -> TrainConfig:
    """A configuration out of the text of `config.json`.

    Raises:
        UserError: naming `path`: no JSON, an unknown or missing field, a value of the wrong type or out of its range.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON ({error}).") from error
    return from_values(TrainConfig, values, path)


def from_values(kind: type[T], values: Any, path: str) -> T:
    """An instance of a dataclass out of parsed JSON, every field checked against its type.

    Args:
        kind: the dataclass. Where a type says Any, a number, a text, true or false is taken.
        values: of any form.
        path: where they are from.

    Raises:
        UserError: naming `path`: an unknown or missing field, a value of the wrong type or out of its range.
    """
    try:
        return _build(kind, values, "")
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _build(kind: type, values: Any, place: str):
    """An instance of the dataclass `kind` out of parsed JSON."""
    if not isinstance(values, dict):
        raise UserError(f"{place or 'the file'} must be an object.")
    known = typing.get_type_hints(kind)
    names = {each.name for each in dataclasses.fields(kind) if each.init}
    if unknown := sorted(set(values) - names):
        raise UserError(f"unknown setting {place}{unknown[0]}; known are {', '.join(sorted(names))}.")
    converted = {name: _convert(known[name], value, f"{place}{name}") for name, value in values.items()}
    try:
        return kind(**converted)
    except TypeError as error:
        raise UserError(f"{place or 'the file'}: {error}.") from error


def _convert(hint: Any, value: Any, place: str):
    """`value` as the type `hint`: one of several, a dataclass, a tuple, a list, a mapping, or a plain JSON type."""
    options = typing.get_args(hint)
    origin = typing.get_origin(hint) or hint
    if origin in (types.UnionType, typing.Union):
        return _convert_to_any_of(options, value, place)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, f"{place}.")
    if origin in (tuple, list):
        _check_type(value, list, place)
        return origin(_convert(options[0], each, place) for each in value)
    if origin in (Mapping, dict):
        _check_type(value, dict, place)
        return {name: _convert(options[1], each, f"{place}.{name}") for name, each in value.items()}
    if hint is Any:
        return _convert(bool | int | float | str, value, place)
    if hint is float:
        return _finite(value, place)
    _check_type(value, hint, place)
    return value


def _convert_to_any_of(options: tuple, value: Any, place: str):
    """`value` as the first type that fits."""
    if value is None and types.NoneType in options:
        return None
    kinds = [option for option in options if option is not types.NoneType]
    if len(kinds) == 1:
        return _convert(kinds[0], value, place)
    for kind in kinds:
        with contextlib.suppress(UserError):
            return _convert(kind, value, place)
    names = " or ".join(kind.__name__ for kind in kinds)
    raise UserError(f"{place} must be {names}, not {reprlib.repr(value)}.")


def _finite(value: Any, place: str) -> float:
    """A JSON number as a float; Python's parser also takes NaN, Infinity and whole numbers too large for one."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UserError(f"{place} must be a number, not {reprlib.repr(value)}.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UserError(f"{place} must be a finite number, not {reprlib.repr(value)}.")
    return number


def _check_type(value: Any, kind: type, place: str):
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"{place} must be {kind.__name__}, not {reprlib.repr(value)}.")
