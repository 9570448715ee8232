"""Models in bfloat16: what they hold, what they tell of the machine, and what is kept apart."""

import logging

import numpy as np
import pytest

from tests.helpers import write_run
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.inference import EvalConfig, InferenceConfig
from yt8m_distill.config.run import RunConfig
from yt8m_distill.devices import precision
from yt8m_distill.errors import UserError
from yt8m_distill.runs import loading

SMALL = {"clusters": 4, "groups": 2, "hidden_size": 8, "gating_reduction": 2}


@pytest.fixture
def run(tmp_path) -> str:
    """A teacher's run directory with random weights."""
    spec = DatasetSpec("own features", "id", ("rgb", "audio"), (6, 2), 5, 12)
    config = RunConfig("NeXtVLAD", training_mode="teacher", model_args=SMALL, data=spec)
    return write_run(tmp_path, config)


def test_weights_stay_float32_and_predictions_near(run):
    full, half = loading.load(run), loading.load(run, precision="bfloat16")
    assert (full.model.compute_dtype, half.model.compute_dtype) == ("float32", "bfloat16")
    for ours, theirs in zip(half.model.trainable_variables, full.model.trainable_variables, strict=True):
        assert ours.dtype == "float32"
        np.testing.assert_array_equal(ours, theirs)
    frames = np.random.default_rng(0).integers(0, 256, (4, 9, 8), np.uint8)
    inputs = {"frames": frames, "num_frames": np.array([9, 4, 1, 0], np.int32)}
    expected, predictions = full.model(inputs)["predictions"].numpy(), half.model(inputs)["predictions"].numpy()
    assert predictions.dtype == np.float32
    assert 0 < np.abs(predictions - expected).max() < 0.02


def test_half_finished_predictions_of_another_precision_are_not_resumed(run):
    fingerprints = [loading.fingerprint(loading.load(run, precision=p)) for p in precision.DTYPE_POLICIES]
    assert fingerprints[0] != fingerprints[1]
    assert fingerprints[0] == loading.fingerprint(loading.load(run))


@pytest.mark.parametrize(
    ("wanted", "flags", "expected"),
    [
        ("bfloat16", "fpu avx2 avx512_bf16", True),
        ("float16", "fpu avx2 avx512_bf16", False),
        ("float16", "fpu avx2 avx512_fp16", True),
        ("bfloat16", "avx512f amx_bf16 amx_tile", True),
        ("bfloat16", "fp asimd bf16 i8mm", True),
        ("float16", "fp asimd asimdhp i8mm", True),
        ("bfloat16", "fpu avx2 avx512f avx512_vnni", False),
    ],
)
def test_units_are_found_by_the_processors_flags(tmp_path, monkeypatch, wanted, flags, expected):
    monkeypatch.setattr(precision.tf.config, "list_physical_devices", lambda kind: [])
    cpu_info = tmp_path / "cpuinfo"
    cpu_info.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbogomips\t: 4890.85\n")
    assert precision.has_units(wanted, str(cpu_info)) is expected


def test_a_gpu_counts_and_an_unknown_machine_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr(precision.tf.config, "list_physical_devices", lambda kind: [])
    assert not precision.has_units("bfloat16", str(tmp_path / "none"))
    monkeypatch.setattr(precision.tf.config, "list_physical_devices", lambda kind: [kind])
    assert precision.has_units("bfloat16", str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("wanted", "units", "warned"),
    [("bfloat16", False, True), ("float16", False, True), ("bfloat16", True, False), ("float32", False, False)],
)
def test_a_warning_where_it_only_costs_time(monkeypatch, caplog, wanted, units, warned):
    monkeypatch.setattr(precision, "has_units", lambda precision: units)
    monkeypatch.setattr(logging.getLogger("yt8m_distill"), "propagate", True)
    precision.warn_where_slow(wanted)
    assert (f"--precision={wanted}" in caplog.text) is warned


def test_other_precisions_are_refused():
    with pytest.raises(UserError, match="must be one of float32, bfloat16, float16"):
        EvalConfig("run", precision="int8")
    with pytest.raises(UserError, match="must be one of float32, bfloat16, float16"):
        InferenceConfig("out.csv", "run", precision="float64")
