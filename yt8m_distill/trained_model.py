"""A trained model out of a run directory: built from its `config.json`, with its weights."""

import dataclasses
import hashlib
import math
import os
import pathlib
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from yt8m_distill import checked_files, run_dir
from yt8m_distill.config import FrameSelection, TrainConfig, to_json
from yt8m_distill.dataset_spec import VIDEO, DatasetSpec
from yt8m_distill.errors import UserError
from yt8m_distill.models import registry
from yt8m_distill.models.ensemble import TeacherEnsemble
from yt8m_distill.precision import DTYPE_POLICIES
from yt8m_distill.run_dir import RunDir

ROLES = {
    "serial": ("student",),
    "parallel": ("teacher", "student"),
    "teacher": ("teacher",),
    "baseline": ("student",),
}
ENSEMBLE = "ensemble"  # the role of several teachers
PACKED_FILES = ("config.json", "best/student.weights.h5", "best/teacher.weights.h5")


@dataclass(frozen=True)
class TrainedModel:
    """A model ready to predict.

    Attributes:
        model: a VideoModel.
        config: of the run it is from.
        role: "student" or "teacher".
        selection: the frames it sees; None: all.
        run_path: the run directory it is from.
        source: the folder of the weights.
        step: training steps done; None where the best epoch's weights do not say.
        branch: which branch of a mixture it is, where it is one by itself.
    """

    model: keras.Model
    config: TrainConfig
    role: str
    selection: FrameSelection | None
    run_path: pathlib.Path
    source: pathlib.Path
    step: int | None
    branch: int | None = None


def frames_of(config: TrainConfig, selection: FrameSelection | None) -> int:
    """Frames that a model gets at most; unbounded videos are taken as 300 frames."""
    longest = config.data.longest_example or 300
    return selection.frames(longest) if selection else longest


def build_models(config: TrainConfig, with_teacher: bool = False) -> dict[str, keras.Model]:
    """New models of a resolved configuration, by role; in parallel mode they share the classifier.

    For serial training only the student, its teacher is another run's; unless `with_teacher`.
    """
    models, precision = {}, config.learning.precision
    if config.training_mode in ("teacher", "parallel") or (with_teacher and config.training_mode == "serial"):
        models["teacher"] = _build(config, config.model_args, precision)
    if config.training_mode != "teacher":
        args = {**config.model_args, **config.student_model_args}
        shared = models["teacher"].classifier if config.training_mode == "parallel" else None
        models["student"] = _build(config, args, precision, shared)
    return models


def _build(config: TrainConfig, args: Mapping, precision: str, classifier_layer=None) -> keras.Model:
    if registry.model_class(config.model).video_level != (config.data.level == VIDEO):
        raise UserError(f"{config.model} does not go with {config.data.level}-level records.")
    return registry.build_model(
        config.model,
        feature_sizes=config.data.feature_sizes,
        num_classes=config.data.num_classes,
        classifier_layer=classifier_layer,
        dtype=DTYPE_POLICIES[precision],
        **args,
    )


def load(
    train_dir: str,
    which: str | None = None,
    checkpoint: run_dir.Checkpoint | None = None,
    precision: str = "float32",
    branch: int | None = None,
) -> TrainedModel:
    """The student or teacher of a run.

    Args:
        train_dir: run directory, finished or running.
        which: "student" or "teacher"; None: the student, or the model of a teacher's run.
        checkpoint: take the weights from it; None: from the best epoch, or the latest checkpoint before the first one.
        precision: what the model computes in; its weights are float32 in any case.
        branch: of a mixture, by itself; None: the whole model.

    Raises:
        UserError: no run, no such model in it, no weights yet, or weights that do not fit the configuration.
    """
    run, config, role = find(train_dir, which)
    if role == ENSEMBLE:
        if branch is not None:
            raise UserError(f"--branch={branch}: the teacher of '{train_dir}' is an ensemble; give a run of its own.")
        return join([load_member(each, precision) for each in config.teacher_dirs], run)
    if checkpoint is None and not run.best.is_dir():
        stored = run_dir.checkpoints(run)
        if not stored:
            raise UserError(f"'{run.path}' has no model yet: neither best/ nor a checkpoint. Train it first.")
        checkpoint = stored[-1]
    selection = None if role == "teacher" else config.selection.for_evaluation()
    if checkpoint is not None:
        model = _built_for(config, role, precision, checkpoint.state_file)
        load_arrays(model, checkpoint, role)
        trained = TrainedModel(model, config, role, selection, run.path, checkpoint.path, checkpoint.step)
        return _branch_of(trained, branch)
    path = run_dir.weights_file(run.best, role)
    checked_files.check_weights(path)
    model = _built_for(config, role, precision, path)
    _load_weights(model, path)
    return _branch_of(TrainedModel(model, config, role, selection, run.path, run.best, None), branch)


