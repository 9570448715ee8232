"""The main of a command: command line -> configuration -> one call; exit codes, and the log."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from yt8m_distill.cli import flags
from yt8m_distill.cli.startup import quiet_tensorflow
from yt8m_distill.config.settings import SettingError, Settings
from yt8m_distill.errors import Interrupted, LostWorker, TooManyBadRecords, UserError
from yt8m_distill.files.atomic import is_full_disk
from yt8m_distill.files.untrusted import in_short, in_words

_NOT_IN_SERVE_LITE = ("tensorflow", "keras", "h5py", "tensorboard")  # what an environment of that extra lacks


def command(kind: type[Settings]) -> Callable[[Callable[[Any], int | None]], Callable[..., int]]:
    """A decorator that makes the main of a command out of a function of its configuration.

    The function may return an exit code. What it imports for its work it imports inside, so that --help is quick. The
    docstring of its module is the head of the help.

    Args:
        kind: class of the configuration, kept as `main.config_class`.
    """

    def decorate(function: Callable[[Any], int | None]) -> Callable[..., int]:
        def main(argv: Sequence[str] | None = None) -> int:
            if argv is None:
                use_utf8()
            return _run(kind, function, sys.argv if argv is None else argv)

        main.config_class = kind  # type: ignore[attr-defined]  # functions have any
        return main

    return decorate


def use_utf8():
    """Starts this process again where Python would not take names of files as UTF-8, as TensorFlow always does.

    That is so in the locale C with `PYTHONUTF8=0`, and in those of other encodings.
    """
    if sys.flags.utf8_mode or sys.getfilesystemencoding() == "utf-8":
        return
    os.environ["PYTHONUTF8"] = "1"  # for processes that this one starts
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _check_text(argv: Sequence[str]):
    for argument in argv:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"the argument '{_shown(argument)}' is not UTF-8 text; rename what it names.") from error


def _run(kind: type[Settings], function: Callable[[Any], int | None], argv: Sequence[str]) -> int:
    """Runs a command; user errors exit with an error message, without a traceback."""
    quiet_tensorflow()
    _log_to_stderr()
    try:
        _check_text(argv)
        config = flags.parse(kind, argv)
        if config is None:
            print(flags.answer(kind, argv, sys.modules[function.__module__].__doc__ or ""))
            return 0
        config.check_inputs()
        return function(config) or 0
    except SettingError as error:
        print(f"Error: {error.in_terms_of(kind, '--')}", file=sys.stderr)
        return 2
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NOT_IN_SERVE_LITE:
            raise
        print(f"Error: {_without(error.name)}", file=sys.stderr)
        return 2
    except (Interrupted, LostWorker, TooManyBadRecords) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 1
    except Exception as error:
        text = _in_a_sentence(error)
        if text is None:
            raise
        print(f"Error: {text}", file=sys.stderr)
        return 1


def _without(package: str | None) -> str:
    return (
        f"this needs {package}, which is not installed: pip install yt8m_distill brings it. Without it exports to ONNX "
        "and LiteRT are served, and predict by inference.py --export_dir."
    )


def _in_a_sentence(error: Exception) -> str | None:
    """What the system refuses, whichever library has noticed it; None for mistakes of the program."""
    if is_full_disk(error):
        return f"no space left on the disk: {in_short(error)}. Make room, and start again."
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        return f"'{_shown(error.object)}' has a name that is not UTF-8 text; rename it."
    return f"{in_words(error)}." if isinstance(error, OSError) else None


def _shown(name: str) -> str:
    return os.fsencode(name).decode(errors="backslashreplace")[:200]


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
