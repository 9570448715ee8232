"""Which runs an experiment consists of: the rows of the paper's tables, or those that a file names.

Source: Bhardwaj et al., tables 1, 2, 4, 5, 6 and figures 2 and 3.
"""

import dataclasses
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from yt8m_distill.config.distillation import STUDENT_LOSSES, TeacherCache
from yt8m_distill.config.experiment import COMPARISONS, ExperimentConfig
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.config.training import TrainConfig
from yt8m_distill.errors import UserError
from yt8m_distill.experiments import budget
from yt8m_distill.runs.teachers import teacher_config

MANY_FRAMES = (6, 10, 15, 20, 30)
PAPERS_FRAMES = {"table1": MANY_FRAMES, "table5": (10, 30), "fair": MANY_FRAMES, "cost": MANY_FRAMES}  # else 30
FRACTIONS = (0.1, 0.25, 0.5)  # of the training data, table 2
TEACHER = "Teacher-Skyline"
ANY_K = "One student for every k"
STUDENT = "Student"
FROM_NOTHING = "Labels alone from nothing"
FROM_TEACHER = "Labels alone from the teacher"
FAIR_TEACHER = "Fair teacher"


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        name: its directory under `runs_dir`: "seed0/uniform3".
        row: of the table: "Uniform-k".
        k: frames of the student or baseline; None: all frames, a stride, or one student for several k.
        seed: also in `config.learning`.
        config: with `train_dir`, and for a serial student `teacher_dir`.
        also_all_frames: whether a model that is for fewer frames is evaluated with all of them, too.
    """

    name: str
    row: str
    k: int | None
    seed: int
    config: TrainConfig
    also_all_frames: bool = False

    def evaluated_with(self) -> tuple[FrameSelection, ...]:
        """The frames it is evaluated with: all, its own, or one selection for each k that it was trained for."""
        selection = self.config.selection
        own = tuple(dataclasses.replace(selection.for_evaluation(), k=k) for k in selection.drawn_from) or (
            selection.for_evaluation(),
        )
        return (*own, ALL_FRAMES) if self.also_all_frames and selection != ALL_FRAMES else own


@dataclass(frozen=True)
class Variant:
    """A row of a table, whatever k and seed.

    Attributes:
        row: its label.
        mode: of training.
        losses: of a student.
        sampling: of its frames.
        matching: of representations.
        student_init: None: as the experiment's settings say.
        fraction: of the training data; None: as the experiment's settings say.
        any_k: one student for every k.
        all_epochs: whether it is trained for as many epochs as a student and its teacher together.
        also_all_frames: as in `Run`.
    """

    row: str
    mode: str
    losses: tuple[str, ...] = STUDENT_LOSSES
    sampling: str = "uniform"
    matching: str = "final"
    student_init: str | None = None
    fraction: float | None = None
    any_k: bool = False
    all_epochs: bool = False
    also_all_frames: bool = False


SKYLINE = Variant(TEACHER, "teacher")
UNIFORM = Variant("Uniform-k", "baseline")
BASELINES = (
    UNIFORM,
    Variant("Random-k", "baseline", sampling="random"),
    Variant("First-k", "baseline", sampling="first"),
    Variant("Middle-k", "baseline", sampling="middle"),
    Variant("Last-k", "baseline", sampling="last"),
    Variant("First-Middle-Last-k", "baseline", sampling="first_middle_last"),
)
PARALLEL = (
    Variant("Parallel rep", "parallel", ("rep",)),
    Variant("Parallel rep, CE", "parallel", ("rep", "ce")),
    Variant("Parallel rep, pred, CE", "parallel"),
)
PARALLEL_REP_INTERMEDIATE = dataclasses.replace(PARALLEL[0], matching="intermediate")
SERIAL_REP = Variant("Serial rep", "serial", ("rep",))
SERIAL_REP_CE = Variant("Serial rep, CE", "serial", ("rep", "ce"))
SERIAL_ALL = Variant("Serial rep, pred, CE", "serial")
SERIAL = (
    SERIAL_REP,
    Variant("Serial pred", "serial", ("pred",)),
    SERIAL_REP_CE,
    Variant("Serial pred, CE", "serial", ("pred", "ce")),
    SERIAL_ALL,
)
OWN_ROWS = (
    Variant("Serial, from the teacher", "serial", student_init="teacher"),
    Variant("Serial, jittered", "serial", sampling="jittered"),
    Variant("Serial, from the teacher, jittered", "serial", sampling="jittered", student_init="teacher"),
    # On labels alone, with all that the students of these rows have but the teacher's outputs.
    Variant(FAIR_TEACHER, "teacher", all_epochs=True),
    Variant(FROM_NOTHING, "baseline", sampling="jittered", any_k=True, all_epochs=True),
    Variant(FROM_TEACHER, "serial", ("ce",), sampling="jittered", student_init="teacher", any_k=True),
    Variant(ANY_K, "serial", sampling="jittered", student_init="teacher", any_k=True),
)


def plan(config: ExperimentConfig) -> list[Run]:
    """All runs, each teacher before its students, seed by seed.

    Raises:
        UserError: two runs that would have the same directory, or settings that do not go together.
    """
    folder = runs_folder(config)
    runs: list[Run] = []
    for seed in config.seeds:
        named = _named_runs(config, seed) if config.base is None else _runs_of_table(config, seed)
        runs += _with_teachers([_placed(run, folder) for run in named], folder)
    names = [run.name for run in runs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"two runs would be in '{folder / twice}'; give each run a name of its own.")
    return runs


def runs_folder(config: ExperimentConfig) -> pathlib.Path:
    """Where the run directories are."""
    return pathlib.Path(config.runs_dir) if config.runs_dir else pathlib.Path(config.output_dir) / "runs"


def frames_of(config: ExperimentConfig) -> tuple[int, ...]:
    """Every k of the students and baselines."""
    return config.frames or PAPERS_FRAMES.get(config.experiment, (30,))


def variants(experiment: str, own_rows: bool = False) -> tuple[Variant, ...]:
    """The rows of one of the paper's tables and figures."""
    if experiment == "table1":
        rows = (SKYLINE, *BASELINES, *PARALLEL, *SERIAL)
    elif experiment == "table2":
        parts = (SKYLINE, SERIAL_ALL, UNIFORM)
        rows = tuple(dataclasses.replace(part, fraction=fraction) for fraction in FRACTIONS for part in parts)
    elif experiment == "table4":
        students = (*PARALLEL, SERIAL_REP, SERIAL_REP_CE, SERIAL_ALL)
        both = ("intermediate", "final")
        matched = [dataclasses.replace(student, matching=m) for student in students for m in both]
        # In parallel mode nothing trains what the student computes from the matched intermediate states.
        rows = (SKYLINE, UNIFORM, *(variant for variant in matched if variant != PARALLEL_REP_INTERMEDIATE))
    elif experiment == "figure2":
        rows = (SKYLINE, SERIAL_REP, SERIAL_REP_CE, SERIAL_ALL, *PARALLEL)
    elif experiment == "figure3":
        rows = (SKYLINE, SERIAL_ALL)
    else:
        rows = (SKYLINE, UNIFORM, SERIAL_ALL)
    return (*rows, *OWN_ROWS) if own_rows else rows


