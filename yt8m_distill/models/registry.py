"""The models by name: the one list to add a model to."""

import ast
from typing import Any

from yt8m_distill.errors import UserError
from yt8m_distill.models.average import FrameLevelLogistic, Logistic, Moe
from yt8m_distill.models.dbof import Dbof
from yt8m_distill.models.hierarchical_rnn import HierarchicalRNN
from yt8m_distill.models.lstm import Lstm
from yt8m_distill.models.mix_nextvlad import MixNeXtVLAD
from yt8m_distill.models.netvlad import NetVLAD
from yt8m_distill.models.nextvlad import NeXtVLAD
from yt8m_distill.models.video_model import VideoModel

MODELS: tuple[type[VideoModel], ...] = (
    HierarchicalRNN,
    NetVLAD,
    NeXtVLAD,
    MixNeXtVLAD,
    FrameLevelLogistic,
    Dbof,
    Lstm,
    Logistic,
    Moe,
)


def model_names() -> tuple[str, ...]:
    """Names of all models."""
    return tuple(model.__name__ for model in MODELS)


def model_class(name: str) -> type[VideoModel]:
    """The class of the model `name`; a trailing "Model", as the starter code writes it, is accepted.

    Raises:
        UserError: there is no such model.
    """
    for model in MODELS:
        if name in (model.__name__, f"{model.__name__}Model"):
            return model
    raise UserError(f"Unknown model {name!r}. Known models: {', '.join(model_names())}.")


def build_model(
    name: str, *, feature_sizes: tuple[int, ...], num_classes: int, dtype: str | None = None, **model_args: Any
) -> VideoModel:
    """Constructs the model `name`.

    Args:
        name: one of `model_names()`.
        feature_sizes: as for `VideoModel`.
        num_classes: as for `VideoModel`.
        dtype: Keras's dtype policy; None: its default one.
        **model_args: the model's own arguments, and `classifier_layer` where the classifier is shared.

    Raises:
        UserError: unknown model, unknown argument, or a value that the model refuses.
    """
    model = model_class(name)
    _check_names(model, [argument for argument in model_args if argument != "classifier_layer"])
    return model(feature_sizes, num_classes, dtype=dtype, **model_args)


def parse_model_args(name: str, text: str) -> dict[str, Any]:
    """Reads "clusters=64,hidden_size=512": names and types are those of the model's constructor.

    Args:
        name: one of `model_names()`.
        text: comma-separated `argument=value`; empty for none.

    Returns:
        The arguments that are given, with int, float, bool or str values.

    Raises:
        UserError: unknown model or argument, an argument given twice, or a value of another type.
    """
    model = model_class(name)
    arguments: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        argument, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise UserError(f"Model arguments are written argument=value,argument=value; got {part!r}.")
        _check_names(model, [argument])
        if argument in arguments:
            raise UserError(f"Model argument {argument} is given twice.")
        arguments[argument] = _parse_value(argument, value, type(model.argument_defaults()[argument]))
    return arguments


def _check_names(model: type[VideoModel], names: list[str]) -> None:
    known = model.argument_defaults()
    for name in names:
        if name not in known:
            raise UserError(
                f"{model.__name__} has no argument {name!r}. Its arguments and their defaults: "
                f"{', '.join(f'{key}={value}' for key, value in known.items())}."
            )


def _parse_value(argument: str, text: str, wanted: type) -> Any:
    if wanted is str:
        return text
    try:
        value = ast.literal_eval(text.capitalize() if wanted is bool else text)
    except (ValueError, SyntaxError):
        value = text
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        raise UserError(f"Model argument {argument} must be of type {wanted.__name__}, not {text!r}.")
    return value
