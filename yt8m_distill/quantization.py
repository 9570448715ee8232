"""Quantization: between the bytes that features are stored as and the numbers that models compute with."""

import zipfile
from typing import Any

import numpy as np
from keras import ops

from yt8m_distill.errors import UserError

WHITENING_EPSILON = 1e-4


def dequantize(features: Any, max_value: float = 2.0, min_value: float = -2.0) -> Any:
    """Turns stored bytes into numbers: `x * range / 255 + range / 512 + min_value`.

    Args:
        features: tensor of any shape, uint8 in [0, 255].
        max_value: upper end of the range that the features were clipped to.
        min_value: lower end of that range.

    Returns:
        float32 tensor of the same shape; [-1.9922, 2.0078] for the default range.

    Source: `Dequantize` of the starter code; the bias is range / 512, not range / 510.

    Example:
        >>> [round(float(x), 4) for x in dequantize(np.array([0, 255], np.uint8))]
        [-1.9922, 2.0078]
    """
    value_range = max_value - min_value
    return ops.cast(features, "float32") * (value_range / 255.0) + (value_range / 512.0 + min_value)


def reverse_whitening(features: Any, eigenvalues: Any) -> Any:
    """Restores the variances that whitening took from features: `(x - 4 / 512) * (sqrt(eigenvalue) + 1e-4)`.

    Args:
        features: tensor (..., size), as from `dequantize`.
        eigenvalues: (size,), at least 0, of the principal components.

    Returns:
        float32 tensor of the same shape.

    Source: NeXtVLAD (Lin et al., 2018), equation 11, and the authors' code, which has the two constants.
    """
    return (features - 4.0 / 512.0) * (ops.sqrt(eigenvalues) + WHITENING_EPSILON)


def read_eigenvalues(path: str, size: int) -> np.ndarray:
    """The first `size` numbers of a `.npy` file such as YouTube-8M's `eigenvals.npy`, float32.

    Raises:
        UserError: it cannot be read, has another shape or fewer numbers, or one that is negative or not finite.
    """
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


def quantize(features: np.ndarray, max_value: float = 2.0, min_value: float = -2.0) -> np.ndarray:
    """Turns numbers into the bytes that features are stored as.

    `quantize(dequantize(x))` gives x back for every byte.

    Args:
        features: array of any shape; values outside [min_value, max_value] are clipped.
        max_value: upper end of the range.
        min_value: lower end of the range.

    Returns:
        uint8 array of the same shape, rounded half to even.

    Source: `quantize` of the starter code's feature extractor.

    Example:
        >>> quantize([-3.0, 0.0, 2.0])
        array([  0, 128, 255], dtype=uint8)
    """
    clipped = np.clip(np.asarray(features, np.float64), min_value, max_value)
    return np.rint((clipped - min_value) * (255.0 / (max_value - min_value))).astype(np.uint8)