def compared_variants(experiment: str, base: TrainConfig) -> tuple[Variant, ...]:
    """The rows of a comparison at equal budgets, "fair" or "cost"; their teacher is added to them.

    Args:
        experiment: its name.
        base: the settings of the student.
    """
    sampling, losses = base.selection.sampling, base.distillation.losses
    if experiment == "fair":
        shared = {"sampling": sampling, "any_k": True, "also_all_frames": True}
        return (
            Variant(STUDENT, "serial", losses, **shared),
            Variant(FROM_NOTHING, "baseline", all_epochs=True, **shared),
            Variant(FROM_TEACHER, "serial", ("ce",), **shared),
            Variant(FAIR_TEACHER, "teacher", all_epochs=True),
        )
    return (
        Variant(ANY_K, "serial", losses, sampling, any_k=True),
        Variant("Student for this k", "serial", losses, sampling),
        Variant(FROM_NOTHING, "baseline", sampling=sampling, all_epochs=True),
    )


def _runs_of_table(config: ExperimentConfig, seed: int) -> Iterator[Run]:
    frames, base = frames_of(config), _of_seed(config.base, seed)
    compared = config.experiment in COMPARISONS
    rows = compared_variants(config.experiment, base) if compared else variants(config.experiment, config.own_rows)
    for variant in rows:
        if variant.mode == "teacher":
            yield _run(base, variant, ALL_FRAMES)
        elif variant.any_k and len(frames) > 1:
            selection = FrameSelection(max(frames), sampling=variant.sampling, drawn_from=tuple(sorted(frames)))
            yield _run(base, variant, selection)
        elif not variant.any_k or config.experiment == "fair":
            for k in frames:
                yield _run(base, variant, FrameSelection(k, sampling=variant.sampling))


