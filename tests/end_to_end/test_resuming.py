"""Stopped or killed at any step and started again, a training ends as one that was never stopped, bit for bit."""

import itertools
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.end_to_end.commands import ROOT, kill_after, scalars, stop_after, train
from yt8m_distill.runs.checkpoints import checkpoints
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.training import run as training_run

pytestmark = pytest.mark.slow

TIMES = {"train/videos_per_second", "train/share_of_time_waiting_for_input"}
AVERAGES = ["--ema_momentum=0.9", "--weight_decay=0.01"]
PARALLEL = ["--training_mode=parallel", "--checkpoint_every_steps=1"]
# Four steps an epoch; stopped: saved at this step; killed: only the checkpoint of every fifth step remains.
CASES = {
    "baseline of random frames, averages": (
        ["--training_mode=baseline", "--model_args=clusters=4,hidden_size=8,iterations=2", "--max_steps=14", *AVERAGES],
        [(stop_after, 3), (kill_after, 12), (stop_after, 14)],  # within an epoch, at its end, at the very end
    ),
    "a student that learns to choose its frames": (
        ["--training_mode=baseline", "--student_frames=1,3", "--frame_sampling=learned", "--max_steps=10"],
        [(stop_after, 3), (kill_after, 7)],
    ),
    "teacher, student and fine-tuning": (
        ["--student_losses=rep", "--finetune_epochs=2", "--num_epochs=2"],
        [(stop_after, 2), (kill_after, 7), (kill_after, 11)],  # twice in the teacher's run, then while fine-tuning
    ),
}


def options(data: pathlib.Path) -> list[str]:
    """Flags of all trainings here."""
    common = ["--student_frames=3", "--num_epochs=4", "--deterministic", "--checkpoint_every_steps=5"]
    return [*common, f"--validation_data_pattern={data}/validate*"]


