"""Segments through the commands: train on rated ones, evaluate, predict all, and score the predictions."""

import json
import pathlib

import numpy as np
import pytest

from tests.helpers import TINY_FLAGS, load_case, rated_video, write_records
from yt8m_distill.eval import main as eval_main
from yt8m_distill.evaluation.evaluate import evaluate
from yt8m_distill.files.untrusted import read_json
from yt8m_distill.inference import main as inference_main
from yt8m_distill.metrics import EvaluationMetrics
from yt8m_distill.prediction.segments import read_segments
from yt8m_distill.segment_eval import main as segment_eval_main
from yt8m_distill.train import main as train_main
from yt8m_distill.verify import main as verify_main

pytestmark = pytest.mark.slow

CLASSES = 4


def learnable_segments(count: int, seed: int) -> list[bytes]:
    """Videos of up to 30 frames; the first byte of each frame shows the class of its segment, and two are rated."""
    rng = np.random.default_rng(seed)
    records = []
    for index in range(count):
        num_frames = int(rng.integers(11, 31))
        shown = rng.integers(0, CLASSES, 6)
        ratings = []
        for start in (0, 5):
            for each in {int(shown[start // 5]), int(rng.integers(CLASSES))}:
                ratings.append((start, each, float(each == shown[start // 5])))
        ratings += [(40, 1, 0.0)] if index % 10 == 0 else []  # beyond the end
        record = rated_video(ratings, f"v{seed}_{index}", num_frames, seed=1000 * seed + index)
        records.append(_with_bytes(record, shown))
    return records


def _with_bytes(record: bytes, shown: np.ndarray) -> bytes:
    import tensorflow as tf

    example = tf.train.SequenceExample.FromString(record)
    for second, row in enumerate(example.feature_lists.feature_list["rgb"].feature):
        frame = bytes(250 if each == shown[second // 5] else 5 for each in range(CLASSES))
        row.bytes_list.value[0] = frame + row.bytes_list.value[0][CLASSES:]
    return example.SerializeToString(deterministic=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("data")
    for index, (part, count) in enumerate([("train0", 40), ("train1", 40), ("validate0", 30)]):
        write_records(folder / f"{part}.tfrecord", learnable_segments(count, index))
    return folder


def train(data: pathlib.Path, train_dir: pathlib.Path, *arguments: str) -> int:
    options = [
        "--model=NetVLAD",
        "--model_args=clusters=4,hidden_size=8",
        "--num_classes=4",
        "--batch_size=16",
        *TINY_FLAGS,
    ]
    patterns = [f"--train_data_pattern={data}/train*", f"--eval_data_pattern={data}/validate*"]
    rate = ["--base_learning_rate=0.02", f"--train_dir={train_dir}", "--segment_labels"]
    return train_main(["train.py", *options, *patterns, *rate, *arguments])


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> pathlib.Path:
    """A student of 2 of the 5 frames, and its teacher."""
    run = tmp_path_factory.mktemp("runs") / "segments"
    assert train(data, run, "--student_frames=2", "--num_epochs=6") == 0
    return run


def test_teacher_and_student_learn_from_rated_segments(run):
    assert read_json(run / "config.json")["data"]["level"] == "segment"
    rows = read_json(run / "report.json")["rows"]
    assert [(row["role"], row["frames"]) for row in rows] == [("teacher", 5), ("student", 2)]
    for row in rows:
        assert row["metrics"]["mAP"] > 0.9
        assert row["metrics"]["examples"] == 30 * 2 + 3


def test_eval_agrees_with_the_end_of_training(run, data, tmp_path):
    for name, flags in {"as trained": [], "by flag": ["--segment_labels", "--batch_size=3"]}.items():
        target = tmp_path / f"{name}.json"
        assert eval_main(["eval.py", f"--train_dir={run}", f"--output_file={target}", *flags]) == 0
        expected = read_json(run / "report.json")["rows"][1]["metrics"]
        assert {key: read_json(target)[key] for key in expected} == pytest.approx(expected, abs=1e-5)


def test_predictions_of_all_segments_are_scored(run, data, tmp_path):
    (tmp_path / "ids.csv").write_text("Index\n0\n1\n3\n")
    output = tmp_path / "segments.csv"
    arguments = [f"--train_dir={run}", f"--output_file={output}", f"--segment_label_ids_file={tmp_path}/ids.csv"]
    assert inference_main(["inference.py", *arguments]) == 0
    found = dict(read_segments(output))
    assert set(found) == {0, 1, 3}
    assert len(set(found[0])) == len(found[0]) > 100  # all, as top_k is 20
    scored = [f"--submission_file={output}", f"--eval_data_pattern={data}/validate*", "--num_classes=4", *TINY_FLAGS]
    assert segment_eval_main(["segment_eval", *scored, f"--output_file={tmp_path}/map.json"]) == 0
    result = json.loads((tmp_path / "map.json").read_text())
    assert (result["classes"], result["classes_missing"]) == (4, 1)  # class 2 was not asked for
    assert 0.9 * 3 / 4 < result["MAP@100000"] <= 3 / 4
    assert inference_main(["inference.py", *arguments, "--segment_max_pred=7", "--batch_size=3"]) == 0
    assert dict(read_segments(output)) == {each: segments[:7] for each, segments in found.items()}


def test_whole_videos_with_a_model_of_segments(run, tmp_path):
    output = tmp_path / "videos.csv"
    assert inference_main(["inference.py", f"--train_dir={run}", f"--output_file={output}", "--nosegment_labels"]) == 0
    lines = output.read_text().splitlines()
    assert lines[0] == "VideoId,LabelConfidencePairs"
    assert len(lines) == 31


def test_verify_checks_ratings(data, tmp_path, capsys):
    path = write_records(tmp_path / "x.tfrecord", [rated_video([(0, 9, 1.0)])])
    arguments = ["verify", "--num_classes=4", *TINY_FLAGS, path, f"--output_file={tmp_path}/bad.txt"]
    assert verify_main([*arguments, "--segment_labels"]) == 1
    assert "record 1: video 'v0': segment label 9 is outside [0, 4)" in capsys.readouterr().out
    assert verify_main(arguments) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vocabulary=VOCABULARY"], "--vocabulary writes a listing by video"),
        (["--nosegment_labels", "--segment_max_pred=3"], "have no effect without --segment_labels"),
        (["--segment_label_ids_file=IDS"], "has class 4; the model has 4"),
        (["--segment_max_pred=0"], "segment_max_pred must be at least 1"),
    ],
)
def test_senseless_flags_of_inference(run, tmp_path, capsys, arguments, message):
    (tmp_path / "ids.csv").write_text("Index,Name\n4,x\n")
    paths = {"VOCABULARY": f"{tmp_path}/ids.csv", "IDS": f"{tmp_path}/ids.csv"}
    for name, path in paths.items():
        arguments = [argument.replace(name, path) for argument in arguments]
    assert inference_main(["inference.py", f"--train_dir={run}", f"--output_file={tmp_path}/x.csv", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_records_without_ratings_are_refused(data, tmp_path, capsys):
    write_records(tmp_path / "train0.tfrecord", [rated_video([], num_frames=3)])
    assert train(tmp_path, tmp_path / "run", "--eval_data_pattern=") == 2
    assert "none of the first videos has rated segments" in capsys.readouterr().err


class RatedBatches:
    """The reference case as files of segments."""

    class spec:
        level = "segment"

    def __init__(self, case):
        self._case = case

    def estimated_videos(self, view):
        return sum(self._case["batch_sizes"])

    def ordered_batches(self, view, batch_size, seed, start):
        begin = 0
        for size in self._case["batch_sizes"]:
            rows = slice(begin, begin + size)
            yield {
                "video_id": [b"x"] * size,
                "labels": self._case["labels"][rows],
                "label_weights": self._case["label_weights"][rows],
                "num_frames": np.ones(size, np.int32),
                "raw": self._case["raw_predictions"][rows],
            }
            begin += size


def test_metrics_of_the_original():
    case = load_case("b_metrics_segments")
    metrics = EvaluationMetrics(30)
    options = {"batch_size": 1, "seed": 0, "description": "x"}
    result = evaluate(lambda batch: batch["raw"], RatedBatches(case), None, metrics, **options)
    assert result["GAP@20"] == pytest.approx(float(case["gap_f64"]), abs=1e-9)
    assert result["mAP"] == pytest.approx(float(case["map_f64"]), abs=1e-9)
    assert result["Hit@1"] == pytest.approx(float(case["avg_hit_at_one_f64"]), abs=1e-7)
    assert result["PERR"] == pytest.approx(float(case["avg_perr_f64"]), abs=1e-7)


def test_a_teacher_cache_tells_segments_apart(run, data, tmp_path, capsys):
    """Float16 is all that makes a difference."""
    arguments = ["--student_frames=2", f"--teacher_dir={run}/teacher", "--num_epochs=2"]
    assert train(data, tmp_path / "live", *arguments) == 0
    assert train(data, tmp_path / "stored", *arguments, f"--teacher_cache={tmp_path}/cache") == 0
    rows = [read_json(tmp_path / name / "report.json")["rows"][1]["metrics"] for name in ("live", "stored")]
    assert rows[0] == pytest.approx(rows[1], abs=0.01)
    options = [*arguments, f"--teacher_cache={tmp_path}/cache", "--nosegment_labels"]
    assert train(data, tmp_path / "videos", *options) == 2
    assert "level: segment, not frame" in capsys.readouterr().err


def test_a_teacher_of_whole_videos(data, run, tmp_path):
    where = [f"--train_data_pattern={data}/train*", "--num_classes=4", "--max_steps=2", "--batch_size=16", *TINY_FLAGS]
    model = ["--model=NetVLAD", "--model_args=clusters=4,hidden_size=8", "--training_mode=teacher"]
    assert train_main(["train.py", *model, *where, f"--train_dir={tmp_path}/teacher"]) == 0
    arguments = ["--student_frames=2", f"--teacher_dir={tmp_path}/teacher", "--max_steps=2"]
    assert train(data, tmp_path / "run", *arguments) == 0
    target = f"--output_file={tmp_path}/x.json"
    videos = ["eval.py", f"--train_dir={tmp_path}/teacher", f"--eval_data_pattern={data}/validate*", target]
    assert eval_main([*videos, "--segment_labels"]) == 0
    found = read_json(tmp_path / "x.json")
    assert (found["examples"], found["level"]) == (63, "segment")
    assert eval_main(videos) == 0
    found = read_json(tmp_path / "x.json")
    assert (found["examples"], found["level"]) == (30, "frame")
