"""The classifier that a model's arguments describe."""

from collections.abc import Mapping
from typing import Any

import keras

from yt8m_distill.errors import UserError
from yt8m_distill.layers import LogisticClassifier, MixtureOfExperts
from yt8m_distill.models.argument_checks import checked_choice, checked_count, checked_flag

MOE_GATINGS = ("none", "input", "prob")


def checked_classifier_args(
    classifier: str, mixtures: int, moe_gating: str, moe_gating_remove_diag: bool, moe_gate_rank: int
) -> dict[str, Any]:
    """The classifier's arguments by name, as they are in `model_args`.

    Raises:
        UserError: one is outside its range.
    """
    return {
        "classifier": classifier,
        "mixtures": checked_count("mixtures", mixtures),
        "moe_gating": checked_choice("moe_gating", moe_gating, MOE_GATINGS),
        "moe_gating_remove_diag": checked_flag("moe_gating_remove_diag", moe_gating_remove_diag),
        "moe_gate_rank": checked_count("moe_gate_rank", moe_gate_rank, least=0),
    }


def make_classifier(model: keras.Model, args: Mapping[str, Any]) -> keras.layers.Layer:
    """A new output layer for a `VideoModel`.

    Args:
        model: names the kinds of classifier that it can have and their regularization.
        args: as from `checked_classifier_args`.

    Raises:
        UserError: a kind that the model does not have, or arguments that do nothing together.
    """
    if args["classifier"] not in model.classifiers:
        raise UserError(f"Unknown classifier {args['classifier']!r}. Allowed: {', '.join(model.classifiers)}.")
    # float32 in every precision policy: losses need it.
    options = {"l2_penalty": model.classifier_l2, "dtype": "float32", "name": "classifier"}
    if args["classifier"] == "logistic":
        if args["moe_gating"] != "none" or args["moe_gate_rank"] or args["moe_gating_remove_diag"]:
            raise UserError("arguments that begin with moe_ go with classifier=moe only.")
        return LogisticClassifier(model.num_classes, regularize_bias=model.regularize_classifier_bias, **options)
    if args["moe_gating_remove_diag"] and args["moe_gating"] != "prob":
        raise UserError("moe_gating_remove_diag goes with moe_gating=prob only.")
    return MixtureOfExperts(
        model.num_classes,
        args["mixtures"],
        gating=args["moe_gating"],
        remove_diagonal=args["moe_gating_remove_diag"],
        gate_rank=args["moe_gate_rank"],
        **options,
    )


def check_shared_classifier(layer: keras.layers.Layer, num_classes: int):
    """Raises UserError where another model's classifier has a different number of classes."""
    classes = getattr(layer, "num_classes", num_classes)
    if classes != num_classes:
        raise UserError(f"The shared classifier has {classes} classes, the model is to have {num_classes}.")


def input_size(layer: keras.layers.Layer) -> int | None:
    """Length of the vectors that a built classifier takes; None: it cannot be known."""
    if hasattr(layer, "input_size"):
        return layer.input_size
    matrices = [variable for variable in layer.trainable_variables if len(variable.shape) == 2]
    return matrices[0].shape[0] if matrices else None
