"""Float features as bytes: floats and bytes of every width, ranges, resuming, and what is wrong with input."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import sequence_example, shared_path, write_records
from yt8m_distill.config.dataset import SpecOverrides
from yt8m_distill.data.feature_ranges import read_ranges
from yt8m_distill.data.video_files import open_videos
from yt8m_distill.quantization import dequantize
from yt8m_distill.quantize import main as quantize_main

SIZE = 16
KINDS = {"floats": None, "float16": "<f2", "float32": "<f4", "float64": "<f8"}


def record(video_id: str, values, dtype: str | None = None, name: str = "clip") -> tf.train.SequenceExample:
    """A record with labels whose frames are lists of floats, or bytes of a type."""
    example = sequence_example(video_id, labels=(3,))
    example.ClearField("feature_lists")
    rows = example.feature_lists.feature_list[name].feature
    for row in values:
        if dtype is None:
            rows.add().float_list.value.extend(row)
        else:
            rows.add().bytes_list.value.append(np.asarray(row, dtype).tobytes())
    return example


def embeddings(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    frames = [rng.normal(size=(int(rng.integers(1, 9)), SIZE)) for _ in range(count)]
    return [(each / np.linalg.norm(each, axis=1, keepdims=True)).astype(np.float32) for each in frames]


def run(*arguments) -> int:
    return quantize_main(["quantize", *map(str, arguments)])


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_close_to_what_they_were(tmp_path, kind):
    values = embeddings(60)
    records = [record(f"v{i}", frames, KINDS[kind]) for i, frames in enumerate(values)]
    write_records(tmp_path / "a.tfrecord", records[:40])
    write_records(tmp_path / "b.tfrecord", records[40:])
    sizes = ["--feature_names=clip", f"--feature_sizes={SIZE}"] if KINDS[kind] else []
    assert run(tmp_path / "*.tfrecord", tmp_path / "out", *sizes) == 0
    videos = open_videos(str(tmp_path / "out"), "x", SpecOverrides(("clip",), num_classes=10))
    ((low, high),) = videos.spec.feature_ranges
    everything = np.concatenate(values)
    assert (low, high) == pytest.approx((everything.min(), everything.max()), abs=1e-3)
    for video, frames in zip(videos.videos(), values, strict=True):
        assert video.labels == (3,)
        np.testing.assert_allclose(dequantize(video.features[0], high, low), frames, atol=(high - low) / 250)


def test_the_ranges_of_the_training_are_used_for_other_files(tmp_path):
    for name, seed in (("train", 0), ("test", 1)):
        write_records(tmp_path / f"{name}.tfrecord", [record("v", frames) for frames in embeddings(9, seed)])
        ranges = [f"--ranges={tmp_path}/train/features.json"] if name == "test" else []
        assert run(tmp_path / f"{name}.tfrecord", tmp_path / name, *ranges) == 0
    assert read_ranges(tmp_path / "train/features.json") == read_ranges(tmp_path / "test/features.json")


def test_started_again_it_resumes_with_the_same_ranges(tmp_path, capsys):
    for name, seed in (("a", 0), ("b", 1)):
        write_records(tmp_path / f"{name}.tfrecord", [record("v", frames) for frames in embeddings(9, seed)])
    arguments = tmp_path / "*.tfrecord", tmp_path / "out"
    assert run(*arguments) == 0
    written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (tmp_path / "out" / "b.tfrecord").unlink()
    assert run(*arguments) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == written
    (tmp_path / "a.tfrecord").write_bytes((tmp_path / "b.tfrecord").read_bytes())
    assert run(*arguments) == 2
    assert "a.tfrecord' is not what features.json makes of" in capsys.readouterr().err
    (tmp_path / "other.json").write_text('{"features": {"clip": {"min": 0, "max": 1}}}')
    assert run(*arguments, f"--ranges={tmp_path}/other.json") == 2
    assert "says other ranges than --ranges" in capsys.readouterr().err


def test_published_sizes_are_known(tmp_path):
    """Case 05: float32 bytes, four times as wide as published; case 21: floats."""
    for name in ("05_float32_as_bytes", "21_float_lists"):
        assert run(shared_path(f"cases/{name}/a.tfrecord"), tmp_path / name) == 0
        spec = open_videos(str(tmp_path / name), "x", SpecOverrides()).spec
        assert (spec.feature_names, spec.feature_sizes) == (("rgb", "audio"), (1024, 128))
        assert len(spec.feature_ranges) == 2


def test_bytes_stay_as_they_are(tmp_path, caplog):
    example = record("v", embeddings(1)[0])
    example.feature_lists.feature_list["audio"].feature.add().bytes_list.value.append(bytes(range(128)))
    write_records(tmp_path / "a.tfrecord", [example])
    assert run(tmp_path / "a.tfrecord", tmp_path / "out") == 0
    assert "'audio' is uint8 already" in caplog.text
    assert read_ranges(tmp_path / "out" / "features.json")["audio"] == (-2.0, 2.0)
    written = next(iter(tf.data.TFRecordDataset(str(tmp_path / "out" / "a.tfrecord")))).numpy()
    lists = tf.train.SequenceExample.FromString(written).feature_lists.feature_list
    assert lists["audio"].feature[0].bytes_list.value[0] == bytes(range(128))


WRONG = {
    "not finite": ([record("v", [[1.0, float("nan")]])], "'clip' holds a number that is not finite"),
    "two lengths": ([record("v", [[1.0, 2.0], [1.0]])], "not lists of as many floats"),
    "missing": ([record("v", [[1.0]]), record("w", [[1.0]], name="rgb")], "it has no feature list 'clip'"),
    "bytes of no size": ([record("v", [[1.0]], "<f4")], "the frames of 'clip' are 4 bytes, .* --feature_sizes"),
    "no frames": ([record("v", [])], "has no frames, so that there is nothing to fit"),
}


@pytest.mark.parametrize(("records", "message"), WRONG.values(), ids=WRONG)
def test_wrong_input(tmp_path, capsys, records, message):
    write_records(tmp_path / "a.tfrecord", records)
    assert run(tmp_path / "a.tfrecord", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert not (tmp_path / "out" / "a.tfrecord").exists()


def test_bad_records_can_be_skipped(tmp_path, capsys):
    good, bad = record("v", embeddings(1)[0]), record("w", [[float("inf")] * SIZE])
    write_records(tmp_path / "a.tfrecord", [good, bad])
    arguments = tmp_path / "a.tfrecord", tmp_path / "out", "--on_bad_record=skip", "--max_bad_fraction=1"
    assert run(*arguments) == 0
    assert "1 videos written" in capsys.readouterr().out
    assert max(json.loads((tmp_path / "out/features.json").read_text())["features"]["clip"].values()) < 1.01
