"""Loading trained models."""

import keras
import numpy as np
import pytest

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.json import to_json
from yt8m_distill.config.recipes import with_recipe
from yt8m_distill.config.run import RunConfig
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic
from yt8m_distill.models.building import build_models
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.loading import load
from yt8m_distill.runs.weights import save_weights

SPEC = DatasetSpec("x", "id", ("rgb", "audio"), (6, 2), 10, 300)
SMALL = {"clusters": 4, "groups": 2, "hidden_size": 8}


def test_a_run_without_a_model_yet(tmp_path):
    with pytest.raises(UserError, match="not a run directory"):
        load(str(tmp_path))


def test_weights_that_are_loaded_are_not_drawn_before(tmp_path, monkeypatch):
    config = with_recipe(RunConfig("NeXtVLAD", training_mode="teacher", model_args=SMALL, recipe="paper", data=SPEC))
    run = RunDir(tmp_path / "run")
    (model,) = build_models(config).values()
    atomic.make_directory(run.best)
    save_weights(model, run.best, "teacher")
    atomic.write_text(run.config_file, to_json(config))
    for name in ("VarianceScaling", "RandomNormal", "RandomUniform", "TruncatedNormal"):
        monkeypatch.setattr(getattr(keras.initializers, name), "__call__", lambda *_, **__: pytest.fail("draws"))
    loaded = load(run.path).model
    for weight, other in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), other.numpy())
