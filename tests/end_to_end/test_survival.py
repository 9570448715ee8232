"""Damaged input, full disks, bad numbers and stopped inference, through the scripts' mains."""

import json
import math
import pathlib
import shutil

import numpy as np
import pytest

from tests.end_to_end.commands import damage, evaluate, predict, stop_after, train
from tests.helpers import learnable_videos, write_records
from yt8m_distill.files import atomic
from yt8m_distill.files.resumable import ResumableFiles
from yt8m_distill.files.untrusted import read_json
from yt8m_distill.prediction import run as prediction
from yt8m_distill.runs.checkpoints import checkpoints
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.training import loop
from yt8m_distill.training import step as training

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> pathlib.Path:
    """A finished baseline."""
    folder = tmp_path_factory.mktemp("runs") / "baseline"
    assert train(data, folder, "--training_mode=baseline", "--student_frames=2", "--max_steps=2") == 0
    return folder


@pytest.fixture
def damaged(data, tmp_path) -> pathlib.Path:
    """The same folder with bad records: 5 and 9 of test0, 15 of train1, and an empty file."""
    folder = tmp_path / "damaged"
    shutil.copytree(data, folder)
    damage(folder / "test0.tfrecord", 5, "data")
    damage(folder / "test0.tfrecord", 9, "data")
    damage(folder / "train1.tfrecord", 15, "length")
    (folder / "train2.tfrecord").touch()
    return folder


@pytest.mark.parametrize(("kind", "problem"), [("data", "its checksum"), ("length", "damaged"), ("cut", "cut short")])
def test_damage_is_an_error_that_names_file_and_record(data, run, tmp_path, capsys, kind, problem):
    path = pathlib.Path(shutil.copy(data / "test0.tfrecord", tmp_path))
    damage(path, 7, kind)
    assert evaluate(f"--train_dir={run}", f"--eval_data_pattern={path}") == 2
    assert predict(f"--train_dir={run}", f"--input_data_pattern={path}", f"--output_file={tmp_path / 'x.csv'}") == 2
    for message in capsys.readouterr().err.split("Error: ")[1:]:
        assert f"{path}, record 7: " in message
        assert problem in message
        assert "--on_bad_record=skip" in message
    assert not (tmp_path / "x.csv").exists()


def test_skipping_loses_only_what_is_damaged(run, damaged, tmp_path, capsys, caplog):
    arguments = [f"--train_dir={run}", "--on_bad_record=skip", f"--output_file={tmp_path / 'x.csv'}"]
    assert predict(*arguments, f"--input_data_pattern={damaged}/test0.tfrecord", "--batch_size=3") == 1
    assert "test0.tfrecord: 2 bad records" in caplog.text
    assert "more than --max_bad_fraction=0.01" in capsys.readouterr().err
    ids = [line.split(",")[0] for line in (tmp_path / "x.csv").read_text().splitlines()[1:]]
    assert ids == [f"v300_{i}" for i in range(20) if i + 1 not in (5, 9)]
    assert predict(*arguments, f"--input_data_pattern={damaged}/test0.tfrecord", "--max_bad_fraction=0.5") == 0


def test_evaluation_skips_and_counts(run, damaged, tmp_path):
    output = tmp_path / "m.json"
    arguments = [f"--train_dir={run}", f"--eval_data_pattern={damaged}/test*", f"--output_file={output}"]
    assert evaluate(*arguments, "--on_bad_record=skip") == 1
    assert read_json(output)["examples"] == 18


def test_training_skips_bad_records(damaged, tmp_path, caplog):
    arguments = ["--training_mode=baseline", "--student_frames=2", "--num_epochs=1", "--on_bad_record=skip"]
    assert train(damaged, tmp_path / "run", *arguments) == 1
    assert "train2.tfrecord: 1 bad record, 0 bytes; record 1: the file is empty" in caplog.text
    assert "train1.tfrecord: 1 bad record" in caplog.text
    assert checkpoints(RunDir(tmp_path / "run"))[-1].progress()["epoch_examples"] == 30 + 33
    assert (tmp_path / "run" / "report.json").exists()


def test_a_run_stopped_by_a_bad_record_is_resumed_with_skip(data, damaged, tmp_path):
    (damaged / "train2.tfrecord").unlink()
    arguments = ["--training_mode=baseline", "--student_frames=2", "--num_epochs=1", "--checkpoint_every_steps=1"]
    assert train(damaged, tmp_path / "run", *arguments) == 2
    assert train(damaged, tmp_path / "run", *arguments, "--on_bad_record=skip", "--max_bad_fraction=1") == 0


def test_a_finished_run_is_evaluated_on_other_videos_when_asked(data, tmp_path):
    arguments = ["--training_mode=baseline", "--student_frames=2", "--max_steps=2"]
    assert train(data, tmp_path / "run", *arguments) == 0
    assert read_json(tmp_path / "run" / "report.json")["rows"][0]["metrics"]["examples"] == 20
    assert train(data, tmp_path / "run", *arguments, f"--eval_data_pattern={data}/validate*") == 0
    assert read_json(tmp_path / "run" / "report.json")["rows"][0]["metrics"]["examples"] == 16
    assert "validate" in read_json(tmp_path / "run" / "config.json")["eval_data_pattern"]