def _of_seed(base: TrainConfig, seed: int) -> TrainConfig:
    """The shared settings with a seed, which may be part of the names of finished teachers."""
    folders = tuple(folder.replace("{seed}", str(seed)) for folder in base.teacher_dirs)
    learning = dataclasses.replace(base.learning, seed=seed)
    return dataclasses.replace(base, teacher_dir=folders or None, learning=learning)


def _run(base: TrainConfig, variant: Variant, selection: FrameSelection) -> Run:
    of_labels = teacher_config(dataclasses.replace(base, teacher_settings={}), None)
    if variant.mode == "teacher":
        config = of_labels if variant.all_epochs else teacher_config(base, None)
    elif variant.mode == "baseline":  # of the student's architecture: that is what it is compared with
        args = {**base.model_args, **base.student_model_args}
        config = dataclasses.replace(of_labels, training_mode="baseline", selection=selection, model_args=args)
    else:
        config = _of_student(base, variant, selection)
    if variant.all_epochs:
        learning = dataclasses.replace(config.learning, num_epochs=budget.total_epochs(base))
        config = dataclasses.replace(config, learning=learning)
    config = dataclasses.replace(config, train_fraction=variant.fraction or base.train_fraction)
    k, seed = None if selection.drawn_from else selection.k, base.learning.seed
    name = f"{_name(config)}_{config.learning.num_epochs}epochs" if variant.all_epochs else _name(config)
    return Run(f"seed{seed}/{name}", variant.row, k, seed, config, variant.also_all_frames)


def _of_student(base: TrainConfig, variant: Variant, selection: FrameSelection) -> TrainConfig:
    weights, shares = base.distillation.loss_weights, base.distillation.loss_shares
    of_variant = {name: shares[name] for name in variant.losses if name in shares}
    init = variant.student_init or base.distillation.student_init
    distillation = dataclasses.replace(
        base.distillation,
        losses=variant.losses,
        loss_weights={name: weights.get(name, 1.0) for name in variant.losses},
        loss_shares=of_variant if len(of_variant) == len(variant.losses) > 1 else {},
        representation_matching=variant.matching,
        student_init=init if variant.mode == "serial" else "classifier",
    )
    finetuned = variant.mode == "serial" and variant.losses == ("rep",)
    learning = base.learning if finetuned else dataclasses.replace(base.learning, finetune_epochs=None)
    # A cache holds what a finished teacher says, without its state at every frame.
    cached = variant.mode == "serial" and not (variant.matching == "intermediate" and "rep" in variant.losses)
    return dataclasses.replace(
        base,
        training_mode=variant.mode,
        selection=selection,
        distillation=distillation,
        learning=learning,
        teacher_cache=base.teacher_cache if cached else None,
    )


