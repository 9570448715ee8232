"""Model arguments by name: their defaults, their types, and the largest ones that a run from elsewhere may have."""

import ast
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from yt8m_distill.errors import UserError

# Far above all that makes sense. A run directory from elsewhere must not make a model that takes memory without end.
MOST_UNITS = 1 << 24
MOST_FEATURES = 64
MOST_BY_ARGUMENT = {
    "layers": 64,
    "branches": 64,
    "block_length": 3600,  # an hour; every video is padded to whole blocks
    "iterations": 1 << 16,
}


def keyword_defaults(constructor: Callable) -> dict[str, Any]:
    """Keyword-only arguments of a constructor that are hyper-parameters, with their defaults.

    Example:
        >>> def constructor(self, sizes, *, clusters=4, dropout=0.5, classifier_layer=None): ...
        >>> keyword_defaults(constructor)
        {'clusters': 4, 'dropout': 0.5}
    """
    parameters = inspect.signature(constructor).parameters.values()
    others = ("classifier_layer", "model_args", "feature_ranges", "chooses_frames")
    return {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.kind == parameter.KEYWORD_ONLY and parameter.name not in others
    }


def check_argument_names(model_class: type[Any], names: Iterable[str]):
    """Raises UserError where a model has no argument of one of these names."""
    defaults = model_class.argument_defaults()
    for name in names:
        if name not in defaults:
            raise UserError(
                f"{model_class.__name__} has no argument {name!r}. Its arguments and their defaults: "
                f"{', '.join(f'{key}={value}' for key, value in defaults.items())}."
            )


def typed_model_args(model_class: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Model arguments with the types that the constructor has: texts are converted, other values must fit.

    Args:
        model_class: a subclass of `VideoModel`.
        values: by name; texts as from the command line, or int, float, bool and str values.

    Returns:
        The arguments that are given.

    Raises:
        UserError: an unknown argument, or a value of another type.

    Example:
        >>> from yt8m_distill.models import NetVLAD
        >>> typed_model_args(NetVLAD, {"clusters": "64", "dropout": "0", "gating": False})
        {'clusters': 64, 'dropout': 0.0, 'gating': False}
    """
    check_argument_names(model_class, values)
    defaults = model_class.argument_defaults()
    return {name: _typed(name, value, type(defaults[name])) for name, value in values.items()}


def _typed(name: str, value: Any, kind: type) -> Any:
    if kind is str and isinstance(value, str):
        return value
    typed = _literal(value.capitalize() if kind is bool else value) if isinstance(value, str) else value
    if kind is float and type(typed) is int:
        return float(typed)
    if type(typed) is not kind and kind is not type(None):
        raise UserError(f"Model argument {name} must be of type {kind.__name__}, not {value!r}.")
    return typed


def _literal(text: str) -> Any:
    """The number or truth value that a text stands for; else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def check_sizes(model_args: Mapping[str, Any], feature_sizes: Sequence[int], num_classes: int):
    """Refuses the sizes of a model that no one needs, before anything is built or takes memory.

    Args:
        model_args: of a run, from elsewhere perhaps.
        feature_sizes: length of each feature.
        num_classes: number of classes.

    Raises:
        UserError: a number is above what is allowed.
    """
    if len(feature_sizes) > MOST_FEATURES:
        raise UserError(f"feature_sizes must name at most {MOST_FEATURES} feature sizes, not {len(feature_sizes)}.")
    for name, value in (("num_classes", num_classes), *(("feature_sizes", size) for size in feature_sizes)):
        _check_most(name, value, MOST_UNITS)
    for name, value in model_args.items():
        if isinstance(value, int):
            _check_most(name, value, MOST_BY_ARGUMENT.get(name, MOST_UNITS))


def _check_most(name: str, value: int, most: int):
    if value > most:
        raise UserError(f"{name} must be at most {most}, not {value}.")
