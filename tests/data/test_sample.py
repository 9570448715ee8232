"""The sample data set: its statistics, its bytes, and that nobody ever finds half of it."""

import dataclasses
import hashlib
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from yt8m_distill.config.dataset import SpecOverrides
from yt8m_distill.data import sample
from yt8m_distill.data.batches import View
from yt8m_distill.data.sample import SampleSettings, ensure_sample, write_sample
from yt8m_distill.data.video_files import open_videos
from yt8m_distill.errors import UserError
from yt8m_distill.quantization import dequantize

SMALL = SampleSettings(videos=(40, 2, 3), shards=(2, 1, 1))
FEATURES = {"rgb": slice(0, 1024), "audio": slice(1024, 1152)}


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> sample.SamplePaths:
    return ensure_sample(tmp_path_factory.mktemp("cache"), SMALL)


@pytest.fixture(scope="module")
def videos(paths) -> list[np.ndarray]:
    """Frames of the training videos, uint8."""
    files = open_videos(paths.train, "train_data_pattern", SpecOverrides())
    assert files.spec.edition == "YouTube-8M 2018"
    found = []
    for batch in files.ordered_batches(View(), 20):
        found += [row[:n] for row, n in zip(batch["frames"], batch["num_frames"], strict=True)]
    return found


def autocorrelation(frames: np.ndarray, lag: int) -> float:
    centred = frames - frames.mean(axis=0)
    return float(np.mean(np.mean(centred[lag:] * centred[:-lag], axis=0) / np.mean(centred**2, axis=0)))


@pytest.mark.parametrize(("name", "deviation"), [("rgb", 0.97), ("audio", 0.92)])
def test_statistics_are_near_a_real_videos(videos, name, deviation):
    parts = [frames[:, FEATURES[name]] for frames in videos]
    values = [np.asarray(dequantize(part)) for part in parts]
    assert np.mean([frames.std(axis=0).mean() for frames in values]) == pytest.approx(deviation, abs=0.03)
    assert 0.27 <= np.mean([frames.mean(axis=0).std() for frames in values]) <= 0.44
    assert 0.07 <= np.mean([np.isin(part, (0, 255)).mean() for part in parts]) <= 0.09
    for lag, expected in {1: 0.41, 2: 0.27, 3: 0.21, 5: 0.15, 10: 0.04}.items():
        assert np.mean([autocorrelation(frames, lag) for frames in values]) == pytest.approx(expected, abs=0.1)


def test_frames_of_a_shot_correlate_at_about_point_six():
    world = sample._make_world(SMALL)
    found = []
    for index in range(20):
        rng = np.random.default_rng([SMALL.seed, 1, index])
        lengths = sample._draw_shot_lengths(int(rng.integers(SMALL.shortest, SMALL.longest + 1)), rng)
        frames, _ = sample._make_video(SMALL, world, 0, index)
        values = np.asarray(dequantize(frames))[:, FEATURES["rgb"]]
        values = values - values.mean(axis=0)
        starts = np.cumsum(lengths) - lengths
        found += [np.corrcoef(values[s], values[s + 1])[0, 1] for s, n in zip(starts, lengths, strict=True) if n > 1]
        assert lengths.sum() == len(frames)
        assert 1 <= lengths.min() <= lengths.max() <= 20
    assert np.mean(found) == pytest.approx(0.6, abs=0.08)


def test_frame_counts_and_labels(paths, videos):
    assert len(videos) == 40
    assert all(SMALL.shortest <= len(frames) <= SMALL.longest for frames in videos)
    files = open_videos(paths.train, "x", SpecOverrides())
    labels = np.concatenate([b["labels"] for b in files.ordered_batches(View(), 20)])
    assert labels.shape == (40, 3862)
    assert set(labels.sum(axis=1)) <= {1, 2, 3, 4}
    assert np.count_nonzero(labels.sum(axis=0)) <= SMALL.classes


