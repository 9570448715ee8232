"""Which runs the paper's tables consist of: rows, settings, directories, shared teachers."""

import dataclasses

import pytest

from yt8m_distill.config.experiment import ExperimentConfig, NamedRun
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.config.training import Distillation, Learning, TeacherCache, TrainConfig
from yt8m_distill.errors import UserError
from yt8m_distill.experiments.plan import Run, plan
from yt8m_distill.runs.teachers import teacher_config

BASE = TrainConfig(
    "HierarchicalRNN",
    selection=FrameSelection(30),
    distillation=Distillation(loss_weights={"rep": 2.0}),
    model_args={"cells": "8"},
    student_model_args={"block_length": "3"},
    train_data_pattern="train*",
    eval_data_pattern="test*",
    learning=Learning(finetune_epochs=2),
)


def runs(experiment: str, **options) -> list[Run]:
    return plan(ExperimentConfig(experiment, "out", BASE, **options))


def by_row(planned) -> dict[str, list[Run]]:
    rows = {}
    for run in planned:
        rows.setdefault(run.row, []).append(run)
    return rows


def test_table1_has_the_papers_fourteen_rows_and_their_teacher():
    rows = by_row(runs("table1"))
    assert list(rows) == [
        "Teacher-Skyline",
        *("Uniform-k", "Random-k", "First-k", "Middle-k", "Last-k", "First-Middle-Last-k"),
        *("Parallel rep", "Parallel rep, CE", "Parallel rep, pred, CE"),
        *("Serial rep", "Serial pred", "Serial rep, CE", "Serial pred, CE", "Serial rep, pred, CE"),
    ]
    assert [run.k for run in rows.pop("Teacher-Skyline")] == [None]
    assert all([run.k for run in each] == [6, 10, 15, 20, 30] for each in rows.values())


def test_settings_of_rows():
    rows = {run.row: run.config for run in runs("table1", frames=(3,), seeds=(7,))}
    assert rows["Random-k"].training_mode == "baseline"
    assert rows["Random-k"].selection == FrameSelection(3, sampling="random")
    assert rows["Random-k"].model_args == {"cells": "8", "block_length": "3"}  # the student's architecture
    assert rows["Parallel rep, CE"].distillation.loss_weights == {"rep": 2.0, "ce": 1.0}
    assert rows["Parallel rep, CE"].teacher_dir is None
    assert rows["Serial rep"].learning.finetune_epochs == 2
    assert rows["Serial pred"].learning.finetune_epochs is None
    assert rows["Teacher-Skyline"] == dataclasses.replace(
        teacher_config(BASE, "out/runs/seed7/teacher"), learning=Learning(seed=7)
    )


def test_one_teacher_a_seed_is_shared_by_all_serial_students():
    planned = runs("table1", frames=(3, 5), seeds=(0, 4))
    assert len(planned) == 2 * (1 + 14 * 2)
    for seed in (0, 4):
        serial = [run for run in planned if run.seed == seed and run.config.training_mode == "serial"]
        assert {run.config.teacher_dir for run in serial} == {f"out/runs/seed{seed}/teacher"}
        assert {run.config.learning.seed for run in serial} == {seed}
    assert [run.name for run in planned if run.config.training_mode == "teacher"] == ["seed0/teacher", "seed4/teacher"]
    assert planned[0].name == "seed0/teacher"
    assert len({run.config.train_dir for run in planned}) == len(planned)


def test_each_teacher_has_a_cache_of_its_own_for_its_serial_students():
    cached = dataclasses.replace(BASE, teacher_cache=TeacherCache("cache"))
    planned = plan(ExperimentConfig("table1", "out", cached, frames=(3,), seeds=(0, 4)))
    for run in planned:
        serial = run.config.training_mode == "serial"
        assert run.config.teacher_cache == (TeacherCache(f"cache/seed{run.seed}/teacher") if serial else None)
    assert [run.name for run in planned] == [run.name for run in runs("table1", frames=(3,), seeds=(0, 4))]
    cached = dataclasses.replace(BASE, teacher_cache=TeacherCache("cache", top=20))
    by_name = {run.name: run.config.teacher_cache for run in plan(ExperimentConfig("table4", "out", cached))}
    assert by_name["seed0/serial-rep_intermediate_30"] is None  # the cache has no states of every frame
    assert by_name["seed0/serial-rep_30_top20"] == TeacherCache("cache/seed0/teacher_top20", top=20)


def test_directories_say_what_they_are():
    names = [run.name for run in runs("table1", frames=(3,))]
    assert names[:3] == ["seed0/teacher", "seed0/uniform3", "seed0/random3"]
    assert names[-1] == "seed0/serial-rep-pred-ce_3"


