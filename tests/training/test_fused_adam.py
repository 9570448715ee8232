"""Adam in one pass: the numbers of its definition and of Keras's, whose state it shares."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from yt8m_distill.training.fused_adam import FusedAdam, FusedAdamW

RANDOM = np.random.default_rng(0)
START = {"matrix": RANDOM.standard_normal((5, 3)), "vector": RANDOM.standard_normal(3)}
# The last matrix has a gradient of 0 in places.
GRADIENTS = [
    {name: RANDOM.standard_normal(value.shape) * (step < 5) for name, value in START.items()} for step in range(6)
]
PAIRS = [(FusedAdam, keras.optimizers.Adam), (FusedAdamW, keras.optimizers.AdamW)]


def new_variables() -> list[keras.Variable]:
    return [keras.Variable(value.astype(np.float32), name=name) for name, value in START.items()]


def steps(optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable], numbers, jit_compile: bool = False):
    def step(gradients):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    step = tf.function(step, jit_compile=True) if jit_compile else step
    for number in numbers:
        step([tf.constant(GRADIENTS[number][variable.name], tf.float32) for variable in variables])


def by_definition(name: str, rate: float, epsilon: float) -> np.ndarray:
    """Kingma and Ba, "Adam", with the epsilon of its section 2's last paragraph, in 64 bits."""
    value, mean, square = START[name], 0.0, 0.0
    for number, gradients in enumerate(GRADIENTS, start=1):
        mean = 0.9 * mean + 0.1 * gradients[name]
        square = 0.999 * square + 0.001 * gradients[name] ** 2
        rate_now = rate * np.sqrt(1 - 0.999**number) / (1 - 0.9**number)
        value = value - rate_now * mean / (np.sqrt(square) + epsilon)
    return value


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_update_is_that_of_the_definition(jit_compile):
    optimizer, variables = FusedAdam(0.1, epsilon=1e-3), new_variables()
    steps(optimizer, variables, range(6), jit_compile)
    for variable in variables:
        np.testing.assert_allclose(variable, by_definition(variable.name, 0.1, 1e-3), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(("fused", "keras_own"), PAIRS)
@pytest.mark.parametrize("options", [{}, {"amsgrad": True}, {"use_ema": True, "ema_momentum": 0.9}])
def test_training_goes_on_from_the_state_of_kerass(fused, keras_own, options):
    expected, original = new_variables(), keras_own(0.1, **options)
    steps(original, expected, range(6))

    variables, first, second = new_variables(), keras_own(0.1, **options), fused(0.1, **options)
    steps(first, variables, range(3))
    second.build(variables)
    names = [[(each.name, each.shape) for each in optimizer.variables] for optimizer in (first, second)]
    assert names[0] == names[1]
    for own, stored in zip(second.variables, first.variables, strict=True):
        own.assign(stored)
    steps(second, variables, range(3, 6))

    for value, value_expected in zip([*variables, *second.variables], [*expected, *original.variables], strict=True):
        np.testing.assert_allclose(value, value_expected, rtol=2e-5, atol=1e-6, err_msg=value_expected.path)


@pytest.mark.parametrize(("fused", "keras_own"), PAIRS)
def test_the_configuration_is_that_of_kerass(fused, keras_own):
    optimizer = fused(0.1, epsilon=1e-3)
    assert optimizer.get_config() == keras_own(0.1, epsilon=1e-3, name=optimizer.name).get_config()
    assert optimizer.name in ("adam", "adam_w")
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert (type(copy), copy.get_config()) == (fused, optimizer.get_config())


def test_rows_of_a_gathered_matrix_are_updated_as_all_others_are():
    matrix = np.ones((4, 2), np.float32)
    values = []
    for dense in (False, True):
        variable, optimizer = keras.Variable(matrix), FusedAdam(0.1)
        for _ in range(2):
            gradient = tf.IndexedSlices(tf.ones((2, 2)), tf.constant([1, 1]), (4, 2))
            optimizer.apply_gradients([(tf.convert_to_tensor(gradient) if dense else gradient, variable)])
        values.append(variable.numpy())
    np.testing.assert_array_equal(*values)
    assert (values[0][1] < 1).all()
    np.testing.assert_array_equal(values[0][[0, 2, 3]], 1.0)