def test_a_label_shows_in_a_few_short_shots_only():
    world = sample._make_world(SMALL)
    for index in range(10):
        rng = np.random.default_rng(index)
        lengths = sample._draw_shot_lengths(90, rng)
        contents = sample._shot_contents(SMALL, world, [3], lengths, rng)
        shown = np.flatnonzero((contents == world.class_contents[3]).all(axis=1))
        assert 4 <= len(shown) <= 6
        assert lengths[shown].max() <= SMALL.longest_label_shot
        assert lengths[shown].sum() < 25


def checksums(directory: pathlib.Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


def test_the_seed_decides_every_byte(tmp_path):
    tiny = SampleSettings(videos=(3, 1, 1), shards=(2, 1, 1))
    folders = {}
    for name, settings in {"a": tiny, "b": tiny, "c": dataclasses.replace(tiny, seed=1)}.items():
        (tmp_path / name).mkdir()
        write_sample(tmp_path / name, settings)
        folders[name] = checksums(tmp_path / name)
    assert sorted(folders["a"]) == ["test00.tfrecord", "train00.tfrecord", "train01.tfrecord", "validate00.tfrecord"]
    assert folders["a"] == folders["b"]
    assert not set(folders["a"].values()) & set(folders["c"].values())


def test_map_entries_are_in_the_same_order_in_every_process(paths):
    """Protobuf writes them in an order of the process's own unless told otherwise."""
    for record in tf.data.TFRecordDataset(tf.io.gfile.glob(paths.train)):
        message = tf.train.SequenceExample.FromString(record.numpy())
        assert message.SerializeToString(deterministic=True) == record.numpy()


def test_parts_have_no_video_in_common(paths):
    ids = []
    for pattern in (paths.train, paths.validate, paths.test):
        files = open_videos(pattern, "x", SpecOverrides())
        ids += [i for b in files.ordered_batches(View(), 50) for i in b["video_id"]]
    assert len(ids) == len(set(ids)) == 45


def test_size_is_as_expected_and_within_bounds(paths):
    written = sum(path.stat().st_size for path in pathlib.Path(paths.directory).iterdir())
    assert written == pytest.approx(SMALL.expected_bytes(), rel=0.1)
    assert SampleSettings().expected_bytes() <= 150e6


def test_it_is_written_once(paths, monkeypatch):
    monkeypatch.setattr(sample, "write_sample", lambda *_: pytest.fail("written again"))
    assert ensure_sample(pathlib.Path(paths.directory).parent, SMALL) == paths


def test_the_cache_directory_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tiny = SampleSettings(videos=(1, 1, 1), shards=(1, 1, 1))
    assert pathlib.Path(ensure_sample(settings=tiny).directory).parent == tmp_path / "yt8m_distill"


def test_interrupted_writing_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(directory, settings):
        (pathlib.Path(directory) / "train00.tfrecord").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(sample, "write_sample", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ensure_sample(tmp_path, SMALL)
    assert list(tmp_path.iterdir()) == []


def test_a_faster_process_wins(tmp_path, monkeypatch):
    def overtaken(directory, settings):
        other = pathlib.Path(directory).parent / f"sample-{sample._fingerprint(SMALL)}"
        other.mkdir()
        (other / "train00.tfrecord").write_bytes(b"theirs")

    monkeypatch.setattr(sample, "write_sample", overtaken)
    paths = ensure_sample(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == [pathlib.Path(paths.directory).name]


def test_places_that_cannot_be_written_to_are_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="XDG_CACHE_HOME"):
        ensure_sample(tmp_path / "file", SMALL)

    def full(directory, settings):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(sample, "write_sample", full)
    with pytest.raises(UserError, match="No space left"):
        ensure_sample(tmp_path, SMALL)


@pytest.mark.parametrize(
    "wrong",
    [
        {"videos": (0, 1, 1)},
        {"shortest": 5},
        {"shortest": 90, "longest": 80},
        {"classes": 1},
        {"classes": 3863},
        {"label_shots": (0, 2)},
        {"longest_label_shot": 0},
    ],
)
def test_impossible_settings(wrong):
    with pytest.raises(UserError):
        SampleSettings(**wrong)
