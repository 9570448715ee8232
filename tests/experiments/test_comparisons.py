"""Fair baselines: which runs there are, their budgets, and the gap that a student closes, against plain numpy."""

import dataclasses

import numpy as np
import pytest

from tests.experiments.test_tables import SPEC
from yt8m_distill.config.experiment import ExperimentConfig, NamedRun
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.config.json import to_json
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import Distillation, Learning, TrainConfig
from yt8m_distill.errors import UserError
from yt8m_distill.experiments import budget, comparisons
from yt8m_distill.experiments.film_seconds import FilmSeconds, OfFrames
from yt8m_distill.experiments.plan import FAIR_TEACHER, FROM_NOTHING, FROM_TEACHER, STUDENT, plan
from yt8m_distill.experiments.results import Result, speed_key
from yt8m_distill.training.report import Row

BASE = TrainConfig(
    "NeXtVLAD",
    selection=FrameSelection(30, sampling="jittered"),
    distillation=Distillation(("rep", "pred"), {"rep": 30.0}, student_init="teacher"),
    teacher_settings={"num_epochs": 10, "ema_momentum": "none", "base_learning_rate": 0.0002},
    train_data_pattern="train*",
    eval_data_pattern="test*",
    learning=Learning(num_epochs=15, base_learning_rate=0.0008, ema_momentum=0.998),
)
SMALL_TEACHER = {"training_mode": "serial", "student_losses": ["ce"], "student_frames": [1, 10], "num_epochs": 8}


def rows(base: TrainConfig = BASE, experiment: str = "fair", **options):
    planned = plan(ExperimentConfig(experiment, "out", base, **{"frames": (1, 3), **options}))
    return planned, {(run.row, run.k): run.config for run in planned}


def test_baselines_have_the_epochs_and_helps_of_teacher_and_student():
    planned, configs = rows()
    assert [run.row for run in planned] == [FAIR_TEACHER, "Teacher-Skyline", STUDENT, FROM_NOTHING, FROM_TEACHER]
    teacher, student = configs["Teacher-Skyline", None], configs[STUDENT, None]
    assert (teacher.learning.num_epochs, teacher.learning.ema_momentum, teacher.learning.base_learning_rate) == (
        *(10, None, 0.0002),
    )
    assert student.teacher_dir == teacher.train_dir == "out/runs/seed0/teacher"
    assert student.distillation.loss_weights == {"rep": 30.0, "pred": 1.0}
    for row, selection in ((FROM_NOTHING, student.selection), (FAIR_TEACHER, ALL_FRAMES)):
        config = configs[row, None]
        assert config.learning == dataclasses.replace(student.learning, num_epochs=25)
        assert (config.selection, config.distillation, config.teacher_dir) == (selection, None, None)
    on_labels = configs[FROM_TEACHER, None]
    assert on_labels == dataclasses.replace(
        student, distillation=Distillation(("ce",), student_init="teacher"), train_dir=on_labels.train_dir
    )
    assert student.selection == FrameSelection(3, sampling="jittered", drawn_from=(1, 3))
    assert planned[2].evaluated_with() == (FrameSelection(1), FrameSelection(3), ALL_FRAMES)
    assert planned[0].evaluated_with() == (ALL_FRAMES,)


def test_a_teacher_for_every_k_with_a_teacher_of_its_own():
    settings = {**SMALL_TEACHER, "teacher_settings": {"num_epochs": 2}}
    planned, configs = rows(dataclasses.replace(BASE, teacher_settings=settings))
    assert [run.name for run in planned[:3]] == ["seed0/teacher_25epochs", "seed0/teacher", "seed0/teacher2"]
    first, second = configs["Teacher-Skyline", None], configs["Teacher-Skyline 2", None]
    assert (first.training_mode, first.learning.num_epochs) == ("teacher", 2)
    assert (second.training_mode, second.teacher_dir, second.teacher_role) == ("serial", first.train_dir, "teacher")
    assert (second.selection.drawn_from, second.distillation.losses) == ((1, 10), ("ce",))
    student = configs[STUDENT, None]
    assert (student.teacher_dir, student.teacher_role, student.teacher_settings) == (second.train_dir, "student", {})
    assert planned[2].evaluated_with()[-1] == ALL_FRAMES


