"""Quantization: between the bytes that features are stored as and the numbers that models compute with.

Keras is imported by what computes with its tensors: processes that only read records have no memory for it.
"""

import math
import os
import zipfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from yt8m_distill.errors import UserError

WHITENING_EPSILON = 1e-4
MOST_FITTED_VALUES = 1 << 22  # that a fit keeps


class Range(NamedTuple):
    """The numbers that the bytes of a feature stand for: byte 0 the lowest, byte 255 the highest.

    Attributes:
        min_value: lower end.
        max_value: upper end, above the lower one.
    """

    min_value: float
    max_value: float


def dequantize(features: Any, max_value: Any = 2.0, min_value: Any = -2.0) -> Any:
    """Turns stored bytes into numbers: `x * range / 255 + range / 512 + min_value`.

    Args:
        features: tensor of any shape, uint8 in [0, 255].
        max_value: upper end of the range that the features were clipped to; or an array with that of each value.
        min_value: lower end of that range, or of each value's.

    Returns:
        float32 tensor of the same shape; [-1.9922, 2.0078] for the default range.

    Source: `Dequantize` of the starter code; the bias is range / 512, not range / 510.

    Example:
        >>> [round(float(x), 4) for x in dequantize(np.array([0, 255], np.uint8))]
        [-1.9922, 2.0078]
    """
    from keras import ops

    value_range = max_value - min_value
    return ops.cast(features, "float32") * (value_range / 255.0) + (value_range / 512.0 + min_value)


def range_of_each_value(sizes: Sequence[int], ranges: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the ranges of all values of a frame, for `dequantize`.

    Args:
        sizes: values a frame of each feature.
        ranges: lower and upper end of each feature.

    Returns:
        Upper and lower ends, float32 (sum of sizes,) each.

    Example:
        >>> range_of_each_value((1, 2), ((-2, 2), (0, 1)))
        (array([2., 1., 1.], dtype=float32), array([-2.,  0.,  0.], dtype=float32))
    """
    ends = np.repeat(np.array(ranges, np.float32), sizes, axis=0)
    return ends[:, 1], ends[:, 0]


def reverse_whitening(features: Any, eigenvalues: Any) -> Any:
    """Restores the variances that whitening took from features: `(x - 4 / 512) * (sqrt(eigenvalue) + 1e-4)`.

    Args:
        features: tensor (..., size), as from `dequantize`.
        eigenvalues: (size,), at least 0, of the principal components.

    Returns:
        float32 tensor of the same shape.

    Source: NeXtVLAD (Lin et al., 2018), equation 11, and the authors' code, which has the two constants.
    """
    from keras import ops

    return (features - 4.0 / 512.0) * (ops.sqrt(eigenvalues) + WHITENING_EPSILON)


def read_eigenvalues(path: str, size: int) -> np.ndarray:
    """The first `size` numbers of a `.npy` file such as YouTube-8M's `eigenvals.npy`, float32.

    Raises:
        UserError: it cannot be read, has another shape or fewer numbers, or one that is negative or not finite.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be waited for
        raise UserError(f"eigenvalues: '{path}' cannot be read: it is not a regular file.")
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        problem = getattr(error, "strerror", None) or "it is not a .npy file of numbers"
        raise UserError(f"eigenvalues: '{path}' cannot be read: {problem}.") from error
    shape = getattr(stored, "shape", None)
    if shape is None or stored.dtype.kind not in "fiu" or shape not in ((stored.size,), (stored.size, 1)):
        raise UserError(f"eigenvalues: '{path}' must hold one column of numbers, not {shape or 'an archive'}.")
    if stored.size < size:
        raise UserError(
            f"eigenvalues: '{path}' holds {stored.size} numbers; the first feature needs one for each of its {size} "
            "values."
        )
    values = np.array(stored.reshape(-1)[:size], np.float32)
    if not np.all(np.isfinite(values)) or values.min(initial=0.0) < 0:
        raise UserError(f"eigenvalues: '{path}' holds numbers that are negative or not finite.")
    return values


def quantize(features: np.ndarray, max_value: Any = 2.0, min_value: Any = -2.0) -> np.ndarray:
    """Turns numbers into the bytes that features are stored as.

    `quantize(dequantize(x))` gives x back for every byte. Published features have the default range; for features of
    your own `fit_range` gives one that they fill, which `features.json` beside the files must name
    (`data.feature_ranges.write_ranges`, or `python -m yt8m_distill.quantize` for whole files).

    Args:
        features: array of any shape; values outside [min_value, max_value] are clipped.
        max_value: upper end of the range, or an array with that of each value.
        min_value: lower end of the range, or of each value's.

    Returns:
        uint8 array of the same shape, rounded half to even.

    Source: `quantize` of the starter code's feature extractor.

    Example:
        >>> quantize([-3.0, 0.0, 2.0])
        array([  0, 128, 255], dtype=uint8)
    """
    clipped = np.clip(np.asarray(features, np.float64), min_value, max_value)
    return np.rint((clipped - min_value) * (255.0 / (max_value - min_value))).astype(np.uint8)


class RangeFit:
    """Finds the range of a feature whose values come in parts, from a sample of them in bounded memory.

    Args:
        clipped: share of the values that may be outside, at each end; single outliers do not stretch the range then.

    Example:
        >>> fit = RangeFit()
        >>> fit.add(np.linspace(0, 1, 11))
        >>> fit.range()
        Range(min_value=0.0, max_value=1.0)
    """

    def __init__(self, clipped: float = 1e-4):
        self._clipped = clipped
        self._parts: list[np.ndarray] = []
        self._kept = 0
        self._step = 1

    def add(self, values: Any):
        """Adds values.

        Raises:
            UserError: one is not finite.
        """
        part = np.array(values, np.float32).ravel()[:: self._step]  # a copy: the caller may reuse its memory
        if not np.isfinite(part).all():
            raise UserError("a value is not finite.")
        self._parts.append(part)
        self._kept += len(part)
        while self._kept > MOST_FITTED_VALUES:
            self._parts = [np.concatenate(self._parts)[::2]]
            self._kept, self._step = len(self._parts[0]), 2 * self._step

    def range(self) -> Range:
        """The range of what was added.

        Raises:
            UserError: nothing was.
        """
        if not self._kept:
            raise UserError("there are no values to fit a range to.")
        values = np.sort(np.concatenate(self._parts))
        outside = math.floor(self._clipped * len(values))
        low, high = float(values[outside]), float(values[-1 - outside])
        if low == high:  # a constant feature
            return Range(low - max(abs(low), 1.0), high + max(abs(high), 1.0))
        return Range(low, high)


def fit_range(features: Any, clipped: float = 1e-4) -> Range:
    """The range that values of a feature fill, for `quantize` and `dequantize`.

    Args:
        features: array of any shape, of many videos.
        clipped: as for `RangeFit`.

    Raises:
        UserError: there are no values, or one is not finite.

    Example:
        >>> embedding = fit_range([[-0.25, 0.5], [0.0, 0.25]])
        >>> embedding
        Range(min_value=-0.25, max_value=0.5)
        >>> quantize([-0.25, 0.0, 0.5], embedding.max_value, embedding.min_value)
        array([  0,  85, 255], dtype=uint8)
    """
    fit = RangeFit(clipped)
    fit.add(features)
    return fit.range()
