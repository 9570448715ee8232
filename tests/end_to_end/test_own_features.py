"""Embeddings of one's own: floats, quantized to fitted ranges, trained on, evaluated, predicted and exported."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.end_to_end.commands import SMALL, evaluate, predict
from tests.helpers import sequence_example, write_records
from yt8m_distill.beam_inference import main as beam_main
from yt8m_distill.export import main as export_main
from yt8m_distill.quantize import main as quantize_main
from yt8m_distill.thin import main as thin_main
from yt8m_distill.train import main as train_main
from yt8m_distill.verify import main as verify_main

pytestmark = pytest.mark.slow

OWN = ["--feature_names=clip", "--num_classes=4"]


def embedding_videos(count: int, seed: int) -> list[tf.train.SequenceExample]:
    """Videos of small numbers, in floats; their class is one direction."""
    rng, videos = np.random.default_rng(seed), []
    for index in range(count):
        label = int(rng.integers(4))
        example = sequence_example(f"v{seed}_{index}", (label,))
        example.ClearField("feature_lists")
        for _ in range(int(rng.integers(2, 7))):
            frame = rng.normal(size=16) * 0.01
            frame[label] += 0.02
            example.feature_lists.feature_list["clip"].feature.add().float_list.value.extend(frame)
        videos.append(example)
    return videos


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`train` and `test` with one features.json, `other` with another, and the run of a teacher and its student."""
    folder = tmp_path_factory.mktemp("own")
    for name, seed in (("train", 0), ("test", 1), ("other", 2)):
        write_records(folder / f"{name}.tfrecord", embedding_videos(60, seed))
        ranges = [f"--ranges={folder}/train/features.json"] if name == "test" else []
        assert quantize_main(["quantize", f"{folder}/{name}.tfrecord", f"{folder}/{name}", *ranges]) == 0
    return folder


@pytest.fixture(scope="module")
def run(folder):
    data = [f"--train_data_pattern={folder}/train", f"--eval_data_pattern={folder}/test", *OWN]
    settings = ["--model=NeXtVLAD", f"--model_args={SMALL['NeXtVLAD']}", "--batch_size=16", "--num_epochs=3"]
    rate = ["--base_learning_rate=0.01", f"--teacher_cache={folder}/cache", "--student_frames=2"]
    assert train_main(["train.py", *data, *settings, *rate, f"--train_dir={folder}/run"]) == 0
    return folder / "run"


def test_the_ranges_are_part_of_the_run(folder, run):
    ((low, high),) = json.loads((run / "config.json").read_text())["data"]["feature_ranges"]
    assert -0.1 < low < -0.01 < 0.01 < high < 0.1
    assert json.loads((run / "eval/metrics.json").read_text())["GAP@20"] > 0.6


def test_other_ranges_are_refused_everywhere(folder, run, tmp_path, capsys):
    assert evaluate(f"--train_dir={run}", f"--eval_data_pattern={folder}/other") == 2
    assert "--eval_data_pattern: these features were quantized to" in capsys.readouterr().err
    where = [f"--train_dir={run}", f"--input_data_pattern={folder}/other"]
    assert predict(*where, f"--output_file={tmp_path}/p.csv") == 2
    assert "--input_data_pattern: these features were quantized to" in capsys.readouterr().err
    assert beam_main(["beam", *where, f"--output={tmp_path}/b.csv", "--runner=DirectRunner"]) == 2
    assert "--input_data_pattern: these features were quantized to" in capsys.readouterr().err
    data = [f"--train_data_pattern={folder}/other", f"--teacher_dir={run}/teacher", *OWN]
    settings = ["--model=NeXtVLAD", f"--model_args={SMALL['NeXtVLAD']}", f"--train_dir={tmp_path}/run"]
    assert train_main(["train.py", *data, *settings, "--student_frames=2"]) == 2
    assert "with values in" in capsys.readouterr().err


def test_every_way_predicts_the_same(folder, run, tmp_path):
    where = [f"--train_dir={run}", f"--input_data_pattern={folder}/test"]
    assert predict(*where, f"--output_file={tmp_path}/here.csv", f"--output_model_tgz={tmp_path}/m.tgz") == 0
    packed = [f"--input_model_tgz={tmp_path}/m.tgz", where[1], f"--output_file={tmp_path}/packed.csv"]
    assert predict(*packed) == 0
    assert (tmp_path / "packed.csv").read_text() == (tmp_path / "here.csv").read_text()
    assert beam_main(["beam", *where, f"--output={tmp_path}/b.csv", "--output_shards=1", "--runner=DirectRunner"]) == 0
    assert thin_main(["thin", f"{folder}/test", f"{tmp_path}/thin", "--frames=2", *OWN]) == 0
    assert (tmp_path / "thin/features.json").exists()
    assert predict(where[0], f"--input_data_pattern={tmp_path}/thin", f"--output_file={tmp_path}/thin.csv") == 0
    assert export_main(["export", where[0], f"--output_dir={tmp_path}/x", "--formats=saved_model"]) == 0
    assert "of x clipped to [low, high], which is" in (tmp_path / "x/README.md").read_text()
    records = [record.numpy() for record in tf.data.TFRecordDataset(f"{folder}/test/test.tfrecord")]
    served = tf.saved_model.load(f"{tmp_path}/x/saved_model").signatures["serialized"](serialized=tf.constant(records))
    expected = rows(tmp_path / "here.csv")
    for found in (rows(tmp_path / "thin.csv"), rows(next(tmp_path.glob("b-*.csv")))):
        assert found.keys() == expected.keys()
        for video in expected:
            assert found[video] == pytest.approx(expected[video], abs=1e-4)
    for video, score in zip(served["video_ids"].numpy(), served["scores"].numpy(), strict=True):
        assert score[0] == pytest.approx(expected[video.decode()][0], abs=1e-4)


def rows(path) -> dict[str, list[float]]:
    lines = [line.split(",") for line in path.read_text().splitlines()[1:]]
    return {video: [float(score) for score in pairs.split()[1::2]] for video, pairs in lines}


def test_verify_says_how_the_bytes_are_filled(folder, tmp_path, capsys, caplog):
    arguments = [*OWN, f"--output_file={tmp_path}/bad.txt"]
    assert verify_main(["verify", f"{folder}/train", *arguments]) == 0
    assert "unused levels" in capsys.readouterr().out
    (tmp_path / "a.tfrecord").write_bytes((folder / "train/train.tfrecord").read_bytes())
    assert verify_main(["verify", f"{tmp_path}/a.tfrecord", *arguments]) == 0
    assert "clip  " in capsys.readouterr().out
