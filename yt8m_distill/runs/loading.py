"""Loading a trained model from a run directory: built from its `config.json`, with its weights."""

import dataclasses
import hashlib
import math
import os
import pathlib

import keras
import numpy as np

from yt8m_distill.config.frames import ALL_FRAMES
from yt8m_distill.config.run import RunConfig
from yt8m_distill.errors import UserError
from yt8m_distill.models.building import build_one
from yt8m_distill.runs import checkpoints
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.ensembles import join
from yt8m_distill.runs.teachers import ENSEMBLE, find_run, find_teacher, teacher_config, teacher_runs
from yt8m_distill.runs.trained_model import TrainedModel
from yt8m_distill.runs.weights import check_weights, load_arrays, load_weights, weights_file


def load(
    train_dir: str | os.PathLike,
    which: str | None = None,
    checkpoint: checkpoints.Checkpoint | None = None,
    precision: str = "float32",
    branch: int | None = None,
) -> TrainedModel:
    """Loads the student or teacher of a run.

    Args:
        train_dir: run directory, finished or running.
        which: "student" or "teacher"; None: the student, or the model of a teacher's run.
        checkpoint: to take the weights from; None: those of the best epoch, or of the latest checkpoint where there is
            none yet.
        precision: of the computation; the weights are float32 in any case.
        branch: index of a branch of a mixture, to load alone; None: the whole model.

    Raises:
        UserError: no run, no such model in it, no weights yet, or weights that do not fit the configuration.
    """
    run, config, role = find_run(train_dir, which)
    if role == ENSEMBLE:
        if branch is not None:
            raise UserError(f"--branch={branch}: the teacher of '{train_dir}' is an ensemble; give a run of its own.")
        members = [load_member(teacher.path, precision, config.teacher_role) for teacher in teacher_runs(run, config)]
        return join(members, run)
    trained = _load(run, config, role, checkpoint, precision)
    return _branch_of(_as_teacher(trained) if which == "teacher" else trained, branch)


def load_member(
    train_dir: str | os.PathLike, precision: str = "float32", teacher_role: str = "teacher"
) -> TrainedModel:
    """Loads one of the teachers of a student.

    Args:
        train_dir: run directory, as `teacher_dir` names it.
        precision: as for `load`.
        teacher_role: of the student's settings.

    Raises:
        UserError: as for `load`; or the run itself has several teachers.
    """
    run, config, role = find_teacher(train_dir, teacher_role)
    if role == ENSEMBLE:
        raise UserError(f"--teacher_dir: the teacher of '{train_dir}' is itself an ensemble; name its members.")
    return _as_teacher(_load(run, config, role, None, precision))


def _load(
    run: RunDir, config: RunConfig, role: str, checkpoint: checkpoints.Checkpoint | None, precision: str
) -> TrainedModel:
    """Loads a model that a run has trained."""
    if checkpoint is None and not run.best.is_dir():
        stored = checkpoints.checkpoints(run)
        if not stored:
            raise UserError(f"'{run.path}' has no model yet: neither best/ nor a checkpoint. Train it first.")
        checkpoint = stored[-1]
    selection = config.selection_of(role).for_evaluation()
    if checkpoint is not None:
        checkpoint.check()
        model = _built_for(config, role, precision, checkpoint.state_file)
        load_arrays(model, checkpoint, role)
        return TrainedModel(model, config, role, selection, run.path, checkpoint.path, checkpoint.step)
    path = weights_file(run.best, role)
    check_weights(path)
    model = _built_for(config, role, precision, path)
    load_weights(model, path)
    return TrainedModel(model, config, role, selection, run.path, run.best, None)


def _as_teacher(trained: TrainedModel) -> TrainedModel:
    """The model as a teacher, which sees all frames; a student of its own run becomes one."""
    if trained.role == "teacher":
        return trained
    args = trained.config.model_args_of(trained.role)
    plain = dataclasses.replace(trained.config, teacher_settings={})
    config = dataclasses.replace(teacher_config(plain, trained.config.train_dir), model_args=args)
    return dataclasses.replace(trained, config=config, role="teacher", selection=ALL_FRAMES, of_student=True)


def _branch_of(trained: TrainedModel, branch: int | None) -> TrainedModel:
    """A branch of a mixture, with the configuration of a model of its own."""
    if branch is None:
        return trained
    model = trained.model.branch_model(branch)
    config = dataclasses.replace(
        trained.config, model=type(model).__name__, model_args=model.model_args, student_model_args={}
    )
    return dataclasses.replace(trained, model=model, config=config, branch=branch)


def _built_for(config: RunConfig, role: str, precision: str, stored: pathlib.Path) -> keras.Model:
    """Builds a model, without taking memory where the stored weights, which are not compressed, are too few for it."""
    try:
        with keras.StatelessScope(initialize_variables=False):  # variables have shapes, but no memory
            model = build_one(config, role, precision)
        needed = sum(math.prod(v.shape) * np.dtype(v.dtype).itemsize for v in model.variables)
        if needed > stored.stat().st_size:
            raise UserError(f"it needs {needed:,} bytes of weights, more than there are")
    except (OSError, ValueError, TypeError, OverflowError) as error:
        keras.utils.clear_session(free_memory=False)  # else the variables would get memory later
        problem = str(error).removesuffix(".")
        raise UserError(f"the model of config.json does not fit '{stored}': {problem}.") from error
    for variable in model.trainable_variables:  # all are loaded; random numbers for them would take longer than that
        variable._initializer = keras.initializers.Zeros()  # Keras has no public way to it
    with keras.StatelessScope():  # on exit, all variables get memory
        pass
    return model


def fingerprint(trained: TrainedModel) -> str:
    """A checksum of everything in the model that predictions depend on."""
    settings = trained.config.model, trained.model.compute_dtype, sorted(trained.model.model_args.items())
    ranges = trained.config.data.feature_ranges
    checksum = hashlib.sha256(repr(settings if ranges is None else (*settings, ranges)).encode())
    for variable in trained.model.weights:  # without the random states of dropout, which differ at every start
        checksum.update(np.ascontiguousarray(variable.numpy()))
    return checksum.hexdigest()
