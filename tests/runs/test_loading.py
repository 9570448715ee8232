"""Loading trained models."""

import pytest

from yt8m_distill.errors import UserError
from yt8m_distill.runs.loading import load


def test_a_run_without_a_model_yet(tmp_path):
    with pytest.raises(UserError, match="not a run directory"):
        load(str(tmp_path))
