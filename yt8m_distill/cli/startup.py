"""TensorFlow's start: lines about itself that it prints while it is imported are left out.

It prints them before it looks at `TF_CPP_MIN_LOG_LEVEL`, from C++, to the file descriptor of stderr. Another process
filters that, so that what TensorFlow says before it aborts this one, on a processor that it does not run on, is shown.
"""

import contextlib
import importlib.abc
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_FILTER_SECONDS = 10.0  # for the last lines, where a process that was started meanwhile keeps stderr open


def quiet_tensorflow():
    """Lets the next import of TensorFlow print no start-up lines, unless `TF_CPP_MIN_LOG_LEVEL` asks for them.

    Where the user has set no level it is 3: what matters comes as an exception.
    """
    level = os.environ.setdefault(LEVEL, "3")
    is_waiting = any(isinstance(finder, _QuietImport) for finder in sys.meta_path)
    if level in ("1", "2", "3") and "tensorflow" not in sys.modules and not is_waiting:
        sys.meta_path.insert(0, _QuietImport(start_up_lines(int(level))))


def start_up_lines(level: int) -> list[str]:
    """Regular expressions, as of `grep -E`, of the lines that are left out.

    Args:
        level: of `TF_CPP_MIN_LOG_LEVEL`: 1: without information, 2: without warnings, 3: without errors, of which only
            those are left out that every start on a GPU has.
    """
    severities = "I" if level == 1 else "IW"
    lines = [
        r"^WARNING: All log messages before absl::InitializeLog\(\)",
        rf"^[{severities}][0-9]{{4}} [0-9:.]+ +[0-9]+ [^ ]+:[0-9]+\] ",
        r"^To enable the following instructions: ",
    ]
    return lines if level < 3 else [*lines, r"^E[0-9]{4} .* Unable to register cu[A-Z]+ factory: "]


class _QuietImport(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads TensorFlow, once, with lines of stderr left out."""

    def __init__(self, lines: Sequence[str]):
        self._lines = lines
        self._loader: Any = None

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)  # whoever has asked may only want to know whether it is installed
        if spec is not None and spec.loader is not None:
            self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any):
        module.__spec__.loader = module.__loader__ = self._loader
        sys.meta_path.remove(self)
        with _left_out(self._lines):
            self._loader.exec_module(module)


@contextlib.contextmanager
def _left_out(lines: Sequence[str]) -> Iterator[None]:
    """Within it, lines that match one of some expressions do not reach stderr, whoever writes them."""
    try:
        stderr = os.dup(2)
        command = ["grep", "-avE", "|".join(lines)]
        # In a process group of its own, so that Ctrl-C does not end it before what it has to show.
        grep: Any = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stderr, process_group=0)
    except OSError:  # stderr is closed, or there is no grep
        yield
        return
    os.dup2(grep.stdin.fileno(), 2)
    grep.stdin.close()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
        with contextlib.suppress(subprocess.TimeoutExpired):
            grep.wait(_FILTER_SECONDS)
