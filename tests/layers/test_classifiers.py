"""The classifiers against the starter code's."""

import numpy as np
import pytest

from tests.helpers import load_case
from yt8m_distill.layers import LogisticClassifier, MixtureOfExperts


def test_logistic_equals_the_original():
    case = load_case("e_logistic")
    layer = LogisticClassifier(12, l2_penalty=float(case["hp.l2_penalty"]))
    layer.build((None, 10))
    layer.dense.set_weights([case["w.fully_connected.weights"], case["w.fully_connected.biases"]])

    outputs = layer(case["inputs"])

    np.testing.assert_allclose(outputs["predictions"], case["predictions"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(1 / (1 + np.exp(-np.array(outputs["logits"]))), case["predictions"], rtol=1e-5)
    np.testing.assert_allclose(sum(map(float, layer.losses)), case["regularization_loss"], rtol=1e-5)
    assert layer.multiply_accumulates() == 120


def test_logistic_regularizes_the_bias_on_request():
    layer = LogisticClassifier(3, l2_penalty=0.1, regularize_bias=True)
    layer.build((None, 2))
    layer.dense.set_weights([np.full((2, 3), 2.0), np.full(3, 3.0)])

    assert float(sum(layer.losses)) == pytest.approx(0.1 * (6 * 4 + 3 * 9) / 2)


def test_mixture_of_experts_equals_the_original():
    case = load_case("e_moe")
    layer = MixtureOfExperts(12, mixtures=2, l2_penalty=float(case["hp.l2_penalty"]))
    layer.build((None, 10))
    layer.gates.set_weights([case["w.gates.weights"]])
    layer.experts.set_weights([case["w.experts.weights"], case["w.experts.biases"]])

    outputs = layer(case["inputs"])

    assert set(outputs) == {"predictions"}
    np.testing.assert_allclose(outputs["predictions"], case["predictions"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sum(map(float, layer.losses)), case["regularization_loss"], rtol=1e-5)
    assert layer.multiply_accumulates() == 10 * (36 + 24)


def test_mixture_predictions_never_exceed_one():
    layer = MixtureOfExperts(50, mixtures=3)
    layer.build((None, 4))
    rng = np.random.default_rng(0)
    layer.gates.set_weights([rng.normal(size=(4, 200)).astype(np.float32) * 5])
    layer.experts.set_weights([np.zeros((4, 150)), np.full(150, 40.0)])

    predictions = np.array(layer(rng.normal(size=(200, 4)).astype(np.float32))["predictions"])

    assert predictions.max() == 1.0
    assert predictions.min() >= 0.0


@pytest.mark.parametrize(
    "layer",
    [LogisticClassifier(4, l2_penalty=0.5, regularize_bias=True, name="a"), MixtureOfExperts(4, mixtures=3, name="b")],
)
def test_config_round_trip(layer):
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()
