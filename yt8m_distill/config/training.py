"""Training settings: what users ask for; None leaves a setting to its default. Imports no TensorFlow."""

from collections.abc import Mapping
from dataclasses import InitVar, dataclass
from typing import Any, Literal, get_args

from yt8m_distill.config.bad_records import BadRecordPolicy
from yt8m_distill.config.callbacks import callback_source, joined
from yt8m_distill.config.dataset import FRAME, SpecOverrides
from yt8m_distill.config.distillation import Distillation, TeacherCache
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.config.inputs import check_file, check_finished_run, check_run, check_videos
from yt8m_distill.config.run_file import read_settings_file, shipped_or_own
from yt8m_distill.config.settings import REQUIRED, Settings, as_text, group, setting, settings_of
from yt8m_distill.config.useless_settings import NO_WARMUP, OF_STUDENTS, TEACHER_IS_TRAINED, useless_settings
from yt8m_distill.errors import UserError
from yt8m_distill.plugins import INPUT_NORMALIZATIONS, MODELS

DEFAULT_MODEL = "NeXtVLAD"
DISTILLING_MODES = ("serial", "parallel")
VIDEOS = "globs, files and folders, separated by commas"
PLUGINS = "Python modules that add models, losses, frame samplings or input normalizations of your own, by commas."
LabelLoss = Literal["CrossEntropyLoss", "HingeLoss", "SoftmaxLoss"]
LearningRateSchedule = Literal["decay", "cosine"]
TrainingMode = Literal["serial", "parallel", "teacher", "baseline"]
Precision = Literal["float32", "bfloat16", "float16"]
LABEL_LOSSES = get_args(LabelLoss)


@dataclass(frozen=True)
class Learning(Settings):
    """Optimizer, schedule and length of a training; None takes the recipe's value."""

    batch_size: int | None = setting(None, "Videos in a step, on all devices together. [the recipe's]", at_least=1)
    num_epochs: int | None = setting(None, "Passes over the training videos. [the recipe's]", at_least=1)
    max_steps: int | None = setting(None, "Steps after which each stage of a training stops. [no limit]", at_least=1)
    finetune_epochs: int | None = setting(
        None, "Epochs of fine-tuning, which follows serial training with rep alone. [--num_epochs]", at_least=1
    )
    base_learning_rate: float | None = setting(None, "Initial learning rate. [the recipe's]", above=0)
    learning_rate_decay: float | None = setting(None, "Learning-rate decay factor. [the recipe's]", above=0, at_most=1)
    learning_rate_decay_examples: int | None = setting(
        None, "Videos between two decays of the learning rate. [the recipe's]", at_least=1
    )
    learning_rate_schedule: LearningRateSchedule = setting(
        "decay",
        "Learning rate over a stage: decay, by a factor now and then; or cosine, a warm-up, then down to 0 at its end.",
        newer=True,
    )
    warmup_steps: int | None = setting(
        None,
        "Steps in which the learning rate of the cosine schedule rises from 0. [a twentieth of all steps]",
        at_least=0,
        newer=True,
    )
    mixup: float = setting(
        0.0,
        "Parameter alpha of the Beta distribution of the shares in which videos are mixed in training; 0 turns it off.",
        at_least=0,
        newer=True,
    )
    optimizer: str = setting("Adam", "Keras optimizer to train with.")
    weight_decay: float | None = setting(
        None, "Decay of weights but biases and scales, times the learning rate. [the optimizer's]", at_least=0
    )
    ema_momentum: float | None = setting(
        None, "Momentum (0.999) of a moving average of the weights to evaluate and save. [off]", above=0, below=1
    )
    label_loss: LabelLoss = setting("CrossEntropyLoss", "Loss on the labels.")
    regularization_penalty: float | None = setting(
        None, "Factor of the model's regularization terms. [the recipe's]", at_least=0
    )
    clip_gradient_norm: float = setting(1.0, "Norm that each gradient is clipped to; 0 turns it off.", at_least=0)
    seed: int = setting(0, "Seed of weights, dropout, video order and random frames.", at_least=0, below=2**32)
    deterministic: bool = setting(False, "Whether to compute the same numbers in every run, at some cost of speed.")
    precision: Precision = setting("float32", "Number format of the models; weights and losses stay float32.")
    xla: bool = setting(False, "Whether to compile the model with XLA.")

    def __post_init__(self):
        self.check_settings()
        if self.xla and self.deterministic:
            raise self.error("{deterministic} does not go with {xla}, which does not fix the order of its sums.")
        if self.warmup_steps is not None and not self.depends_on_total:
            raise self.error(NO_WARMUP)
        if self.mixup and self.label_loss == "HingeLoss":
            raise self.error("{mixup} gives labels between 0 and 1, and {label_loss}=HingeLoss is for 0 and 1 only.")
        if self.mixup and self.batch_size == 1:
            raise self.error("{mixup} mixes the videos of a batch, and {batch_size}=1 is one video.")

    @property
    def depends_on_total(self) -> bool:
        """Whether the learning rate of a step depends on how many follow, so that a run cannot be made longer later."""
        return self.learning_rate_schedule == "cosine"


