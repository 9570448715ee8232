"""Registries: names that a setting may have, to which users add their own."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from yt8m_distill.errors import UserError

T = TypeVar("T")
Entry = TypeVar("Entry", bound=type | Callable[..., Any])


class Registry(Generic[T]):
    """Objects by name. Those of this package are imported when they are first asked for, so that names cost nothing.

    Args:
        kind: what the objects are, for error messages: "model".
        built_in: the name of each object of this package, and the module that registers it.
        suffix: an ending that names may have in addition, as "Model" in the names of the starter code.

    Example:
        >>> SHAPES = Registry("shape", {})
        >>> @SHAPES.register("square")
        ... def make_square(size):
        ...     return size, size
        >>> SHAPES.names()
        ('square',)
        >>> SHAPES.get("square")(3)
        (3, 3)
    """

    def __init__(self, kind: str, built_in: Mapping[str, str], suffix: str = ""):
        self.kind = kind
        self._built_in = dict(built_in)
        self._suffix = suffix
        self._entries: dict[str, Any] = {}

    def register(self, name: str | None = None) -> Callable[[Entry], Entry]:
        """A decorator that adds a class or function.

        Args:
            name: what settings call it; None: its `__name__`.

        Raises:
            UserError: another object has the name.
        """

        def add(entry: Entry) -> Entry:
            chosen = name or entry.__name__
            taken = self._entries.get(chosen)
            if taken is not None and _place(taken) != _place(entry):
                raise UserError(
                    f"the {self.kind} {chosen!r} is registered twice: by {_place(taken)} and {_place(entry)}."
                )
            if self._built_in.get(chosen, entry.__module__) != entry.__module__:
                raise UserError(f"the {self.kind} {chosen!r} is one of yt8m_distill; give yours another name.")
            self._entries[chosen] = entry
            return entry

        return add

    def names(self) -> tuple[str, ...]:
        """All names: those of this package first, then registered ones in their order."""
        return tuple(dict.fromkeys([*self._built_in, *self._entries]))

    def resolve(self, name: str) -> str:
        """The registered name that is meant by `name`, which may have the registry's suffix.

        Raises:
            UserError: there is none.
        """
        names = self.names()
        for candidate in (name, name.removesuffix(self._suffix)):
            if candidate in names:
                return candidate
        raise UserError(f"Unknown {self.kind} {name!r}. Known: {', '.join(names)}.")

    def is_built_in(self, name: str) -> bool:
        """Whether an object is part of this package."""
        return name in self._built_in

    def name_of(self, entry: T) -> str | None:
        """The name that an object is registered by; None: it is not registered."""
        return next((name for name, registered in self._entries.items() if registered is entry), None)

    def get(self, name: str) -> T:
        """The object with this name.

        Raises:
            UserError: there is none.
        """
        name = self.resolve(name)
        if name not in self._entries:
            importlib.import_module(self._built_in[name])
        return self._entries[name]


def _place(entry: Any) -> str:
    return f"{entry.__module__}.{entry.__qualname__}"
