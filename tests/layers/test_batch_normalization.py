"""Batch normalization whose statistics come from the valid rows only."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from yt8m_distill.layers import MaskedBatchNormalization


def _rows(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(2.0, 3.0, shape).astype(np.float32)


def test_training_normalizes_with_the_valid_rows():
    inputs, mask = _rows(4, 6, 3), np.arange(6)[None, :] < np.array([6, 2, 0, 1])[:, None]
    layer = MaskedBatchNormalization()

    outputs = np.asarray(layer(inputs, mask=mask, training=True))

    valid = inputs[mask]
    expected = (inputs - valid.mean(0)) / np.sqrt(valid.var(0) + 1e-3)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)


def test_masked_rows_change_nothing():
    inputs, mask = _rows(8, 3), np.arange(8) < 5
    garbage = np.where(mask[:, None], inputs, 1e4).astype(np.float32)
    clean, dirty = MaskedBatchNormalization(), MaskedBatchNormalization()

    expected = np.asarray(clean(inputs[:5], training=True))
    outputs = np.asarray(dirty(garbage, mask=mask, training=True))

    np.testing.assert_allclose(outputs[:5], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(dirty.moving_mean, clean.moving_mean, rtol=1e-6)
    np.testing.assert_allclose(dirty.moving_variance, clean.moving_variance, rtol=1e-6)


def test_gradients_equal_those_of_keras():
    inputs, target = tf.constant(_rows(7, 3)), tf.constant(_rows(7, 3))
    gradients = []
    for layer in (MaskedBatchNormalization(), keras.layers.BatchNormalization(epsilon=1e-3)):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(layer(inputs, training=True) * target)
        gradients.append(tape.gradient(loss, [inputs, layer.gamma.value, layer.beta.value]))

    for ours, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("unbiased", [False, True])
def test_fixed_decay_learns_a_thousandth_of_each_batch(unbiased):
    inputs = _rows(8, 3)
    layer = MaskedBatchNormalization(warm_up=False, unbiased=unbiased)

    layer(inputs, training=True)

    np.testing.assert_allclose(layer.moving_mean, 0.001 * inputs.mean(0), rtol=1e-4)
    variance = inputs.var(0, ddof=1 if unbiased else 0)
    np.testing.assert_allclose(layer.moving_variance, 0.999 + 0.001 * variance, rtol=1e-6)


def test_warm_up_decays_by_the_number_of_batches_seen():
    layer = MaskedBatchNormalization(momentum=0.3)
    expected = np.zeros(3)

    for step in range(6):
        inputs = _rows(5, 3) + step
        layer(inputs, training=True)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * inputs.mean(0)

    np.testing.assert_allclose(layer.moving_mean, expected, rtol=1e-5)
    assert int(layer.step) == 6


def test_finish_warm_up_makes_the_decay_the_momentum():
    layer = MaskedBatchNormalization()
    layer.build((None, 3))
    layer.finish_warm_up()

    layer(_rows(8, 3), training=True)

    np.testing.assert_allclose(layer.moving_mean, 0.001 * _rows(8, 3).mean(0), rtol=1e-4)


def test_a_batch_without_valid_rows_changes_nothing_and_stays_finite():
    layer = MaskedBatchNormalization()
    layer(_rows(8, 3), training=True)
    before = [variable.numpy() for variable in layer.variables]

    with tf.GradientTape() as tape:
        outputs = layer(_rows(4, 3), mask=np.zeros(4, bool), training=True)
    gradients = tape.gradient(outputs, [layer.gamma.value, layer.beta.value])

    assert np.isfinite(outputs).all()
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    for variable, value in zip(layer.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_a_single_row_gives_a_finite_unbiased_variance():
    layer = MaskedBatchNormalization(unbiased=True)

    layer(_rows(1, 3), training=True)

    np.testing.assert_allclose(layer.moving_variance, np.full(3, 0.1), rtol=1e-6)


def test_inference_uses_the_averages_and_leaves_them_alone():
    layer = MaskedBatchNormalization()
    layer(_rows(8, 3), training=True)
    mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    inputs = _rows(2, 3)

    outputs = layer(inputs, mask=np.array([True, False]))

    np.testing.assert_allclose(outputs, (inputs - mean) / np.sqrt(variance + 1e-3), rtol=1e-5)
    np.testing.assert_array_equal(layer.moving_mean, mean)


def test_a_frozen_layer_behaves_as_in_inference():
    layer = MaskedBatchNormalization()
    layer(_rows(8, 3), training=True)
    layer.trainable = False
    mean = layer.moving_mean.numpy()

    outputs = layer(_rows(2, 3), training=True)

    np.testing.assert_array_equal(outputs, layer(_rows(2, 3), training=False))
    np.testing.assert_array_equal(layer.moving_mean, mean)


def test_statistics_are_float32_under_mixed_precision():
    inputs = (_rows(4096, 2) + 100.0).astype(np.float32)
    layer = MaskedBatchNormalization(dtype="mixed_bfloat16")

    outputs = layer(tf.cast(inputs, tf.bfloat16), training=True)

    rounded = tf.cast(tf.cast(inputs, tf.bfloat16), tf.float32).numpy()
    assert outputs.dtype == tf.bfloat16
    assert {variable.dtype for variable in layer.variables} == {"float32", "int64"}
    np.testing.assert_allclose(layer.moving_mean, 0.9 * rounded.mean(0), rtol=1e-4)


def test_config_round_trip():
    layer = MaskedBatchNormalization(momentum=0.9, epsilon=1e-4, warm_up=False, unbiased=True)

    copy = MaskedBatchNormalization.from_config(layer.get_config())

    assert copy.get_config() == layer.get_config()
