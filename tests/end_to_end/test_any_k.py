"""One student for any k: its report and knee, its teacher that is one, too, its export, and its fair baselines."""

import json
import pathlib
import re

import numpy as np
import pytest

from tests.deployment.exports import export
from tests.end_to_end.commands import evaluate, predict, train
from tests.helpers import TINY_FLAGS
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.deployment.manifest import read_manifest
from yt8m_distill.experiment import main as experiment_main
from yt8m_distill.files.untrusted import read_json
from yt8m_distill.runs import loading, packing
from yt8m_distill.runs.directory import RunDir

pytestmark = pytest.mark.slow

STUDENT = ["--student_frames=1,2,3", "--student_losses=rep,pred", "--student_init=teacher", "--optimizer=SGD"]
TEACHER = "training_mode=baseline,student_frames=1,3,12,num_epochs=2"


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> pathlib.Path:
    """A student of a teacher for any k, with validation videos."""
    folder = tmp_path_factory.mktemp("any_k") / "run"
    arguments = [f"--validation_data_pattern={data}/validate*", f"--teacher_settings={TEACHER}", "--num_epochs=1"]
    assert train(data, folder, *STUDENT, *arguments) == 0
    return folder


def test_a_row_for_each_k_and_the_knee(data, run, tmp_path, capsys):
    assert (
        train(
            *(data, run, *STUDENT, f"--validation_data_pattern={data}/validate*", f"--teacher_settings={TEACHER}"),
            "--num_epochs=1",
        )
        == 0
    )  # finished: the table is read
    text = capsys.readouterr().out
    rows = read_json(run / "report.json")["rows"]
    assert [(row["role"], row["frames"]) for row in rows] == [("teacher", 12), *(("student", k) for k in (1, 2, 3))]
    assert all(row["videos_per_second"] > 0 for row in rows)
    macs = [row["multiply_accumulates"] for row in rows]
    assert macs[0] > macs[3] > macs[2] > macs[1]
    assert re.search(r"videos/s\n", text)
    assert re.search(r"^Knee: ", text, re.MULTILINE)
    for row in rows[1:]:
        measured = tmp_path / "metrics.json"
        assert evaluate(f"--train_dir={run}", f"--student_frames={row['frames']}", f"--output_file={measured}") == 0
        assert read_json(measured)["GAP@20"] == pytest.approx(row["metrics"]["GAP@20"], abs=1e-6)


def test_the_teacher_is_the_model_for_any_k_with_all_frames(run):
    teacher, student = loading.load(run, "teacher"), loading.load(run / "teacher")
    assert (teacher.role, teacher.selection, student.role, student.selection) == (
        *("teacher", ALL_FRAMES, "student", FrameSelection(12)),
    )
    for ours, own in zip(teacher.model.weights, student.model.weights, strict=True):
        np.testing.assert_array_equal(ours, own)
    assert evaluate(f"--train_dir={run}", "--which=teacher") == 0
    measured = read_json(run / "eval/teacher/metrics.json")
    assert (measured["which"], measured["frames"]) == ("teacher", "all")
    of_report = read_json(run / "report.json")["rows"][0]["metrics"]
    assert measured["GAP@20"] == pytest.approx(of_report["GAP@20"], abs=1e-6)


@pytest.mark.long
def test_a_finished_student_as_the_teacher(data, run, tmp_path):
    """Its own teacher is meant by default, as before; the student where that is asked for."""
    for role, source in (("teacher", run / "teacher"), ("student", run)):
        folder = tmp_path / role
        arguments = [f"--teacher_dir={run}", f"--teacher_role={role}", "--num_epochs=1", "--max_steps=1"]
        assert train(data, folder, *STUDENT, *arguments) == 0
        ours, own = loading.load(folder, "teacher"), loading.load(source)
        for first, second in zip(ours.model.weights, own.model.weights, strict=True):
            np.testing.assert_array_equal(first, second)


