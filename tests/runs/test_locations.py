"""Relative paths of a run lead to the same places from any working directory, and after a move of all together."""

import dataclasses
import os

import pytest

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.json import to_json
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import Distillation
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.locations import with_working_directory
from yt8m_distill.training.opening import changed_settings

CONFIG = RunConfig(
    "NeXtVLAD",
    "serial",
    selection=FrameSelection(2),
    distillation=Distillation(),
    teacher_dir="runs/teacher",
    init_from="runs/teacher",
    train_dir="runs/student",
    train_data_pattern="data/train*,data/more",
    eval_data_pattern="data/test{0,1}",
    data=DatasetSpec("own", "id", ("rgb",), (4,), 3, 10),
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with data, a teacher, and a student's run with relative paths."""
    folder = tmp_path / "project"
    for name in ("runs/teacher", "runs/student", "data/more"):
        (folder / name).mkdir(parents=True)
    for name in ("train0", "test1", "more/tfrecord"):
        (folder / "data" / name).touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(folder)
    write(CONFIG)
    return folder


def write(config: RunConfig):
    (RunDir(config.train_dir).config_file).write_text(to_json(with_working_directory(config)))


def paths_of(run: RunDir) -> tuple:
    config = run.read_config()
    assert config.init_from == config.teacher_dir
    return config.teacher_dir, config.train_data_pattern, config.eval_data_pattern


def test_where_they_were_given_they_stay(project):
    assert paths_of(RunDir("runs/student")) == ("runs/teacher", "data/train*,data/more", "data/test{0,1}")
    assert paths_of(RunDir(project / "runs/student"))[0] == "runs/teacher"


def absolute_in(folder) -> tuple:
    return f"{folder}/runs/teacher", f"{folder}/data/train*,{folder}/data/more", f"{folder}/data/test{{0,1}}"


def test_from_another_working_directory(project, monkeypatch):
    monkeypatch.chdir(project.parent / "elsewhere")
    run = RunDir("../project/runs/student")
    assert paths_of(run) == absolute_in(project)
    now = dataclasses.replace(CONFIG, teacher_dir=f"{project}/runs/teacher", eval_data_pattern=None)
    now = dataclasses.replace(now, train_data_pattern=f"../project/data/train*,{project}/data/more")
    now = dataclasses.replace(now, init_from="../project/runs/teacher")
    assert changed_names(run, now) == []
    assert changed_names(run, dataclasses.replace(now, teacher_dir="runs/teacher")) == ["teacher_dir"]


def changed_names(run: RunDir, now: RunConfig) -> list[str]:
    names = [line.partition(":")[0] for line in changed_settings(run.read_config(), now)]
    return [name for name in names if not name.startswith("model_args")]  # which `resolve` would fill in


@pytest.mark.parametrize("old", [True, False])
def test_after_a_move_of_all_together(project, monkeypatch, old):
    if old:  # a run of an earlier version does not say where its paths are from
        RunDir("runs/student").config_file.write_text(to_json(CONFIG))
    moved = project.with_name("[mo]ved")
    os.rename(project, moved)
    monkeypatch.chdir(moved.parent / "elsewhere")
    assert paths_of(RunDir(moved / "runs/student")) == absolute_in(moved)
    monkeypatch.chdir(moved)
    assert (
        paths_of(RunDir("runs/student"))
        == paths_of(RunDir(moved / "runs/student"))
        == (
            CONFIG.teacher_dir,
            CONFIG.train_data_pattern,
            CONFIG.eval_data_pattern,
        )
    )


def test_a_run_moved_by_itself(project, monkeypatch):
    os.rename(project / "runs/student", project.parent / "elsewhere/student")
    monkeypatch.chdir(project.parent / "elsewhere")
    assert paths_of(RunDir("student")) == absolute_in(project)


def test_absolute_paths_and_what_is_gone_stay(project, monkeypatch):
    config = dataclasses.replace(CONFIG, teacher_dir="gone", init_from="gone", train_data_pattern="/gone/*")
    config = dataclasses.replace(config, eval_data_pattern=None)
    write(config)
    monkeypatch.chdir(project.parent / "elsewhere")
    assert paths_of(RunDir(project / "runs/student")) == ("gone", "/gone/*", None)
    absolute = dataclasses.replace(config, teacher_dir="/gone", init_from="/gone")
    assert with_working_directory(absolute) == absolute
    assert "working_directory" not in to_json(absolute)
