"""All commands under one name: yt8m train --model=NeXtVLAD, or python -m yt8m_distill train"""

import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from yt8m_distill.cli.command import use_utf8
from yt8m_distill.cli.versions import versions

COMMANDS = (
    *("train", "eval", "inference", "experiment", "export", "serve", "extract_features", "verify", "thin", "quantize"),
    *("flops", "segment_eval", "merge_predictions", "beam_inference", "beam_extract", "convert_checkpoint"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the first argument names, with the other arguments as its own.

    Args:
        argv: the program, the command's name with dashes or underscores, its arguments; None: those of this process.

    Returns:
        The exit code of the command.
    """
    if argv is None:
        use_utf8()
    name, *arguments = [*(sys.argv if argv is None else argv)[1:]] or ["--help"]
    if name in ("--help", "-h", "help"):
        _print_where_read(_listing())
    elif name == "--version":
        print(versions())
    elif name.replace("-", "_") in COMMANDS:
        return _module(name).main([f"yt8m {name}", *arguments])
    else:
        print(f"Error: {_unknown(name)}", file=sys.stderr)
        return 2
    return 0


def summary(module: ModuleType) -> str:
    """What a command does: the first line of its module's docstring, without the call behind it."""
    return (module.__doc__ or "").partition("\n")[0].partition(": python")[0].rstrip(":.")


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"yt8m_distill.{name.replace('-', '_')}")


def _shown(command: str) -> str:
    return command.replace("_", "-")


def _listing() -> str:
    width = max(map(len, COMMANDS))
    rows = [f"  {_shown(command):{width}}  {summary(_module(command))}" for command in COMMANDS]
    head = "usage: yt8m COMMAND [--flag=value ...]\n\nVideo classification with fewer frames. Commands:\n"
    return "\n".join([head, *rows, "\nyt8m COMMAND --help lists the flags of a command; --version works everywhere."])


def _print_where_read(text: str):
    """Prints a text of which `| head` may want only a part."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(_shown(name), map(_shown, COMMANDS), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"there is no command '{name}'; {hint}yt8m --help lists all."


if __name__ == "__main__":
    sys.exit(main())