def test_it_is_packed_without_its_teacher(data, run, tmp_path):
    """A packed model has no teacher, so no settings of one; the teacher packs as one that sees all frames."""
    for which, frames in (("student", "3"), ("teacher", "all")):
        packed = tmp_path / f"{which}.tgz"
        arguments = [f"--input_data_pattern={data}/test*", f"--output_file={tmp_path / which}.csv"]
        assert predict(f"--train_dir={run}", f"--which={which}", f"--output_model_tgz={packed}", *arguments) == 0
        again = [f"--input_data_pattern={data}/test*", f"--output_file={tmp_path / which}_again.csv"]
        assert predict(f"--input_model_tgz={packed}", *again) == 0
        assert (tmp_path / f"{which}_again.csv").read_text() == (tmp_path / f"{which}.csv").read_text()
        unpacked = tmp_path / f"{which}_run"
        unpacked.mkdir()
        packing.unpack(str(packed), str(unpacked))
        assert loading.load(unpacked).selection.describe() == frames


RUNS = """
[settings]
student_losses = ["rep", "pred"]
student_init = "teacher"
student_frames = [1, 3]
num_epochs = 1
[[runs]]
name = "Student"
[runs.teacher_settings]
training_mode = "serial"
student_losses = ["ce"]
student_init = "teacher"
student_frames = [1, 3, 12]
teacher_settings = {num_epochs = 2}
"""


@pytest.mark.long
def test_a_chain_of_teachers_in_a_file_of_runs(data, tmp_path):
    (tmp_path / "runs.toml").write_text(RUNS)
    arguments = [
        *("experiment", f"--experiment={tmp_path}/runs.toml", "--model=FrameLevelLogistic"),
        *(f"--train_data_pattern={data}/train*", f"--eval_data_pattern={data}/test*", f"--output_dir={tmp_path}/out"),
        *("--num_classes=10", *TINY_FLAGS, "--batch_size=16", "--optimizer=SGD", "--nomeasure_speed"),
    ]
    assert experiment_main(arguments) == 0
    runs = tmp_path / "out" / "runs" / "seed0"
    assert {path.name for path in runs.iterdir()} == {"teacher", "teacher2", "student_1-3"}
    student = read_json(runs / "student_1-3" / "config.json")
    assert (student["teacher_dir"], student["teacher_role"]) == (str(runs / "teacher2"), "student")
    teacher = loading.load(runs / "student_1-3", "teacher")
    assert (teacher.run_path, teacher.selection) == (runs / "teacher2", ALL_FRAMES)
    text = (tmp_path / "out" / "results.md").read_text()
    assert "2: Teacher-Skyline; 2 + 1: Teacher-Skyline 2; 2 + 1 + 1: Student" in text


@pytest.mark.long
def test_a_deterministic_run_measures_no_times(data, tmp_path):
    arguments = ["--training_mode=baseline", "--student_frames=1,3", "--num_epochs=1", "--deterministic"]
    reports = []
    for name in "ab":
        assert train(data, tmp_path / name, *arguments, "--optimizer=SGD") == 0
        reports.append(read_json(tmp_path / name / "report.json")["rows"])
    assert reports[0] == reports[1]
    assert [(row["role"], row["frames"]) for row in reports[0]] == [("baseline", 1), ("baseline", 3)]
    assert "videos_per_second" not in reports[0][0]


