"""Which run holds the teacher of a student."""

import dataclasses
import pathlib

import pytest

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.config.json import to_json
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import Distillation, Learning, TrainConfig
from yt8m_distill.errors import UserError
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.teachers import ENSEMBLE, find_run, find_teacher, teacher_config

DATA = DatasetSpec("AudioSet", "video_id", ("audio_embedding",), (128,), 527, 10)
STUDENT = RunConfig("NetVLAD", selection=FrameSelection(3), distillation=Distillation(), data=DATA)
TEACHER = RunConfig("NetVLAD", "teacher", data=DATA)


def write(path: pathlib.Path, config: RunConfig) -> str:
    path.mkdir(parents=True)
    RunDir(path).config_file.write_text(to_json(config))
    return str(path)


def found(train_dir: str, which: str | None = None) -> tuple[pathlib.Path, str]:
    run, config, role = find_run(train_dir, which)
    assert config == run.read_config()
    return run.path, role


def test_a_teacher_in_its_students_run(tmp_path):
    student = write(tmp_path / "run", STUDENT)
    teacher = write(tmp_path / "run" / "teacher", TEACHER)
    assert found(student) == found(student, "student") == (pathlib.Path(student), "student")
    assert found(student, "teacher") == found(teacher) == (pathlib.Path(teacher), "teacher")


def test_a_chain_of_students(tmp_path):
    """A student may have a student of another run as its teacher's run: it is that run's teacher that is meant."""
    teacher = write(tmp_path / "teacher", TEACHER)
    first = write(tmp_path / "first", dataclasses.replace(STUDENT, teacher_dir=teacher))
    second = write(tmp_path / "second", dataclasses.replace(STUDENT, teacher_dir=first))
    assert found(second, "teacher") == (pathlib.Path(teacher), "teacher")


def test_several_teachers(tmp_path):
    student = write(tmp_path / "student", dataclasses.replace(STUDENT, teacher_dir=("a", "b")))
    assert found(student, "teacher") == (pathlib.Path(student), ENSEMBLE)
    assert found(student) == (pathlib.Path(student), "student")


def test_runs_without_the_model(tmp_path):
    teacher = write(tmp_path / "teacher", TEACHER)
    with pytest.raises(UserError, match="has no student: it was trained with --training_mode=teacher"):
        find_run(teacher, "student")
    baseline = write(tmp_path / "baseline", RunConfig("NetVLAD", "baseline", selection=FrameSelection(3), data=DATA))
    with pytest.raises(UserError, match="has no teacher: it was trained with --training_mode=baseline"):
        find_run(baseline, "teacher")


def test_runs_that_name_each_other(tmp_path):
    first = write(tmp_path / "first", dataclasses.replace(STUDENT, teacher_dir=str(tmp_path / "second")))
    write(tmp_path / "second", dataclasses.replace(STUDENT, teacher_dir=first))
    with pytest.raises(UserError, match=r"is named by its own config\.json as the run of its teacher"):
        find_run(first, "teacher")


@pytest.mark.parametrize("kind", [TrainConfig, RunConfig])
def test_the_configuration_of_a_teacher(kind):
    student = RunConfig.of(
        STUDENT, student_model_args={"clusters": 2}, teacher_dir="t", learning=Learning(finetune_epochs=3, seed=7)
    )
    if kind is TrainConfig:
        values = {field.name: getattr(student, field.name) for field in dataclasses.fields(TrainConfig)}
        student = TrainConfig(**values)
    teacher = teacher_config(student, "runs/t")
    assert type(teacher) is kind
    assert (teacher.training_mode, teacher.selection, teacher.distillation) == ("teacher", ALL_FRAMES, None)
    assert (teacher.student_model_args, teacher.teacher_dir, teacher.train_dir) == ({}, None, "runs/t")
    assert (teacher.learning.finetune_epochs, teacher.learning.seed) == (None, 7)


def test_a_students_or_baselines_model_as_the_teacher(tmp_path):
    baseline = write(tmp_path / "baseline", RunConfig("NetVLAD", "baseline", selection=FrameSelection(3), data=DATA))
    of_baseline = write(tmp_path / "first", dataclasses.replace(STUDENT, teacher_dir=baseline))
    assert found(of_baseline, "teacher") == (pathlib.Path(baseline), "student")
    of_teacher = dataclasses.replace(STUDENT, teacher_dir=of_baseline)
    of_student = dataclasses.replace(of_teacher, teacher_role="student")
    assert found(write(tmp_path / "a", of_teacher), "teacher") == (pathlib.Path(baseline), "student")
    assert found(write(tmp_path / "b", of_student), "teacher") == (pathlib.Path(of_baseline), "student")
    teacher = write(tmp_path / "teacher", TEACHER)
    for role in ("teacher", "student"):
        assert find_teacher(teacher, role)[2] == "teacher"
        assert find_teacher(baseline, role)[2] == "student"
    itself = write(tmp_path / "c", dataclasses.replace(of_student, teacher_dir=str(tmp_path / "c")))
    with pytest.raises(UserError, match=r"is named by its own config\.json as the run of its teacher"):
        find_run(itself, "teacher")


def test_a_teacher_that_is_a_student_of_its_own_run(tmp_path):
    """The one that was trained on the way is its run's main model; of a run of its own, the student where asked for."""
    on_the_way = write(tmp_path / "run", STUDENT)
    first = write(tmp_path / "run" / "teacher", dataclasses.replace(STUDENT, selection=FrameSelection(10)))
    write(tmp_path / "run" / "teacher" / "teacher", TEACHER)
    assert found(on_the_way, "teacher") == (pathlib.Path(first), "student")
    other = dataclasses.replace(STUDENT, teacher_dir=first)
    assert found(write(tmp_path / "a", other), "teacher") == (pathlib.Path(first) / "teacher", "teacher")
    by_role = write(tmp_path / "b", dataclasses.replace(other, teacher_role="student"))
    assert found(by_role, "teacher") == (pathlib.Path(first), "student")
    baseline = write(tmp_path / "c", RunConfig("NetVLAD", "baseline", selection=FrameSelection(3), data=DATA))
    of_baseline = write(tmp_path / "d", dataclasses.replace(STUDENT, teacher_dir=baseline))
    assert found(of_baseline, "teacher") == (pathlib.Path(baseline), "student")
