"""The weights of models in checkpoints."""

import keras

from yt8m_distill.errors import UserError
from yt8m_distill.runs import checkpoints


def model_arrays(model: keras.Model, role: str) -> dict:
    """The model's variables, random states included, by the names that `load_arrays` reads."""
    return {f"{role}.{i:04d}.{v.name}": v.numpy() for i, v in enumerate(model.variables)}


def load_arrays(model: keras.Model, checkpoint: checkpoints.Checkpoint, role: str):
    """Sets the model's variables from a checkpoint.

    Raises:
        UserError: number or shapes differ.
    """
    assign(model.variables, checkpoint.arrays(f"{role}."), checkpoint)


def assign(variables, arrays: dict, checkpoint: checkpoints.Checkpoint):
    """Sets variables, in order, to arrays, in order.

    Raises:
        UserError: number or shapes differ.
    """
    values = list(arrays.values())
    if [tuple(v.shape) for v in variables] != [value.shape for value in values]:
        raise UserError(f"the checkpoint '{checkpoint.path}' does not fit the model of config.json.")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
