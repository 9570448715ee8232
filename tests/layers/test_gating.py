"""Context gating against its formulas; the reference cases hold it within the models."""

import numpy as np
import pytest

from yt8m_distill.layers import ContextGating, SEContextGating


def _inputs() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(6, 8)).astype(np.float32)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-values))


def _randomize(layer) -> None:
    rng = np.random.default_rng(6)
    for variable in layer.variables:
        if variable.name != "step":
            variable.assign(rng.uniform(0.2, 1.0, variable.shape))


def _normalize(values: np.ndarray, batch_norm) -> np.ndarray:
    mean, variance = batch_norm.moving_mean.numpy(), batch_norm.moving_variance.numpy()
    return (values - mean) / np.sqrt(variance + 1e-3) * batch_norm.gamma.numpy() + batch_norm.beta.numpy()


def test_context_gating():
    layer = ContextGating()
    layer.build((None, 8))
    _randomize(layer)

    gated, gates = layer(_inputs(), return_gates=True)

    expected = _sigmoid(_normalize(_inputs() @ layer.dense.kernel.numpy(), layer.batch_norm))
    np.testing.assert_allclose(gates, expected, rtol=1e-5)
    np.testing.assert_allclose(gated, _inputs() * expected, rtol=1e-5)
    np.testing.assert_array_equal(layer(_inputs()), gated)
    assert layer.multiply_accumulates() == 64


def test_se_context_gating():
    layer = SEContextGating(reduction=4)
    layer.build((None, 8))
    _randomize(layer)

    gated, gates = layer(_inputs(), return_gates=True)

    squeezed = np.maximum(_normalize(_inputs() @ layer.squeeze.kernel.numpy(), layer.batch_norm), 0)
    expected = _sigmoid(squeezed @ layer.excite.kernel.numpy())
    np.testing.assert_allclose(gates, expected, rtol=1e-5)
    np.testing.assert_allclose(gated, _inputs() * expected, rtol=1e-5)
    assert layer.squeeze.kernel.shape == (8, 2)
    assert layer.multiply_accumulates() == 32


@pytest.mark.parametrize("layer", [ContextGating(), SEContextGating(reduction=4)])
def test_masked_videos_enter_no_statistics(layer):
    inputs = _inputs()
    layer.build((None, 8))
    layer(inputs[:4], training=True)
    expected = layer.batch_norm.moving_mean.numpy()
    layer.batch_norm.moving_mean.assign(np.zeros_like(expected))
    layer.batch_norm.step.assign(0)

    layer(inputs, mask=np.arange(6) < 4, training=True)

    np.testing.assert_allclose(layer.batch_norm.moving_mean, expected, rtol=1e-5)


@pytest.mark.parametrize("layer", [ContextGating(name="c"), SEContextGating(reduction=3, name="s")])
def test_config_round_trip(layer):
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()
