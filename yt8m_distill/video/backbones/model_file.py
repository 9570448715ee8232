"""Backbones in files: Keras models, SavedModels and ONNX files."""

import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yt8m_distill.errors import UserError
from yt8m_distill.files.untrusted import in_short
from yt8m_distill.video.backbones.backbone import BATCH_SIZE, Backbone, ImageOptions
from yt8m_distill.video.checksums import checksum_of_files

USUAL_SIZE = 224
KERAS_ENDINGS = (".keras", ".h5", ".hdf5")
ENDINGS = (*KERAS_ENDINGS, ".onnx")


class ModelFile(Backbone):
    """The output of a model in a file, averaged over places where it has any.

    Args:
        path: of a Keras model, a folder with a SavedModel, or an ONNX file; with one input, images (batch, height,
            width, 3) or (batch, 3, height, width), and one output, (batch, size) or with places between the two.
        options: what its input is.
        batch_size: images at a time, where the model takes any number.

    Raises:
        UserError: it cannot be loaded, or is not such a model.
    """

    def __init__(self, path: str, options: ImageOptions = ImageOptions(), batch_size: int = BATCH_SIZE):
        self._model = _loaded(pathlib.Path(path))
        image_size = self._model.image_size(options.image_size, path)
        self._options = options
        self._path = path
        self.batch_size = self._model.shape[0] or batch_size
        description = f"{image_size}, bicubic, crop {options.crop:g}, {options.pixels}"
        identity = checksum_of_files(description, pathlib.Path(path))
        size = self._run(np.zeros((self.batch_size, *image_size, 3), np.uint8)).shape[1]
        super().__init__(path, size, image_size, identity, options.crop, self.batch_size)

    def compute(self, batch):
        return self._run(batch)

    def _run(self, batch: np.ndarray) -> np.ndarray:
        values = batch if self._model.takes_bytes else self._options.scaled(batch)
        if self._model.channels_first:
            values = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
        try:
            features = np.asarray(self._model.run(values), np.float32)
        except Exception as error:  # each runtime has its own
            raise UserError(f"the backbone '{self._path}' cannot be run: {in_short(error)}.") from error
        if features.ndim < 2 or len(features) != len(batch):
            raise UserError(
                f"the output of the backbone '{self._path}' must be (batch, size) or (batch, height, width, size), not "
                f"{features.shape} for a batch of {len(batch)}."
            )
        # As (batch, places, size).
        if self._model.channels_first and features.ndim > 3:
            features = np.moveaxis(features, 1, -1)
        return features.reshape(len(features), -1, features.shape[-1]).mean(axis=1)


@dataclass(frozen=True)
class _Model:
    """A loaded model.

    Attributes:
        run: images of the input's form to its output.
        shape: of the input; None where any size goes.
        takes_bytes: whether the input is uint8.
    """

    run: Callable[[np.ndarray], Any]
    shape: tuple[int | None, ...]
    takes_bytes: bool

    @property
    def channels_first(self) -> bool:
        return self.shape[1] == 3 and self.shape[-1] != 3

    def image_size(self, asked: int | None, path: str) -> tuple[int, int]:
        """Height and width of the images.

        Raises:
            UserError: the input is not one of images, or of others than asked for.
        """
        if len(self.shape) != 4 or 3 not in (self.shape[1], self.shape[-1]):
            raise UserError(
                f"the input of the backbone '{path}' must be images, (batch, height, width, 3) or (batch, 3, height, "
                f"width), not {self.shape}."
            )
        sides = self.shape[2:] if self.channels_first else self.shape[1:3]
        if asked and any(side not in (None, asked) for side in sides):
            raise UserError(f"the backbone '{path}' takes images of {sides[0]} x {sides[1]} pixels, not of {asked}.")
        return tuple(side or asked or USUAL_SIZE for side in sides)


def _loaded(path: pathlib.Path) -> _Model:
    if not path.exists():
        raise UserError(f"the backbone '{path}' does not exist.")
    if path.is_dir():
        load = _saved_model
    elif path.suffix in ENDINGS:
        load = _onnx if path.suffix == ".onnx" else _keras
    else:
        raise UserError(
            f"the backbone '{path}' is not known: it must be a file that ends in {', '.join(ENDINGS)}, or the "
            "folder of a SavedModel."
        )
    try:
        return load(path)
    except (UserError, MemoryError):
        raise
    except ImportError as error:
        raise UserError(f"the backbone '{path}' needs {error.name}: pip install 'yt8m_distill[export]'") from error
    except Exception as error:  # each runtime has its own
        raise UserError(f"the backbone '{path}' cannot be loaded: {in_short(error)}.") from error


def _keras(path: pathlib.Path) -> _Model:
    import keras
    import tensorflow as tf

    network = keras.saving.load_model(path, compile=False)  # Keras refuses code in it
    _check_single(path, "input", network.inputs)
    _check_single(path, "output", network.outputs)
    (image,) = network.inputs
    run = tf.function(lambda images: network(images, training=False), autograph=False)
    return _Model(lambda images: run(tf.constant(images)), tuple(image.shape), image.dtype == "uint8")


def _saved_model(path: pathlib.Path) -> _Model:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures.get("serving_default")
    if signature is None:
        raise UserError(f"the backbone '{path}' is a SavedModel without the signature 'serving_default'.")
    inputs = signature.structured_input_signature[1]
    _check_single(path, "input", list(inputs))
    _check_single(path, "output", list(signature.structured_outputs))
    (name,), (output,) = inputs, signature.structured_outputs

    def run(images):
        # Through `loaded`, as a signature alone does not keep its variables alive.
        return loaded.signatures["serving_default"](**{name: tf.constant(images)})[output]

    shape = inputs[name].shape
    return _Model(run, () if shape.rank is None else tuple(shape), inputs[name].dtype == tf.uint8)


def _onnx(path: pathlib.Path) -> _Model:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    _check_single(path, "input", [value.name for value in session.get_inputs()])
    _check_single(path, "output", [value.name for value in session.get_outputs()])
    (image,) = session.get_inputs()
    shape = tuple(side if isinstance(side, int) and side > 0 else None for side in image.shape)
    return _Model(lambda images: session.run(None, {image.name: images})[0], shape, image.type == "tensor(uint8)")


def _check_single(path: pathlib.Path, what: str, values: Sequence[Any]):
    if len(values) != 1:
        names = ", ".join(value if isinstance(value, str) else value.name for value in values)
        raise UserError(f"the backbone '{path}' must have one {what}, the {what}s of this model are {names or 'none'}.")