@dataclass(frozen=True)
class Checkpointing(Settings):
    """When checkpoints are written, and how many are kept; results do not depend on it."""

    every_steps: int | None = setting(
        None, "Steps between checkpoints. [by time, and each epoch]", flag="checkpoint_every_steps", at_least=1
    )
    every_minutes: float = setting(10.0, "Minutes between checkpoints.", flag="checkpoint_every_minutes", above=0)
    keep: int = setting(2, "Number of checkpoints that are kept.", flag="keep_checkpoints", at_least=1)


@dataclass(frozen=True)
class TrainConfig(Settings):
    """One training run as users ask for it; None and empty fields stand for defaults. Resolved it is a `RunConfig`."""

    model: str = setting(REQUIRED, "Name of the model (docs/training.md).", flag_default=DEFAULT_MODEL)
    training_mode: TrainingMode | None = setting(
        "serial", "Models to train, and in which order. [serial; teacher for a video-level model]", flag_default=None
    )
    model_args: Mapping[str, Any] = setting({}, "Arguments of the model: clusters=64,hidden_size=512.")
    student_model_args: Mapping[str, Any] = setting({}, "Arguments in which the student differs from its teacher.")
    eigenvalues: str | None = setting(None, "File eigenvals.npy, for --input_normalization=unwhiten.", reads=check_file)
    selection: FrameSelection = group(ALL_FRAMES)
    distillation: Distillation | None = group()
    teacher_dir: str | tuple[str, ...] | None = setting(
        None,
        "Run directory of a finished teacher; predictions of several are averaged. [one is trained]",
        reads=check_finished_run,
    )
    teacher_role: Literal["teacher", "student"] = setting(
        "teacher",
        "Model of each teacher_dir that teaches; a student, or a baseline's only model, sees all frames then.",
        newer=True,
    )
    teacher_settings: Mapping[str, Any] = setting(
        {},
        "Settings in which the training of the teacher differs: num_epochs=10,ema_momentum=none.",
        newer=True,
        of_settings=True,
    )
    teacher_cache: TeacherCache | None = group()
    init_from: str | None = setting(
        None,
        "Run directory of a model of the same sizes whose weights the trained model, or the student, starts from.",
        newer=True,
        reads=check_run,
    )
    train_data_pattern: str | None = setting(
        None, f"Videos to train on: {VIDEOS}. [the sample data]", reads=check_videos
    )
    validation_data_pattern: str | None = setting(
        None, f"Videos to choose the best epoch by: {VIDEOS}.", reads=check_videos
    )
    eval_data_pattern: str | None = setting(
        None, f"Videos to measure the final table on: {VIDEOS}.", reads=check_videos
    )
    train_fraction: float = setting(1.0, "Share of the training videos to train on.", above=0, at_most=1)
    validation_fraction: float = setting(
        0.0, "Share of the training videos to choose the best epoch by, instead.", at_least=0, below=1, newer=True
    )
    train_dir: str | None = setting(None, "Run directory to write. [runs/<model>_<mode>_<k>]")
    recipe: Literal["paper", "sample"] | None = setting(
        None, "Settings to use where others are not given. [sample on the sample data, else paper]"
    )
    overrides: SpecOverrides = group(SpecOverrides)
    learning: Learning = group(Learning)
    checkpointing: Checkpointing = group(Checkpointing)
    bad_records: BadRecordPolicy = group(BadRecordPolicy)
    distribution: Literal["none", "mirrored", "multiworker"] = setting(
        "none", "Devices to train on: one, all of this machine, or those of several machines (docs/scaling.md)."
    )
    plugins: tuple[str, ...] = setting((), PLUGINS, newer=True)
    input_normalization: InitVar[str | None] = setting(
        None, "Normalization of the frames. [the model's]", choices=INPUT_NORMALIZATIONS
    )

    def __post_init__(self, input_normalization: str | None):
        self.check_settings(input_normalization=input_normalization)
        if input_normalization is not None:
            self._set_input_normalization(input_normalization)
        if (self.selection == ALL_FRAMES) != (self.training_mode in ("teacher", None)):
            raise self.error("{training_mode}={} and {student_frames} do not go together.", self.training_mode)
        if (self.distillation is not None) != (self.training_mode in DISTILLING_MODES):
            raise self.error("{training_mode}={} and {student_losses} do not go together.", self.training_mode)
        if self.validation_fraction and self.validation_data_pattern:
            raise self.error("{validation_fraction} and {validation_data_pattern} are two ways; give one of them.")
        self._check_devices()
        self._check_matching()
        self._check_input()
        self._check_teacher_dir()
        self._check_teacher_settings()
        self._check_teacher_cache()
        self._check_init_from()

    def check_data(self):
        """Checks that training videos are named where others are; without any, the sample data set is used.

        Raises:
            SettingError: they are not.
        """
        if self.train_data_pattern is not None:
            return
        if self.eval_data_pattern or self.validation_data_pattern:
            raise self.error("{train_data_pattern} is missing; without any data pattern the sample data set is used.")
        if self.validation_fraction:
            raise self.error("{validation_fraction}: the sample data set has validation videos of its own.")
        if self.overrides.level not in (None, FRAME):
            kind = f"{self.overrides.level}-level records"
            raise self.error("{train_data_pattern} is required for {}: the sample data set has whole videos.", kind)

    def _set_input_normalization(self, chosen: str):
        args = {"input_normalization": chosen, **self.model_args}
        if args["input_normalization"] != chosen:
            raise self.error("{input_normalization} and {model_args} set different values of it.")
        object.__setattr__(self, "model_args", args)

    def _check_devices(self):
        if self.distribution == "none":
            return
        if self.learning.xla:
            raise self.error("{xla} goes with one device; leave out {distribution} or {xla}.")
        if self.learning.precision == "float16":
            raise self.error(
                "{precision}=float16 scales its losses on one device only; with {distribution} give bfloat16, which "
                "needs no scaling."
            )

    def _check_matching(self):
        matched = self.distillation
        by_states = matched is not None and "rep" in matched.losses and matched.representation_matching != "final"
        if by_states and self.selection.by_student:
            raise self.error(
                "{representation_matching}=intermediate needs to know the student's frames before it sees them; with "
                "{frame_sampling}=learned it chooses them itself: leave out one of them."
            )
        if matched is None or self.training_mode != "parallel" or matched.representation_matching == "final":
            return
        if matched.losses == ("rep",):  # serial training follows it with the labels
            raise self.error(
                "{representation_matching}=intermediate with {student_losses}=rep alone trains nothing of what the "
                "student computes from the matched states, and {training_mode}=parallel has no stage that would: "
                "add ce or pred."
            )

    def _check_input(self):
        unwhiten = self.model_args.get("input_normalization") == "unwhiten"
        if unwhiten and self.eigenvalues is None:
            raise self.error(
                "{input_normalization}=unwhiten needs {eigenvalues}, the file of the whitening's variances."
            )
        if self.eigenvalues is not None and not unwhiten:
            raise self.error("{eigenvalues} does nothing without {input_normalization}=unwhiten.")
        if "input_normalization" in self.student_model_args:
            raise self.error("{student_model_args}: teacher and student have one {input_normalization}.")

    @property
    def teacher_dirs(self) -> tuple[str, ...]:
        """`teacher_dir` as a list; empty where the teacher is trained on the way."""
        folders = self.teacher_dir or ()
        return (folders,) if isinstance(folders, str) else folders

    def _check_teacher_dir(self):
        folders = self.teacher_dirs
        if len(folders) < 2:
            object.__setattr__(self, "teacher_dir", folders[0] if folders else None)
        if len(set(folders)) < len(folders):
            raise self.error("{teacher_dir}={} names a teacher twice.", ",".join(folders))
        if folders and self.training_mode != "serial":
            raise self.error("{teacher_dir} goes with {training_mode}=serial, not {}.", self.training_mode)
        if not folders and self.teacher_role != "teacher":
            raise self.error("{teacher_role}={} is about the runs of {teacher_dir}.", self.teacher_role)

    def _check_teacher_settings(self):
        if not self.teacher_settings:
            return
        if self.training_mode != "serial":
            raise self.error("{teacher_settings} goes with {training_mode}=serial, not {}.", self.training_mode)
        if self.teacher_dirs:
            raise self.error(TEACHER_IS_TRAINED)
        values = self.settings_of_teacher()
        texts = {name: "none" if value is None else as_text(value) for name, value in values.items()}
        object.__setattr__(self, "teacher_settings", texts)

    def settings_of_teacher(self) -> dict[str, Any]:
        """`teacher_settings` as values of their types; None for "none", the default.

        Raises:
            SettingError: an unknown setting, one that teacher and student share, or a wrong value.
        """
        rules = settings_of(TrainConfig)
        values = {}
        for name, value in self.teacher_settings.items():
            if name not in rules or name in _SHARED_WITH_TEACHER:
                why = "is the same for teacher and student" if name in rules else "is not a setting of a training"
                raise self.error("{teacher_settings}: '{}' {}.", name, why)
            is_unset = value == "none" and rules[name].default is None
            values[name] = None if is_unset else rules[name].read(value)
            rules[name].check(values[name])
        return values

    def _check_teacher_cache(self):
        if self.teacher_cache is None:
            return
        if self.training_mode != "serial":
            raise self.error(
                "{teacher_cache} goes with {training_mode}=serial, whose teacher is finished and has the same outputs "
                "in every epoch; not {}.",
                self.training_mode,
            )
        if "rep" in self.distillation.losses and self.distillation.representation_matching == "intermediate":
            raise self.error(
                "{teacher_cache} does not hold the states of every frame that {representation_matching}=intermediate "
                "needs; leave out one of them."
            )
        if "dist" in self.distillation.losses and self.teacher_cache.top is not None:
            raise self.error(
                "{student_losses} with dist compares how each class varies from video to video, which "
                "{teacher_cache_top} does not store; leave out one of them."
            )
        if self.learning.mixup:
            raise self.error(
                "{mixup} needs the teacher's outputs for the mixed videos, which are others in every epoch, and "
                "{teacher_cache} holds those of the videos themselves; leave out one of them."
            )

    def _check_init_from(self):
        if self.init_from is None:
            return
        if self.training_mode == "parallel":
            raise self.error("{init_from} gives the weights of one model, and {training_mode}=parallel trains two.")
        if self.distillation is not None and self.distillation.student_init != "classifier":
            raise self.error("{init_from} and {student_init} both say where the student starts from; leave out one.")

    @classmethod
    def from_settings(cls, values: Mapping[str, Any], **fields: Any) -> "TrainConfig":
        mode = values.get("training_mode") or ("serial" if values.keys() & OF_STUDENTS else None)
        for problem in useless_settings(values, mode).values():
            raise cls.error(problem)
        fields["selection"] = ALL_FRAMES if mode in ("teacher", None) else FrameSelection.for_training(values)
        fields["distillation"] = Distillation.from_settings(values) if mode in DISTILLING_MODES else None
        model = MODELS.resolve(values.get("model", DEFAULT_MODEL))
        config = super().from_settings(values, model=model, training_mode=mode, **fields)
        config.check_data()
        return config


