"""--ema_momentum: trainings whose evaluated and saved weights are a moving average."""

import numpy as np
import pytest

from tests.end_to_end.commands import evaluate, stop_after, train
from yt8m_distill.runs import loading
from yt8m_distill.runs.checkpoints import checkpoints
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.training import loop

pytestmark = pytest.mark.slow


def test_what_is_saved_and_evaluated_is_the_average(data, tmp_path, monkeypatch):
    """Also of a run that has no epoch behind it yet, out of its checkpoint; batch-norm statistics are not averaged."""
    seen = []
    count = loop.TrainingLoop._count

    def noted(self, *batch):
        count(self, *batch)
        seen.append([variable.numpy() for variable in self.models["student"].weights])

    monkeypatch.setattr(loop.TrainingLoop, "_count", noted)
    arguments = ["--training_mode=baseline", "--student_frames=3", "--num_epochs=2", "--ema_momentum=0.8"]
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        assert train(data, tmp_path / "run", *arguments) == 1
    assert not RunDir(tmp_path / "run").best.exists()
    assert evaluate(f"--train_dir={tmp_path / 'run'}") == 0
    _check_average(loading.load(str(tmp_path / "run")).model, seen, 0.8)
    assert train(data, tmp_path / "run", *arguments) == 0
    assert len(seen) == 8
    _check_average(loading.load(str(tmp_path / "run")).model, seen, 0.8)


def _check_average(model, seen, momentum: float):
    trained = {id(variable) for variable in model.trainable_variables}
    for place, variable in enumerate(model.weights):
        expected = seen[0][place].astype(np.float64)
        for values in seen[1:]:
            expected = momentum * expected + (1 - momentum) * values[place]
        last = seen[-1][place]
        if id(variable) in trained:
            np.testing.assert_allclose(variable, expected, rtol=1e-5, atol=1e-6, err_msg=variable.path)
        else:
            np.testing.assert_array_equal(variable, last, err_msg=variable.path)


def test_without_the_flag_a_checkpoint_holds_no_second_weights(data, tmp_path):
    arguments = ["--training_mode=baseline", "--student_frames=3", "--max_steps=1"]
    assert train(data, tmp_path / "run", *arguments) == 0
    assert not checkpoints(RunDir(tmp_path / "run"))[-1].arrays("not_averaged_")
