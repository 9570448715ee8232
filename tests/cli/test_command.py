"""What ends a command: one sentence and an exit code, whatever library has noticed it."""

import errno
import os
import subprocess
import sys

import pytest
import tensorflow as tf

from yt8m_distill.cli.command import command
from yt8m_distill.config.models import FlopsConfig


def run(error: Exception) -> int:
    @command(FlopsConfig)
    def main(config):
        raise error

    return main(["", "--model=NetVLAD"])


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), r"Error: no space left on the disk: .*/x/y"),
        (tf.errors.ResourceExhaustedError(None, None, "a; No space left on device"), "Error: no space left on the"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.tfrecord"), "Error: 'a.tfrecord': No such"),
        (OSError(errno.EIO, "Input/output error"), "Error: Input/output error"),
    ],
)
def test_errors_of_the_system_are_one_sentence(capsys, error, sentence):
    assert run(error) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(sentence.partition(".*")[0])
    assert sentence.rpartition(".*")[2] in printed
    assert printed.count("\n") == 1


def test_what_is_a_mistake_of_the_program_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="a bug"):
        run(RuntimeError("a bug"))


def test_names_that_are_not_utf8(capsys):
    assert run(UnicodeEncodeError("utf-8", "l\udce4ufe", 1, 2, "surrogates not allowed")) == 1
    assert capsys.readouterr().err == "Error: 'l\\xe4ufe' has a name that is not UTF-8 text; rename it.\n"


COMMAND = """
import sys
from yt8m_distill.cli.command import command
from yt8m_distill.config.inference import MergeConfig
@command(MergeConfig)
def main(config):
    print(sys.getfilesystemencoding(), ascii(config.parts))
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("folder", "code", "printed"),
    [
        ("läufe/学".encode(), 0, "utf-8 'l\\xe4ufe/\\u5b66'"),
        (b"l\xe4ufe", 2, "Error: the argument '--parts=l\\xe4ufe' is not UTF-8 text; rename what it names."),
    ],
)
def test_in_the_c_locale_names_are_utf8(folder, code, printed):
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", COMMAND, b"--parts=" + folder, "out"]
    result = subprocess.run(command, env={**os.environ, **locale}, capture_output=True, text=True, check=False)
    assert (result.returncode, (result.stdout + result.stderr).strip()) == (code, printed)
