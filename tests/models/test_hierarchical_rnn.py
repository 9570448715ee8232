"""The hierarchical LSTM against its authors' code: states, predictions, gradients of the teacher."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import case_weights, load_case
from tests.models.reference import cross_entropy
from yt8m_distill.errors import UserError
from yt8m_distill.models import HierarchicalRNN
from yt8m_distill.tf1.weights import load_reference_weights


@pytest.mark.parametrize(
    ("who", "scope", "frames", "num_frames", "block_length"),
    [
        ("teacher", "model", "model_input", "num_frames", 6),
        ("student", "model_student", "student_input", "student_num_frames", 4),
    ],
)
def test_forward_equals_the_original(who, scope, frames, num_frames, block_length):
    case = load_case("e_hlstm")
    model = HierarchicalRNN((6,), 10, classifier="moe", cells=6, block_length=block_length)
    load_reference_weights(model, case_weights(case), scope=scope)

    outputs = model({"frames": case[frames], "num_frames": case[num_frames]}, return_intermediates=True)

    np.testing.assert_allclose(outputs["representation"], case[f"{who}_state"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(outputs["predictions"], case[f"{who}_predictions"], rtol=1e-4, atol=1e-5)
    # The lower stack's top h at the last frame of a block is the last part of that block's state.
    states, blocks = np.array(outputs["frame_states"]), case[f"{who}_l1_states"]
    for video, lengths in enumerate(case[f"{who}_l1_lengths"]):
        for block, length in enumerate(lengths):
            if length:
                last = states[video, block * block_length + length - 1]
                np.testing.assert_allclose(last, blocks[video, block, -6:], rtol=1e-4, atol=1e-5)


def test_teacher_gradients_equal_the_original():
    case = load_case("f_hlstm_distillation_train")
    model = HierarchicalRNN((5,), 9, classifier="moe", cells=4, block_length=15, dropout=0.0)
    load_reference_weights(model, case_weights(case), scope="model")

    with tf.GradientTape() as tape:
        outputs = model({"frames": case["input_bytes"], "num_frames": case["num_frames"]}, training=True)
        label_loss = cross_entropy(outputs["predictions"], case["labels"], 1e-5)
        loss = label_loss + float(case["hp.regularization_penalty"]) * tf.add_n(model.losses)
    variables = _variables_by_original(model)
    gradients = tape.gradient(loss, variables)

    np.testing.assert_allclose(outputs["representation"], case["teacher_state"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(label_loss, case["teacher_label_loss"], rtol=1e-5)
    np.testing.assert_allclose(loss, case["teacher_final_loss"], rtol=1e-5)
    for name, gradient in gradients.items():
        ours, theirs = _in_original_order(gradient), case[f"grad.model.{name}"]
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(np.linalg.norm(ours), case[f"gradnorm.model.{name}"], rtol=1e-3, err_msg=name)


def _variables_by_original(model: HierarchicalRNN) -> dict[str, list[tf.Variable]]:
    found = {
        "classifier.gates.weights": [model.classifier.gates.kernel.value],
        "classifier.experts.weights": [model.classifier.experts.kernel.value],
        "classifier.experts.biases": [model.classifier.experts.bias.value],
    }
    for scope, stack in (("RNN_L1", model.lower), ("RNN_L2", model.upper)):
        for index, lstm in enumerate(stack.lstms):
            name = f"{scope}.rnn.multi_rnn_cell.cell_{index}.basic_lstm_cell"
            found[f"{name}.kernel"] = [lstm.cell.kernel.value, lstm.cell.recurrent_kernel.value]
            found[f"{name}.bias"] = [lstm.cell.bias.value]
    assert sum(map(len, found.values())) == len(model.trainable_variables)
    return found


def _in_original_order(gradients: list[tf.Tensor]) -> np.ndarray:
    """Joins a cell's two kernels and brings gates i, f, c, o into the order i, j (= c), f, o; others stay."""
    joined = np.concatenate([np.array(gradient) for gradient in gradients])
    if len(gradients) == 1 and joined.shape != (16,):
        return joined
    i, f, c, o = np.split(joined, 4, axis=-1)
    return np.concatenate([i, c, f, o], axis=-1)


def test_the_representation_has_no_dropout():
    model = HierarchicalRNN((5,), 9, cells=4, block_length=3, dropout=0.9)
    inputs = {"frames": np.full((3, 7, 5), 0.1, np.float32), "num_frames": np.array([7, 4, 1])}

    training, inference = model(inputs, training=True), model(inputs)

    np.testing.assert_array_equal(training["representation"], inference["representation"])
    assert np.abs(training["logits"] - inference["logits"]).max() > 1e-6


def test_frames_need_not_fill_the_last_block():
    model = HierarchicalRNN((5,), 9, cells=4, block_length=5)
    frames = np.random.default_rng(0).normal(size=(2, 7, 5)).astype(np.float32)
    filled = np.concatenate([frames, np.zeros((2, 3, 5), np.float32)], axis=1)
    num_frames = np.array([7, 5])

    short = model({"frames": frames, "num_frames": num_frames}, return_intermediates=True)
    full = model({"frames": filled, "num_frames": num_frames}, return_intermediates=True)

    np.testing.assert_allclose(short["representation"], full["representation"], rtol=1e-6)
    np.testing.assert_allclose(short["frame_states"], full["frame_states"][:, :7], rtol=1e-6)


@pytest.mark.parametrize(("frames", "block_length"), [(300, 20), (100, 20), (99, 5), (10, 5), (9, 3), (2, 2), (1, 1)])
def test_block_length_follows_the_frames(frames, block_length):
    assert HierarchicalRNN.args_for_frames(frames) == {"block_length": block_length}


def test_forget_bias_is_one_and_kernels_start_within_the_original_limit():
    model = HierarchicalRNN((6,), 9, cells=10)
    cell = model.lower.lstms[0].cell

    np.testing.assert_array_equal(cell.bias.numpy(), np.repeat([0, 1, 0, 0], 10))
    limit = np.sqrt(6 / (16 + 40))
    for kernel in (cell.kernel.numpy(), cell.recurrent_kernel.numpy()):
        assert 0.9 * limit < np.abs(kernel).max() <= limit


@pytest.mark.parametrize("argument", ["cells", "layers", "block_length"])
def test_arguments_out_of_range_are_refused(argument):
    with pytest.raises(UserError, match=f"{argument} must be an integer of at least 1, not 0"):
        HierarchicalRNN((6,), 9, **{argument: 0})