def test_too_little_space_is_a_user_error_and_keeps_the_last_checkpoint(data, tmp_path, monkeypatch, capsys):
    arguments = ["--training_mode=baseline", "--student_frames=2", "--num_epochs=2"]
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        assert train(data, tmp_path / "run", *arguments) == 1
        patched.setattr(atomic.shutil, "disk_usage", lambda path: usage._replace(free=10))
        stop_after(patched, 0)
        assert train(data, tmp_path / "run", *arguments) == 2
    message = capsys.readouterr().err
    assert "MB are free; what was written before is intact" in message
    assert checkpoints(RunDir(tmp_path / "run"))[-1].step == 2
    assert train(data, tmp_path / "run", *arguments) == 0


def test_a_loss_that_is_not_finite_names_step_videos_and_checkpoint(data, tmp_path, monkeypatch, capsys):
    step_of = training.compiled_step

    def spoiled(step_model, *settings):
        step, done = step_of(step_model, *settings), []

        def run(batch):
            done.append(batch["video_id"])
            if len(done) == 7:
                variable = step_model.trained_variables()[0]
                variable.assign(np.full(variable.shape, math.nan))
            return step(batch)

        run.done = done
        steps.append(run)
        return run

    steps = []
    monkeypatch.setattr(loop, "compiled_step", spoiled)
    arguments = ["--training_mode=baseline", "--student_frames=2", "--num_epochs=5", "--checkpoint_every_steps=3"]
    assert train(data, tmp_path / "run", *arguments) == 2
    message = capsys.readouterr().err
    assert "the loss is nan at step 7, whose batch has the videos" in message
    assert all(video_id.decode() in message for video_id in steps[0].done[6])
    assert f"The last good state is {tmp_path / 'run' / 'checkpoints' / 'step-00000006'}" in message
    assert checkpoints(RunDir(tmp_path / "run"))[-1].step == 6


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_stopped_inference_is_resumed(data, run, tmp_path, monkeypatch, suffix):
    arguments = [f"--train_dir={run}", f"--input_data_pattern={data}/t*", "--batch_size=4"]
    assert predict(*arguments, f"--output_file={tmp_path / 'whole'}{suffix}") == 0
    output = tmp_path / f"stopped{suffix}"
    monkeypatch.setattr(prediction, "SECONDS_BETWEEN_SAVES", -1.0)
    predicted = []

    def stopped(predictions):
        for count, (batch, scores) in enumerate(predictions, start=1):
            predicted.extend(batch["video_id"])
            yield batch, scores
            if count == 9:
                raise KeyboardInterrupt

    predictions = prediction.predictions
    with monkeypatch.context() as patched:
        patched.setattr(prediction, "predictions", lambda *a, **k: stopped(predictions(*a, **k)))
        assert predict(*arguments, f"--output_file={output}") == 1
        assert not output.exists()
        assert predict(*arguments, f"--output_file={output}") == 1
    assert predict(*arguments, f"--output_file={output}") == 0
    assert len(predicted) == len(set(predicted)) == 72
    assert output.read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()
    assert not list(tmp_path.glob("stopped*partial*"))


@pytest.mark.parametrize("change", ["input", "top_k", "model"])
def test_inference_restarts_when_something_changed(data, run, tmp_path, monkeypatch, change):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    other_run = tmp_path / "run"
    shutil.copytree(run, other_run)
    output = tmp_path / "x.csv"
    arguments = [f"--input_data_pattern={folder}/test*", f"--output_file={output}", "--batch_size=4"]
    monkeypatch.setattr(prediction, "SECONDS_BETWEEN_SAVES", -1.0)
    with monkeypatch.context() as patched:  # as if killed just before the end
        patched.setattr(ResumableFiles, "finish", lambda self: None)
        assert predict(*arguments, f"--train_dir={run}") == 0
    state = json.loads((tmp_path / "x.csv.partial.json").read_text())
    assert state["state"]["rows"] == 20
    if change == "input":
        write_records(folder / "test0.tfrecord", learnable_videos(7, seed=5))
    elif change == "model":
        assert (
            train(
                data, other_run, "--training_mode=baseline", "--student_frames=2", "--max_steps=3", "--start_new_model"
            )
            == 0
        )
    more = ["--top_k=3"] if change == "top_k" else []
    chosen = other_run if change == "model" else run
    assert predict(*arguments, *more, f"--train_dir={chosen}") == 0
    other = [arguments[0], f"--output_file={tmp_path / 'y.csv'}", arguments[2]]  # the same batches, to the last digit
    assert predict(*other, *more, f"--train_dir={chosen}") == 0
    assert output.read_text() == (tmp_path / "y.csv").read_text()


def test_weights_that_are_not_finite_are_not_saved(data, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(data, run, "--training_mode=baseline", "--max_steps=1", "--base_learning_rate=1e39") == 2
    assert "after step 1 the weights of the student are not finite (the first: " in capsys.readouterr().err
    assert not (run / "best").exists()
    assert checkpoints(RunDir(run)) == []
