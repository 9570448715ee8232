"""Experiment settings."""

import pathlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from yt8m_distill.config.frames import MOST_FRAMES, FrameSelection
from yt8m_distill.config.inputs import check_file
from yt8m_distill.config.run_file import SET_BY_EXPERIMENT, FileRun, read_run_file
from yt8m_distill.config.settings import REQUIRED, Setting, SettingError, Settings, group, setting, settings_of
from yt8m_distill.config.training import TrainConfig
from yt8m_distill.config.useless_settings import useless_settings
from yt8m_distill.errors import UserError

COMPARISONS = ("fair", "cost")  # a student with all helps, and what it is to be compared with at an equal budget
EXPERIMENTS = ("table1", "table2", "table4", "table5", "table6", "figure2", "figure3", *COMPARISONS)
NAMES = f"{', '.join(EXPERIMENTS)}, or a TOML file that names runs"
# What the named experiments vary themselves.
_VARIED = ("training_mode", "student_losses", "representation_matching", "teacher_dir", *settings_of(FrameSelection))
_VARIED_IN_COMPARISONS = (
    "training_mode",
    "representation_matching",
    "student_frames",
    "student_stride",
    "finetune_epochs",
)
_HELPS = {"student_init": "teacher", "frame_sampling": "jittered"}  # of a comparison's student


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
class ExperimentConfig(Settings):
    """One experiment: many trainings, their table and figures.

    Either `base` is set, which all runs of a named experiment share, as the settings of a serial student, or
    `named_runs`, those of a file of runs.
    """

    experiment: str = setting(REQUIRED, f"Experiment to run: {NAMES}.")
    output_dir: str = setting(REQUIRED, "Folder of tables and figures. [runs/<experiment>_<model>]", flag_default=None)
    base: TrainConfig | None = group(leave_out=SET_BY_EXPERIMENT)
    named_runs: tuple[NamedRun, ...] = ()
    runs_dir: str | None = setting(None, "Folder of run directories; experiments may share it. [<output_dir>/runs]")
    frames: tuple[int, ...] = setting(
        (), "Numbers k of frames of students and baselines. [the paper's]", at_least=1, at_most=MOST_FRAMES
    )
    seeds: tuple[int, ...] = setting((0,), "Number of seeds (3: 0, 1 and 2), or which ones (0,5). [1]", text=True)
    own_rows: bool = setting(False, "Whether to train students that the paper does not have, too.")
    full_map: bool = setting(False, "Whether to compute mAP over all scores, too, not only each video's 20 highest.")
    measure_speed: bool = setting(True, "Whether to measure throughput (videos/s) at the end.")
    films: str | None = setting(
        None,
        "Films like those that the features were made of: cost measures seconds from film to labels, too, on up to "
        "8 of them. Folders, globs and files, separated by commas, or a CSV file with a path a row. [none]",
    )
    vocabulary: str | None = setting(None, "CSV file of class names, for figures.", reads=check_file)
    start_new_model: bool = setting(False, "Whether to move earlier runs and results aside.")

    def __post_init__(self):
        self.check_settings()
        if (self.base is None) == (not self.named_runs):
            raise self.error("{experiment}={} needs either shared settings or runs.", self.experiment)
        for name, numbers in (("frames", self.frames), ("seeds", self.seeds)):
            if len(set(numbers)) < len(numbers):
                raise self.error(f"{{{name}}}={{}} must be different numbers.", ",".join(map(str, numbers)))
        if not self.seeds or min(self.seeds) < 0:
            raise self.error("{seeds} must be how many, or a list of numbers of at least 0.")
        if self.own_rows and self.experiment not in ("table1", "table5", "table6"):
            raise self.error("{own_rows} goes with table1, table5 and table6, not {}.", self.experiment)
        if self.films and (self.experiment != "cost" or not self.measure_speed):
            raise self.error("{films} goes with {experiment}=cost and {measure_speed}.")
        shared = self.settings  # without any data, the sample data set is used, which has validation videos
        validated = shared.validation_data_pattern or shared.validation_fraction
        if self.experiment == "figure2" and shared.train_data_pattern and not validated:
            raise self.error("{experiment}=figure2 shows GAP by epoch and needs {validation_data_pattern}.")

    def check_inputs(self, rules: Mapping[str, Setting] | None = None):
        super().check_inputs(rules)
        for run in self.named_runs:
            try:
                run.config.check_inputs()
            except UserError as error:
                raise UserError(f"{self.experiment}, run '{run.row}': {error}") from error

    @property
    def settings(self) -> TrainConfig:
        """Of the first run: what all runs have in common is the same in every one."""
        return self.base or self.named_runs[0].config

    @classmethod
    def from_settings(cls, values: Mapping[str, Any], **fields: Any) -> "ExperimentConfig":
        """A named experiment, or the one of a file of runs, which is read.

        Raises:
            UserError: an unknown experiment, a wrong file of runs, or settings that make no sense together.
        """
        name = values.get("experiment")
        if name is None:
            raise cls.error("{experiment} is required: {}.", NAMES)
        if _lacks_evaluation("train_data_pattern" in values, "eval_data_pattern" in values, values):
            raise cls.error(
                "give {train_data_pattern} and either {eval_data_pattern} or {validation_fraction}, or neither for "
                "the sample data."
            )
        shared = {flag: value for flag, value in values.items() if flag in _SHARED}
        seeds = _seeds(values["seeds"]) if "seeds" in values else None
        if name in EXPERIMENTS:
            fields |= {"base": _base(name, shared), "seeds": (0,) if seeds is None else seeds}
            model = fields["base"].model
        else:
            fields |= _of_run_file(name, shared, values.get("frames", ()), seeds)
            model = fields["named_runs"][0].config.model
        fields.setdefault("output_dir", values.get("output_dir") or f"runs/{pathlib.PurePath(name).stem}_{model}")
        return super().from_settings(values, **fields)


