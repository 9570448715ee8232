"""Mixtures of the videos of a batch, against plain numpy on dequantized frames."""

import numpy as np
import pytest

from tests.helpers import TINY_FEATURES, learnable_videos, rated_video, sequence_example, write_records
from yt8m_distill.config.dataset import SpecOverrides
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.data.batches import View
from yt8m_distill.data.mixup import drawn_partners, drawn_shares, mixed
from yt8m_distill.data.reading_order import position_after
from yt8m_distill.data.video_files import open_videos
from yt8m_distill.quantization import dequantize

KEYS = [b"a", b"b", b"c", b"d", b"e"]


def batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    counts = np.array([9, 4, 1, 0, 6], np.int32)
    frames = rng.integers(0, 256, (5, 9, 3), np.uint8)
    frames[np.arange(9) >= counts[:, np.newaxis]] = 0
    labels = rng.integers(0, 2, (5, 4)).astype(np.uint8)
    return {"frames": frames, "num_frames": counts, "labels": labels, "student_indices": np.arange(15).reshape(5, 3)}


def test_mixtures_by_their_definition():
    original = batch()
    result = mixed(original, KEYS, 0.4, seed=3)
    partners, shares = drawn_partners(KEYS, 3), drawn_shares(KEYS, 0.4, 3) / 256
    values = np.asarray(dequantize(original["frames"]))
    count = original["num_frames"]
    mixtures = 0
    for row, partner in enumerate(partners):
        n, m, share = count[row], count[partner], shares[row]
        if n == 0 or m == 0:
            share = 1.0
        for t in range(n):
            other = values[partner, int((t + 0.5) * m / n)] if share < 1 else 0.0
            expected = share * values[row, t] + (1 - share) * other
            np.testing.assert_allclose(dequantize(result["frames"][row, t]), expected, atol=0.5 * 4 / 255 + 1e-6)
            mixtures += share < 1
        assert not result["frames"][row, n:].any()
        labels = share * original["labels"][row] + (1 - share) * original["labels"][partner]
        np.testing.assert_allclose(result["labels"][row], labels, atol=1e-6)
    assert mixtures > 5
    assert result["frames"].dtype == np.uint8
    assert result["labels"].dtype == np.float32
    for name in ("num_frames", "student_indices"):
        assert result[name] is original[name]


def test_the_originals_stay_as_they_are():
    original, copy = batch(), batch()
    mixed(original, KEYS, 1.0, seed=0)
    for name, values in copy.items():
        np.testing.assert_array_equal(original[name], values)


def test_a_mixture_of_equals_is_the_same():
    original = batch()
    original["frames"][:] = np.random.default_rng(1).integers(0, 256, 3, np.uint8)
    np.testing.assert_array_equal(mixed(original, KEYS, 1.0, seed=0)["frames"], original["frames"])


def test_labels_with_weights_give_the_loss_of_both():
    rng = np.random.default_rng(2)
    original = {**batch(), "labels": rng.uniform(size=(5, 4)).astype(np.float32), "num_frames": np.full(5, 9, np.int32)}
    original["label_weights"] = rng.integers(0, 2, (5, 4)).astype(np.float32)
    result = mixed(original, KEYS, 1.0, seed=1)
    partners, shares = drawn_partners(KEYS, 1), drawn_shares(KEYS, 1.0, 1)[:, np.newaxis] / 256
    p = rng.uniform(0.1, 0.9, (5, 4))

    def loss(labels, weights):
        return -weights * (labels * np.log(p) + (1 - labels) * np.log(1 - p))

    own, other = (loss(original["labels"][rows], original["label_weights"][rows]) for rows in (range(5), partners))
    found = loss(result["labels"], result["label_weights"])
    np.testing.assert_allclose(found, shares * own + (1 - shares) * other, atol=1e-6)


def test_shares_are_those_of_the_beta_distribution():
    keys = [b"%d" % number for number in range(4000)]
    shares = drawn_shares(keys, 1.0, seed=0) / 256  # the larger part of a uniform one
    assert shares.min() >= 0.5
    assert shares.max() <= 1.0
    np.testing.assert_allclose(np.histogram(shares, 4, (0.5, 1.0))[0] / 4000, 0.25, atol=0.03)
    drawn = np.random.default_rng(1).beta(0.4, 0.4, 4000)
    np.testing.assert_allclose(drawn_shares(keys, 0.4, 0).mean() / 256, np.maximum(drawn, 1 - drawn).mean(), atol=0.01)
    for tiny in (1e-3, 1e-200, 5e-324):
        assert drawn_shares(keys[:50], tiny, 0).min() >= 250


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_partners_are_a_circle(count):
    keys = [b"%d" % number for number in range(count)]
    partners = drawn_partners(keys, seed=0)
    place, seen = 0, set()
    while place not in seen:
        seen.add(place)
        place = partners[place]
    assert len(seen) == count


def test_batches_of_files_are_mixed_alike_wherever_reading_starts(tmp_path):
    path = write_records(tmp_path / "train.tfrecord", learnable_videos(30))
    videos = open_videos(path, "x", SpecOverrides(("rgb", "audio"), (6, 2), 10))
    plain, mixing = (
        View(FrameSelection(3, sampling="jittered"), True),
        View(FrameSelection(3, sampling="jittered"), True, mixup=0.4),
    )
    options = {"seed": 0, "epoch": 1}
    pairs = [list(videos.training_batches(view, 8, **options)) for view in (plain, mixing)]
    changed = 0
    for one, other in zip(*pairs, strict=True):
        np.testing.assert_array_equal(one["student_indices"], other["student_indices"])
        np.testing.assert_array_equal(one["num_frames"], other["num_frames"])
        changed += (one["labels"] != other["labels"]).any(axis=1).sum()
    assert changed > 10

    resumed = list(videos.training_batches(mixing, 8, **options, start=position_after(pairs[1][0])))
    for one, other in zip(pairs[1][1:], resumed, strict=True):
        for name, values in one.items():
            np.testing.assert_array_equal(other[name], values)
    other_epoch = next(videos.training_batches(mixing, 8, seed=0, epoch=2))
    assert not np.array_equal(other_epoch["labels"], pairs[1][0]["labels"])


def test_segments_and_what_they_were_rated_for(tmp_path):
    ratings = [(0, 1, 1.0), (5, 2, 0.0), (10, 1, 1.0)]
    path = write_records(tmp_path / "s.tfrecord", [rated_video(ratings, f"v{i}", seed=i) for i in range(4)])
    overrides = SpecOverrides(TINY_FEATURES.feature_names, TINY_FEATURES.feature_sizes, 4, level="segment")
    videos = open_videos(path, "x", overrides)
    found = next(videos.training_batches(View(mixup=1.0), 12, seed=0, epoch=0))
    np.testing.assert_allclose(found["label_weights"].sum(axis=1), 1.0, atol=1e-6)
    assert videos.count_examples() == 12


def test_examples_are_counted_by_headers(tmp_path):
    for number, count in enumerate((7, 12)):
        records = [sequence_example(f"v{number}{i}", num_frames=1 + i) for i in range(count)]
        write_records(tmp_path / f"{number}.tfrecord", records)
    videos = open_videos(f"{tmp_path}/*", "x", SpecOverrides(("rgb", "audio"), (6, 2), 10))
    assert videos.count_examples() == 19
