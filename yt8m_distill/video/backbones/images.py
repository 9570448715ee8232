"""Cropping and resizing of images in numpy: the same bytes on every machine, and on any thread."""

import functools
import math

import numpy as np

_CUBIC = -0.5  # Keys's parameter


def cropped(image: np.ndarray, share: float) -> np.ndarray:
    """The square in the middle of an image.

    Args:
        image: (height, width, channels).
        share: side of the square, as a share of the image's shorter side, above 0, at most 1.

    Returns:
        A view of the image.
    """
    height, width = image.shape[:2]
    side = max(1, round(share * min(height, width)))
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def prepared(image: np.ndarray, size: tuple[int, int] | None, crop: float) -> np.ndarray:
    """An image as a network takes it.

    Args:
        image: uint8 (height, width, 3).
        size: height and width that it takes; None: any, and it gets the image itself.
        crop: as for `cropped`; 0: all of it.

    Returns:
        uint8 (*size, 3).
    """
    if size is None:
        return image
    return resized(cropped(image, crop) if crop else image, size)


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image in another size, all of it: its aspect ratio is not kept.

    Args:
        image: uint8 (height, width, channels).
        size: new height and width.

    Returns:
        uint8 (*size, channels), contiguous.

    Source: the bicubic filter of Pillow, and of `tf.image.resize` with antialias: where an image shrinks, the filter is
        as wide as the pixels that make a new one; at the edges it is cut off.
    """
    if image.shape[:2] == tuple(size):
        return np.ascontiguousarray(image)
    # Sums of float32 in a fixed order: always the same. The smaller of the two intermediate images comes first.
    height, width = image.shape[:2]
    if size[0] * width <= height * size[1]:
        values = _along_columns(_along_rows(image, size[0]), size[1])
    else:
        values = _along_rows(_along_columns(image, size[1]), size[0])
    return np.ascontiguousarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _along_rows(image: np.ndarray, size: int) -> np.ndarray:
    """float32 (size, width, channels)."""
    places, weights = _taps(image.shape[0], size)
    values = np.zeros((size, *image.shape[1:]), np.float32)
    for place, weight in zip(places, weights, strict=True):
        values += image[place] * weight[:, np.newaxis, np.newaxis]
    return values


def _along_columns(image: np.ndarray, size: int) -> np.ndarray:
    """float32 (height, size, channels)."""
    return _along_rows(np.ascontiguousarray(image.swapaxes(0, 1)), size).swapaxes(0, 1)


@functools.lru_cache(maxsize=64)
def _taps(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels make each new one: their places and weights, (taps, new) each."""
    scale = old / new
    width = max(scale, 1.0)
    centers = (np.arange(new) + 0.5) * scale
    first = np.floor(centers - 2 * width).astype(np.intp)
    places = first + np.arange(math.ceil(4 * width) + 1)[:, np.newaxis]
    weights = _cubic(np.abs(places + 0.5 - centers) / width)
    weights[(places < 0) | (places >= old)] = 0.0
    kept = weights.any(axis=1)
    weights = weights[kept] / weights.sum(axis=0)
    return np.clip(places[kept], 0, old - 1), weights.astype(np.float32)


def _cubic(distance: np.ndarray) -> np.ndarray:
    a = _CUBIC
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
