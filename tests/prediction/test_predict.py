"""Compiled predictions of small batches: the same numbers from transposed copies of the weights."""

import numpy as np
import pytest

from yt8m_distill.models import MixNeXtVLAD, NetVLAD, NeXtVLAD, VideoModel
from yt8m_distill.prediction import predict
from yt8m_distill.prediction.predict import SMALL_BATCH, prediction_function

SIZE = 6
MODELS = {
    NeXtVLAD: {"clusters": 4, "groups": 2, "hidden_size": 16},
    NetVLAD: {"clusters": 4, "hidden_size": 16},
    MixNeXtVLAD: {"branches": 2, "clusters": 4, "groups": 2, "hidden_size": 16},
}


@pytest.fixture(params=MODELS, ids=lambda family: family.__name__)
def model(request) -> VideoModel:
    return request.param((SIZE,), 5, **MODELS[request.param])


def batch_of(videos: int) -> dict[str, np.ndarray]:
    frames = np.random.default_rng(0).integers(0, 256, (videos, 5, SIZE), np.uint8)
    return {"frames": frames, "num_frames": np.full(videos, 4, np.int32)}


def changes(predict_batch, model: VideoModel) -> list[float]:
    """By how much predictions of 1, `SMALL_BATCH` and more videos change with the weights of the hidden layers."""
    batches = [batch_of(videos) for videos in (1, SMALL_BATCH, SMALL_BATCH + 1)]
    before = [predict_batch(batch) for batch in batches]
    for kernel in model.video_kernels:
        kernel.assign(-kernel)
    return [np.abs(predict_batch(batch) - old).max() for batch, old in zip(batches, before, strict=True)]


def test_small_batches_are_predicted_alike_from_copies(model, monkeypatch):
    monkeypatch.setattr(predict, "LEAST_TRANSPOSED", 1)
    plain, small = prediction_function(model), prediction_function(model, small_batches=True)
    for videos in (1, SMALL_BATCH, SMALL_BATCH + 1):
        np.testing.assert_allclose(small(batch_of(videos)), plain(batch_of(videos)), rtol=0, atol=1e-6)
    one, most, more = changes(small, model)
    assert (one, most) == (0, 0), "up to so many videos are predicted from copies"
    assert more > 1e-5, "more videos are predicted from the model's own weights"


@pytest.mark.parametrize("small_batches", [False, True])
def test_neither_weights_that_may_change_nor_small_ones_are_copied(small_batches, monkeypatch):
    if not small_batches:
        monkeypatch.setattr(predict, "LEAST_TRANSPOSED", 1)
    model = NeXtVLAD((SIZE,), 5, **MODELS[NeXtVLAD])
    assert min(changes(prediction_function(model, small_batches=small_batches), model)) > 1e-5
