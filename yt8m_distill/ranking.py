"""The highest scores, with ties as the original code has them."""

from collections.abc import Sequence

import numpy as np

from yt8m_distill.errors import UserError


def ranked_classes(ids: Sequence[str], predictions, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """The best classes of every video, and their scores, best first; of equal scores the lower class comes first.

    Args:
        ids: of the videos.
        predictions: array (batch, classes), finite.
        top_k: how many; all where there are fewer.

    Returns:
        Two arrays (batch, k).

    Raises:
        UserError: a prediction is NaN or infinite, or the shape is not (batch, classes).
    """
    scores = np.asarray(predictions)
    if scores.dtype != np.float64:
        scores = scores.astype(np.float32, copy=False)  # Also for 16-bit floats.
    if scores.ndim != 2 or len(scores) != len(ids) or not scores.shape[1]:
        raise UserError(
            f"predictions have the shape {scores.shape} for {len(ids)} video ids: ({len(ids)}, classes) is needed."
        )
    if top_k < 1:
        raise UserError(f"top_k is {top_k}: at least 1 is needed.")
    # Of a row with a NaN both are NaN: cheaper than looking at every score.
    damaged = np.flatnonzero(~(np.isfinite(scores.max(axis=1)) & np.isfinite(scores.min(axis=1))))
    if damaged.size:
        raise UserError(f"The predictions of video {ids[damaged[0]]} are not finite: has the training diverged?")
    return _top_classes(scores, min(top_k, scores.shape[1]))


def _top_classes(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best classes of every row and their scores, best first; of equal scores the lower class comes first."""
    border = scores.shape[1] - k
    classes = np.argpartition(scores, border, axis=1)[:, border:]
    lowest = np.take_along_axis(scores, classes, axis=1).min(axis=1, keepdims=True)
    # Among scores equal to the lowest kept one, argpartition chooses differently on different processors.
    tied = np.flatnonzero(np.count_nonzero(scores >= lowest, axis=1) > k)
    classes[tied] = np.argsort(-scores[tied], axis=1, kind="stable")[:, :k]
    classes.sort(axis=1)
    values = np.take_along_axis(scores, classes, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(classes, order, axis=1), np.take_along_axis(values, order, axis=1)
