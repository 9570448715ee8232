"""Between the bytes in which features are stored and the numbers that models compute with."""

from typing import Any

import numpy as np
from keras import ops


def dequantize(features: Any, max_value: float = 2.0, min_value: float = -2.0) -> Any:
    """Turns stored bytes back into numbers: `x * range / 255 + range / 512 + min_value`.

    Args:
        features: tensor of any shape, uint8 in [0, 255].
        max_value: upper end of the range that the features were clipped to.
        min_value: lower end of that range.

    Returns:
        float32 tensor of the same shape; [-1.9922, 2.0078] for the default range.

    Source: `Dequantize` of the starter code; the bias is range / 512, not range / 510.
    """
    value_range = max_value - min_value
    return ops.cast(features, "float32") * (value_range / 255.0) + (value_range / 512.0 + min_value)


def quantize(features: np.ndarray, max_value: float = 2.0, min_value: float = -2.0) -> np.ndarray:
    """Turns numbers into the bytes in which features are stored.

    `quantize(dequantize(x))` gives x back for every byte.

    Args:
        features: array of any shape; values outside [min_value, max_value] are clipped.
        max_value: upper end of the range.
        min_value: lower end of the range.

    Returns:
        uint8 array of the same shape, rounded half to even.

    Source: `quantize` of the starter code's feature extractor.
    """
    clipped = np.clip(np.asarray(features, np.float64), min_value, max_value)
    return np.rint((clipped - min_value) * (255.0 / (max_value - min_value))).astype(np.uint8)
