"""The main of a command: command line -> configuration -> one call; exit codes, and the log."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from yt8m_distill.cli import flags
from yt8m_distill.config.settings import SettingError, Settings
from yt8m_distill.errors import Interrupted, LostWorker, TooManyBadRecords, UserError
from yt8m_distill.files.atomic import is_full_disk
from yt8m_distill.files.untrusted import in_short, in_words


def command(kind: type[Settings]) -> Callable[[Callable[[Any], int | None]], Callable[..., int]]:
    """A decorator that makes the main of a command out of a function of its configuration.

    The function may return an exit code. What it imports for its work it imports inside, so that --help is quick. The
    docstring of its module is the head of the help.

    Args:
        kind: class of the configuration, kept as `main.config_class`.
    """

    def decorate(function: Callable[[Any], int | None]) -> Callable[..., int]:
        def main(argv: Sequence[str] | None = None) -> int:
            return _run(kind, function, sys.argv if argv is None else argv)

        main.config_class = kind
        return main

    return decorate


def _run(kind: type[Settings], function: Callable[[Any], int | None], argv: Sequence[str]) -> int:
    """Runs a command; user errors exit with an error message, without a traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what matters comes as an exception
    _log_to_stderr()
    try:
        config = flags.parse(kind, argv)
        if config is None:
            print(f"{sys.modules[function.__module__].__doc__}\n{flags.help_text(kind, argv)}")
            return 0
        return function(config) or 0
    except SettingError as error:
        print(f"Error: {error.in_terms_of(kind, '--')}", file=sys.stderr)
        return 2
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except (Interrupted, LostWorker, TooManyBadRecords) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 1
    except Exception as error:
        if is_full_disk(error):  # which any library may notice
            print(f"Error: no space left on the disk: {in_short(error)}. Make room, and start again.", file=sys.stderr)
            return 1
        if not isinstance(error, OSError):
            raise
        print(f"Error: {in_words(error)}.", file=sys.stderr)
        return 1


def _log_to_stderr():
    """The package's log as plain lines; other libraries keep theirs."""
    package = logging.getLogger("yt8m_distill")
    for earlier in [handler for handler in package.handlers if handler.get_name() == __name__]:
        package.removeHandler(earlier)  # of an earlier call in this process, whose stderr may be closed
    if not package.handlers:
        handler = logging.StreamHandler()
        handler.set_name(__name__)
        handler.setFormatter(logging.Formatter("%(message)s"))
        package.addHandler(handler)
    package.setLevel(logging.INFO)
    package.propagate = False
