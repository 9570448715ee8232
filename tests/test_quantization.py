"""Dequantizing and quantizing against the original functions."""

import numpy as np
import tensorflow as tf

from tests.helpers import load_case
from yt8m_distill.quantization import dequantize, quantize


def test_dequantize_equals_the_original():
    case = load_case("a_dequantize")

    result = dequantize(case["bytes"])
    other_range = dequantize(case["bytes"], max_value=1, min_value=-3)

    assert tf.as_dtype(result.dtype) == tf.float32
    np.testing.assert_allclose(result, case["dequantized_2_m2"], rtol=0, atol=3e-7)
    np.testing.assert_allclose(other_range, case["dequantized_1_m3"], rtol=0, atol=3e-7)


def test_dequantize_is_the_same_in_a_dataset():
    case = load_case("a_dequantize")

    dataset = tf.data.Dataset.from_tensors(case["bytes"]).map(dequantize)

    np.testing.assert_array_equal(next(iter(dataset)), dequantize(case["bytes"]))


def test_quantize_equals_the_original():
    case = load_case("a_dequantize")

    result = quantize(case["quantize_input"])

    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, case["quantize_output"])


def test_quantize_inverts_dequantize_for_every_byte():
    values = np.arange(256, dtype=np.uint8)

    np.testing.assert_array_equal(quantize(np.asarray(dequantize(values))), values)
    np.testing.assert_array_equal(quantize(np.asarray(dequantize(values, 1, -3)), 1, -3), values)


def test_quantize_rounds_half_to_even_and_clips():
    result = quantize(np.array([0.5, 1.5, 2.5, -9.0, 999.0]), max_value=255, min_value=0)

    np.testing.assert_array_equal(result, [0, 2, 2, 0, 255])
