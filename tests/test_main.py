"""All commands under one name, and --version: without TensorFlow, and with the arguments that each command has."""

import os
import subprocess
import sys
from importlib import metadata

import pytest

from tests.cli.commands import CONFIGS
from tests.test_architecture import COMMANDS, ROOT
from yt8m_distill import __main__, __version__
from yt8m_distill.train import main as train_main


def test_all_commands_are_listed_with_a_line_each(capsys):
    assert set(__main__.COMMANDS) == set(COMMANDS.split())
    for call in ([], ["--help"], ["help"]):
        assert __main__.main(["yt8m", *call]) == 0
        rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
        assert [name for name, _ in rows] == [name.replace("_", "-") for name in __main__.COMMANDS]
        assert min(len(line.split()) for _, line in rows) > 3


def test_a_reader_may_have_enough():
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "yt8m_distill", "--help"]
    result = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_command_has_the_arguments_behind_its_name(capsys):
    for name in ("merge-predictions", "merge_predictions"):
        assert __main__.main(["yt8m", name]) == 2
        assert capsys.readouterr().err.startswith("Error: OUT is missing")
    assert __main__.main(["yt8m", "train", "--batch_size=0"]) == 2
    assert capsys.readouterr().err == "Error: --batch_size must be at least 1, not 0.\n"


def test_what_is_no_command_is_refused(capsys):
    assert __main__.main(["yt8m", "extract_feature"]) == 2
    assert "no command 'extract_feature'; did you mean extract-features?" in capsys.readouterr().err
    assert __main__.main(["yt8m", "--model=NetVLAD"]) == 2
    assert "yt8m --help lists all" in capsys.readouterr().err


def test_versions(capsys):
    assert train_main(["train.py", "--version"]) == 0
    libraries = f"TensorFlow {metadata.version('tensorflow')}, Keras {metadata.version('keras')}"
    printed = capsys.readouterr().out
    assert printed.startswith(f"yt8m_distill {__version__} (Python 3.")
    assert printed.endswith(f", {libraries})\n")
    for name in COMMANDS.split():  # also where arguments are missing
        assert __main__.main(["yt8m", name, "--version"]) == 0
        assert capsys.readouterr().out == printed


def test_versions_of_what_is_not_installed(capsys, monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert __main__.main(["yt8m", "--version"]) == 0
    assert "TensorFlow not installed, Keras not installed" in capsys.readouterr().out


@pytest.mark.parametrize("script", [*(name for name in CONFIGS if name.endswith(".py")), "-m"])
def test_versions_need_no_tensorflow(script):
    call = [script, "yt8m_distill"] if script == "-m" else [str(ROOT / script)]
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *call, "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith(f"yt8m_distill {__version__}")
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in result.stderr.splitlines()}
    assert "yt8m_distill" in imported
    assert not imported & {"tensorflow", "keras", "numpy"}
