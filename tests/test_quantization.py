"""Dequantizing and quantizing against the original functions."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import load_case
from yt8m_distill import quantization
from yt8m_distill.errors import UserError
from yt8m_distill.quantization import RangeFit, dequantize, fit_range, quantize, range_of_each_value


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


def test_each_value_can_have_a_range_of_its_own():
    high, low = range_of_each_value((2, 1), ((-1, 1), (0, 5)))
    frames = np.array([[0, 255, 128], [7, 8, 9]], np.uint8)
    result = np.asarray(dequantize(frames, high, low))
    np.testing.assert_allclose(result[:, :2], dequantize(frames[:, :2], 1, -1), rtol=1e-6)
    np.testing.assert_allclose(result[:, 2:], dequantize(frames[:, 2:], 5, 0), rtol=1e-6)
    np.testing.assert_array_equal(quantize(result, high, low), frames)


def test_a_fit_does_not_follow_single_outliers():
    values = np.random.default_rng(0).normal(size=100_000)
    values[7] = 1e6
    low, high = fit_range(values)
    assert -4.5 < low < -3.4
    assert 3.4 < high < 4.5


def test_a_fit_in_parts_is_bounded_in_memory(monkeypatch):
    monkeypatch.setattr(quantization, "MOST_FITTED_VALUES", 1000)
    fit = RangeFit()
    for part in np.split(np.linspace(0, 1, 100_000), 100):
        fit.add(part)
        assert fit._kept <= 1000
    assert fit.range() == pytest.approx((0, 1), abs=0.01)


def test_fits_of_constants_and_of_nothing():
    assert fit_range([3.0, 3.0]) == (0.0, 6.0)
    for values, message in (([], "no values"), ([1.0, np.nan], "not finite")):
        with pytest.raises(UserError, match=message):
            fit_range(values)