def test_table2_has_a_teacher_for_each_share_of_the_data():
    planned = runs("table2")
    teachers = {run.config.train_dir: run.config for run in planned if run.config.training_mode == "teacher"}
    assert [config.train_fraction for config in teachers.values()] == [0.1, 0.25, 0.5]
    for run in planned:
        if run.config.training_mode == "serial":
            assert teachers[run.config.teacher_dir].train_fraction == run.config.train_fraction
    assert {run.name for run in planned} >= {"seed0/teacher_10percent", "seed0/uniform30_25percent"}
    assert len(planned) == 9


def test_table4_matches_intermediate_and_final_representations():
    students = [run for run in runs("table4") if run.config.distillation]
    matchings = [run.config.distillation.representation_matching for run in students]
    assert matchings == (["intermediate", "final"] * 6)[1:]  # parallel rep: intermediate states alone train too little
    assert {run.config.training_mode for run in students} == {"parallel", "serial"}


@pytest.mark.parametrize(("experiment", "frames"), [("table5", [10, 30]), ("table6", [30])])
def test_tables_of_vlads(experiment, frames):
    rows = by_row(runs(experiment))
    assert list(rows) == ["Teacher-Skyline", "Uniform-k", "Serial rep, pred, CE"]
    assert [run.k for run in rows["Uniform-k"]] == frames


def test_figures():
    own = dataclasses.replace(BASE, validation_data_pattern="v*")
    rows = by_row(plan(ExperimentConfig("figure2", "out", own)))
    assert list(rows)[4:] == ["Parallel rep", "Parallel rep, CE", "Parallel rep, pred, CE"]
    assert len(rows) == 7
    assert list(by_row(runs("figure3"))) == ["Teacher-Skyline", "Serial rep, pred, CE"]
    with pytest.raises(UserError, match="needs validation_data_pattern"):
        runs("figure2")


def test_experiments_share_runs_that_are_the_same():
    first, second = ({run.name: run.config for run in runs(name, runs_dir="shared")} for name in ("table1", "table4"))
    both = first.keys() & second.keys()
    assert {"seed0/teacher", "seed0/uniform30", "seed0/parallel-rep-ce_30"} <= both
    assert all(first[name] == second[name] for name in both)
    assert first["seed0/teacher"].train_dir == "shared/seed0/teacher"


def test_own_rows_end_with_one_student_that_is_evaluated_with_every_k():
    *_, last = planned = runs("table6", frames=(5, 2), own_rows=True)
    assert last.row == "One student for every k"
    assert last.config.selection == FrameSelection(5, sampling="jittered", drawn_from=(2, 5))
    assert last.evaluated_with() == (FrameSelection(2), FrameSelection(5))
    jittered = next(run for run in planned if run.row == "Serial, jittered")
    assert jittered.evaluated_with() == (FrameSelection(5),)
    assert planned[0].evaluated_with() == (ALL_FRAMES,)
    assert last.row not in by_row(runs("table6", frames=(5,), own_rows=True))


def named(*pairs) -> list[Run]:
    return plan(ExperimentConfig("my.toml", "out", named_runs=tuple(NamedRun(*pair) for pair in pairs)))


def test_students_of_a_file_share_teachers_with_the_same_settings():
    other = dataclasses.replace(BASE, model_args={"cells": "16"})
    planned = named(("A", BASE), ("B, small", BASE), ("C", other))
    assert [run.name for run in planned] == [
        *("seed0/teacher", "seed0/teacher2", "seed0/a_30", "seed0/b-small_30", "seed0/c_30"),
    ]
    teachers = [run.config.teacher_dir for run in planned if run.config.training_mode == "serial"]
    assert teachers == ["out/runs/seed0/teacher", "out/runs/seed0/teacher", "out/runs/seed0/teacher2"]
    assert planned[1].config.model_args == {"cells": "16"}


def test_a_teacher_that_a_file_names_is_the_students_teacher():
    teacher, student = named(("My teacher", teacher_config(BASE, None)), ("Student", BASE))
    assert student.config.teacher_dir == teacher.config.train_dir == "out/runs/seed0/my-teacher"
    elsewhere = dataclasses.replace(BASE, teacher_dir="finished")
    assert [run.config.teacher_dir for run in named(("Student", elsewhere))] == ["finished"]


def test_runs_with_one_name_are_refused():
    with pytest.raises(UserError, match="seed0/a_30'; give each run a name"):
        named(("a", BASE), ("A!", BASE))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": (3, 3)}, "frames=3,3 must be different"),
        ({"frames": (0,)}, "at least 1"),
        ({"seeds": ()}, "seeds must be how many"),
        ({"seeds": (-1,)}, "at least 0"),
        ({"own_rows": True, "experiment": "figure3"}, "goes with table1, table5 and table6, not figure3"),
    ],
)
def test_settings_that_make_no_sense(options, message):
    with pytest.raises(UserError, match=message):
        runs(**{"experiment": "table1", **options})
