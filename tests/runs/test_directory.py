"""The run directory: nothing half-written ever takes the place of something whole."""

import shutil

import keras
import numpy as np
import pytest

from yt8m_distill.errors import UserError
from yt8m_distill.runs import checkpoints, directory, weights
from yt8m_distill.runs.directory import RunDir


def save(run: RunDir, step: int, keep: int = 2):
    arrays = {"student.0": np.full(3, step)}
    checkpoints.save_checkpoint(run, step, arrays, keep, progress={"step": step}, log_sizes={})


def test_checkpoints_are_kept_by_number(tmp_path):
    run = RunDir(tmp_path)
    for step in (5, 10, 120):
        save(run, step)
    assert [each.step for each in checkpoints.checkpoints(run)] == [10, 120]
    latest = checkpoints.checkpoints(run)[-1]
    assert latest.progress() == {"step": 120}
    np.testing.assert_array_equal(latest.arrays("student.")["student.0"], [120] * 3)
    assert latest.arrays("teacher.") == {}


def test_a_checkpoint_cut_short_is_not_picked_up(tmp_path):
    run = RunDir(tmp_path)
    save(run, 1)
    (run.checkpoints / ".step-00000002.partial").mkdir()
    (run.checkpoints / ".step-00000002.partial" / "state.npz").write_bytes(b"half")
    assert [each.step for each in checkpoints.checkpoints(run)] == [1]
    save(run, 2)
    assert [each.step for each in checkpoints.checkpoints(run)] == [1, 2]


def test_a_damaged_checkpoint_is_named(tmp_path):
    run = RunDir(tmp_path)
    save(run, 1)
    state = checkpoints.checkpoints(run)[0].path / "state.npz"
    for damage in (b"half", state.read_bytes()[:-30]):
        state.write_bytes(damage)
        with pytest.raises(UserError, match="step-00000001"):
            checkpoints.checkpoints(run)[0].arrays("student.")
    state.unlink()
    with pytest.raises(UserError, match="step-00000001"):
        checkpoints.checkpoints(run)[0].arrays("student.")


def test_weights_that_do_not_fit_are_not_begun(tmp_path, monkeypatch):
    """HDF5 ends the process where it cannot write to the end."""
    model = keras.Sequential([keras.layers.Input((1000,)), keras.layers.Dense(1000)])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=4_000_000))
    with pytest.raises(UserError, match=r"the model's weights in .* would take at least 4\.0 MB, and 4\.0 MB are free"):
        weights.save_weights(model, tmp_path, "teacher")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=5_000_000))
    weights.save_weights(model, tmp_path, "teacher")
    assert weights.weights_file(tmp_path, "teacher").stat().st_size < 5_000_000


def test_move_aside_never_overwrites(tmp_path):
    run = RunDir(tmp_path / "run")
    assert directory.move_aside(run) is None
    for number in (1, 2):
        run.path.mkdir()
        (run.path / "number").write_text(str(number))
        assert directory.move_aside(run) == tmp_path / f"run.old-{number}"
    assert (tmp_path / "run.old-1" / "number").read_text() == "1"


def test_a_directory_without_a_run(tmp_path):
    with pytest.raises(UserError, match="not a run directory"):
        RunDir(tmp_path).read_config()
