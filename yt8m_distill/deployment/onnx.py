"""ONNX files."""

import pathlib

import tensorflow as tf

from yt8m_distill.deployment.network import Network, portable

OPSET = 18


def write(network: Network, path: pathlib.Path):
    """Writes the function of `Network.predict` for any number of videos and a fixed one of frames, LSTMs unrolled.

    Raises:
        UserError: the number of frames has no limit.
    """
    import tf2onnx

    signature = network.signature(None, network.checked_frames("onnx"))
    with portable(network.model, unroll=True):
        function = tf.function(network.predict)
        converted, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET)
    for value in (*converted.graph.input, *converted.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    path.write_bytes(converted.SerializeToString())
