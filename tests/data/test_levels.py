"""How features fill their bytes: what is warned about, and what is not."""

import numpy as np
import pytest

from tests.helpers import shared_path
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.data.levels import LEVELS, describe_levels
from yt8m_distill.quantization import fit_range, quantize
from yt8m_distill.verify import main as verify_main

SPEC = DatasetSpec("own features", "id", ("clip",), (64,), 10, 300)
RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=(4000, 64))
EMBEDDINGS = NORMAL / np.linalg.norm(NORMAL, axis=1, keepdims=True)
RELU = np.maximum(NORMAL, 0) * 4


def described(values, ranges=None) -> str:
    low, high = ranges or (-2, 2)
    counts = np.bincount(quantize(values, high, low).ravel(), minlength=LEVELS)[np.newaxis]
    spec = DatasetSpec("own", "id", ("clip",), (64,), 10, 300, feature_ranges=None if ranges is None else (ranges,))
    return describe_levels(counts, spec)


@pytest.mark.parametrize(
    ("values", "warning"), [(EMBEDDINGS, "levels occur in [-2, 2]"), (RELU, "are at an end of [-2, 2], clipped")]
)
def test_the_default_range_is_warned_about_and_the_fitted_one_is_not(values, warning, caplog):
    described(values)
    assert warning in caplog.text
    caplog.clear()
    described(values, tuple(fit_range(values)))
    assert not caplog.records


def test_the_table():
    counts = np.zeros((1, LEVELS), np.int64)
    counts[0, [0, 7, 255]] = 1, 2, 1
    row = describe_levels(counts, SPEC).splitlines()[1]
    assert row.split() == ["clip", "[-2,", "2]", "25.00", "%", "25.00", "%", "99", "%"]
    assert describe_levels(np.zeros((1, LEVELS), np.int64), SPEC) == "No frames."


def test_few_values_are_not_warned_about(caplog):
    described(np.zeros((2, 64)))
    assert not caplog.records


def test_published_features_are_not_warned_about(tmp_path, caplog, capsys):
    path = shared_path("data/audioset/validate00.tfrecord")
    assert verify_main(["verify", str(path), f"--output_file={tmp_path}/bad.txt"]) == 0
    assert "audio_embedding  [-2, 2]" in capsys.readouterr().out
    assert "'audio_embedding':" not in caplog.text
