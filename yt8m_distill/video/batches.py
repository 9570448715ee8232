"""Networks run on batches of one size, so that results do not depend on what else is in a batch."""

from collections.abc import Callable, Sequence

import numpy as np


def in_fixed_batches(
    run: Callable[[np.ndarray], np.ndarray], rows: Sequence[np.ndarray], batch_size: int, size: int
) -> np.ndarray:
    """The features of rows, by a network that always computes `batch_size` of them.

    The last bits of a convolution depend on how many rows it gets, so missing ones are filled with zeros.

    Args:
        run: the network: (batch_size, ...) to (batch_size, size).
        rows: arrays of one shape and dtype, any number of them.
        batch_size: rows at a time.
        size: values of a feature.

    Returns:
        float32 (rows, size).
    """
    features = np.zeros((len(rows), size), np.float32)
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        batch = np.zeros((batch_size, *part[0].shape), part[0].dtype)
        for place, row in enumerate(part):
            batch[place] = row
        features[start : start + len(part)] = run(batch)[: len(part)]
    return features
