"""Data without labels: refused where labels are needed, counted where they are few, of no matter elsewhere."""

import json

import pytest

from tests.end_to_end.commands import evaluate, predict, train
from tests.helpers import learnable_videos, shared_path, write_records
from yt8m_distill.train import main as train_main

pytestmark = pytest.mark.slow


def without_labels(videos, but: int = 0):
    for video in videos[but:]:
        del video.context.feature["labels"].int64_list.value[:]
    return videos


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unlabelled")
    write_records(folder / "none.tfrecord", without_labels(learnable_videos(20)))
    write_records(folder / "few.tfrecord", without_labels(learnable_videos(20), but=3))
    return folder


@pytest.fixture(scope="module")
def teacher(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "run"
    assert train(data, folder, "--training_mode=teacher", "--num_epochs=1") == 0
    return folder


@pytest.mark.parametrize("part", ["train", "validation", "eval"])
def test_training_is_refused(data, unlabelled, tmp_path, capsys, part):
    given = f"--{part}_data_pattern={unlabelled}/none.tfrecord"
    assert train(data, tmp_path / "run", "--training_mode=teacher", given) == 2
    assert f"--{part}_data_pattern: none of the 20 videos has a label" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_student_of_a_finished_teacher_needs_no_labels(data, unlabelled, teacher, tmp_path, capsys, caplog):
    given = [f"--train_data_pattern={unlabelled}/none.tfrecord", f"--teacher_dir={teacher}", "--student_frames=3"]
    assert train(data, tmp_path / "a", *given, "--student_losses=rep,pred", "--num_epochs=1") == 0
    assert "a label" not in caplog.text
    for losses in ("ce", "rep,pred,ce", "rep"):  # rep is followed by fine-tuning
        assert train(data, tmp_path / "b", *given, f"--student_losses={losses}", "--num_epochs=1") == 2
        assert "nothing can be learned from them" in capsys.readouterr().err


def test_evaluation(unlabelled, teacher, tmp_path, capsys, caplog):
    run, out = f"--train_dir={teacher}", f"--output_file={tmp_path}/metrics.json"
    assert evaluate(run, f"--eval_data_pattern={unlabelled}/none.tfrecord", out) == 2
    assert "none of the 20 videos has a label" in capsys.readouterr().err
    assert not (tmp_path / "metrics.json").exists()
    assert evaluate(run, f"--eval_data_pattern={unlabelled}/few.tfrecord", out) == 0
    assert "only 3 of 20 have a label" in caplog.text
    caplog.clear()
    assert json.loads((tmp_path / "metrics.json").read_text())["examples"] == 20
    assert predict(run, f"--input_data_pattern={unlabelled}/none.tfrecord", f"--output_file={tmp_path}/p.csv") == 0
    assert "a label" not in caplog.text


def test_the_public_case(tmp_path, capsys):
    path = shared_path("cases/13_eval_without_labels/a.tfrecord")
    model = ["--model=NetVLAD", "--training_mode=teacher", f"--train_dir={tmp_path}/run"]
    assert train_main(["train.py", *model, f"--train_data_pattern={path}"]) == 2
    assert "--train_data_pattern: none of the" in capsys.readouterr().err
