"""Keras callbacks as `--callbacks` names them: `module:Class`, or `module:Class(name=value)`."""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yt8m_distill.errors import UserError

_FORM = re.compile(r"([\w.]+):(\w+)(?:\((.*)\))?", re.DOTALL)
_WORDS = {"true": True, "false": False, "none": None}


@dataclass(frozen=True)
class CallbackSource:
    """Where a callback comes from.

    Attributes:
        module: dotted name.
        name: of a class, or of a function, in it.
        arguments: that it is called with.
    """

    module: str
    name: str
    arguments: Mapping[str, Any]


def callback_source(text: str) -> CallbackSource:
    """Reads `module:Class(name=value)`.

    Args:
        text: values are Python literals; true, false and none; anything else is a text and needs no quotes.

    Raises:
        UserError: another form.

    Example:
        >>> callback_source("keras.callbacks:EarlyStopping(monitor=val_GAP@20, patience=3)").arguments
        {'monitor': 'val_GAP@20', 'patience': 3}
    """
    match = _FORM.fullmatch(text.strip())
    pairs = [piece.partition("=") for piece in _pieces(match[3] or "")] if match else []
    names = [name.strip() for name, _, _ in pairs]
    if match is None or not all(
        name.isidentifier() and equals for name, (_, equals, _) in zip(names, pairs, strict=True)
    ):
        raise UserError(f"'{text}' must have the form module:Class or module:Class(name=value,name=value).")
    if len(set(names)) < len(names):
        raise UserError(f"'{text}' gives an argument twice.")
    return CallbackSource(match[1], match[2], {name: _value(pair[2]) for name, pair in zip(names, pairs, strict=True)})


def joined(items: Sequence[str]) -> tuple[str, ...]:
    """Callbacks out of the items of a list, as which a comma between two arguments has separated them.

    Example:
        >>> joined(["a:A(x=1", "y=2)", "b:B"])
        ('a:A(x=1,y=2)', 'b:B')
    """
    return tuple(_pieces(",".join(items)))


def _pieces(text: str) -> list[str]:
    """What commas separate that are in no brackets."""
    pieces, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += character
    return [piece.strip() for piece in pieces if piece.strip()]


def _value(text: str) -> Any:
    text = text.strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