def curves(folder: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
    """All curves of a run that do not measure time."""
    return {
        f"{part.name}/{name}": curve
        for part in sorted(folder.glob("logs/*/"))
        for name, curve in scalars(part).items()
        if name not in TIMES
    }


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    """The bytes of all files of a run but its event files, which have times and host in names and content."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("events."))
    of_events = "logs.json"  # the sizes of these files
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(str(folder).encode(), b"RUN")
        for path in files
        if path.name != of_events
    }


def assert_same_end(run: pathlib.Path, whole: pathlib.Path):
    """Files and curves equal those of a run never stopped."""
    last, expected = (checkpoints(RunDir(folder))[-1] for folder in (run, whole))
    assert last.progress() == expected.progress()
    assert_same_arrays(last.arrays(""), expected.arrays(""))
    files, expected_files = contents(run), contents(whole)
    assert files.keys() == expected_files.keys()
    assert [name for name in files if files[name] != expected_files[name]] == []
    assert curves(run) == curves(whole)
    if (whole / "teacher").exists():
        assert curves(run / "teacher") == curves(whole / "teacher")
    assert any(len(curve) > 1 for curve in curves(whole).values())


def assert_same_arrays(arrays: dict[str, np.ndarray], expected: dict[str, np.ndarray]):
    assert list(arrays) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(arrays[name], values, err_msg=name)


def train_with_interruptions(data: pathlib.Path, run: pathlib.Path, arguments: list[str], interruptions: list):
    """Starts a training again and again until it is done."""
    for interrupt, step in interruptions:
        with pytest.MonkeyPatch.context() as patch:
            interrupt(patch, step)
            assert train(data, run, *arguments) == 1
    assert train(data, run, *arguments) == 0


@pytest.mark.parametrize(("arguments", "interruptions"), CASES.values(), ids=CASES)
def test_a_stopped_run_ends_as_one_never_stopped(data, tmp_path, arguments, interruptions):
    arguments = [*options(data), *arguments]
    assert train(data, tmp_path / "whole", *arguments) == 0
    train_with_interruptions(data, tmp_path / "stopped", arguments, interruptions)
    assert_same_end(tmp_path / "stopped", tmp_path / "whole")


@pytest.mark.long
def test_killed_within_the_report(data, tmp_path, monkeypatch):
    """Everything is evaluated again, and no curve has a point twice."""
    arguments = [*options(data), "--student_losses=ce", "--num_epochs=2"]
    assert train(data, tmp_path / "whole", *arguments) == 0
    calls, make_report = itertools.count(), training_run.make_report

    def killed(*arguments):
        report = make_report(*arguments)
        if next(calls) in (0, 2):  # the teacher's; and the student's, after the teacher's again
            raise KeyboardInterrupt
        return report

    monkeypatch.setattr(training_run, "make_report", killed)
    assert [train(data, tmp_path / "killed", *arguments) for _ in range(3)] == [1, 1, 0]
    assert_same_end(tmp_path / "killed", tmp_path / "whole")
    assert len(scalars(tmp_path / "killed" / "logs" / "eval_teacher")["metrics/GAP@20"]) == 1


@pytest.mark.long
def test_stages_with_averages_are_resumed_exactly(data, tmp_path):
    """The teacher as saved, which is its average, gives the student that the teacher at hand gave."""
    arguments = [*options(data), "--student_losses=rep", "--num_epochs=2", *AVERAGES]
    arguments.append("--model_args=clusters=4,hidden_size=8,dropout=0.1")
    assert train(data, tmp_path / "whole", *arguments) == 0
    arguments.append(f"--teacher_dir={tmp_path / 'whole' / 'teacher'}")
    assert train(data, tmp_path / "second", *arguments) == 0
    train_with_interruptions(data, tmp_path / "stopped", arguments, [(kill_after, 6), (kill_after, 9)])
    expected = checkpoints(RunDir(tmp_path / "whole"))[-1].arrays("")
    for name in ("second", "stopped"):
        assert_same_arrays(checkpoints(RunDir(tmp_path / name))[-1].arrays(""), expected)


@pytest.fixture(scope="module")
def parallel_run(data, tmp_path_factory) -> pathlib.Path:
    """A finished run of teacher and student together."""
    folder = tmp_path_factory.mktemp("parallel") / "whole"
    assert train(data, folder, *options(data), *PARALLEL) == 0
    return folder


def test_a_stopped_parallel_run_ends_as_one_never_stopped(data, parallel_run, tmp_path):
    arguments = [*options(data), *PARALLEL]
    train_with_interruptions(data, tmp_path / "stopped", arguments, [(stop_after, 4), (kill_after, 13)])
    assert_same_end(tmp_path / "stopped", parallel_run)


def test_killed_in_earnest(data, parallel_run, tmp_path):
    """`kill -9` at whatever it is doing, three times."""
    arguments = [*options(data), *PARALLEL]
    script = (
        "import pathlib, sys; from tests.end_to_end.commands import train; "
        "sys.exit(train(*map(pathlib.Path, sys.argv[1:3]), *sys.argv[3:]))"
    )
    command = [sys.executable, "-c", script, str(data), str(tmp_path / "killed"), *arguments]
    for done in (2, 6, 11):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and _steps(tmp_path / "killed") < done:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert train(data, tmp_path / "killed", *arguments) == 0
    assert_same_end(tmp_path / "killed", parallel_run)


def _steps(folder: pathlib.Path) -> int:
    return max((checkpoint.step for checkpoint in checkpoints(RunDir(folder))), default=0)


def test_resuming_reads_no_record_again(data, tmp_path, monkeypatch):
    arguments = ["--training_mode=baseline", "--student_frames=3", "--num_epochs=1"]
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        assert train(data, tmp_path / "run", *arguments) == 1
    position = checkpoints(RunDir(tmp_path / "run"))[-1].progress()["position"]
    assert position == [0, 0, 48]  # of 64 records


def test_other_training_files_are_noticed(data, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    arguments = ["--training_mode=baseline", "--student_frames=3", "--num_epochs=2"]
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        assert train(folder, tmp_path / "run", *arguments) == 1
    shutil.copy(folder / "train0.tfrecord", folder / "train2.tfrecord")
    assert train(folder, tmp_path / "run", *arguments) == 2
    assert "the training files are not those" in capsys.readouterr().err
