"""Weights that are NaN or infinite are not saved, and what was saved before stays."""

import keras
import numpy as np
import pytest

from yt8m_distill.errors import UserError
from yt8m_distill.runs.weights import first_not_finite, save_all


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_earlier_weights_stay(tmp_path, value):
    model = keras.Sequential([keras.layers.Dense(2, name="first"), keras.layers.Dropout(0.5)])
    model.build((1, 3))
    assert first_not_finite(model.variables) is None
    save_all({"student": model}, tmp_path / "best")
    before = (tmp_path / "best/student.weights.h5").read_bytes()
    model.variables[0].assign([[1, 2], [3, value], [5, 6]])
    with pytest.raises(UserError, match=r"the weights of the student are not finite \(the first: '.*first/kernel'\)"):
        save_all({"student": model}, tmp_path / "best")
    assert (tmp_path / "best/student.weights.h5").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