@dataclass(frozen=True)
class TrainCommand(Settings):
    """The settings of train.py."""

    training: TrainConfig = group(TrainConfig)
    start_new_model: bool = setting(False, "Whether to move an earlier run in the same directory aside.")
    recipe_file: str | None = setting(
        None,
        "TOML file of flags of this command, or recipes/NAME.toml of this package; the command line takes precedence.",
    )
    callbacks: tuple[str, ...] = setting(
        (), "Keras callbacks: module:Class, or module:Class(name=value); {train_dir} in a value is the run directory."
    )

    def __post_init__(self):
        self.check_settings()
        object.__setattr__(self, "callbacks", joined(self.callbacks))
        for text in self.callbacks:
            try:
                callback_source(text)
            except UserError as error:
                raise self.error("{callbacks}: {}", error) from error

    @classmethod
    def from_settings(cls, values: Mapping[str, Any], **fields: Any) -> "TrainCommand":
        if "recipe_file" in values:
            path = shipped_or_own(values["recipe_file"])
            recipe = read_settings_file(path, settings_of(TrainConfig), "recipe_file")
            both = {**recipe, **values}
            useless, of_file = (
                useless_settings(settings, settings.get("training_mode", "serial")).keys()
                for settings in (both, recipe)
            )
            no_longer = useless - of_file - values.keys()  # by what is on the command line
            values = {name: value for name, value in both.items() if name not in no_longer}
        return super().from_settings(values, **fields)


# What the training of a teacher has from its student's.
_SHARED_WITH_TEACHER = {
    *("model", "model_args", "student_model_args", "input_normalization", "eigenvalues", "train_dir", "recipe"),
    *("distribution", "plugins", "on_bad_record", "max_bad_fraction", *settings_of(SpecOverrides)),
}
