"""The process that reads a TensorFlow 1 checkpoint: `python -m yt8m_distill.tf1.reader_process PREFIX FOLDER BYTES`.

PREFIX: the checkpoint's path without ending. BYTES: of its files with values. It writes two files to the folder: the
names, shapes and step, or why there are none, as JSON, and the values. Where the index is damaged or crafted,
TensorFlow may end the process instead.
"""

import json
import math
import pathlib
import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from yt8m_distill.files import untrusted

CONTENTS_FILE, VALUES_FILE = "contents.json", "values.npz"
# Last parts of the names of variables that only a training has: by what they are.
_TRAINING_STATE = {
    "step": re.compile(r"global_step"),
    "optimizer": re.compile(
        r"(Adam|AdaMax|Momentum|RMSProp|Adagrad|AdagradDA|Adadelta|Ftrl)(_\d+)?|beta[12]_power(_\d+)?"
    ),
    "moving average of a weight": re.compile(r"ExponentialMovingAverage"),
}


def training_state(name: str) -> str | None:
    """What a variable is that only a training has; None for those of the model.

    Example:
        >>> training_state("tower/gates/weights/Adam_1"), training_state("tower/gates/weights")
        ('optimizer', None)
    """
    last = name.rpartition("/")[2]
    return next((kind for kind, pattern in _TRAINING_STATE.items() if pattern.fullmatch(last)), None)


def main():
    prefix, folder, num_bytes = sys.argv[1:]
    write_contents(prefix, pathlib.Path(folder), int(num_bytes))


def write_contents(prefix: str, folder: pathlib.Path, num_bytes: int):
    """Reads a checkpoint, in this process.

    Args:
        prefix: its path without ending.
        folder: of the two files to write.
        num_bytes: of its files with values, which its index must not exceed.
    """
    folder.joinpath(CONTENTS_FILE).write_text(json.dumps(_read(prefix, folder, num_bytes)), encoding="utf-8")


def _read(prefix: str, folder: pathlib.Path, num_bytes: int) -> Mapping[str, Any]:
    import tensorflow as tf  # takes seconds, which the importer of `training_state` does not have to wait

    try:
        reader = tf.train.load_checkpoint(prefix)
        shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    except Exception as error:  # TensorFlow raises many kinds
        return {"problem": f"is not a TensorFlow 1 checkpoint: {untrusted.in_short(error)}"}
    numbers = sorted(name for name in shapes if types[name] != tf.string)
    needed = sum(math.prod(shapes[name]) * types[name].size for name in numbers)
    if needed > num_bytes:  # values are never compressed
        return {"problem": f"is damaged: its files hold less than the {needed:,} bytes of its index"}
    try:
        names = [name for name in numbers if training_state(name) is None]
        keys = {name: str(number) for number, name in enumerate(names)}
        values = {keys[name]: reader.get_tensor(name) for name in names}
        step = int(reader.get_tensor("global_step")) if shapes.get("global_step") == [] else None
    except Exception as error:
        return {"problem": f"is damaged: {untrusted.in_short(error)}"}
    np.savez(folder / VALUES_FILE, **values)
    return {"shapes": shapes, "keys": keys, "step": step}


if __name__ == "__main__":
    main()
