"""Runs exported files, each by its own runtime: frames in, predictions out, for every format."""

import pathlib
import threading
from collections.abc import Callable

import numpy as np

from yt8m_distill.errors import UserError
from yt8m_distill.files.untrusted import in_short

Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]
EXTRA = "pip install 'yt8m_distill[export]'"


def load(path: pathlib.Path) -> Predict:
    """A function of frames (batch, frames, features) uint8 and num_frames (batch,) int32 to (batch, classes).

    Args:
        path: a SavedModel, a `.tflite` or an `.onnx` file. The latter two take the number of
            frames they were made for; fewer are padded.

    Raises:
        UserError: the runtime is not installed, or the file is missing or damaged.
    """
    loaders = {".tflite": _litert, ".onnx": _onnx}
    try:
        return loaders.get(path.suffix, _saved_model)(path)
    except ImportError as error:
        advice = "choose an ONNX or LiteRT file, which does without" if error.name == "tensorflow" else EXTRA
        raise UserError(f"'{path.name}' needs {error.name}: {advice}") from error
    except Exception as error:  # each runtime has its own
        raise UserError(f"'{path}' cannot be loaded: {in_short(error)}. Export it again.") from error


def _saved_model(path: pathlib.Path) -> Predict:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))

    def predict(frames, num_frames):
        # Through `loaded`, as a signature alone does not keep its variables alive.
        outputs = loaded.signatures["frames"](frames=tf.constant(frames), num_frames=tf.constant(num_frames))
        return outputs["predictions"].numpy()

    return predict


def _litert(path: pathlib.Path) -> Predict:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    run = interpreter.get_signature_runner("frames")
    batch, length, _ = run.get_input_details()["frames"]["shape_signature"]
    lock = threading.Lock()  # an interpreter is for one thread at a time

    def predict(frames, num_frames):
        frames = _padded(frames, length)
        with lock:
            if batch == 1:
                rows = [run(frames=frames[i : i + 1], num_frames=num_frames[i : i + 1]) for i in range(len(frames))]
                return np.concatenate([row["predictions"] for row in rows])
            return run(frames=frames, num_frames=num_frames)["predictions"]

    return predict


def _onnx(path: pathlib.Path) -> Predict:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    length = next(value.shape[1] for value in session.get_inputs() if value.name == "frames")

    def predict(frames, num_frames):
        return session.run(["predictions"], {"frames": _padded(frames, length), "num_frames": num_frames})[0]

    return predict


def _padded(frames: np.ndarray, length: int) -> np.ndarray:
    """Frames padded with zeros up to `length`."""
    missing = length - frames.shape[1]
    return np.pad(frames, ((0, 0), (0, missing), (0, 0))) if missing else frames
