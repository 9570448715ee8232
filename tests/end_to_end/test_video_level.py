"""Video-level records through the commands."""

import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import TINY_FLAGS, sequence_example, video_level, write_records
from yt8m_distill.config.dataset import SpecOverrides
from yt8m_distill.data.batches import View
from yt8m_distill.data.video_files import open_videos
from yt8m_distill.eval import main as eval_main
from yt8m_distill.files.untrusted import read_json
from yt8m_distill.inference import main as inference_main
from yt8m_distill.prediction.predict import prediction_function
from yt8m_distill.runs.loading import load
from yt8m_distill.thin import main as thin_main
from yt8m_distill.train import main as train_main
from yt8m_distill.verify import main as verify_main

pytestmark = pytest.mark.slow

SIZES = ["--feature_names=mean_rgb,mean_audio", "--feature_sizes=6,2"]


def learnable_means(count: int, classes: int = 4, seed: int = 0) -> list[bytes]:
    """Video-level records whose first values show their class."""
    rng = np.random.default_rng(seed)
    records = []
    for index in range(count):
        label = int(rng.integers(classes))
        rgb = rng.normal(0, 0.3, 6)
        rgb[label] += 2
        features = {"mean_rgb": rgb.tolist(), "mean_audio": rng.normal(0, 0.3, 2).tolist()}
        records.append(video_level(features, f"v{seed}_{index}", (label,)))
    return records


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
    """A folder with training and test files."""
    folder = tmp_path_factory.mktemp("data")
    for index, (part, count) in enumerate([("train0", 60), ("train1", 40), ("test0", 30)]):
        write_records(folder / f"{part}.tfrecord", learnable_means(count, seed=index))
    return folder


def test_a_model_of_frames_is_refused(data, tmp_path, capsys):
    arguments = [f"--train_data_pattern={data}/train*", f"--train_dir={tmp_path}/run", "--num_classes=10", *SIZES]
    assert train_main(["train.py", "--model=NeXtVLAD", *arguments]) == 2
    assert "these are video-level records, and NeXtVLAD takes the frames of videos" in capsys.readouterr().err


def test_verify_counts_them_and_thin_refuses_them(data, tmp_path, capsys):
    listing = f"--output_file={tmp_path}/bad.txt"
    assert verify_main(["verify", f"{data}/train*", "--num_classes=10", *SIZES, listing]) == 0
    assert " 100 " in capsys.readouterr().out
    write_records(tmp_path / "bad.tfrecord", [*learnable_means(3), video_level({"mean_rgb": [float("nan")] * 6})])
    assert verify_main(["verify", str(tmp_path / "bad.tfrecord"), *SIZES, listing]) == 1
    assert "record 4: video 'v0': feature 'mean_rgb' holds a number that is not finite" in capsys.readouterr().out
    assert thin_main(["thin", *SIZES, f"{data}/train*", str(tmp_path / "thin")]) == 2
    assert "video-level records" in capsys.readouterr().err


@pytest.fixture(scope="module", params=["Logistic", "Moe"])
def run(data, request, tmp_path_factory) -> pathlib.Path:
    run = tmp_path_factory.mktemp("runs") / request.param
    assert train(request.param, f"{data}/train*", run, f"--eval_data_pattern={data}/test*") == 0
    return run


def train(model: str, pattern: str, train_dir: pathlib.Path, *arguments: str) -> int:
    options = ["--num_classes=10", "--batch_size=16", "--num_epochs=12", "--base_learning_rate=0.1", *SIZES]
    where = [f"--train_data_pattern={pattern}", f"--train_dir={train_dir}"]
    return train_main(["train.py", f"--model={model}", *where, *options, *arguments])


def test_a_video_level_model_is_trained_alone(run):
    config = read_json(run / "config.json")
    assert (config["training_mode"], config["selection"], config["distillation"]) == ("teacher", None, None)
    assert (config["data"]["level"], config["data"]["max_frames"]) == ("video", 1)
    (row,) = read_json(run / "report.json")["rows"]
    assert (row["role"], row["frames"]) == ("teacher", 1)
    assert row["metrics"]["GAP@20"] > 0.9


