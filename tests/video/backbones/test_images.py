"""Resizing against TensorFlow's."""

import numpy as np
import pytest
import tensorflow as tf

from yt8m_distill.video.backbones.images import cropped, resized


@pytest.mark.parametrize("size", [(24, 24), (100, 90), (7, 200), (61, 83)])
def test_resizing_is_that_of_tensorflow(size):
    image = np.random.default_rng(0).integers(0, 256, (61, 83, 3), np.uint8)
    image[:30, :40] = 0  # the filter overshoots at edges, and is clipped
    expected = tf.image.resize(image.astype(np.float32), size, "bicubic", antialias=True).numpy()
    result = resized(image, size)
    assert result.dtype == np.uint8
    np.testing.assert_allclose(result, np.clip(expected, 0, 255), rtol=0, atol=0.51)  # 0.5 of it by rounding


def test_a_plain_image_stays_plain():
    for size in ((3, 5), (50, 40)):
        np.testing.assert_array_equal(resized(np.full((17, 11, 3), 201, np.uint8), size), np.full((*size, 3), 201))


def test_the_middle_is_cropped():
    image = np.arange(10 * 20).reshape(10, 20, 1)
    np.testing.assert_array_equal(cropped(image, 1.0), image[:, 5:15])
    np.testing.assert_array_equal(cropped(image, 0.6), image[2:8, 7:13])
    np.testing.assert_array_equal(cropped(image.swapaxes(0, 1), 1.0), image.swapaxes(0, 1)[5:15])
    assert cropped(image, 1e-9).shape == (1, 1, 1)
