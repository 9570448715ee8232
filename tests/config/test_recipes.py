"""Recipes: the papers' settings as published, and what the user gives wins."""

import pytest

from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.recipes import recipe_for, with_recipe
from yt8m_distill.config.training import Learning, TrainConfig
from yt8m_distill.errors import UserError
from yt8m_distill.models.building import build_model
from yt8m_distill.plugins import MODELS


def config(**options) -> TrainConfig:
    return TrainConfig("NeXtVLAD", training_mode="baseline", selection=FrameSelection(30), **options)


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("HierarchicalRNN", (256, 0.001, 0.95, 4_000_000, 2.0, 5)),
        ("NetVLAD", (80, 0.0002, 0.8, 2_000_000, 1.0, 5)),
        ("NeXtVLAD", (80, 0.0002, 0.8, 2_000_000, 1.0, 5)),
    ],
)
def test_the_papers_settings(model, settings):
    learning = with_recipe(TrainConfig(model, training_mode="teacher", recipe="paper")).learning
    assert settings == (
        learning.batch_size,
        learning.base_learning_rate,
        learning.learning_rate_decay,
        learning.learning_rate_decay_examples,
        learning.regularization_penalty,
        learning.num_epochs,
    )


@pytest.mark.parametrize("model", MODELS.names())
def test_the_samples_models_are_small(model):
    recipe = recipe_for("sample", model)
    built = build_model(model, feature_sizes=(1024, 128), num_classes=3862, **recipe.model_args)
    assert sum(variable.numpy().size for variable in built.trainable_variables) < 15e6


def test_what_is_given_wins():
    given = config(recipe="sample", model_args={"clusters": 3}, learning=Learning(batch_size=7))
    resolved = with_recipe(given)
    assert resolved.model_args["clusters"] == 3
    assert resolved.model_args["hidden_size"] == 512
    assert resolved.learning.batch_size == 7
    assert resolved.learning.base_learning_rate == recipe_for("sample", "NeXtVLAD").base_learning_rate


def test_unknown_recipes_are_refused():
    with pytest.raises(UserError, match="recipe must be one of paper, sample"):
        with_recipe(config(recipe="cake"))
