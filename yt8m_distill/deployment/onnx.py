"""ONNX files."""

import pathlib

import keras
import tensorflow as tf

from yt8m_distill.deployment.exported_model import Network, portable

OPSET = 18


def write(network: Network, path: pathlib.Path):
    """Writes `Network.predict` for any number of videos and a fixed number of frames, with unrolled LSTMs.

    Raises:
        UserError: the number of frames has no limit.
    """
    import onnx
    import tf2onnx

    variables = weight_names(network.model)

    def predict(frames: tf.Tensor, num_frames: tf.Tensor, *values: tf.Tensor) -> dict[str, tf.Tensor]:
        with keras.StatelessScope(list(zip(variables.values(), values, strict=True))):
            return network.predict(frames, num_frames)

    # The converter copies constants many times, 20 GB for the paper's NeXtVLAD, so weights are inputs meanwhile.
    signature = network.signature(None, network.checked_frames("onnx"))
    weights = [tf.TensorSpec(variable.shape, variable.dtype, name=name) for name, variable in variables.items()]
    with portable(network.model, unroll=True):
        converted, _ = tf2onnx.convert.from_function(
            tf.function(predict, autograph=False), [*signature, *weights], opset=OPSET
        )
    graph = converted.graph
    for value in [value for value in graph.input if value.name in variables]:
        graph.input.remove(value)
    for name in sorted(variables.keys() & {name for node in graph.node for name in node.input}):
        graph.initializer.append(onnx.numpy_helper.from_array(variables[name].numpy(), name))
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    path.write_bytes(converted.SerializeToString())


def weight_names(model: keras.Model) -> dict[str, keras.Variable]:
    """The variables of a model by their names in its file, where only those are that predictions depend on."""
    return {f"weight_{number}": variable for number, variable in enumerate(model.weights)}
