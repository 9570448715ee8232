"""The commands that README.md and the pages in docs show are understood by the command line."""

import pathlib
import re
import shlex
from collections.abc import Iterator

import pytest

from yt8m_distill.cli import flags as cli

ROOT = pathlib.Path(__file__).parents[2]
SCRIPTS = {
    "train.py": (cli.train_flags, cli.train_config_from_flags),
    "eval.py": (cli.eval_flags, cli.eval_config_from_flags),
    "inference.py": (cli.inference_flags, cli.inference_config_from_flags),
    "yt8m_distill.beam_inference": (cli.beam_flags, cli.beam_config_from_flags),
    "yt8m_distill.merge_predictions": (cli.merge_flags, cli.merge_config_from_flags),
    "yt8m_distill.segment_eval": (cli.segment_eval_flags, cli.segment_eval_config_from_flags),
    "yt8m_distill.flops": (cli.flops_flags, cli.flops_config_from_flags),
    "yt8m_distill.convert_checkpoint": (cli.conversion_flags, cli.conversion_config_from_flags),
    "yt8m_distill.export": (cli.export_flags, cli.export_config_from_flags),
    "yt8m_distill.serve": (cli.serve_flags, cli.serve_config_from_flags),
    "yt8m_distill.experiment": (cli.experiment_flags, cli.experiment_config_from_flags),
}


def commands() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Script and arguments of each command in a block of its own."""
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for block in re.findall(r"^```\w*\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            for line in filter(re.compile(r"(.* )?python ").match, block.replace("\\\n", " ").splitlines()):
                words = [word for word in shlex.split(line.rpartition("&& ")[2], comments=True) if word != "-m"]
                if len(words) > 1 and words[0] == "python" and words[1] in SCRIPTS:
                    yield words[1], tuple(words[2:])


def test_there_are_commands_of_all_scripts():
    assert {script for script, _ in commands()} == set(SCRIPTS)


@pytest.mark.parametrize(("script", "arguments"), sorted(set(commands())))
def test_is_understood(script, arguments):
    flags, config = SCRIPTS[script]
    values = flags()
    assert cli.parse(values, [script, *arguments])
    assert config(values) is not None