def test_finished_teachers_of_each_seed_count(tmp_path):
    for seed in (0, 1):
        folder = tmp_path / f"seed{seed}"
        folder.mkdir()
        config = RunConfig("NeXtVLAD", "teacher", data=SPEC, learning=Learning(num_epochs=7 + seed))
        (folder / "config.json").write_text(to_json(config))
    base = dataclasses.replace(BASE, teacher_settings={}, teacher_dir=str(tmp_path / "seed{seed}"))
    planned, _ = rows(base, seeds=(0, 1))
    epochs = [run.config.learning.num_epochs for run in planned if run.row == FAIR_TEACHER]
    assert epochs == [22, 23]
    assert "7 + 15: Student, " in budget.describe([(run.row, run.config) for run in planned])
    students = [run.config.teacher_dir for run in planned if run.row == STUDENT]
    assert students == [str(tmp_path / "seed0"), str(tmp_path / "seed1")]
    named = plan(ExperimentConfig("runs.toml", "out", named_runs=(NamedRun("A", base),), seeds=(0, 1)))
    assert [run.config.teacher_dir for run in named] == students


def test_epochs_of_the_run_that_a_student_starts_from_count(tmp_path):
    config = RunConfig("NeXtVLAD", "teacher", data=SPEC, learning=Learning(num_epochs=40))
    (tmp_path / "config.json").write_text(to_json(config))
    distillation = dataclasses.replace(BASE.distillation, student_init="classifier")
    started = dataclasses.replace(BASE, distillation=distillation, init_from=str(tmp_path))
    assert budget.total_epochs(started) == 40 + 15
    _, configs = rows(started)
    assert configs[FROM_NOTHING, None].init_from is None
    assert configs[FROM_TEACHER, None].init_from == str(tmp_path)
    assert settings(init_from=str(tmp_path)).base.distillation.student_init == "classifier"


def test_epochs_of_chains():
    assert budget.own_epochs(dataclasses.replace(BASE, learning=Learning())) == 5  # the paper's
    assert budget.total_epochs(BASE) == 25
    tuned = dataclasses.replace(BASE, distillation=Distillation(("rep",)), learning=Learning(num_epochs=4))
    assert budget.total_epochs(tuned) == 4 + 4 + 10
    planned, _ = rows()
    text = budget.describe([(run.row, run.config) for run in planned])
    assert text == (
        "Epochs (a sum: those of the runs before it, then its own): 25: Fair teacher, Labels alone from nothing; "
        "10: Teacher-Skyline; 10 + 15: Student, Labels alone from the teacher."
    )


def test_cost_has_one_student_fixed_students_and_baselines():
    planned, configs = rows(experiment="cost")
    assert [(run.row, run.k) for run in planned] == [
        ("Teacher-Skyline", None),
        ("One student for every k", None),
        *(("Student for this k", 1), ("Student for this k", 3)),
        *((FROM_NOTHING, 1), (FROM_NOTHING, 3)),
    ]
    assert configs[FROM_NOTHING, 3].learning.num_epochs == 25


def made_up(values: dict[str, dict[int | None, list[float]]]) -> list[Result]:
    """Results with these GAP@20 by row, k and seed."""
    seeds = tuple(range(len(values[STUDENT][1])))
    results = []
    for run in rows(seeds=seeds)[0]:
        for selection in run.evaluated_with():
            if selection.k in values.get(run.row, {}):
                gap = values[run.row][selection.k][run.seed]
                row = Row("x", selection.k or 10, 7, 100 * (selection.k or 10), {"GAP@20": gap, "mAP": gap / 2})
                results.append(Result(run, selection.k, row, 1.0))
    return results


VALUES = {
    STUDENT: {1: [0.31, 0.33, 0.32], 3: [0.37, 0.38, 0.36]},
    FROM_NOTHING: {1: [0.30, 0.28, 0.29], 3: [0.37, 0.37, 0.35]},
    FROM_TEACHER: {1: [0.29, 0.30, 0.31], 3: [0.35, 0.36, 0.37]},
    FAIR_TEACHER: {None: [0.40, 0.42, 0.39]},
}


@pytest.mark.parametrize("k", [1, 3])
def test_gap_closed_is_numpys(k):
    compared = comparisons.compare(made_up(VALUES), k, "GAP@20")
    student, nothing, teacher = (np.array(VALUES[row][k]) for row in (STUDENT, FROM_NOTHING, FROM_TEACHER))
    best = nothing if nothing.mean() > teacher.mean() else teacher
    fair = np.array(VALUES[FAIR_TEACHER][None])
    assert compared.baseline == (FROM_NOTHING if best is nothing else FROM_TEACHER)
    np.testing.assert_allclose(compared.differences, student - best)
    assert compared.gap_closed == pytest.approx((student.mean() - best.mean()) / (fair.mean() - best.mean()))
    shares = (student - best) / (fair - best)
    np.testing.assert_allclose(compared.gaps_closed, shares)
    assert compared.describe_gap() == f"{100 * compared.gap_closed:.0f} % ± {100 * shares.std(ddof=1):.0f} %"


