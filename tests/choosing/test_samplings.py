"""Frames chosen by their features: against plain numpy, in a graph, and whatever is around a video."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from yt8m_distill.choosing.samplings import FeatureSampling, chosen_indices, products_of
from yt8m_distill.choosing.typicality import read_values
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.data.frame_selection import frame_indices, needs_all_frames, sees_features, selected_indices
from yt8m_distill.errors import UserError
from yt8m_distill.models import HierarchicalRNN, NetVLAD, NeXtVLAD, cost
from yt8m_distill.plugins import FRAME_SAMPLINGS, register_frame_sampling

SAMPLINGS = ("medoid", "k_center", "motion")
SIZES = (40, 8)


def random_videos(videos: int, frames: int, kind: str = "random", seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """uint8 frames with random padding, and their numbers."""
    rng = np.random.default_rng(seed)
    bytes_of = {"random": 256, "extreme": 2, "equal": 1}[kind]
    values = rng.integers(0, bytes_of, (videos, frames, sum(SIZES))) * (255 // max(bytes_of - 1, 1))
    return values.astype(np.uint8), rng.integers(0, frames + 1, videos, np.int32)


def chosen(name: str, frames: np.ndarray, num_frames: np.ndarray, k: int) -> list[list[int]]:
    counts = np.minimum(num_frames, k)
    values = read_values(frames, SIZES)
    indices = chosen_indices(FRAME_SAMPLINGS.get(name), values, num_frames, counts, int(counts.max()))
    return [row[:count].astype(int).tolist() for row, count in zip(indices, counts, strict=True)]


def chosen_by_graph(name: str, frames: np.ndarray, num_frames: np.ndarray, k: int) -> list[list[int]]:
    @tf.function(input_signature=[tf.TensorSpec([None, None, sum(SIZES)], tf.uint8), tf.TensorSpec([None], tf.int32)])
    def indices_of(frames, num_frames):
        values = read_values(frames, SIZES, ops)
        return chosen_indices(FRAME_SAMPLINGS.get(name), values, num_frames, tf.minimum(num_frames, k), k, ops)

    indices = indices_of(np.pad(frames, ((0, 0), (0, k), (0, 0))), num_frames).numpy()
    return [row[: min(n, k)].astype(int).tolist() for row, n in zip(indices, num_frames, strict=True)]


def plain_vectors(frames: np.ndarray) -> np.ndarray:
    """The first 32 values of the first feature, all 8 of the second, around 0, by the root of their length."""
    x = 2.0 * np.concatenate([frames[:, :32], frames[:, 40:]], axis=1) - 255
    return np.floor(2**16 * x / np.floor(2**8 * np.sqrt(np.linalg.norm(x, axis=1, keepdims=True))))


def direction(vectors: np.ndarray) -> np.ndarray:
    mean = np.floor(vectors.mean(axis=0))
    return np.floor(2**16 * mean / np.floor(np.linalg.norm(mean)))


def most_typical(vectors: np.ndarray) -> int:
    return int(np.argmax(vectors @ direction(vectors)))


def plain_medoid(frames: np.ndarray, k: int) -> list[int]:
    vectors = plain_vectors(frames)
    parts = np.split(vectors, [j * len(frames) // k for j in range(1, k)])
    directions = np.array([direction(part) for part in parts])
    labels = np.argmax(vectors @ directions.T, axis=1) if k > 1 else np.zeros(len(frames), int)
    clusters = [np.flatnonzero(labels == j) for j in range(k)]
    assert all(map(len, clusters))  # what becomes of empty ones has a test of its own
    return sorted(int(cluster[most_typical(vectors[cluster])]) for cluster in clusters)


def plain_k_center(frames: np.ndarray, k: int) -> list[int]:
    x = np.concatenate([frames[:, :32], frames[:, 40:]], axis=1).astype(float)
    centers = [most_typical(plain_vectors(frames))]
    while len(centers) < k:
        distances = np.linalg.norm(x[:, None] - x[centers][None], axis=-1).min(axis=1)
        centers.append(int(np.argmax(distances)))
    return sorted(centers)


def plain_motion(frames: np.ndarray, k: int) -> list[int]:
    """The frame in whose stretch of the way each share has its middle; a frame's stretch is to both neighbors."""
    x = np.concatenate([frames[:, :32], frames[:, 40:]], axis=1).astype(float)
    change = np.abs(np.diff(x, axis=0)).sum(axis=1)
    way = np.cumsum(1 + np.append(0, change) + np.append(change, 0))
    return [int(np.searchsorted(way, (2 * j + 1) * way[-1] / (2 * k), side="right")) for j in range(k)]


PLAIN = {"medoid": plain_medoid, "k_center": plain_k_center, "motion": plain_motion}


@pytest.mark.parametrize("k", [1, 2, 3, 7])
@pytest.mark.parametrize("name", SAMPLINGS)
def test_frames_are_those_of_plain_numpy(name, k):
    frames, _ = random_videos(30, 40)
    expected = [PLAIN[name](video, k) for video in frames]
    assert chosen(name, frames, np.full(30, 40), k) == expected


@pytest.mark.parametrize("kind", ["random", "extreme", "equal"])
@pytest.mark.parametrize("k", [1, 3, 12])
@pytest.mark.parametrize("name", SAMPLINGS)
def test_numpy_and_graph_choose_the_same(name, k, kind):
    frames, num_frames = random_videos(60, 30, kind)
    by_numpy = chosen(name, frames, num_frames, k)
    assert by_numpy == chosen_by_graph(name, frames, num_frames, k)
    for indices, n in zip(by_numpy, num_frames, strict=True):
        assert indices == sorted(set(indices))
        assert len(indices) == min(k, n)
        assert all(0 <= index < n for index in indices)


