"""NeXtVLAD pooling against the intermediate numbers of the authors' code."""

import keras
import numpy as np
import pytest

from tests.helpers import load_case
from yt8m_distill.layers import NeXtVLADPooling


def _pooling(case: dict[str, np.ndarray], scope: str, features: int, clusters: int, groups: int) -> NeXtVLADPooling:
    layer = NeXtVLADPooling(clusters, groups, expansion=2)
    layer.build((None, None, features))
    weights = {key.removeprefix(f"w.{scope}."): value for key, value in case.items() if key.startswith(f"w.{scope}.")}
    layer.expand.set_weights([weights["fully_connected.weights"], weights["fully_connected.biases"]])
    layer.attention.set_weights([weights["fully_connected_1.weights"], weights["fully_connected_1.biases"]])
    layer.assignment.set_weights([weights["cluster_weights"]])
    layer.centers.assign(weights["cluster_weights2"])
    for name in ("cluster_bn", "vlad_bn"):
        for part in ("gamma", "beta", "moving_mean", "moving_variance"):
            getattr(getattr(layer, name), part).assign(weights[f"{name}.{part}"])
    return layer


@pytest.mark.parametrize(
    ("stream", "begin", "end", "clusters", "groups"), [("video", 0, 32, 8, 4), ("audio", 32, 40, 4, 2)]
)
def test_equals_the_original(stream, begin, end, clusters, groups):
    case = load_case("e_nextvlad_logistic")
    layer = _pooling(case, f"{stream}_VLAD", end - begin, clusters, groups)
    inputs = case["inputs"][..., begin:end]
    mask = np.arange(12)[None, :] < case["num_frames"][:, None]

    pooled, assignment = layer(inputs, mask=mask, return_assignment=True)

    np.testing.assert_allclose(pooled, case[f"{stream}_vlad"], rtol=1e-4, atol=2e-5)
    # Clusters of a frame and group share out that group's attention.
    attention = np.reshape(case[f"{stream}_attention"], (5, 12, groups))
    np.testing.assert_allclose(np.sum(assignment, axis=-1), attention, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("mask_statistics", [True, False])
def test_statistics_leave_padding_out_unless_told_otherwise(mask_statistics):
    inputs = np.random.default_rng(0).normal(size=(3, 4, 6)).astype(np.float32)
    mask = np.arange(4)[None, :] < np.array([4, 1, 0])[:, None]
    layer = NeXtVLADPooling(clusters=2, groups=3, mask_statistics=mask_statistics)
    layer.build((None, None, 6))

    layer(inputs, mask=mask, training=True)

    rows = inputs[mask] if mask_statistics else inputs.reshape(-1, 6)
    expected = 0.9 * (rows @ layer.expand.kernel.numpy() @ layer.assignment.kernel.numpy()).mean(0)
    np.testing.assert_allclose(layer.cluster_bn.moving_mean, expected, rtol=1e-4, atol=1e-6)


def test_config_round_trip():
    layer = NeXtVLADPooling(clusters=3, groups=2, expansion=4, mask_statistics=False)

    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))

    assert copy.get_config() == layer.get_config()
