"""What a teacher cache stores of a batch, and that one process writes it; trainings with one are in end_to_end."""

import dataclasses

import numpy as np
import pytest

from yt8m_distill.errors import UserError
from yt8m_distill.training.teacher_cache import Contents

CONTENTS = Contents("t", ("rgb",), (4,), 300, classes=5, top=2, dim=None, files=[], fraction=1.0)


def test_values_beyond_float16_are_refused():
    contents = dataclasses.replace(CONTENTS, classes=3, top=None, dim=2)
    outputs = {"representation": np.full((1, 2), -7e4), "predictions": np.zeros((1, 3))}
    with pytest.raises(UserError, match="beyond 65504"):
        contents.rows_of(outputs)


def test_top_classes_and_the_mean_of_the_others():
    rows = CONTENTS.rows_of({"predictions": np.array([[0.1, 0.5, 0.02, 0.9, 0.03], [0.2] * 5], np.float32)})
    np.testing.assert_array_equal(rows[0], [[3, 1], [0, 1]])
    np.testing.assert_allclose(rows[1], [[0.9, 0.5], [0.2, 0.2]], rtol=1e-3)
    np.testing.assert_allclose(rows[2], [[0.05], [0.2]], rtol=1e-3)
    assert CONTENTS.bytes_per_video() == 8 + 2 * (4 + 2) + 2
