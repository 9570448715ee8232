"""Settings: a field of a configuration with its default, bounds, choices and help in one place.

    batch_size: int | None = setting(None, "Number of videos in a step. [the recipe's]", at_least=1)

The checks, the flags of the commands, the settings that a run file may have and `docs/flags.md` follow from it.
"""

import dataclasses
import functools
import math
import numbers
import operator
import reprlib
import string
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar, cast

from yt8m_distill.errors import UserError
from yt8m_distill.plugins.registry import Registry

F = TypeVar("F", bound=Callable[..., Any])

REQUIRED = object()  # the default of a setting that has none
_BOUNDS = {"at_least": operator.ge, "above": operator.gt, "at_most": operator.le, "below": operator.lt}
_TRUTH = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
_KINDS = {int: "a whole number", float: "a number", bool: "true or false"}


class SettingError(UserError):
    """A setting that is wrong, or does not go with another one.

    Args:
        text: the message. Names of settings are in braces; `{}` stands for a value.
        *values: for each `{}`.
        owner: the configuration.
    """

    def __init__(self, text: str, *values: Any, owner: type | None = None):
        super().__init__(text, *values)
        self.owner = owner

    def __str__(self) -> str:
        return self._message(lambda name: name)

    def in_terms_of(self, kind: type["Settings"], prefix: str = "") -> str:
        """The message with the names that settings have for users of the configuration `kind`.

        Args:
            kind: class of the configuration, such as that of a command.
            prefix: "--" for flags.
        """
        flags = {name: rule for name, rule in settings_of(kind).items() if not rule.argument}
        by_field: dict[tuple[type | None, str], str] = {(rule.owner, rule.field): name for name, rule in flags.items()}
        fields = parts(self.owner) if self.owner else {}

        def user_name(name: str) -> str:
            flag = by_field.get((self.owner, name)) or getattr(fields.get(name), "shown_as", "") or name
            return f"{prefix}{flag}" if flag in flags else name

        return self._message(user_name)

    def _message(self, user_name: Callable[[str], str]) -> str:
        text, *values = self.args
        names = {name: user_name(name) for _, name, _, _ in string.Formatter().parse(text) if name}
        return text.format(*values, **names)


@dataclass(frozen=True)
class Setting:
    """The declaration of a setting; attributes below `text` follow from the class.

    Attributes:
        help: one full sentence; then, in brackets, what is used where the default leaves it open.
        bounds: of a number, or of each of several: `at_least`, `above`, `at_most`, `below`.
        registry: has the names that are allowed; for those of a `Literal` type there is none.
        flag: its name on the command line and in run files; True: the field's; False: it is not there.
        shown_as: of a field that is not there: the flag that decides it.
        flag_default: where it is not the field's own.
        reads: of a path: the function of `config.inputs` that checks what is there.
        argument: on the command line it is an argument with this name, and no flag; "*": it takes all that is no flag.
        text: users give a plain text, which the owner converts.
        newer: JSON files of before do not have it, and those of today only where it is not the default.
        of_settings: its values by name are settings themselves. A list or a table among them is kept as its text, as
            "1,2" or "rep=1,pred=2"; on the command line what has no = continues the value before it.
        owner, field: the configuration, and the field's name in it.
        kind: type of one value: bool, int, float, str or Any.
        form: tuple: it is a list of values; dict: values by name; None: one value.
        literals: of a `Literal` type.
        default: the field's; `REQUIRED` where there is none.
    """

    help: str
    bounds: Mapping[str, float]
    registry: Registry | None = None
    flag: str | bool = True
    shown_as: str = ""
    flag_default: Any = REQUIRED
    reads: Callable[[str, str], None] | None = None
    argument: str = ""
    text: bool = False
    newer: bool = False
    of_settings: bool = False
    owner: type = object
    field: str = ""
    kind: Any = str
    form: type | None = None
    literals: tuple[str, ...] = ()
    default: Any = REQUIRED

    @property
    def name(self) -> str:
        """What users call it; empty where they cannot set it."""
        return self.field if self.flag is True else self.flag or ""

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed texts; empty: any."""
        return self.registry.names() if self.registry is not None else self.literals

    def read(self, value: Any) -> Any:
        """A text, a number, true or false, or a list or mapping of these, as a value of the setting's type.

        Raises:
            SettingError: it is of another type.
        """
        if self.form is None:
            return self._read_one(value)
        if self.form is dict and isinstance(value, Mapping):
            return {name: self._read_one(as_text(item) if self.of_settings else item) for name, item in value.items()}
        items = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
        items = [item.strip() if isinstance(item, str) else item for item in items]
        if self.form is tuple:
            return tuple(self._read_one(item) for item in items if item != "")
        pairs = {}
        for item in _joined(items) if self.of_settings else items:
            name, _, text = (piece.strip() for piece in str(item).partition("="))
            if not (name and text) or name in pairs:
                raise self.error("must be name=value,name=value with each name once, not {}.", repr(item))
            pairs[name] = self._read_one(text)
        return pairs

    def _read_one(self, value: Any) -> Any:
        if not isinstance(value, str | int | float):
            raise self.error("must be a text, a number, true or false, or a list of them, not {}.", reprlib.repr(value))
        if self.kind is Any:
            return value
        try:
            return _TRUTH[str(value).lower()] if self.kind is bool else self.kind(str(value))
        except (ValueError, KeyError):
            raise self._kind_error(value) from None

    def check(self, value: Any):
        """Raises SettingError where a value, or one of several, is out of bounds or not among the choices."""
        if value is None:
            return
        values = value if self.form is tuple else value.values() if self.form is dict else (value,)
        if self.choices and self.form is tuple and (not values or len(set(values)) < len(values)):
            joined = ",".join(map(str, values)) or "nothing"
            raise self.error("must be one or more of {}, each once, not {}.", ", ".join(self.choices), joined)
        for item in values:
            if self.choices and item not in self.choices:
                raise self.error("must be one of {}, not {}.", ", ".join(self.choices), item)
            if self.bounds and not isinstance(item, numbers.Integral if self.kind is int else numbers.Real):
                raise self._kind_error(item)
            within = (math.isfinite(item) and _BOUNDS[word](item, bound) for word, bound in self.bounds.items())
            if not all(within):
                bounds = " and ".join(f"{word.replace('_', ' ')} {bound}" for word, bound in self.bounds.items())
                raise self.error("must be {}, not {}.", bounds, item)

    def _kind_error(self, value: Any) -> SettingError:
        several = "; several are separated by commas" if self.form is tuple else ""
        return self.error("must be {}, not {}{}.", _KINDS[self.kind], reprlib.repr(value), several)

    def check_input(self, value: Any):
        """Raises UserError, in terms of the command line, where a path leads to nothing that could be read."""
        if self.reads is None or value is None or (value == "" and self.default is None):  # which also mean none
            return
        for path in value if isinstance(value, tuple) else (value,):
            self.reads(path, self.argument or f"--{self.name}")

    def error(self, text: str, *values: Any) -> SettingError:
        """The error that starts with the setting's name."""
        return SettingError(f"{{{self.field}}} {text}", *values, owner=self.owner)