def _name(config: TrainConfig) -> str:
    """The settings of a run, as the name of a directory."""
    kind, distillation = config.training_mode, config.distillation
    parts = [kind] if kind != "baseline" else []
    if distillation is not None:
        parts = ["-".join([kind, *distillation.losses])]
        parts += ["intermediate"] if distillation.representation_matching == "intermediate" else []
        parts += ["from-teacher"] if distillation.student_init == "teacher" else []
    if config.selection != ALL_FRAMES:
        uniform = config.selection.sampling == "uniform"
        described = config.selection.describe()
        parts.append(f"uniform{described}" if uniform and kind == "baseline" else described)
    if config.teacher_cache is not None and config.teacher_cache.top:
        parts.append(f"top{config.teacher_cache.top}")
    if config.train_fraction < 1:
        parts.append(f"{100 * config.train_fraction:g}percent")
    return "_".join(parts)


def _named_runs(config: ExperimentConfig, seed: int) -> Iterator[Run]:
    for named in config.named_runs:
        run_config = _of_seed(named.config, seed)
        selection = run_config.selection
        k = None if selection.drawn_from else selection.k
        parts = [re.sub(r"[^a-z0-9]+", "-", named.row.lower()).strip("-") or "run"]
        if selection != ALL_FRAMES:
            parts.append(dataclasses.replace(selection, sampling="uniform").describe())
        yield Run(f"seed{seed}/{'_'.join(parts)}", named.row, k, seed, run_config)


def _placed(run: Run, folder: pathlib.Path) -> Run:
    return dataclasses.replace(run, config=dataclasses.replace(run.config, train_dir=str(folder / run.name)))


def _with_teachers(runs: Sequence[Run], folder: pathlib.Path) -> list[Run]:
    """The runs of one seed, every serial student with the directory of its teacher; missing teachers are added."""
    links = _Links([run for run in runs if run.config.training_mode == "teacher"], folder)
    others = [links.linked(run) for run in runs if run.config.training_mode != "teacher"]
    return [*links.teachers, *others]


class _Links:
    """Teachers of one seed and their students.

    Args:
        teachers: that are planned as rows of their own.
        folder: of run directories.

    Attributes:
        teachers: each after its own teacher; further ones are added as students need them.
    """

    def __init__(self, teachers: Iterable[Run], folder: pathlib.Path):
        self.teachers = list(teachers)
        self._asked = [run.config for run in self.teachers]
        self._folder = folder

    def linked(self, run: Run) -> Run:
        """The run; a serial student without a finished teacher with one of `teachers`."""
        if run.config.training_mode != "serial" or run.config.teacher_dir:
            return run
        teacher = self._teacher(teacher_config(run.config, None), run.seed)
        role = "student" if teacher.config.training_mode == "serial" else "teacher"
        links = {"teacher_dir": teacher.config.train_dir, "teacher_role": role, "teacher_settings": {}}
        cached = {"teacher_cache": _cache_of(run, teacher)}
        return dataclasses.replace(run, config=dataclasses.replace(run.config, **links, **cached))

    def _teacher(self, wanted: TrainConfig, seed: int) -> Run:
        for asked, teacher in zip(self._asked, self.teachers, strict=True):
            if dataclasses.replace(asked, train_dir=None) == wanted:
                return teacher
        linked = self.linked(Run("", TEACHER, None, seed, wanted, also_all_frames=True))
        number = sum(other.row.startswith(TEACHER) for other in self.teachers) + 1
        suffix = str(number) if number > 1 else ""
        named = dataclasses.replace(linked, name=f"seed{seed}/teacher{suffix}", row=f"{TEACHER} {suffix}".strip())
        self.teachers.append(_placed(named, self._folder))
        self._asked.append(wanted)
        return self.teachers[-1]


def _cache_of(run: Run, teacher: Run) -> TeacherCache | None:
    """Each teacher has a cache of its own in the folder that is given."""
    cache = run.config.teacher_cache
    if cache is None:
        return None
    folder = teacher.name if cache.top is None else f"{teacher.name}_top{cache.top}"
    return dataclasses.replace(cache, directory=str(pathlib.Path(cache.directory) / folder))
