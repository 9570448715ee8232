"""Our NetVLAD and Keras' focal loss and weight averages against the numbers of TensorFlow Addons.

tests/reference/addons.npz is written by addons_reference.py; the tests here run without TensorFlow Addons.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.addons import addons_reference
from tests.addons.addons_reference import AVERAGE_DECAY, FOCAL_PARAMETERS, LEARNING_RATES, NETVLAD_SHORT_FRAMES
from tests.helpers import load_case
from yt8m_distill.layers.netvlad import NetVLADPooling

# float32, the same operations in another order.
RTOL = 1e-5
ATOL = 1e-6
# Gradients through two normalizations.
GRADIENT_RTOL = 1e-4
# Addons takes log(p + 1e-7), Keras log(p), here with p from .02 to .98; and where Addons computes from the logits
# themselves, Keras takes their sigmoid first, which rounds 1 - p (logits here up to 4).
FOCAL_RTOL = 2e-5
# Adam divides gradients by their size, and with them what rounding left of the small ones; its steps here are .05.
STEPS_ATOL = 1e-5


@pytest.fixture(scope="module")
def reference():
    return load_case("addons")


def netvlad_with_weights(reference):
    layer = NetVLADPooling(reference["netvlad.weight.bias"].size, batch_norm=False)
    layer.build(reference["netvlad.frames"].shape)
    variables = {
        "cluster_centers": layer.centers,
        "kernel": layer.assignment.kernel,
        "bias": layer.assignment.bias,
    }
    assert len(layer.weights) == len(variables)
    for name, variable in variables.items():
        variable.assign(reference[f"netvlad.weight.{name}"])
    return layer, variables


def test_netvlad_output(reference):
    layer, _ = netvlad_with_weights(reference)
    np.testing.assert_allclose(layer(reference["netvlad.frames"]), reference["netvlad.output"], rtol=RTOL, atol=ATOL)


def test_netvlad_gradients(reference):
    layer, variables = netvlad_with_weights(reference)
    frames = tf.Variable(reference["netvlad.frames"])
    with tf.GradientTape() as tape:
        objective = tf.reduce_sum(layer(frames) * reference["netvlad.target"])
    sources = {"frames": frames} | {name: variable.value for name, variable in variables.items()}
    for name, gradient in tape.gradient(objective, sources).items():
        np.testing.assert_allclose(
            gradient, reference[f"netvlad.gradient.{name}"], rtol=GRADIENT_RTOL, atol=ATOL, err_msg=name
        )


def test_netvlad_with_mask_equals_addons_on_the_short_video(reference):
    """Addons has no mask: a padded video given to ours must equal the video without padding given to theirs."""
    layer, _ = netvlad_with_weights(reference)
    frames = reference["netvlad.frames"][:1]
    mask = np.arange(frames.shape[1])[None] < NETVLAD_SHORT_FRAMES
    expected = reference["netvlad.short_output"]
    np.testing.assert_allclose(layer(frames, mask=mask), expected, rtol=RTOL, atol=ATOL)
    assert np.abs(layer(frames) - expected).max() > 0.01  # the frames beyond the mask would have mattered


def test_netvlad_regularization(reference):
    """Addons regularizes inside the layer, 1e-5 * sum(kernel^2); the same as Keras' L2, which does not halve either."""
    penalty = keras.regularizers.L2(1e-5)(reference["netvlad.weight.kernel"])
    np.testing.assert_allclose(penalty, reference["netvlad.regularization_loss"], rtol=RTOL)


@pytest.mark.parametrize("predictions", ["probabilities", "logits"])
@pytest.mark.parametrize("case", FOCAL_PARAMETERS)
def test_focal_loss(reference, case, predictions):
    """Addons sums over classes where Keras averages; alpha 0 means no class balancing there, a switch in Keras."""
    alpha, gamma = FOCAL_PARAMETERS[case]["alpha"], FOCAL_PARAMETERS[case]["gamma"]
    loss = keras.losses.BinaryFocalCrossentropy(
        apply_class_balancing=alpha > 0,
        alpha=alpha,
        gamma=gamma,
        from_logits=predictions == "logits",
        reduction=None,
    )
    labels = reference["focal.labels"]
    ours = loss(labels, reference[f"focal.{predictions}"]) * labels.shape[1]
    np.testing.assert_allclose(ours, reference[f"focal.{case}.{predictions}"], rtol=FOCAL_RTOL)


