"""Stacked LSTMs: states at each sequence's own end, whatever follows it."""

import keras
import numpy as np
import pytest

from yt8m_distill.layers import StackedLSTM


@pytest.fixture
def stack() -> StackedLSTM:
    layer = StackedLSTM(cells=4, layers=2)
    layer.build((None, None, 3))
    return layer


def _sequences() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(3, 5, 3)).astype(np.float32)


def test_states_are_those_at_the_end_of_each_sequence(stack):
    sequences, lengths = _sequences(), [5, 2, 0]
    mask = np.arange(5)[None, :] < np.array(lengths)[:, None]

    states, outputs = stack(sequences, mask=mask, return_outputs=True)

    for row, length in enumerate(lengths[:2]):
        alone = stack(sequences[row : row + 1, :length], mask=np.ones((1, length), bool))
        np.testing.assert_allclose(states[row], alone[0], rtol=1e-5, atol=1e-6)
        # [c0, h0, c1, h1]: the last output is the top layer's h
        np.testing.assert_allclose(outputs[row, length - 1], states[row, 12:], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(outputs[row, length:], np.zeros((5 - length, 4)))


def test_an_empty_sequence_gives_zeros(stack):
    states, outputs = stack(_sequences(), mask=np.zeros((3, 5), bool), return_outputs=True)

    np.testing.assert_array_equal(states, np.zeros((3, 16)))
    np.testing.assert_array_equal(outputs, np.zeros((3, 5, 4)))


def test_no_lstm_is_given_a_sequence_masked_throughout(stack, monkeypatch):
    masks, original = [], keras.layers.LSTM.call

    def call(self, sequences, mask=None, **kwargs):
        masks.append(np.array(mask))
        return original(self, sequences, mask=mask, **kwargs)

    monkeypatch.setattr(keras.layers.LSTM, "call", call)
    stack(_sequences(), mask=np.arange(5)[None, :] < np.array([5, 2, 0])[:, None])

    # cuDNN's conditions: real steps first, at least one
    assert len(masks) == 2
    for mask in masks:
        np.testing.assert_array_equal(mask.sum(axis=1), [5, 2, 1])
        np.testing.assert_array_equal(mask[:, 0], True)


def test_multiply_accumulates_count_both_kernels_of_every_step(stack):
    assert stack.multiply_accumulates(5) == 5 * ((3 + 4) * 16 + (4 + 4) * 16)


def test_config_round_trip(stack):
    assert StackedLSTM.from_config(stack.get_config()).get_config() == stack.get_config()
