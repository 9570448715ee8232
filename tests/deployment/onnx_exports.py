"""Exports with an ONNX file that is made by hand: quick, and without TensorFlow."""

import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.deployment.exports import CLASSES, FRAME_SIZE, MAX_FRAMES, K
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.deployment.manifest import ExportedFile, Manifest, write_manifest
from yt8m_distill.files.checksums import file_checksum

FILES = {"float32": "model.onnx", "int8": "model_int8.onnx"}
SCALES = {"float32": 255 * K, "int8": 1000.0}  # so that the files can be told apart by their predictions


def write_export(folder: pathlib.Path, precisions: tuple[str, ...] = ("float32",)) -> pathlib.Path:
    """An export whose files predict the sum of each of the first bytes of the frames, over a scale."""
    folder.mkdir()
    files = []
    for precision in precisions:
        path = folder / FILES[precision]
        path.write_bytes(_sums(SCALES[precision]).SerializeToString())
        files.append(_described(path, "onnx", precision))
    data = DatasetSpec("YouTube-8M 2018", "id", ("rgb", "audio"), (FRAME_SIZE - 2, 2), CLASSES, MAX_FRAMES)
    write_manifest(Manifest("NeXtVLAD", "student", None, data, FrameSelection(K), K, 2, None, tuple(files)), folder)
    return folder


def expected(frames: np.ndarray, precision: str = "float32") -> np.ndarray:
    """Predictions (classes,) of a video's frames (frames, features) that the model sees."""
    return frames[:, :CLASSES].astype(np.float32).sum(axis=0) / SCALES[precision]


def _described(path: pathlib.Path, file_format: str, precision: str) -> ExportedFile:
    size = path.stat().st_size
    return ExportedFile(path.name, file_format, precision, None, size, 0.0, 0.0, 0.0, None, file_checksum(path))


def _sums(scale: float) -> onnx.ModelProto:
    constants = {"begin": [0], "end": [CLASSES], "last": [2], "frame_axis": [1]}
    initializers = [helper.make_tensor(name, TensorProto.INT64, [1], value) for name, value in constants.items()]
    initializers.append(helper.make_tensor("scale", TensorProto.FLOAT, [], [scale]))
    nodes = [
        helper.make_node("Cast", ["frames"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Slice", ["numbers", "begin", "end", "last"], ["first"]),
        helper.make_node("ReduceSum", ["first", "frame_axis"], ["sums"], keepdims=0),
        helper.make_node("Div", ["sums", "scale"], ["predictions"]),
    ]
    inputs = [
        helper.make_tensor_value_info("frames", TensorProto.UINT8, ["batch", K, FRAME_SIZE]),
        helper.make_tensor_value_info("num_frames", TensorProto.INT32, ["batch"]),
    ]
    output = helper.make_tensor_value_info("predictions", TensorProto.FLOAT, ["batch", CLASSES])
    graph = helper.make_graph(nodes, "sums", inputs, [output], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