def test_no_gap_where_the_fair_teacher_is_not_better():
    values = {**VALUES, FAIR_TEACHER: {None: [0.2, 0.2, 0.2]}}
    compared = comparisons.compare(made_up(values), 3, "GAP@20")
    assert (compared.gap_closed, compared.gaps_closed, compared.describe_gap()) == (None, [], "-")


def test_the_table_and_its_json():
    results = made_up({**VALUES, FROM_TEACHER: {**VALUES[FROM_TEACHER], None: [0.5, 0.5, 0.5]}})
    head, table, of_all, better = comparisons.fair_tables(results, ["GAP@20"])
    assert "(student - best) / (fair teacher - best)" in head
    assert "| 1 | .290 ± .010 | .300 ± .010 | .320 ± .010 | +.020 ± .010 | 19 % ± 6 % |" in table
    assert "| Fair teacher | .403 ± .015 |" in of_all
    assert better.endswith("Labels alone from the teacher (GAP@20).")
    content = comparisons.to_json(results, ["GAP@20"], {})
    first = content["comparisons"][0]
    assert (first["k"], first["best_baseline"]) == (1, FROM_TEACHER)
    assert first["student_minus_best"]["values"] == pytest.approx([0.02, 0.03, 0.01])
    student = next(row for row in content["rows"] if (row["row"], row["k"]) == (STUDENT, 3))
    assert (student["seeds"], student["metrics"]["GAP@20"]["mean"]) == ([0, 1, 2], pytest.approx(0.37))
    incomplete = [result for result in results if result.run.row != FAIR_TEACHER]
    assert comparisons.to_json(incomplete, ["GAP@20"], {})["comparisons"] == []
    assert len(comparisons.fair_tables(incomplete, ["GAP@20"])) == 3


def test_cost_names_the_knee():
    results = []
    for run in rows(experiment="cost", frames=(1, 2, 4))[0]:
        for selection in run.evaluated_with():
            gap = {1: 0.3, 2: 0.35, 4: 0.355, None: 0.4}[selection.k]
            frames = selection.k or 10
            results.append(Result(run, selection.k, Row("x", frames, 7, 100 * frames, {"GAP@20": gap}), 1.0))
    table, sentence = comparisons.cost_tables(results, ["GAP@20"], {})
    assert [line.split(" | ")[1] for line in table.splitlines()[2:]] == ["1"] * 3 + ["2"] * 3 + ["4"] * 3 + ["all"]
    assert sentence.startswith("One student for every k. Knee: k = 2;")
    of_frames = tuple(OfFrames(k, seconds) for k, seconds in ((1, 0.5), (2, 1.0), (4, 2.0), (None, 8.0)))
    films, speeds = FilmSeconds("a machine", "films", of_frames), {speed_key(result): 100.0 for result in results}
    table, _ = comparisons.cost_tables(results, ["GAP@20"], speeds, films)
    seconds = [line.rstrip("| ").split(" | ")[-1] for line in table.splitlines()]
    assert seconds == ["film to labels, s", seconds[1], *["0.51"] * 3, *["1.01"] * 3, *["2.01"] * 3, "8.01"]
    assert comparisons.to_json(results, ["GAP@20"], speeds, films)["rows"][0]["film_to_labels_seconds"] == 8.01


def settings(**values):
    return ExperimentConfig.from_settings({"experiment": "fair", **values})


def test_helps_are_the_default():
    base = settings(num_epochs=3).base
    assert (base.distillation.student_init, base.selection.sampling) == ("teacher", "jittered")
    assert settings(frame_sampling="uniform").base.selection.sampling == "uniform"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_steps": 3}, "max_steps does not go with fair, which counts its budgets in epochs"),
        ({"student_losses": ("ce",)}, "student_losses=ce: fair compares a student of its teacher's outputs"),
        ({"student_losses": ("rep",)}, "student_losses=rep: fair compares"),
        ({"training_mode": "parallel"}, "training_mode is what fair varies"),
        ({"student_frames": (3,)}, "student_frames is what fair varies"),
        ({"frame_sampling": "first_middle_last"}, "has no student for every k"),
        ({"teacher_settings": {"model": "NetVLAD"}}, "'model' is the same for teacher and student"),
        ({"experiment": "table6", "teacher_settings": {"training_mode": "baseline"}}, "goes with fair, cost and files"),
        ({"teacher_settings": {"num_epochs": 2}, "teacher_dir": ("x",)}, "does nothing with teacher_dir"),
    ],
)
def test_settings_that_make_no_sense(values, message):
    with pytest.raises(UserError, match=message):
        settings(**values)
