"""ONNX files whose matrix products are of whole numbers: weights of 7 bits, inputs of 8.

ONNX Runtime's own dynamic quantizer gives all rows of a product's input one scale, so that a video's predictions depend
on the others of its batch. Here every row, a frame or a video, has a scale of its own. Operators are standard ones.
"""

import pathlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from yt8m_distill.deployment.exported_model import Network
from yt8m_distill.deployment.onnx import weight_names
from yt8m_distill.errors import UserError

WEIGHT_MAX = 63  # two products with 8 bits fit into 16, in which processors without VNNI add them up
INPUT_MAX, INPUT_ZERO = 127, 128
LEAST_COLUMNS = 32  # a narrower product takes less time than the quantization of its input
SMALLEST = 1e-12  # as the largest number of a row or column; smaller ones count as 0


@dataclass(frozen=True)
class Layer:
    """Products with one matrix of weights; there are several where the steps of an LSTM are unrolled.

    Attributes:
        name: of the weights in the model.
        weight: of the weights in the file.
    """

    name: str
    weight: str


def find_layers(network: Network, path: pathlib.Path) -> list[Layer]:
    """The layers that can be int8.

    Not those with fewer than 32 columns, products of values that are not weights as they are stored (VLAD's sums), and
    the scorer that chooses frames, as it would choose others.

    Args:
        network: the model.
        path: its float32 file, as `onnx.write` has written it.

    Raises:
        UserError: there are none.
    """
    import onnx

    weights = {node.input[1] for node in _products(onnx.load(str(path)))}
    scorer = getattr(network.model, "frame_scorer", None)
    of_scorer = {id(variable) for variable in scorer.weights} if scorer is not None else set()
    layers = [
        Layer(_readable(variable), name)
        for name, variable in weight_names(network.model).items()
        if name in weights and id(variable) not in of_scorer
    ]
    if not layers:
        raise UserError(
            f"--onnx_precisions=int8: no layer of this model has {LEAST_COLUMNS} columns, so it would not be faster; "
            "leave int8 out."
        )
    return layers


def write(source: pathlib.Path, target: pathlib.Path, layers: Collection[Layer]):
    """Writes an ONNX file of which some layers are int8.

    Args:
        source: the float32 file.
        target: to write.
        layers: of `find_layers`.
    """
    import onnx

    model = onnx.load(str(source))
    weights = {layer.weight for layer in layers}
    products = {node.output[0] for node in _products(model) if node.input[1] in weights}
    rewriting = _Rewriting(model.graph)
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.output[0] in products:
            rewriting.multiply(*node.input, node.output[0])
        else:
            rewriting.nodes.append(node)
    rewriting.replace(model.graph)
    target.write_bytes(model.SerializeToString())


def float32_layers(layers: Sequence[Layer], loss: Callable[[Collection[Layer]], float], most: float) -> list[Layer]:
    """The layers that stay float32, so that the others together lose no more than is allowed.

    These are all that lose more by themselves, and then those that lose most until the rest loses little enough.

    Args:
        layers: all that can be int8.
        loss: of a file in which these layers are int8.
        most: what may be lost.

    Example:
        >>> small, large = Layer("hidden", "weight_1"), Layer("classifier", "weight_2")
        >>> [layer.name for layer in float32_layers([small, large], lambda them: 0.1 * (large in them), 0.01)]
        ['classifier']
    """
    if loss(layers) <= most:
        return []
    alone = {layer: loss([layer]) for layer in layers}
    kept = [layer for layer in sorted(layers, key=alone.__getitem__) if alone[layer] <= most]
    while kept and not loss(kept) <= most:
        kept.pop()
    return [layer for layer in layers if layer not in kept]


def _readable(variable: keras.Variable) -> str:
    """`vlad_0/cluster_weights`: the path without the model's name and the weight's own."""
    parts = variable.path.split("/")
    return "/".join(parts[1:-1] or parts)