def _branch_of(trained: TrainedModel, branch: int | None) -> TrainedModel:
    """A branch of a mixture, with the configuration of a model that has never been anything else."""
    if branch is None:
        return trained
    model = trained.model.branch_model(branch)
    config = dataclasses.replace(
        trained.config, model=type(model).__name__, model_args=model.model_args, student_model_args={}
    )
    return dataclasses.replace(trained, model=model, config=config, branch=branch)


def load_member(train_dir: str, precision: str = "float32") -> TrainedModel:
    """One of the teachers that `config.teacher_dirs` names.

    Raises:
        UserError: as for `load`; or several runs are the teacher of this one.
    """
    if find(train_dir, "teacher")[2] == ENSEMBLE:
        raise UserError(f"--teacher_dir: the teacher of '{train_dir}' is itself an ensemble; name its members.")
    return load(train_dir, "teacher", precision=precision)


def join(members: Sequence[TrainedModel], run: RunDir, matched: TrainedModel | None = None) -> TrainedModel:
    """Several finished teachers as one, of a student's run.

    Args:
        members: at least two; of the same features and classes.
        run: the student's.
        matched: the one of them whose representation the student is matched to.

    Raises:
        UserError: they are not of the same data format.
    """
    first = members[0].config.data
    for each in members:
        data = each.config.data
        if data_format(data) != data_format(first):
            raise UserError(
                f"--teacher_dir: the teachers do not go together: that in '{members[0].run_path}' was trained on "
                f"{_described(first)}, that in '{each.run_path}' on {_described(data)}."
            )
    place = next((i for i, each in enumerate(members) if each is matched), None)
    model = TeacherEnsemble([each.model for each in members], place)
    name = " + ".join(each.config.model for each in members)
    config = dataclasses.replace(members[0].config, model=name)
    return TrainedModel(model, config, "teacher", None, run.path, run.path, None)


def data_format(data: DatasetSpec) -> tuple:
    """What two models must have in common to see and say the same things. Segments have frames like whole videos."""
    return data.level == VIDEO, tuple(data.feature_names), tuple(data.feature_sizes), data.num_classes


def _described(data: DatasetSpec) -> str:
    sizes = zip(data.feature_names, data.feature_sizes, strict=True)
    return f"{', '.join(f'{name} ({size})' for name, size in sizes)} and {data.num_classes} classes"


def find(train_dir: str, which: str | None = None) -> tuple[RunDir, TrainConfig, str]:
    """The run that has the wanted model, and its role there: the teacher of a serial run is another run's.

    Args:
        train_dir: run directory.
        which: as for `load`.

    Returns:
        The run, its configuration, and "student" or "teacher"; or a run of which several others are the teacher, its
        configuration, and `ENSEMBLE`.

    Raises:
        UserError: no run, or no such model in it.
    """
    seen = set()
    while os.path.realpath(train_dir) not in seen:
        seen.add(os.path.realpath(train_dir))
        run = RunDir(train_dir)
        config = run.read_config()
        role = which or ("teacher" if config.training_mode == "teacher" else "student")
        if role != "teacher" or config.training_mode != "serial":
            if role not in ROLES[config.training_mode]:
                mode = config.training_mode
                raise UserError(f"'{train_dir}' has no {role}: it was trained with --training_mode={mode}.")
            return run, config, role
        if len(config.teacher_dirs) > 1:
            return run, config, ENSEMBLE
        train_dir = config.teacher_dir or str(run.teacher.path)
    raise UserError(f"'{train_dir}' is named by its own config.json as the run of its teacher.")


def model_args_of(config: TrainConfig, role: str) -> dict[str, Any]:
    """The model arguments of the "student" or "teacher" of a run."""
    return {**config.model_args, **(config.student_model_args if role == "student" else {})}


