"""Configurations to JSON and back, every field checked against its type."""

import contextlib
import dataclasses
import json
import math
import reprlib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.config.run import RunConfig
from yt8m_distill.errors import UserError
from yt8m_distill.plugins.loading import check_loaded

T = typing.TypeVar("T")


def to_json(config: RunConfig) -> str:
    """The text of `config.json`."""
    return json.dumps(to_values(config), indent=2, sort_keys=True) + "\n"


def to_values(value: Any) -> Any:
    """A configuration as values of JSON: dataclasses as dictionaries, `ALL_FRAMES` as None.

    Newer settings are left out while they have their default.

    Example:
        >>> to_values(FrameSelection(3))
        {'k': 3, 'stride': None, 'sampling': 'uniform', 'drawn_from': ()}
        >>> to_values({"selection": ALL_FRAMES})
        {'selection': None}
    """
    if dataclasses.is_dataclass(value):
        names = (field.name for field in dataclasses.fields(value) if not _is_left_out(field, value))
        return None if value == ALL_FRAMES else {name: to_values(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {name: to_values(item) for name, item in value.items()}
    return type(value)(map(to_values, value)) if isinstance(value, tuple | list) else value


def _is_left_out(field: dataclasses.Field, value: Any) -> bool:
    rule = field.metadata.get("setting")
    newer = field.metadata.get("newer", False) if rule is None else rule.newer
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return newer and getattr(value, field.name) == default


def from_json(text: str, path: str) -> RunConfig:
    """A configuration out of the text of `config.json`.

    Raises:
        UserError: naming `path`: not valid JSON, an unknown or missing field, a value of the wrong type or range.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}).") from error
    check_loaded(values, path)  # before the names in it are looked up
    return from_values(RunConfig, values, path)


def from_values(kind: type[T], values: Any, path: str) -> T:
    """An instance of a dataclass out of parsed JSON, every field checked against its type.

    Args:
        kind: the dataclass. Where a type says Any, a number, a text, true or false is taken.
        values: of any form.
        path: where they are from.

    Raises:
        UserError: naming `path`: an unknown or missing field, a value of the wrong type or out of its range.
    """
    try:
        return _build(kind, values, "")
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _build(kind: Any, values: Any, place: str):
    """An instance of the dataclass `kind` out of parsed JSON."""
    if not isinstance(values, dict):
        raise UserError(f"{place or 'the file'} must be an object.")
    hints = typing.get_type_hints(kind)
    names = {field.name for field in dataclasses.fields(kind) if field.init}
    if unknown := sorted(set(values) - names):
        raise UserError(f"unknown setting {place}{unknown[0]}; known are {', '.join(sorted(names))}.")
    if missing := [
        field.name for field in dataclasses.fields(kind) if _is_required(field) and field.name not in values
    ]:
        raise UserError(f"setting {place}{missing[0]} is missing.")
    return kind(**{name: _convert(hints[name], value, f"{place}{name}") for name, value in values.items()})


def _is_required(field: dataclasses.Field) -> bool:
    return field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _convert(hint: Any, value: Any, place: str):
    """`value` as the type `hint`: one of several, a dataclass, a tuple, a list, a mapping, or a plain JSON type."""
    options = typing.get_args(hint)
    origin = typing.get_origin(hint) or hint
    if origin in (types.UnionType, typing.Union):
        return _convert_to_any_of(options, value, place)
    if hint is FrameSelection and value is None:
        return ALL_FRAMES
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, f"{place}.")
    if origin is Literal:  # which of them, the dataclass checks
        return _convert(str, value, place)
    if origin in (tuple, list):
        _check_type(value, list, place)
        return origin(_convert(options[0], item, place) for item in value)
    if origin in (Mapping, dict):
        _check_type(value, dict, place)
        return {name: _convert(options[1], item, f"{place}.{name}") for name, item in value.items()}
    if hint is Any:
        return _convert(bool | int | float | str, value, place)
    if hint is float:
        return _finite(value, place)
    _check_type(value, hint, place)
    return value


def _convert_to_any_of(options: tuple, value: Any, place: str):
    """`value` as the first type that fits."""
    if value is None and types.NoneType in options:
        return None
    kinds = [option for option in options if option is not types.NoneType]
    if len(kinds) == 1:
        return _convert(kinds[0], value, place)
    for kind in kinds:
        with contextlib.suppress(UserError):
            return _convert(kind, value, place)
    names = " or ".join(kind.__name__ for kind in kinds)
    raise UserError(f"{place} must be {names}, not {reprlib.repr(value)}.")


def _finite(value: Any, place: str) -> float:
    """A JSON number as a float; Python's parser also takes NaN, Infinity and whole numbers too large for one."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UserError(f"{place} must be a number, not {reprlib.repr(value)}.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UserError(f"{place} must be a finite number, not {reprlib.repr(value)}.")
    return number


def _check_type(value: Any, kind: type, place: str):
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"{place} must be {kind.__name__}, not {reprlib.repr(value)}.")