def keras_steps(reference, optimizer_name, momentum_of_step):
    """A Keras optimizer with `use_ema` on the stored problem.

    Returns:
        Arrays (steps, ...) of the weights and averages after each step; and the weights once they are finalized.
    """
    kernel = keras.Variable(reference["average.kernel"])
    bias = keras.Variable(reference["average.bias"])
    optimizer = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}[optimizer_name](
        LEARNING_RATES[optimizer_name], use_ema=True
    )
    optimizer.build([kernel, bias])
    averages = optimizer._model_variables_moving_average  # Keras shows them only by overwriting the weights
    steps = {"kernel": [], "bias": [], "kernel_average": [], "bias_average": []}
    for step in range(addons_reference.OPTIMIZER_STEPS):
        optimizer.ema_momentum = momentum_of_step(step)
        gradients = addons_reference.least_squares_gradients(
            kernel.numpy(), bias.numpy(), reference["average.inputs"], reference["average.targets"]
        )
        optimizer.apply_gradients(zip(map(keras.ops.convert_to_tensor, gradients), (kernel, bias), strict=True))
        for name, variable in zip(steps, (kernel, bias, *averages), strict=True):
            steps[name].append(variable.numpy())
    optimizer.finalize_variable_values([kernel, bias])
    finalized = {"kernel": kernel.numpy(), "bias": bias.numpy()}
    return {name: np.stack(values) for name, values in steps.items()}, finalized


def assert_steps_equal(steps, reference, prefix):
    for name, values in steps.items():
        np.testing.assert_allclose(values, reference[f"{prefix}.{name}"], rtol=RTOL, atol=STEPS_ATOL, err_msg=name)


@pytest.mark.parametrize("optimizer_name", LEARNING_RATES)
def test_use_ema_is_moving_average_from_step_1(reference, optimizer_name):
    """Keras' first average is the weights after the first step; so is that of Addons with start_step=1."""
    steps, finalized = keras_steps(reference, optimizer_name, lambda step: AVERAGE_DECAY)
    assert_steps_equal(steps, reference, f"average.{optimizer_name}.start1")
    for name, value in finalized.items():  # what `assign_average_vars` of Addons does
        np.testing.assert_array_equal(value, steps[f"{name}_average"][-1])


@pytest.mark.parametrize("optimizer_name", LEARNING_RATES)
@pytest.mark.parametrize("name", ["kernel", "bias"])
def test_moving_average_from_step_0_keeps_a_share_of_the_initial_weights(reference, optimizer_name, name):
    """The default of Addons, start_step=0, starts the average at the initial weights w0 instead of at w1.

    After t steps that leaves decay^t (w0 - w1) more in it than in Keras' average.
    """
    steps, _ = keras_steps(reference, optimizer_name, lambda step: AVERAGE_DECAY)
    decays = AVERAGE_DECAY ** np.arange(1, addons_reference.OPTIMIZER_STEPS + 1)
    first_step = reference[f"average.{name}"] - steps[name][0]
    expected = steps[f"{name}_average"] + np.multiply.outer(decays, first_step)
    stored = reference[f"average.{optimizer_name}.start0.{name}_average"]
    np.testing.assert_allclose(expected, stored, rtol=RTOL, atol=STEPS_ATOL)
    assert np.abs(steps[f"{name}_average"] - stored).max() > 0.01  # the definitions do differ


@pytest.mark.parametrize("optimizer_name", LEARNING_RATES)
def test_dynamic_decay_is_a_momentum_that_grows(reference, optimizer_name):
    """Keras has no dynamic decay; min(decay, (1 + t) / (10 + t)) as momentum of step t + 1 gives that of Addons."""
    steps, _ = keras_steps(reference, optimizer_name, lambda step: min(AVERAGE_DECAY, step / (9 + step)))
    assert_steps_equal(steps, reference, f"average.{optimizer_name}.dynamic")


def test_differences_between_reference_files_are_reported(reference):
    assert addons_reference.differences(reference, reference) == []
    changed = {name: value for name, value in reference.items() if name != "netvlad.output"}
    changed["focal.sharp.logits"] = changed["focal.sharp.logits"] + np.float32(1e-3)
    changed["versions"] = np.array(["tensorflow 1", "tensorflow_addons 0"])
    named = [sentence.partition(":")[0] for sentence in addons_reference.differences(reference, changed)]
    assert named == ["netvlad.output", "focal.sharp.logits", "versions"]
