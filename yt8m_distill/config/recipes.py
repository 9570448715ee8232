"""Training settings by model: the papers', and those for the small sample data set."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from yt8m_distill.config.training import Learning, TrainConfig
from yt8m_distill.errors import UserError

RECIPES = ("paper", "sample")


@dataclass(frozen=True)
class Recipe:
    """The values of settings that the user does not give; the fields are those of `config.Learning`."""

    batch_size: int
    base_learning_rate: float
    learning_rate_decay: float
    learning_rate_decay_examples: int
    regularization_penalty: float
    num_epochs: int = 5
    model_args: Mapping[str, Any] = field(default_factory=dict)


def recipe_for(recipe: str | None, model: str) -> Recipe:
    """The recipe "paper" or "sample" for a model by its name in the registry.

    Source: "paper" is Bhardwaj et al. section 5 and Lin et al. section 5; for the starter code's models it is that
    code's flags, with an eighth of its 1024 videos a step, and a tenth of its rate, for the models that are large on
    every frame. A model that is in none of them has NeXtVLAD's, with
    its own model arguments.
    """
    if recipe not in RECIPES:
        raise UserError(f"the recipe must be one of {', '.join(RECIPES)}, not {recipe}.")
    by_model = _sample_recipes() if recipe == "sample" else _paper_recipes()
    return by_model.get(model, dataclasses.replace(by_model["NeXtVLAD"], model_args={}))


def _paper_recipes() -> dict[str, Recipe]:
    vlad = Recipe(80, 0.0002, 0.8, 2_000_000, 1.0)
    on_the_mean = Recipe(1024, 0.01, 0.95, 4_000_000, 1.0)
    on_every_frame = Recipe(128, 0.001, 0.95, 4_000_000, 1.0)
    return {
        "Dbof": on_every_frame,
        "FrameLevelLogistic": on_the_mean,
        "HierarchicalRNN": Recipe(256, 0.001, 0.95, 4_000_000, 2.0),
        "Logistic": on_the_mean,
        "Lstm": on_every_frame,
        "MixNeXtVLAD": vlad,
        "Moe": on_the_mean,
        "NetVLAD": vlad,
        "NeXtVLAD": vlad,
    }


def _sample_recipes() -> dict[str, Recipe]:
    """Small models, high rates: the teacher learns in about a minute on two cores."""
    on_the_mean = Recipe(40, 0.03, 0.8, 8_000, 1.0, 8)
    return {
        "Dbof": Recipe(40, 0.003, 0.8, 8_000, 1.0, 8, {"clusters": 1024, "hidden_size": 256, "classifier": "logistic"}),
        "FrameLevelLogistic": on_the_mean,
        "Logistic": on_the_mean,
        "Lstm": Recipe(40, 0.002, 0.8, 8_000, 1.0, 10, {"cells": 256, "layers": 1, "classifier": "logistic"}),
        "Moe": dataclasses.replace(on_the_mean, model_args={"mixtures": 1}),
        "HierarchicalRNN": Recipe(
            40, 0.002, 0.8, 8_000, 1.0, 10, {"cells": 256, "layers": 1, "block_length": 5, "dropout": 0.2}
        ),
        "NetVLAD": Recipe(40, 0.003, 0.8, 8_000, 1.0, 8, {"clusters": 16, "hidden_size": 512}),
        "NeXtVLAD": Recipe(40, 0.003, 0.8, 8_000, 1.0, 8, {"clusters": 16, "hidden_size": 512, "expansion": 1}),
        "MixNeXtVLAD": Recipe(
            40, 0.003, 0.8, 8_000, 1.0, 8, {"clusters": 8, "hidden_size": 256, "expansion": 1, "gating_reduction": 8}
        ),
    }


def with_recipe(config: TrainConfig) -> TrainConfig:
    """`config` with every setting that is None, and every model argument that is missing, from its recipe."""
    recipe = recipe_for(config.recipe, config.model)
    learning = config.learning
    names = {field.name for field in dataclasses.fields(Learning)}
    defaults = {
        field.name: getattr(recipe, field.name)
        for field in dataclasses.fields(Recipe)
        if field.name in names and getattr(learning, field.name) is None
    }
    return dataclasses.replace(
        config,
        model_args={**recipe.model_args, **config.model_args},
        learning=dataclasses.replace(learning, **defaults),
    )
