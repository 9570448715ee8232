"""The weights of models on disk: files of their own, and arrays in checkpoints."""

import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic, checksums, untrusted, weights_files
from yt8m_distill.runs.checkpoints import Checkpoint

_BYTES_AROUND_ARRAY = 4096  # its header and the groups that it is in; at most, in a file of HDF5


def weights_file(folder: pathlib.Path, role: str) -> pathlib.Path:
    """The file with the weights of the "student" or "teacher" in a folder."""
    return folder / f"{role}.weights.h5"


def save_weights(model: keras.Model, folder: pathlib.Path, role: str):
    """Writes a model's weights into a folder.

    Raises:
        UserError: one of them is NaN or infinite; or the disk has not enough space, which HDF5 would not survive.
    """
    if bad := first_not_finite(model.variables):
        raise UserError(f"the weights of the {role} are not finite (the first: '{bad}'), so they are not written.")
    num_bytes = sum(4 * math.prod(variable.shape) + _BYTES_AROUND_ARRAY for variable in model.variables)
    atomic.check_space(folder, num_bytes, "the model's weights")
    model.save_weights(weights_file(folder, role))


def first_not_finite(variables: Iterable[keras.Variable]) -> str | None:
    """The path of the first variable with a value that is NaN or infinite; None where there is none."""
    numbers = (variable for variable in variables if "float" in str(variable.dtype))
    return next((v.path for v in numbers if not np.isfinite(v.numpy()).all()), None)


def save_all(models: Mapping[str, keras.Model], folder: pathlib.Path, description: Mapping[str, Any] | None = None):
    """Writes the weights of models into a folder that is there only when it is complete; it replaces an earlier one.

    Args:
        models: by role.
        folder: to write.
        description: what they are, for `best.json` beside them; None: there is no such file.

    Raises:
        UserError: the disk has not enough space.
    """
    atomic.make_directory(folder.parent)
    with atomic.directory_written_beside(folder) as written:
        for role, model in models.items():
            save_weights(model, written, role)
        if description is not None:
            atomic.write_json(written / "best.json", description)
        checksums.write_checksums(written)


def check_checksum(path: pathlib.Path):
    """Checks a file that `save_all` has written by its checksum, where it has one.

    Raises:
        UserError: it is damaged.
    """
    if path.is_file():
        checksums.check_file(path, "Restore it from a copy, or train the model again")


def check_weights(path: pathlib.Path):
    """Checks a file of weights before a model is built for it: by its checksum, where it has one, and its headers.

    Raises:
        UserError: it is missing, damaged, or not such a file.
    """
    check_checksum(path)
    weights_files.check_weights(path)


def load_weights(model: keras.Model, path: pathlib.Path):
    """Sets a model's weights from a file.

    Raises:
        UserError: it cannot be read, or has the weights of another model.
    """
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        problem = untrusted.in_short(error)
        raise UserError(f"the weights in '{path}' do not fit the model of config.json: {problem}.") from error


def model_arrays(model: keras.Model, role: str) -> dict[str, np.ndarray]:
    """The model's variables, random states included, by the names that `load_arrays` reads."""
    return {f"{role}.{i:04d}.{v.name}": v.numpy() for i, v in enumerate(model.variables)}


def load_arrays(model: keras.Model, checkpoint: Checkpoint, role: str):
    """Sets the model's variables from a checkpoint.

    Raises:
        UserError: number or shapes differ.
    """
    assign(model.variables, checkpoint.arrays(f"{role}."), checkpoint)


def assign(variables: Sequence[keras.Variable], arrays: Mapping[str, np.ndarray], checkpoint: Checkpoint):
    """Sets variables, in order, to arrays of a checkpoint, in order.

    Raises:
        UserError: number or shapes differ.
    """
    values = list(arrays.values())
    if [tuple(v.shape) for v in variables] != [value.shape for value in values]:
        raise UserError(f"the checkpoint '{checkpoint.path}' does not fit the model of config.json.")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