def as_text(value: Any) -> Any:
    """A list or a table as a text that `Setting.read` takes; anything else unchanged.

    Raises:
        UserError: a table in a table, whose text could not be told from one.

    Example:
        >>> as_text([1, 2]), as_text({"rep": 1, "pred": 2}), as_text(0.5)
        ('1,2', 'rep=1,pred=2', 0.5)
    """
    if isinstance(value, Mapping):
        if name := next((name for name, item in value.items() if isinstance(item, Mapping) or "=" in str(item)), None):
            raise UserError(f"'{name}' is a table within a table of settings; tables go no deeper here.")
        return ",".join(f"{name}={as_text(item)}" for name, item in value.items())
    return ",".join(str(item) for item in value) if isinstance(value, list | tuple) else value


def _joined(items: Sequence[Any]) -> list[str]:
    """name=value pairs; an item without a name continues the value of the one before it."""
    pairs: list[str] = []
    for item in map(str, items):
        if "=" in item or not pairs:
            pairs.append(item)
        else:
            pairs[-1] += f",{item}"
    return pairs


def setting(default: Any, help_text: str, *, choices: Registry | None = None, **options: Any) -> Any:
    """A field of a configuration.

    Args:
        default: `REQUIRED` where there is none.
        help_text: one full sentence.
        choices: a registry with the names that are allowed.
        **options: bounds, and those of `Setting`.
    """
    bounds = {word: options.pop(word) for word in _BOUNDS if word in options}
    metadata = {"setting": Setting(help_text, bounds, choices, **options)}
    if default is REQUIRED:
        return dataclasses.field(metadata=metadata)
    chosen = {"default_factory": dict} if default == {} else {"default": default}
    return dataclasses.field(**chosen, metadata=metadata)


def group(default: Any = None, leave_out: tuple[str, ...] = (), **changes: Mapping[str, Any]) -> Any:
    """A field that is a configuration itself, whose settings are also the whole's.

    Args:
        default: its class, which is then always built; or what the field is where none of its settings is given.
        leave_out: settings that the whole does not have.
        **changes: attributes of a `Setting` that differ in the whole: `on_bad_record={"flag_default": "skip"}`.
    """
    chosen = {"default_factory": default} if isinstance(default, type) else {"default": default}
    return dataclasses.field(**chosen, metadata={"group": (leave_out, changes)})


