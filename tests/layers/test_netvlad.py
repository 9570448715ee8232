"""NetVLAD pooling against TensorFlow Addons' layer and the formula."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import load_case
from yt8m_distill.layers import NetVLADPooling


@pytest.fixture
def addons_case():
    case = load_case("e_tfa_netvlad")
    layer = NetVLADPooling(clusters=5, batch_norm=False)
    layer.build((None, None, 10))
    layer.assignment.set_weights([case["w.fc.kernel"], case["w.fc.bias"]])
    layer.centers.assign(case["w.cluster_centers"])
    return layer, case


def test_equals_tensorflow_addons(addons_case):
    layer, case = addons_case

    np.testing.assert_allclose(layer(case["inputs"]), case["output"], rtol=1e-5, atol=1e-6)


def test_gradients_equal_tensorflow_addons(addons_case):
    layer, case = addons_case
    inputs = tf.constant(case["inputs"])
    variables = {
        "cluster_centers": layer.centers.value,
        "fc.kernel": layer.assignment.kernel.value,
        "fc.bias": layer.assignment.bias.value,
    }

    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(layer(inputs) * case["target"])
    gradients = tape.gradient(loss, {"inputs": inputs, **variables})

    for name, gradient in gradients.items():
        # Addons' layer has a regularizer of its own, which is not part of the stored gradients.
        np.testing.assert_allclose(gradient, case[f"grad.{name}"], rtol=1e-4, atol=1e-6, err_msg=name)


def test_masked_frames_are_as_good_as_absent(addons_case):
    layer, case = addons_case
    mask = np.array([[True, True, True, True, False, False]] * 4)

    pooled, assignment = layer(case["inputs"], mask=mask, return_assignment=True)

    np.testing.assert_allclose(pooled, layer(case["inputs"][:, :4]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.sum(assignment, axis=-1), mask.astype(np.float32), rtol=1e-5)


def test_no_frames_give_zeros(addons_case):
    layer, case = addons_case

    np.testing.assert_array_equal(layer(case["inputs"], mask=np.zeros((4, 6), bool)), np.zeros((4, 50)))
    np.testing.assert_array_equal(layer(case["inputs"][:, :0]), np.zeros((4, 50)))


@pytest.mark.parametrize("mask_statistics", [True, False])
def test_statistics_leave_padding_out_unless_told_otherwise(mask_statistics):
    inputs = np.random.default_rng(0).normal(size=(3, 4, 6)).astype(np.float32)
    mask = np.arange(4)[None, :] < np.array([4, 1, 0])[:, None]
    layer = NetVLADPooling(clusters=2, mask_statistics=mask_statistics)
    layer.build((None, None, 6))

    layer(inputs, mask=mask, training=True)

    rows = inputs[mask] if mask_statistics else inputs.reshape(-1, 6)
    expected = 0.9 * (rows @ layer.assignment.kernel.numpy()).mean(0)
    np.testing.assert_allclose(layer.cluster_bn.moving_mean, expected, rtol=1e-4, atol=1e-6)


def test_config_round_trip():
    layer = NetVLADPooling(clusters=3, batch_norm=False, mask_statistics=False)

    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))

    assert copy.get_config() == layer.get_config()
