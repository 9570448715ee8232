"""The commands that README.md and the pages in docs show are understood, and docs/flags.md has the flags of today."""

import pathlib
import re
import shlex
from collections.abc import Iterator

import pytest

from tests.cli import flag_tables
from tests.cli.commands import CONFIGS
from tests.test_architecture import PACKAGE, SCRIPTS
from yt8m_distill.cli.flags import parse

ROOT = pathlib.Path(__file__).parents[2]


def commands() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Script and arguments of each command in a block of its own, and of those with arguments within a text.

    Those with plugins of the reader are run by tests/end_to_end/test_plugins.py.
    """
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        variables: dict[str, str] = {}
        text = path.read_text(encoding="utf-8")
        blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        lines = [line for block in blocks for line in _expanded(block.replace("\\\n", " ").splitlines(), variables)]
        calls = re.findall(r"`((?:python|yt8m) [^`\n]+ [^`\n]+)`", text)
        lines = [*filter(re.compile(r"(.* )?(python|yt8m) ").match, lines), *calls]
        for line in lines:
            script, *arguments = _call(shlex.split(line.rpartition("&& ")[2], comments=True))
            if arguments and script in CONFIGS and not re.search("--(help|version|plugins)", line):
                yield script, tuple(arguments)


def _call(words: list[str]) -> list[str]:
    """Key of CONFIGS, and arguments, of `python train.py`, `python -m yt8m_distill.train` or `yt8m train`."""
    program, name, *arguments = [word for word in words if word != "-m"] + ["", ""]
    if program == "yt8m":
        name = f"{PACKAGE}.{name.replace('-', '_')}"
    elif program != "python":
        return [""]
    script = f"{name.removeprefix(f'{PACKAGE}.')}.py"
    return [script if script in SCRIPTS else name, *filter(None, arguments)]


def _expanded(lines: list[str], variables: dict[str, str]) -> Iterator[str]:
    """Lines with the shell's variables that are set above them on the page; those of the reader's data are left."""
    for line in lines:
        for name, value in variables.items():
            line = re.sub(rf"\${name}\b", lambda _, value=value: value, line)
        if match := re.match(r' *([A-Z_]+)="(.*)"$', line) or re.match(r"for ([A-Z_]+) in (\w+).*; do", line):
            variables[match[1]] = match[2]
        yield line


def test_there_are_commands_of_all_scripts():
    assert {script for script, _ in commands()} == set(CONFIGS)


@pytest.mark.parametrize(("script", "arguments"), sorted(set(commands())))
def test_is_understood(script, arguments):
    assert isinstance(parse(CONFIGS[script], [script, *arguments]), CONFIGS[script])


def test_the_page_of_flags_is_that_of_today():
    """`python -m tests.cli.flag_tables` writes it."""
    assert flag_tables.PATH.read_text(encoding="utf-8") == flag_tables.page()