def test_export_of_the_smallest_k_within_a_loss(data, run, tmp_path, capsys):
    assert export(run, tmp_path / "free", "--student_frames=auto", "--max_loss=0.99") == 0
    assert read_manifest(tmp_path / "free").selection == FrameSelection(1)
    card = (tmp_path / "free" / "README.md").read_text(encoding="utf-8")
    gaps = {int(k): float(gap) for k, gap in re.findall(r"^\| (\d) \| (0\.\d{5}) \|$", card, re.MULTILINE)}
    assert list(gaps) == [1, 2, 3]
    for k, gap in gaps.items():
        measured = tmp_path / "metrics.json"
        arguments = [f"--train_dir={run}", f"--eval_data_pattern={data}/validate*", f"--student_frames={k}"]
        assert evaluate(*arguments, f"--output_file={measured}") == 0
        assert read_json(measured)["GAP@20"] == pytest.approx(gap, abs=1e-5)
    assert export(run, tmp_path / "none", "--student_frames=auto", "--max_loss=0") == 0
    best = min(k for k in gaps if gaps[k] == max(gaps.values()))
    assert read_manifest(tmp_path / "none").selection == FrameSelection(best)
    assert export(run, tmp_path / "given", "--student_frames=2") == 0
    assert read_manifest(tmp_path / "given").selection == FrameSelection(2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--student_frames=auto,3"], "leave out --student_stride, --frame_sampling and further numbers"),
        (["--student_frames=auto", "--frame_sampling=first"], "--student_frames=auto chooses among the numbers"),
        (["--max_loss=0.1"], "--max_loss does nothing without --student_frames=auto"),
        (["--student_frames=auto", "--max_loss=-1"], "--max_loss must be at least 0 and below 1, not -1"),
        (["--student_frames=x"], "--student_frames must be a whole number, not 'x'"),
        (["--student_frames=auto", "--which=teacher"], "was not trained for several"),
    ],
)
def test_choices_that_are_refused(run, tmp_path, capsys, arguments, message):
    assert export(run, tmp_path / "out", *arguments) == 2
    assert message in capsys.readouterr().err


def test_no_choice_without_validation_videos(data, run, tmp_path, capsys):
    path = RunDir(run).config_file
    text = path.read_text()
    config = json.loads(text)
    config["validation_data_pattern"] = None
    try:
        path.write_text(json.dumps(config))
        assert export(run, tmp_path / "out", "--student_frames=auto") == 2
        assert "--student_frames=auto needs --validation_data_pattern" in capsys.readouterr().err
        assert export(run, tmp_path / "out", "--student_frames=auto", f"--validation_data_pattern={data}/test*") == 0
    finally:
        path.write_text(text)


def test_fair_baselines_are_trained_once_and_compared(data, tmp_path):
    arguments = [
        *("experiment", "--model=FrameLevelLogistic", "--num_classes=10", *TINY_FLAGS, "--optimizer=SGD"),
        *(f"--train_data_pattern={data}/train*", f"--eval_data_pattern={data}/test*", f"--output_dir={tmp_path}"),
        *("--experiment=fair", "--frames=1,3", "--num_epochs=1", "--batch_size=16"),
        *("--teacher_settings=num_epochs=2", "--student_losses=rep,pred", "--nomeasure_speed"),
    ]
    assert experiment_main(arguments) == 0
    content = read_json(tmp_path / "results.json")
    assert {each["k"] for each in content["comparisons"]} == {1, 3}
    for each in content["comparisons"]:
        by_row = {row["row"]: row["metrics"][each["metric"]] for row in content["rows"] if row["k"] == each["k"]}
        student, best = by_row["Student"], by_row[each["best_baseline"]]
        assert each["student_minus_best"]["mean"] == pytest.approx(student["mean"] - best["mean"])
        assert best["mean"] == max(by_row[row]["mean"] for row in by_row if row.startswith("Labels"))
    steps = {
        path.parent.name: read_json(max(path.parent.glob("checkpoints/*/progress.json")))["step"]
        for path in tmp_path.glob("runs/seed0/*/report.json")
    }
    assert steps == {
        "teacher": 8,
        "teacher_3epochs": 12,
        "jittered1-3_3epochs": 12,
        "serial-rep-pred_from-teacher_jittered1-3": 4,
        "serial-ce_from-teacher_jittered1-3": 4,
    }
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("report.json")}
    text = (tmp_path / "results.md").read_text()
    assert experiment_main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("report.json")} == before
    assert (tmp_path / "results.md").read_text() == text
    assert "student - best" in text
    assert "3: Fair teacher, Labels alone from nothing; 2: Teacher-Skyline; 2 + 1: Student" in text