def _products(model: Any) -> Iterator[Any]:
    """The nodes that multiply a matrix of values by one of weights, which is wide enough."""
    from onnx import shape_inference

    inferred = shape_inference.infer_shapes(model).graph
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in (*inferred.value_info, *inferred.input)}
    shapes = {weight.name: weight.dims for weight in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "MatMul" or ranks.get(node.input[0]) != 2:
            continue
        shape = shapes.get(node.input[1], ())
        if len(shape) == 2 and shape[1] >= LEAST_COLUMNS:
            yield node


class _Rewriting:
    """The nodes and constants of a graph that is written anew.

    Args:
        graph: of the float32 file.
    """

    def __init__(self, graph: Any):
        self.nodes: list[Any] = []
        self._weights = {weight.name: weight for weight in graph.initializer}
        self._constants: dict[str, np.ndarray] = {}
        self._inputs: dict[str, tuple[str, str]] = {}

    def multiply(self, value: str, weight: str, product: str):
        """Appends the product of a float value and weights, by whole numbers.

        Args:
            value: name of the value, (rows, columns).
            weight: name of the weights.
            product: name of the result.
        """
        from onnx import TensorProto

        numbers, row_scales = self._quantized_input(value)
        weights, column_scales = self._quantized_weight(weight)
        zero = self._constant("int8/input_zero", np.uint8(INPUT_ZERO))
        whole = self._append("MatMulInteger", [numbers, weights, zero], f"{product}/whole")
        floats = self._append("Cast", [whole], f"{product}/float", to=TensorProto.FLOAT)
        scaled = self._append("Mul", [floats, column_scales], f"{product}/scaled")
        self._append("Mul", [scaled, row_scales], product)

    def replace(self, graph: Any):
        """Makes this the content of the graph."""
        from onnx import numpy_helper

        used = {name for node in self.nodes for name in node.input}
        kept = [weight for name, weight in self._weights.items() if name in used]
        constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in self._constants.items()]
        del graph.node[:], graph.initializer[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend([*kept, *constants])

    def _quantized_input(self, value: str) -> tuple[str, str]:
        """A float value as uint8, and the scale of each row, (rows, 1); once for all products of it."""
        if value not in self._inputs:
            self._inputs[value] = self._append_quantization(value)
        return self._inputs[value]

    def _append_quantization(self, value: str) -> tuple[str, str]:
        from onnx import numpy_helper

        axes = self._constant("int8/last_axis", np.array([-1], np.int64))
        high = self._append("ReduceMax", [value, axes], f"{value}/high", keepdims=1)
        low = self._append(
            "Neg", [self._append("ReduceMin", [value, axes], f"{value}/low", keepdims=1)], f"{value}/minus_low"
        )
        smallest = self._constant("int8/smallest", np.float32(SMALLEST))
        largest = self._append("Max", [high, low, smallest], f"{value}/largest")
        step = self._constant("int8/step", np.float32(1 / INPUT_MAX))
        scales = self._append("Mul", [largest, step], f"{value}/scales")
        flat = self._append("Reshape", [scales, axes], f"{value}/flat_scales")
        zero = numpy_helper.from_array(np.array([INPUT_ZERO], np.uint8))
        rows = self._append("Shape", [flat], f"{value}/rows")
        zeros = self._append("ConstantOfShape", [rows], f"{value}/zeros", value=zero)
        return self._append("QuantizeLinear", [value, flat, zeros], f"{value}/uint8", axis=0), scales

    def _quantized_weight(self, name: str) -> tuple[str, str]:
        """Weights as int8, and the scale of each column."""
        from onnx import numpy_helper

        numbers, scales = f"{name}/int8", f"{name}/scales"
        if numbers not in self._constants:
            self._constants[numbers], self._constants[scales] = quantized(numpy_helper.to_array(self._weights[name]))
        return numbers, scales

    def _constant(self, name: str, value: Any) -> str:
        self._constants[name] = value
        return name

    def _append(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output


def quantized(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (rows, columns) as int8 of at most 63, and the scale of each column, (columns,) float32.

    Example:
        >>> numbers, scales = quantized(np.array([[0.25, 0.0], [-1.0, 0.0]], np.float32))
        >>> numbers.tolist(), [round(float(scale) * 63, 3) for scale in scales]
        ([[16, 0], [-63, 0]], [1.0, 0.0])
    """
    scales = (np.maximum(np.abs(weights).max(axis=0), SMALLEST) / WEIGHT_MAX).astype(np.float32)
    return np.rint(weights / scales).astype(np.int8), scales
