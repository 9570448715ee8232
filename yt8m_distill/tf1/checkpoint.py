"""TensorFlow 1 checkpoints: names, shapes and values of the variables, without what training keeps beside them."""

import collections
import math
import pathlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from yt8m_distill.errors import UserError
from yt8m_distill.files import untrusted

_PART = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
_STEP = re.compile(r"-(\d{1,18})$")
# Last parts of the names of variables that only a training has: by what they are.
_TRAINING_STATE = {
    "step": re.compile(r"global_step"),
    "optimizer": re.compile(
        r"(Adam|AdaMax|Momentum|RMSProp|Adagrad|AdagradDA|Adadelta|Ftrl)(_\d+)?|beta[12]_power(_\d+)?"
    ),
    "moving average of a weight": re.compile(r"ExponentialMovingAverage"),
}


@dataclass(frozen=True)
class Tf1Checkpoint:
    """What a checkpoint holds.

    Attributes:
        path: without ending.
        shapes: of every variable of the model, by name.
        training_state: how many other variables there are, by what they are.
        step: training steps done, where it is stored.
    """

    path: pathlib.Path
    shapes: Mapping[str, tuple[int, ...]]
    training_state: Mapping[str, int]
    step: int | None

    def arrays(self, names: Mapping[str, str]) -> dict[str, np.ndarray]:
        """The values of variables.

        Args:
            names: in the checkpoint, by the names to return them under.
        """
        reader = _reader(self.path)
        try:
            return {ours: reader.get_tensor(theirs) for ours, theirs in names.items()}
        except (tf.errors.OpError, ValueError, RuntimeError) as error:
            raise UserError(f"the checkpoint '{self.path}' is damaged: {untrusted.in_short(error)}.") from error


def read_checkpoint(path: str) -> Tf1Checkpoint:
    """Names and shapes of a checkpoint.

    Args:
        path: of the checkpoint, with or without the ending of one of its files; or of a folder, whose checkpoint with
            the most steps is read.

    Raises:
        UserError: there is none, it cannot be read, or it claims more than its files can hold.
    """
    prefix = _prefix(pathlib.Path(path))
    reader = _reader(prefix)
    shapes = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
    _check_size(prefix, shapes, reader.get_variable_to_dtype_map())
    state, weights = collections.Counter(), {}
    for name, shape in sorted(shapes.items()):
        last = name.rpartition("/")[2]
        kind = next((kind for kind, pattern in _TRAINING_STATE.items() if pattern.fullmatch(last)), None)
        if kind is None:
            weights[name] = shape
        else:
            state[kind] += 1
    return Tf1Checkpoint(prefix, weights, dict(state), _step(prefix, reader, shapes))


def _prefix(path: pathlib.Path) -> pathlib.Path:
    if not path.is_dir():
        return path.with_name(_PART.sub("", path.name))
    prefixes = [index.with_suffix("") for index in path.glob("*.index")]
    if not prefixes:
        parts = sorted(file.name for file in path.iterdir() if _PART.search(file.name))
        rest = f"; there is only {', '.join(parts[:3])}" if parts else ""
        raise UserError(f"--from={path}: there is no checkpoint in this folder (no file that ends in .index){rest}.")
    return max(prefixes, key=lambda prefix: (int(m[1]) if (m := _STEP.search(prefix.name)) else -1, prefix.name))


def _reader(prefix: pathlib.Path) -> Any:
    if problem := _missing_files(prefix):
        raise UserError(f"--from={prefix}: {problem}.")
    try:
        return tf.train.load_checkpoint(str(prefix))
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise UserError(f"'{prefix}' is not a TensorFlow 1 checkpoint: {untrusted.in_short(error)}.") from error


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


def _check_size(prefix: pathlib.Path, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, tf.DType]):
    """Checks that the model needs no more memory than the checkpoint has bytes: values are never compressed."""
    numbers = [name for name in shapes if dtypes[name] != tf.string]
    needed = sum(math.prod(shapes[name]) * dtypes[name].size for name in numbers)
    if needed > sum(file.stat().st_size for file in _files(prefix)):
        raise UserError(
            f"the checkpoint '{prefix}' is damaged: its files hold less than the {needed:,} bytes of its index."
        )


def _step(prefix: pathlib.Path, reader: Any, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    if shapes.get("global_step") == ():
        return int(reader.get_tensor("global_step"))
    match = _STEP.search(prefix.name)
    return int(match[1]) if match else None