def _built_for(config: TrainConfig, role: str, precision: str, stored: pathlib.Path) -> keras.Model:
    """A model that takes memory only where the stored weights, never compressed, are enough to fill it."""
    args = model_args_of(config, role)
    try:
        with keras.StatelessScope(initialize_variables=False):  # variables within have a shape, but no memory
            model = _build(config, args, precision)
        needed = sum(math.prod(v.shape) * np.dtype(v.dtype).itemsize for v in model.variables)
        if needed > stored.stat().st_size:
            raise UserError(f"it needs {needed:,} bytes of weights, more than there are")
    except (OSError, ValueError, TypeError, OverflowError) as error:
        keras.utils.clear_session(free_memory=False)  # else the variables would get their memory at the next chance
        problem = str(error).removesuffix(".")
        raise UserError(f"the model of config.json does not fit to '{stored}': {problem}.") from error
    with keras.StatelessScope():  # when this is left, all variables get their memory
        pass
    return model


def _load_weights(model: keras.Model, path: pathlib.Path):
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        problem = checked_files.in_short(error)
        raise UserError(f"the weights in '{path}' do not fit the model of config.json: {problem}.") from error


def fingerprint(trained: TrainedModel) -> str:
    """A checksum of everything in the model that predictions depend on."""
    described = trained.config.model, trained.model.compute_dtype, sorted(trained.model.model_args.items())
    checksum = hashlib.sha256(repr(described).encode())
    for variable in trained.model.weights:  # without the random states of dropout, which differ with every start
        checksum.update(np.ascontiguousarray(variable.numpy()))
    return checksum.hexdigest()


def model_arrays(model: keras.Model, role: str) -> dict:
    """The model's variables, random states included, by the names that `load_arrays` reads."""
    return {f"{role}.{i:04d}.{v.name}": v.numpy() for i, v in enumerate(model.variables)}


def load_arrays(model: keras.Model, checkpoint: run_dir.Checkpoint, role: str):
    """Sets the model's variables from a checkpoint.

    Raises:
        UserError: number or shapes differ.
    """
    assign(model.variables, checkpoint.arrays(f"{role}."), checkpoint)


def assign(variables, arrays: dict, checkpoint: run_dir.Checkpoint):
    """Sets variables, in order, to arrays, in order.

    Raises:
        UserError: number or shapes differ.
    """
    values = list(arrays.values())
    if [tuple(v.shape) for v in variables] != [value.shape for value in values]:
        raise UserError(f"the checkpoint '{checkpoint.path}' does not fit the model of config.json.")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def pack(trained: TrainedModel, path: str):
    """Writes the model as a .tgz that `unpacked` reads: a small run directory with configuration and weights.

    Written beside and renamed.
    """
    if isinstance(trained.model, TeacherEnsemble):
        raise UserError("an ensemble of teachers cannot be packed; pack the models of their own runs.")
    target = pathlib.Path(path)
    run_dir.make_directory(target.parent)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        best = RunDir(folder).best
        best.mkdir()
        run_dir.save_weights(trained.model, best, trained.role)
        write_config(RunDir(folder), trained)
        with (
            run_dir.file_written_beside(target, binary=True) as packed,
            tarfile.open(fileobj=packed, mode="w:gz") as archive,
        ):
            for file in (RunDir(folder).config_file, run_dir.weights_file(best, trained.role)):
                archive.add(file, arcname=str(file.relative_to(folder)))


def write_config(run: RunDir, trained: TrainedModel):
    """A configuration in which the packed model stands alone, without a teacher."""
    mode = "teacher" if trained.role == "teacher" else "baseline"
    alone = dataclasses.replace(
        trained.config,
        training_mode=mode,
        selection=trained.selection,
        distillation=None,
        teacher_dir=None,
        teacher_cache=None,
    )
    run_dir.write_text(run.config_file, to_json(alone))


def unpack(path: str, folder: str):
    """Extracts a model packed by `pack` into `folder`, an empty one.

    Raises:
        UserError: no archive, or one with anything but plain files of a packed model, or with more than is taken.
    """
    checked_files.unpack(path, folder, PACKED_FILES)
    if not RunDir(folder).config_file.is_file():
        raise UserError(f"'{path}' is no packed model: it holds no config.json.")
