"""What ends a command: one sentence and an exit code, whatever library has noticed it."""

import errno

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
