"""The flags of every command as tables: python -m tests.cli.flag_tables writes docs/flags.md."""

import importlib
import re

from tests.cli.commands import CONFIGS
from tests.test_architecture import ROOT
from yt8m_distill.__main__ import summary
from yt8m_distill.cli.flags import flag_default
from yt8m_distill.config.settings import Setting, Settings, settings_of

PATH = ROOT / "docs" / "flags.md"
HEAD = """# Flags

All flags of all commands, as `--help` of each shows them. This page is generated from the settings in
`yt8m_distill/config` by `python -m tests.cli.flag_tables`.

A flag whose default is *true* or *false* is written `--flag` or `--noflag`. Lists are separated by commas.

Every command also has `--flagfile=FILE`: a text file of flags, one a line, in which `#` begins a comment. They count as
if they stood in its place on the command line, so later flags take precedence. `--recipe_file` of `train.py` is TOML:
names and types in it are checked, and the command line takes precedence wherever it stands.
"""


def page() -> str:
    """The content of docs/flags.md."""
    return HEAD + "".join(_section(name, kind) for name, kind in CONFIGS.items())


def _section(name: str, kind: type[Settings]) -> str:
    module = importlib.import_module(f"yt8m_distill.{name.removesuffix('.py').removeprefix('yt8m_distill.')}")
    command = f"python {name}" if name.endswith(".py") else f"python -m {name}"
    rules = settings_of(kind).values()
    arguments = [rule.argument for rule in rules if rule.argument not in ("", "*")]
    rows = "".join(_row(rule) for rule in sorted(rules, key=lambda rule: rule.name) if not rule.argument)
    call = " ".join([command, *arguments])
    return f"\n## `{call}`\n\n{summary(module)}.\n\n| flag | default | |\n|---|---|---|\n{rows}"


def _row(rule: Setting) -> str:
    text, unset = re.fullmatch(r"(.*?)(?: \[(.*)\])?", rule.help).groups()
    choices = f" One{' or more' if rule.form else ''} of {', '.join(f'`{name}`' for name in rule.choices)}."
    return f"| `--{rule.name}` | {unset or _default(rule)} | {text}{choices if rule.choices else ''} |\n".replace(
        "<", "&lt;"
    )


def _default(rule: Setting) -> str:
    default = flag_default(rule)
    if default is None:
        return ""
    return f"*{str(default).lower()}*" if rule.kind is bool else f"`{_text(default)}`"


def _text(default) -> str:
    return ",".join(default) if isinstance(default, tuple) else f"{default}"


if __name__ == "__main__":
    PATH.write_text(page(), encoding="utf-8")