def test_evaluation_and_prediction_are_those_of_the_report(run, data, tmp_path):
    assert eval_main(["eval.py", f"--train_dir={run}", f"--output_file={tmp_path}/x.json", "--batch_size=7"]) == 0
    expected = read_json(run / "report.json")["rows"][0]["metrics"]
    assert {name: read_json(tmp_path / "x.json")[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    output = tmp_path / "x.csv"
    assert inference_main(["inference.py", f"--train_dir={run}", f"--output_file={output}", "--top_k=1"]) == 0
    best = {
        line.partition(",")[0]: int(line.partition(",")[2].split()[0]) for line in output.read_text().splitlines()[1:]
    }
    assert list(best) == [f"v2_{index}" for index in range(30)]
    labels = [tf.train.Example.FromString(each).features.feature["labels"] for each in learnable_means(30, seed=2)]
    hits = np.mean([label.int64_list.value[0] == each for label, each in zip(labels, best.values(), strict=True)])
    assert hits == pytest.approx(expected["Hit@1"])


def test_predictions_are_those_of_the_formula(data, tmp_path):
    """Logistic regression of the l2-normalized vector."""
    assert train("Logistic", f"{data}/train0*", tmp_path / "run") == 0
    trained = load(str(tmp_path / "run"))
    weights, biases = trained.model.classifier.get_weights()
    videos = open_videos(f"{data}/test0.tfrecord", "x", SpecOverrides(("mean_rgb", "mean_audio"), (6, 2), 10))
    batch = next(videos.ordered_batches(View(), 30))
    for row, record in zip(prediction_function(trained.model)(batch), learnable_means(30, seed=2), strict=True):
        features = tf.train.Example.FromString(record).features.feature
        means = np.concatenate([features[name].float_list.value for name in ("mean_rgb", "mean_audio")])
        logits = means / np.linalg.norm(means) @ weights + biases
        np.testing.assert_allclose(row, 1 / (1 + np.exp(-logits)), atol=1e-5)


@pytest.mark.parametrize(
    "flag", ["--student_frames=3", "--training_mode=serial", "--training_mode=baseline", "--student_losses=ce"]
)
def test_flags_about_students_are_refused(data, tmp_path, capsys, flag):
    assert train("Logistic", f"{data}/train*", tmp_path / "run", flag) == 2
    assert "Logistic is a video-level model" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_records_of_frames_are_refused(run, tmp_path, capsys):
    path = write_records(tmp_path / "frames.tfrecord", [sequence_example()])
    assert train("Moe", path, tmp_path / "run", *TINY_FLAGS) == 2
    assert "these are frame-level records, and Moe takes video-level ones" in capsys.readouterr().err
    assert train("Moe", path, tmp_path / "run", "--noframe_features") == 2
    assert "frame-level records" in capsys.readouterr().err
    assert eval_main(["eval.py", f"--train_dir={run}", f"--eval_data_pattern={path}"]) == 2
    assert "video-level ones are needed" in capsys.readouterr().err
    assert eval_main(["eval.py", f"--train_dir={run}", "--segment_labels"]) == 2
    assert "which have no segments" in capsys.readouterr().err


def test_a_configuration_of_another_level_is_refused(run, tmp_path, capsys):
    config = read_json(run / "config.json")
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "config.json").write_text(json.dumps({**config, "data": {**config["data"], "level": "frame"}}))
    assert eval_main(["eval.py", f"--train_dir={copy}"]) == 2
    assert "video-level" in capsys.readouterr().err
    path = write_records(tmp_path / "frames.tfrecord", [sequence_example(sizes={"mean_rgb": 6, "mean_audio": 2})])
    assert eval_main(["eval.py", f"--train_dir={copy}", f"--eval_data_pattern={path}"]) == 2
    assert "does not go with frame-level records" in capsys.readouterr().err


def test_a_video_level_teacher_is_refused(run, tmp_path, capsys):
    path = write_records(tmp_path / "frames.tfrecord", [sequence_example()])
    model = ["--model=NetVLAD", "--model_args=clusters=4,hidden_size=8", "--num_classes=10", *SIZES]
    arguments = [f"--train_data_pattern={path}", f"--train_dir={tmp_path}/run", f"--teacher_dir={run}", *TINY_FLAGS]
    assert train_main(["train.py", *model, *arguments]) == 2
    assert "video-level" in capsys.readouterr().err