_SHARED = settings_of(TrainConfig).keys() - SET_BY_EXPERIMENT


def _base(name: str, shared: Mapping[str, Any]) -> TrainConfig:
    """The shared settings of a named experiment, as those of a serial student."""
    compared = name in COMPARISONS
    varied = _VARIED_IN_COMPARISONS if compared else [*_VARIED, *(["train_fraction"] if name == "table2" else [])]
    if flag := next((flag for flag in varied if flag in shared), None):
        raise ExperimentConfig.error(f"{{{flag}}} is what {name} varies; leave it out, or name your runs in a file.")
    if compared:
        return _of_comparison(name, shared)
    if "training_mode" in shared.get("teacher_settings", {}):
        raise ExperimentConfig.error(
            f"{{teacher_settings}}: {name} has a teacher that sees all frames; training_mode "
            "goes with fair, cost and files of runs."
        )
    others = {flag: value for flag, value in shared.items() if flag != "finetune_epochs"}
    base = TrainConfig.from_settings({**others, "training_mode": "serial"})
    # For the rows that are fine-tuned only, so that it would be useless for others.
    return replace(base, learning=replace(base.learning, finetune_epochs=shared.get("finetune_epochs")))


def _of_comparison(name: str, shared: Mapping[str, Any]) -> TrainConfig:
    """The settings of the student of a comparison."""
    if "max_steps" in shared:
        raise ExperimentConfig.error(f"{{max_steps}} does not go with {name}, which counts its budgets in epochs.")
    if shared.get("frame_sampling") == "first_middle_last":
        raise ExperimentConfig.error(
            f"{{frame_sampling}}=first_middle_last has no student for every k, as {name} needs."
        )
    helps = {flag: value for flag, value in _HELPS.items() if flag != "student_init" or "init_from" not in shared}
    base = TrainConfig.from_settings({**helps, **shared, "training_mode": "serial"})
    losses = base.distillation.losses if base.distillation else ()
    if len(losses) == 1 and losses[0] in ("ce", "rep"):
        raise ExperimentConfig.error(
            f"{{student_losses}}={losses[0]}: {name} compares a student of its teacher's outputs "
            "with training on labels alone; give rep,pred or pred, with or without ce."
        )
    return base


def _of_run_file(
    path: str, shared: Mapping[str, Any], frames: tuple[int, ...], seeds: tuple[int, ...] | None
) -> dict[str, Any]:
    """The fields of the experiment of a file, whose settings are overruled by what is given on the command line."""
    rules = {name: flag for name, flag in settings_of(TrainConfig).items() if name in _SHARED}
    content = read_run_file(path, rules, NAMES)
    frames = frames or content.frames or ()
    seeds = seeds if seeds is not None else content.seeds
    runs = tuple(
        named for run in content.runs for named in _named_runs(run, {**content.settings, **shared}, frames, path)
    )
    return {"base": None, "named_runs": runs, "frames": frames, "seeds": (0,) if seeds is None else seeds}


def _named_runs(run: FileRun, shared: Mapping[str, Any], frames: tuple[int, ...], path: str) -> Iterator[NamedRun]:
    """A run of a file, once for each k where it does not set the number of frames."""
    settings = {"training_mode": "serial", **shared, **run.settings}
    mode = settings["training_mode"]
    useless = useless_settings(settings, mode).keys() - run.settings.keys()
    settings = {name: value for name, value in settings.items() if name not in useless}
    has_frames = "student_frames" in settings or "student_stride" in settings
    every_k = () if has_frames or mode == "teacher" else frames
    try:
        for of_k in [{"student_frames": (k,)} for k in every_k] or [{}]:
            config = TrainConfig.from_settings({**settings, **of_k})
            if _lacks_evaluation(config.train_data_pattern is not None, config.eval_data_pattern is not None, settings):
                raise UserError(
                    "train_data_pattern and either eval_data_pattern or validation_fraction are needed, or neither for "
                    "the sample data."
                )
            yield NamedRun(run.name, config)
    except UserError as error:
        text = error.in_terms_of(TrainConfig) if isinstance(error, SettingError) else error
        raise UserError(f"{path}, run '{run.name}': {text}") from error


def _lacks_evaluation(is_trained: bool, is_evaluated: bool, values: Mapping[str, Any]) -> bool:
    """Whether there are videos to train on and none to evaluate on, or the other way around."""
    return is_trained != is_evaluated and not (is_trained and values.get("validation_fraction"))


def _seeds(text: str) -> tuple[int, ...]:
    """The first n seeds, or those of a list."""
    try:
        if "," not in text:
            return tuple(range(int(text)))
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ExperimentConfig.error("{seeds} must be a whole number or a list of them, not {}.", repr(text)) from None
