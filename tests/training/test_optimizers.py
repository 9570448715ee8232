"""Optimizers by name, their schedule, weight decay, and the moving average of the weights."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from yt8m_distill.config.training import Learning
from yt8m_distill.errors import UserError
from yt8m_distill.training import optimizers

LEARNING = Learning(batch_size=10, base_learning_rate=0.1, learning_rate_decay=0.5, learning_rate_decay_examples=30)


def with_learning(**changes) -> Learning:
    return dataclasses.replace(LEARNING, **changes)


@pytest.mark.parametrize(
    "name",
    ["SGD", "adam", "AdamOptimizer", "AdamW", "RMSprop", "Adagrad", "Lion", "Nadam", "Adamax", "Adadelta", "Ftrl"],
)
def test_optimizers_by_name_go_downhill(name):
    optimizer = optimizers.make_optimizer(with_learning(optimizer=name, ema_momentum=0.9, weight_decay=0.001))
    assert type(optimizer).__name__.lower().removeprefix("fused") == name.lower().removesuffix("optimizer")
    variables = [keras.Variable(np.ones((3, 2), np.float32)), keras.Variable(np.ones(2, np.float32))]
    optimizers.build(optimizer, variables)
    for _ in range(3):
        optimizer.apply_gradients([(tf.ones(variable.shape), variable) for variable in variables])
    assert all(np.max(variable) < 1 for variable in variables)


@pytest.mark.parametrize("name", ["Magic", "Optimizer", "", "LossScaleOptimizer", "MultiOptimizer", "schedules", "get"])
def test_what_is_no_optimizer_by_itself_is_refused(name):
    with pytest.raises(UserError, match=r"is not a Keras optimizer; known are .*Adam.*SGD"):
        optimizers.make_optimizer(with_learning(optimizer=name))


@pytest.mark.parametrize("changes", [{}, {"weight_decay": 0.1, "ema_momentum": 0.9}])
def test_the_rate_falls_by_examples(changes):
    optimizer = optimizers.make_optimizer(with_learning(optimizer="SGD", **changes))
    variable = keras.Variable(np.zeros((1, 1), np.float32))
    optimizers.build(optimizer, [variable])
    rates = []
    for _ in range(7):
        rates.append(float(optimizer.learning_rate))
        optimizer.apply_gradients([(tf.zeros((1, 1)), variable)])
    np.testing.assert_allclose(rates, [0.1] * 3 + [0.05] * 3 + [0.025], rtol=1e-6)


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_weight_decay_leaves_out_biases_and_scales(name):
    optimizer = optimizers.make_optimizer(with_learning(optimizer=name, weight_decay=0.2))
    matrix, bias = keras.Variable(np.full((2, 2), 3.0)), keras.Variable(np.full(2, 3.0))
    optimizers.build(optimizer, [matrix, bias])
    optimizer.apply_gradients([(tf.zeros((2, 2)), matrix), (tf.zeros(2), bias)])
    np.testing.assert_allclose(matrix, 3.0 * (1 - 0.1 * 0.2), rtol=1e-6)
    np.testing.assert_array_equal(bias, 3.0)


def test_averages_are_shown_and_taken_back():
    optimizer = optimizers.make_optimizer(with_learning(optimizer="SGD", ema_momentum=0.75))
    variable = keras.Variable(np.zeros((1, 1), np.float32))
    optimizers.build(optimizer, [variable])
    with optimizers.averaged(optimizer, [variable]):  # before the first step there is no average
        assert float(variable[0, 0]) == 0.0
    expected, value = None, 0.0
    for step in range(4):
        optimizer.apply_gradients([(tf.ones((1, 1)), variable)])
        value -= 0.1 if step < 3 else 0.05
        expected = value if expected is None else 0.75 * expected + 0.25 * value
    with optimizers.averaged(optimizer, [variable]):
        np.testing.assert_allclose(variable, expected, rtol=1e-6)
    np.testing.assert_allclose(variable, value, rtol=1e-6)
    optimizers.take_over_averages(optimizer, [variable])
    np.testing.assert_allclose(variable, expected, rtol=1e-6)


@pytest.mark.parametrize("changes", [{"ema_momentum": 1.0}, {"ema_momentum": 0.0}, {"weight_decay": -0.1}])
def test_values_out_of_range(changes):
    with pytest.raises(UserError, match=next(iter(changes))):
        with_learning(**changes)


@pytest.mark.parametrize(("warmup", "expected_warmup"), [(None, 5), (0, 0), (10, 10)])
def test_the_cosine_by_its_definition(warmup, expected_warmup):
    learning = with_learning(learning_rate_schedule="cosine", warmup_steps=warmup)
    schedule = optimizers.learning_rate_schedule(learning, total_steps=100)
    for step in range(101):
        rise = step / max(expected_warmup, 1)
        done = (step - expected_warmup) / (100 - expected_warmup)
        expected = 0.1 * (rise if step < expected_warmup else 0.5 * (1 + np.cos(np.pi * done)))
        np.testing.assert_allclose(schedule(step), expected, atol=1e-7)
    assert float(schedule(200)) == 0.0


def test_a_warmup_longer_than_the_training_is_refused():
    learning = with_learning(learning_rate_schedule="cosine", warmup_steps=100)
    with pytest.raises(UserError, match="warmup_steps=100 must be less than all 100 steps"):
        optimizers.make_optimizer(learning, 100)