@pytest.mark.parametrize("name", SAMPLINGS)
def test_padding_and_other_videos_change_nothing(name):
    frames, _ = random_videos(9, 20)
    num_frames = np.arange(12, 21)
    together = chosen(name, frames, num_frames, 3)
    alone = [chosen(name, frames[i : i + 1, :n], num_frames[i : i + 1], 3)[0] for i, n in enumerate(num_frames)]
    assert together == alone


def test_a_video_that_does_not_change_is_sampled_uniformly_by_motion():
    frames = np.full((1, 20, sum(SIZES)), 77, np.uint8)
    assert chosen("motion", frames, np.array([20]), 3)[0] == frame_indices(20, k=3)


def test_motion_goes_where_something_changes():
    frames = np.zeros((1, 100, sum(SIZES)), np.uint8)
    frames[0, 80:90] = np.random.default_rng(0).integers(0, 256, (10, sum(SIZES)))
    assert all(78 <= index <= 91 for index in chosen("motion", frames, np.array([100]), 5)[0])


def test_the_medoid_of_two_scenes_is_in_the_longer_one_and_two_are_in_both():
    rng = np.random.default_rng(1)
    scenes = rng.integers(0, 256, (2, 1, sum(SIZES)))
    frames = np.repeat(scenes, [14, 6], axis=0).reshape(1, 20, -1) + rng.integers(-3, 4, (1, 20, sum(SIZES)))
    frames = np.clip(frames, 0, 255).astype(np.uint8)
    (medoid,) = chosen("medoid", frames, np.array([20]), 1)[0]
    assert medoid < 14
    for name in ("medoid", "k_center"):
        first, second = chosen(name, frames, np.array([20]), 2)[0]
        assert first < 14 <= second


def test_selected_indices_choose_by_values_with_several_ks():
    frames, num_frames = random_videos(200, 12)
    ids = [b"%d" % i for i in range(200)]
    selection = FrameSelection(3, sampling="medoid", drawn_from=(1, 3))
    indices, counts = selected_indices(selection, num_frames, ids, 5, read_values(frames, SIZES))
    assert set(counts[num_frames > 3].tolist()) == {1, 3}
    by_k = {k: chosen("medoid", frames, num_frames, k) for k in (1, 3)}
    for row, count, n, i in zip(indices, counts, num_frames, range(200), strict=True):
        assert row[:count].tolist() == (by_k[count][i] if n > count else list(range(n)))
        assert not row[count:].any()


def test_samplings_by_features_need_them():
    with pytest.raises(UserError, match="'medoid' looks at the features"):
        frame_indices(10, k=3, sampling="medoid")
    with pytest.raises(UserError, match="'learned' are chosen by the student itself"):
        frame_indices(10, k=3, sampling="learned")
    assert frame_indices(3, k=3, sampling="medoid") == [0, 1, 2]
    kinds = {name: (sees_features(s), needs_all_frames(s)) for name in FRAME_SAMPLINGS.names()
             for s in [FrameSelection(3, sampling=name)]}  # fmt: skip
    assert {name for name, kind in kinds.items() if kind == (True, True)} == set(SAMPLINGS)
    assert {name for name, kind in kinds.items() if kind == (False, True)} == {"learned"}


def test_a_sampling_of_ones_own_that_gives_a_frame_twice_is_refused():
    @register_frame_sampling("twice")
    @FeatureSampling
    def twice(values, num_frames, most, k, arrays):
        return arrays.zeros_like(values[:, :1, 0]) + arrays.zeros((1, most), dtype="float64")

    try:
        frames, _ = random_videos(2, 9)
        selection = FrameSelection(2, sampling="twice")
        with pytest.raises(UserError, match="'twice' must return 2 different"):
            selected_indices(selection, np.array([9, 9]), [b"a", b"b"], 0, read_values(frames, SIZES))
        assert products_of(twice, SIZES, 9, 2) is None
    finally:
        FRAME_SAMPLINGS._entries.pop("twice")


@pytest.mark.parametrize("sampling", [*SAMPLINGS, "learned"])
def test_choosing_takes_less_than_one_percent_of_the_papers_models(sampling):
    sizes, classes = (1024, 128), 3862
    for model in (NeXtVLAD, NetVLAD, HierarchicalRNN):
        with tf.Graph().as_default():
            built = model(sizes, classes)
        for k in (1, 3, 10, 30):
            total, _ = cost.multiply_accumulates(built, k)
            assert 0 < cost.choosing_products(sampling, sizes, 300, k) < 0.01 * total
    assert cost.choosing_products("uniform", sizes, 300, 3) == 0


def test_products_are_those_of_the_steps():
    """Of 10 frames with 64 values: norms, sums and products with one direction; of two also both parts, twice."""
    assert cost.choosing_products("medoid", (128,), 10, 1) == 10 * 64 * 3
    assert cost.choosing_products("medoid", (128,), 10, 2) == 10 * 64 * (1 + 2 + 2 + 2 + 1)
    assert cost.choosing_products("medoid", (128,), 10, 10) == 0
    assert cost.choosing_products("learned", (128,), 10, 2) == 10 * (64 * (1 + 2 + 1) + 128 * 8 + 8)
