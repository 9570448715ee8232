"""Flags of the settings of a configuration, and the configuration that a command line describes.

The only module that touches absl.flags. Each command has its own set of flags (`absl.flags.FlagValues`); nothing is
global.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from absl import flags
from absl.flags import FlagValues

from yt8m_distill.cli.versions import versions
from yt8m_distill.config.settings import REQUIRED, Setting, SettingError, Settings, settings_of
from yt8m_distill.config.starter_flags import starter_flags
from yt8m_distill.errors import UserError
from yt8m_distill.plugins.loading import load_plugins

log = logging.getLogger(__name__)
T = TypeVar("T", bound=Settings)
FLAG_FILE = "Text file of flags, one a line; # begins a comment. They count as if they stood here on the command line."
_DEFINE: dict[Any, Callable[..., Any]] = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}


def parse(kind: type[T], argv: Sequence[str]) -> T | None:
    """The configuration that a command line describes; None where it asks for help or the version, see `answer`.

    Args:
        kind: class of the configuration.
        argv: the name of the command, and what follows it.

    Raises:
        UserError: an unknown flag, an argument too many or missing, a value of the wrong type or out of its range, or
            settings that make no sense together. The message names flags.
    """
    try:
        _load_plugins(kind, argv)
        values = flag_values(kind)
        _define_starter_flags(kind, values)
        rest = values(list(argv), known_only=_takes_rest(kind))[1:]
        if values.help or values.version:
            return None
        _note_starter_flags(kind, values)
        settings = {name: rule.read(values[name].value) for name, rule in _flags(kind).items() if values[name].present}
        return kind.from_settings(settings | _arguments(kind, rest))
    except flags.Error as error:
        raise UserError(str(error).removeprefix("ERROR:: ")) from error
    except SettingError as error:
        raise UserError(error.in_terms_of(kind, "--")) from error


def answer(kind: type[Settings], argv: Sequence[str], head: str) -> str:
    """What a command line for which `parse` gives None asks for: the version, or `head` and the flags."""
    values = flag_values(kind)
    values(list(argv), known_only=True)
    return versions() if values.version else f"{head}\n{help_text(kind, argv)}"


def help_text(kind: type[Settings], argv: Sequence[str]) -> str:
    """All flags of a command; names that plugins on the command line have registered are among the choices."""
    _load_plugins(kind, argv)
    return flag_values(kind).get_help()


def flag_values(kind: type[Settings]) -> FlagValues:
    """The flags of the command of `kind`, --help and --version."""
    values = FlagValues()
    values.set_gnu_getopt(True)  # flags may stand behind arguments
    flags.DEFINE_boolean("help", False, "Show these flags.", short_name="h", flag_values=values)
    flags.DEFINE_alias("helpfull", "help", flag_values=values)
    flags.DEFINE_boolean("version", False, "Show the versions of this package and its libraries.", flag_values=values)
    flags.DEFINE_string("flagfile", None, FLAG_FILE, flag_values=values)  # absl itself replaces it by what it holds
    for rule in _flags(kind).values():
        _define(rule, values)
    return values


def flag_default(rule: Setting) -> Any:
    """The value of a flag that is not on the command line."""
    default = rule.default if rule.flag_default is REQUIRED else rule.flag_default
    return None if default is REQUIRED or (rule.form and not default) else default


def _define(rule: Setting, values: FlagValues):
    default, text = flag_default(rule), rule.help
    if rule.form is not None:
        text += f" Any of {', '.join(rule.choices)}." if rule.choices else ""
        flags.DEFINE_list(rule.name, default and list(default), text, flag_values=values)
    elif rule.choices:
        flags.DEFINE_enum(rule.name, default, rule.choices, text, flag_values=values)
    else:
        _DEFINE[rule.kind](rule.name, default, text, flag_values=values)


def _define_starter_flags(kind: type[Settings], values: FlagValues):
    for name, flag in starter_flags(kind).items():
        define = flags.DEFINE_boolean if flag.is_switch else flags.DEFINE_string
        define(name, None, "", flag_values=values)


def _note_starter_flags(kind: type[Settings], values: FlagValues):
    """Says what has become of given flags of the starter code; UserError where another one has to be given."""
    present = {name: flag for name, flag in starter_flags(kind).items() if values[name].present}
    for name, flag in present.items():
        line = flag.line(name, values[name].value)
        if not flag.accepted:
            raise UserError(line)
        log.info("%s", line)


def _flags(kind: type[Settings]) -> dict[str, Setting]:
    """The settings that are flags."""
    return {name: rule for name, rule in settings_of(kind).items() if not rule.argument}


def _load_plugins(kind: type[Settings], argv: Sequence[str]):
    """Imports the modules of --plugins, which may register names that other flags are checked against."""
    if "plugins" in settings_of(kind):
        values = FlagValues()
        values.set_gnu_getopt(True)
        flags.DEFINE_list("plugins", [], "", flag_values=values)
        values(list(argv), known_only=True)
        load_plugins(values.plugins)


def _takes_rest(kind: type[Settings]) -> bool:
    return any(rule.argument == "*" for rule in settings_of(kind).values())


def _arguments(kind: type[Settings], words: Sequence[str]) -> dict[str, Any]:
    """The arguments of the command line that are not flags, by the settings that take them."""
    takers = {name: rule.argument for name, rule in settings_of(kind).items() if rule.argument}
    names = list(takers)
    if _takes_rest(kind):
        return {names[0]: tuple(words)}
    if words and not names:
        raise UserError(f"unexpected argument '{words[0]}'; settings are given as --flag=value.")
    if len(words) < len(names):
        raise UserError(f"{takers[names[len(words)]]} is missing; --help shows what to give.")
    if not names:
        return {}
    last = len(words) - len(names) + 1  # where the shell has replaced a glob by the files, the first argument is many
    return dict(zip(names, (",".join(words[:last]), *words[last:]), strict=True))