@dataclass(frozen=True)
class Group:
    """A field that is a configuration itself: its class, and the settings of the whole by their names in the class."""

    kind: type["Settings"]
    always: bool
    settings: Mapping[str, Setting]

    def values_of(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of the field, out of those of the whole."""
        defaults = {
            name: rule.flag_default for name, rule in self.settings.items() if rule.flag_default is not REQUIRED
        }
        return defaults | {name: values[rule.name] for name, rule in self.settings.items() if rule.name in values}

    def check_required(self, given: Mapping[str, Any]):
        """Raises SettingError where settings are given that do nothing without another one, which is not."""
        for name, rule in self.settings.items():
            if rule.default is REQUIRED and rule.flag_default is REQUIRED and name not in given:
                other = self.settings[next(iter(given))].name
                text = f"{{{other}}} does nothing without {{{rule.name}}} ({{}}); give both, or neither"
                raise SettingError(text, rule.help.removesuffix("."))


class Settings:
    """Base of configurations: frozen dataclasses whose fields are settings."""

    def __post_init__(self):
        self.check_settings()

    def check_settings(self, **values: Any):
        """Raises SettingError where a field is out of its bounds or choices.

        Args:
            **values: of fields that are not stored (`dataclasses.InitVar`).
        """
        for name, part in parts(type(self)).items():
            if isinstance(part, Setting):
                part.check(values.get(name, getattr(self, name)))

    def check_inputs(self, rules: Mapping[str, Setting] | None = None):
        """Checks that all input which is named is there, as a command does before it imports anything for its work.

        Args:
            rules: the settings by the names that this configuration has for them, where they belong to a larger one.

        Raises:
            UserError: something is not there.
        """
        rules = settings_of(type(self)) if rules is None else rules
        for name, part in parts(type(self)).items():
            value = getattr(self, name, None)  # some are not stored
            if isinstance(part, Setting) and part.name in rules:
                rules[part.name].check_input(value)
            elif isinstance(part, Group) and value is not None:
                value.check_inputs(
                    {inner: rules[rule.name] for inner, rule in part.settings.items() if rule.name in rules}
                )

    @classmethod
    def from_settings(cls, values: Mapping[str, Any], **fields: Any) -> Self:
        """A configuration from the settings of a user.

        Args:
            values: values of the settings' types, by the names that users call them.
            **fields: values of fields that do not follow from one setting each.

        Raises:
            SettingError: a value is out of its range or missing, or settings make no sense together.
        """
        for name, part in parts(cls).items():
            if name in fields:
                continue
            if isinstance(part, Group):
                inner = part.values_of(values)
                if inner and not part.always:
                    part.check_required(inner)
                if inner or part.always:
                    fields[name] = part.kind.from_settings(inner)
            elif part.name in values:
                fields[name] = values[part.name]
            elif part.flag_default is not REQUIRED:
                fields[name] = part.flag_default
            elif part.default is REQUIRED:
                raise cls.error(f"{{{name}}} is required ({{}})", part.help.removesuffix("."))
        return cls(**fields)

    @classmethod
    def error(cls, text: str, *values: Any) -> SettingError:
        """The error that settings of this configuration are wrong; see `SettingError`."""
        return SettingError(text, *values, owner=cls)


def _cached(function: F) -> F:
    """`functools.cache` with the function's own signature, which type checkers otherwise do not see."""
    return cast(F, functools.cache(function))


@_cached
def settings_of(kind: type[Settings]) -> dict[str, Setting]:
    """All settings that users can give of a configuration, by name, those of its groups included."""
    inner = [[part] if isinstance(part, Setting) else part.settings.values() for part in parts(kind).values()]
    return {rule.name: rule for rules in inner for rule in rules if rule.name}


@_cached
def parts(kind: type[Settings]) -> dict[str, Setting | Group]:
    """The settings of a configuration by field."""
    return dict(_parts(kind))


def _parts(kind: type[Any]) -> Iterator[tuple[str, Setting | Group]]:
    hints = typing.get_type_hints(kind)
    for field in kind.__dataclass_fields__.values():  # with those that are not stored, unlike `dataclasses.fields`
        hint = hints[field.name].type if isinstance(hints[field.name], dataclasses.InitVar) else hints[field.name]
        if rule := field.metadata.get("setting"):
            value, form, literals = (str, None, ()) if rule.text else _described(hint)
            default = REQUIRED if field.default is dataclasses.MISSING else None if rule.text else field.default
            default = {} if form is dict else default
            described = {"kind": value, "form": form, "literals": literals, "default": default}
            yield field.name, dataclasses.replace(rule, owner=kind, field=field.name, **described)
        elif "group" in field.metadata:
            inner: Any = next(option for option in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(option))
            leave_out, changes = field.metadata["group"]
            rules = {
                name: dataclasses.replace(rule, **changes.get(name, {}))
                for name, rule in settings_of(inner).items()
                if name not in leave_out
            }
            yield field.name, Group(inner, field.default is dataclasses.MISSING, rules)


def _described(hint: Any) -> tuple[Any, type | None, tuple[str, ...]]:
    """Type of one value, form and allowed texts of a field's type; as a list where it may be one or one value."""
    options, origin = typing.get_args(hint), typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return _described(next((option for option in options if typing.get_origin(option) is tuple), options[0]))
    if origin is Literal:
        return str, None, options
    if origin is tuple:
        kind, _, literals = _described(options[0])
        return kind, tuple, literals
    return (options[1], dict, ()) if origin is Mapping else (hint, None, ())
