"""The best classes with ties, against sorting."""

import numpy as np
import pytest

from yt8m_distill.errors import UserError
from yt8m_distill.ranking import ranked_classes, top_classes


@pytest.mark.parametrize("k", [1, 3, 11, 12])
@pytest.mark.parametrize("levels", [1, 2, 5, 1000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_top_classes_are_those_of_a_stable_sort(k, levels, dtype):
    scores = np.random.default_rng(levels).integers(0, levels, (50, 12)).astype(dtype) / levels
    classes, values = top_classes(scores, k)
    np.testing.assert_array_equal(classes, np.argsort(-scores, axis=1, kind="stable")[:, :k])
    np.testing.assert_array_equal(values, np.take_along_axis(scores, classes, axis=1))
    assert values.dtype == dtype


def test_more_than_there_are():
    classes, scores = ranked_classes(["a", "b"], [[0.25, 0.5], [0.5, 0.5]], top_k=5)
    np.testing.assert_array_equal(classes, [[1, 0], [0, 1]])
    np.testing.assert_array_equal(scores, [[0.5, 0.25], [0.5, 0.5]])


@pytest.mark.parametrize(
    ("ids", "predictions", "top_k", "message"),
    [
        (["a", "b"], [[0.0, 1.0], [np.nan, 0.0]], 1, "video b are not finite"),
        (["a"], [[np.inf, 0.0]], 1, "video a are not finite"),
        (["a"], [0.5, 0.5], 1, "the shape"),
        (["a"], [[0.5], [0.5]], 1, "the shape"),
        (["a"], [[0.5]], 0, "top_k is 0"),
    ],
)
def test_refused(ids, predictions, top_k, message):
    with pytest.raises(UserError, match=message):
        ranked_classes(ids, predictions, top_k)
