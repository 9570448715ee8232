"""TensorFlow 1 checkpoints: names, shapes and values of the variables, without what training keeps beside them."""

import collections
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from yt8m_distill.errors import UserError
from yt8m_distill.files import untrusted
from yt8m_distill.files.processes import module_environment
from yt8m_distill.tf1 import reader_process
from yt8m_distill.tf1.reader_process import training_state

_PART = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
_STEP = re.compile(r"-(\d{1,18})$")
_FIXED_SECONDS, _BYTES_PER_SECOND = 120.0, 2_000_000  # for the process that reads: ten times what it takes


@dataclass(frozen=True)
class Tf1Checkpoint:
    """What a checkpoint holds.

    Attributes:
        path: without ending.
        shapes: of every variable of the model, by name.
        values: of those that are numbers, by name.
        training_state: how many other variables there are, by what they are.
        step: training steps done, where it is stored.
    """

    path: pathlib.Path
    shapes: Mapping[str, tuple[int, ...]]
    values: Mapping[str, np.ndarray]
    training_state: Mapping[str, int]
    step: int | None


def read_checkpoint(path: str, argument: str = "--from") -> Tf1Checkpoint:
    """Reads a checkpoint, in a process of its own: TensorFlow ends the process where an index is damaged.

    Args:
        path: of the checkpoint, with or without the ending of one of its files; or of a folder, whose checkpoint with
            the most steps is read.
        argument: that names the checkpoint, for messages.

    Raises:
        UserError: there is none, it cannot be read, or it claims more than its files can hold.
    """
    prefix = _prefix(pathlib.Path(path), argument)
    if problem := _missing_files(prefix):
        raise UserError(f"{argument}={prefix}: {problem}.")
    with tempfile.TemporaryDirectory() as folder:
        contents = _contents(prefix, pathlib.Path(folder))
        with np.load(pathlib.Path(folder, reader_process.VALUES_FILE), allow_pickle=False) as stored:
            values = {name: stored[key] for name, key in contents["keys"].items()}
    shapes = {name: tuple(shape) for name, shape in sorted(contents["shapes"].items())}
    state = collections.Counter(filter(None, map(training_state, shapes)))
    weights = {name: shape for name, shape in shapes.items() if training_state(name) is None}
    step = contents["step"]
    if step is None and (match := _STEP.search(prefix.name)):
        step = int(match[1])
    return Tf1Checkpoint(prefix, weights, values, dict(state), step)


def _contents(prefix: pathlib.Path, folder: pathlib.Path) -> Mapping[str, Any]:
    """What the process that reads has written beside the values."""
    try:
        _read_in_process(str(prefix), folder, sum(file.stat().st_size for file in _files(prefix)))
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise UserError(
            f"the checkpoint '{prefix}' is damaged: TensorFlow cannot read it. Copy it from its source again."
        ) from error
    contents = untrusted.read_json(folder / reader_process.CONTENTS_FILE)
    if "problem" in contents:
        raise UserError(f"'{prefix}' {contents['problem']}.")
    return contents


def _read_in_process(prefix: str, folder: pathlib.Path, num_bytes: int):
    command = [sys.executable, "-m", reader_process.__name__, prefix, str(folder), str(num_bytes)]
    seconds = _FIXED_SECONDS + num_bytes / _BYTES_PER_SECOND
    subprocess.run(command, check=True, capture_output=True, timeout=seconds, env=module_environment())


def _prefix(path: pathlib.Path, argument: str) -> pathlib.Path:
    if not path.is_dir():
        return path.with_name(_PART.sub("", path.name))
    prefixes = [index.with_suffix("") for index in path.glob("*.index")]
    if not prefixes:
        parts = sorted(file.name for file in path.iterdir() if _PART.search(file.name))
        rest = f"; there is only {', '.join(parts[:3])}" if parts else ""
        raise UserError(
            f"{argument}={path}: there is no checkpoint in this folder (no file that ends in .index){rest}."
        )
    return max(prefixes, key=lambda prefix: (int(m[1]) if (m := _STEP.search(prefix.name)) else -1, prefix.name))


def _missing_files(prefix: pathlib.Path) -> str | None:
    """What a checkpoint lacks, in words: it is an index, and one or more files with the values."""
    if prefix.is_file():
        return None
    index, data = prefix.with_name(f"{prefix.name}.index"), _data_files(prefix)
    if not index.is_file():
        others = [*data, *(file for file in [prefix.with_name(f"{prefix.name}.meta")] if file.is_file())]
        if not others:
            return "there is no checkpoint of this name"
        return f"the file {index.name} is missing; there is only {others[0].name}"
    if not data:
        return (
            f"the file {prefix.name}.data-00000-of-00001 (or several) is missing, which holds the weights; "
            f"{index.name} holds their names only"
        )
    count = int(data[0].name.rpartition("-")[2])
    names = [f"{prefix.name}.data-{number:05d}-of-{count:05d}" for number in range(count)]
    missing = sorted(set(names) - {file.name for file in data})
    return f"{len(missing)} of {count} files with weights are missing, the first is {missing[0]}" if missing else None


def _data_files(prefix: pathlib.Path) -> list[pathlib.Path]:
    pattern = re.compile(re.escape(prefix.name) + r"\.data-\d{5}-of-\d{5}")
    folder = prefix.parent
    return sorted(file for file in folder.iterdir() if pattern.fullmatch(file.name)) if folder.is_dir() else []


def _files(prefix: pathlib.Path) -> list[pathlib.Path]:
    """The files with the values: one or more, or in the first version of the format the checkpoint itself."""
    if prefix.is_file():
        return [prefix]
    if not prefix.with_name(f"{prefix.name}.index").is_file():
        return []
    return _data_files(prefix)
