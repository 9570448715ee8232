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
        UserError: a prediction is NaN or infinite, the shape is not (batch, classes), or `top_k` is below 1.

    Example:
        >>> ranked_classes(["a"], [[0.25, 0.75, 0.75]], top_k=2)[0]
        array([[1, 2]])
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
    return top_classes(scores, min(top_k, scores.shape[1]))


def top_classes(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best classes of every row, best first; of equal scores the lower class comes first.

    Args:
        scores: array (batch, classes) without NaN.
        k: how many, from 1 to the number of classes.

    Returns:
        The class indices (batch, k) int64 and their scores (batch, k).

    Example:
        >>> classes, scores = top_classes(np.array([[0.5, 0.9, 0.5, 0.1]]), k=2)
        >>> classes, scores
        (array([[1, 0]]), array([[0.9, 0.5]]))
    """
    batch, num_classes = scores.shape
    # The k-th best score and a comparison take half the time of argpartition, and show ties at the border.
    border = np.partition(scores, num_classes - k, axis=1)[:, num_classes - k, None]
    chosen = scores >= border
    cells: np.ndarray = np.flatnonzero(chosen)
    if cells.size != batch * k:
        _drop_surplus_ties(chosen, scores, border, k)
        cells = np.flatnonzero(chosen)
    cells = cells.reshape(batch, k)
    values = scores.ravel()[cells]
    order = np.argsort(-values, axis=1, kind="stable")
    classes = np.take_along_axis(cells, order, axis=1) - num_classes * np.arange(batch)[:, None]
    return classes, np.take_along_axis(values, order, axis=1)


def _drop_surplus_ties(chosen: np.ndarray, scores: np.ndarray, border: np.ndarray, k: int) -> None:
    """Leaves exactly k chosen in every row of `chosen`: of the scores at the border, those of the lowest classes."""
    surplus = np.count_nonzero(chosen, axis=1) - k
    rows = np.flatnonzero(surplus)
    tied = scores[rows] == border[rows]
    wanted = np.count_nonzero(tied, axis=1) - surplus[rows]
    chosen[rows] &= ~tied | (np.cumsum(tied, axis=1, dtype=np.int32) <= wanted[:, None])
