"""Weights of the original TensorFlow 1 implementations, loaded into our models."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from yt8m_distill.errors import UserError
from yt8m_distill.layers import (
    BranchMixture,
    LogisticClassifier,
    MaskedBatchNormalization,
    MixtureOfExperts,
    StackedLSTM,
)
from yt8m_distill.models import (
    Dbof,
    FrameLevelLogistic,
    HierarchicalRNN,
    Logistic,
    Lstm,
    MixNeXtVLAD,
    Moe,
    NetVLAD,
    NeXtVLAD,
    VideoModel,
)

# The original graphs are written for these two features, in this order.
STREAM_SCOPES = ("video_VLAD", "audio_VLAD")
# Parts of names that some versions of the originals have and others not.
_DROPPED_PARTS = ("classifier", "RNN")
_OTHER_NAMES = {"video_vlad": "video_VLAD", "audio_vlad": "audio_VLAD"}
_OTHER_NAMES_IN_A_CELL = {"weights": "kernel", "biases": "bias"}


@dataclass(frozen=True)
class Placement:
    """Where an original array belongs: the shape it must have, and how it is assigned."""

    shape: tuple[int, ...]
    assign: Callable[[np.ndarray], None]


def load_reference_weights(model: VideoModel, weights: Mapping[str, np.ndarray], scope: str | None = None) -> None:
    """Loads the weights of an original checkpoint into a model; nothing changes where they do not fit.

    Every weight of the model must be given and every array must find its place. Moving averages that are loaded
    decay from then on without warm-up, as they have been learned.

    Args:
        model: one of this package's models, of the same sizes.
        weights: arrays by TensorFlow 1 variable name, parts separated by "/" or ".", as
            "video_VLAD/cluster_bn/gamma". A scope before them ("tower/", "model_student/") and the
            classifier's own ("classifier/") may be there or not.
        scope: the scope to load from, where the arrays are of several, as teacher "model" and student
            "model_student"; names outside it are then left alone.

    Raises:
        UserError: arrays without a place, weights without an array, a wrong shape, several scopes and none chosen,
            or a kind of model that has no original. The message names them.

    Source: linrongc (NeXtVLAD), WILLOW (NetVLAD, the gated Moe), Bhardwaj et al. (HierarchicalRNN), the starter code
    (all others).
    """
    placements = placements_in(model)
    plain = {plain_name(name): value for name, value in weights.items()}
    if len(plain) < len(weights):
        raise UserError("Some of these names differ only in their separators or in the classifier's scope.")
    arrays = _in_scope(plain, placements, scope)
    _check_arrays(arrays, placements)
    for name, array in arrays.items():
        placements[name].assign(array)


def plain_name(name: str) -> str:
    """One spelling: "." between parts, no output number, no scope that only some versions of the originals have."""
    parts = name.removesuffix(":0").replace("/", ".").split(".")
    parts = [_OTHER_NAMES.get(part, part) for part in parts if part not in _DROPPED_PARTS]
    if "basic_lstm_cell" in parts[-2:]:
        parts[-1] = _OTHER_NAMES_IN_A_CELL.get(parts[-1], parts[-1])
    return ".".join(parts)


def _in_scope(weights: Mapping[str, Any], placed: Iterable[str], scope: str | None) -> dict[str, np.ndarray]:
    """The arrays of one scope by their names within it; names without a place in the model stay as they are."""
    by_scope: dict[str, dict[str, np.ndarray]] = {}
    unknown: dict[str, np.ndarray] = {}
    for name, value in weights.items():
        parts = name.split(".")
        for cut in range(len(parts)):
            if (inner := ".".join(parts[cut:])) in placed:
                by_scope.setdefault(".".join(parts[:cut]), {})[inner] = np.asarray(value)
                break
        else:
            unknown[name] = np.asarray(value)
    if scope is not None:
        ending = scope.strip("/.").replace("/", ".")
        unknown = {name: value for name, value in unknown.items() if f"{ending}." in f".{name}"}
        by_scope = {name: arrays for name, arrays in by_scope.items() if f".{name}".endswith(f".{ending}")}
    if len(by_scope) > 1:
        scopes = ", ".join(repr(name) for name in sorted(by_scope))
        raise UserError(f"The weights are of several scopes: {scopes}. Choose one of them with scope.")
    return {**next(iter(by_scope.values()), {}), **unknown}


def _check_arrays(arrays: Mapping[str, np.ndarray], placements: Mapping[str, Placement]) -> None:
    problems = []
    if unplaced := sorted(set(arrays) - set(placements)):
        problems.append(f"no place in the model for {', '.join(unplaced)}")
    if missing := sorted(set(placements) - set(arrays)):
        problems.append(f"no array for the model's {', '.join(missing)}")
    for name in sorted(set(arrays) & set(placements)):
        if arrays[name].shape != placements[name].shape:
            problems.append(f"{name} has shape {arrays[name].shape}, the model needs {placements[name].shape}")
    if problems:
        raise UserError(f"These weights do not fit the model: {'; '.join(problems)}.")


def placements_in(model: VideoModel) -> dict[str, Placement]:
    """The place of every original variable of the model, by plain name."""
    tables = {
        HierarchicalRNN: _hierarchical_rnn,
        NetVLAD: _netvlad,
        NeXtVLAD: _nextvlad,
        MixNeXtVLAD: _mix_nextvlad,
        Dbof: _dbof,
        Lstm: lambda model: _lstm_stack("rnn", model.rnn),
        **dict.fromkeys((FrameLevelLogistic, Logistic, Moe), lambda model: {}),
    }
    for kind, table in tables.items():
        if isinstance(model, kind):
            return {**table(model), **_classifier(model.classifier)}
    names = ", ".join(kind.__name__ for kind in tables)
    raise UserError(f"No original is known for {type(model).__name__}. Known: {names}.")


def _nextvlad(model: NeXtVLAD) -> dict[str, Placement]:
    places = {}
    for scope, pooling in _streams(model):
        places |= _dense(f"{scope}.fully_connected", pooling.expand)
        places |= _dense(f"{scope}.fully_connected_1", pooling.attention)
        places[f"{scope}.cluster_weights"] = _whole(pooling.assignment.kernel)
        places |= _batch_norm(f"{scope}.cluster_bn", pooling.cluster_bn)
        places[f"{scope}.cluster_weights2"] = _whole(pooling.centers)
        places |= _batch_norm(f"{scope}.vlad_bn", pooling.vlad_bn)
    places["hidden1_weights"] = _whole(model.hidden.kernel)
    places |= _batch_norm("hidden1_bn", model.hidden_bn)
    places["gating_weights_1"] = _whole(model.gating.squeeze.kernel)
    places |= _batch_norm("gating_bn", model.gating.batch_norm)
    places["gating_weights_2"] = _whole(model.gating.excite.kernel)
    return places


def _mix_nextvlad(model: MixNeXtVLAD) -> dict[str, Placement]:
    places = _batch_norm("mix_weights_bn", model.mixture_bn) | _dense("mix_weights", model.mixture)
    for index, branch in enumerate(model.branches):
        branch_places = _nextvlad(branch) | _classifier(branch.classifier)
        places |= {f"branch_{index}.{name}": place for name, place in branch_places.items()}
    return places


def _netvlad(model: NetVLAD) -> dict[str, Placement]:
    normalized = model.model_args["batch_norm"]
    places = _batch_norm("input_bn", model.input_bn) if normalized else {}
    for scope, pooling in _streams(model):
        batch_norm = pooling.cluster_bn if normalized else None
        places |= _weights_and_norm(f"{scope}.cluster", pooling.assignment, batch_norm)
        if pooling.anchors:
            places[f"{scope}.cluster_weights2"] = _whole(pooling.centers)
    places |= _weights_and_norm("hidden1", model.hidden, model.hidden_bn if model.normalizes_hidden else None)
    if model.model_args["gating"]:
        batch_norm = model.gating.batch_norm if normalized else None
        places |= _weights_and_norm("gating", model.gating.dense, batch_norm, weights="gating_weights_2")
    return places


def _dbof(model: Dbof) -> dict[str, Placement]:
    if not model.model_args["batch_norm"]:
        return _weights_and_norm("cluster", model.cluster, None) | _weights_and_norm("hidden1", model.hidden, None)
    return {
        **_batch_norm("input_bn", model.input_bn),
        **_weights_and_norm("cluster", model.cluster, model.cluster_bn),
        **_weights_and_norm("hidden1", model.hidden, model.hidden_bn),
    }


def _hierarchical_rnn(model: HierarchicalRNN) -> dict[str, Placement]:
    return _lstm_stack("RNN_L1.rnn", model.lower) | _lstm_stack("RNN_L2.rnn", model.upper)


def _classifier(layer: keras.layers.Layer) -> dict[str, Placement]:
    if isinstance(layer, MixtureOfExperts):
        return _mixture_of_experts(layer)
    if isinstance(layer, LogisticClassifier):
        return _dense("fully_connected", layer.dense)
    if isinstance(layer, BranchMixture):
        return {}  # they are the branches'
    raise UserError(f"No original is known for the classifier {type(layer).__name__}.")


def _mixture_of_experts(layer: MixtureOfExperts) -> dict[str, Placement]:
    places = _dense("experts", layer.experts)
    if layer.gate_rank:
        places["gates1.weights"] = _whole(layer.gate_factors.kernel)
    places["gates2.weights" if layer.gate_rank else "gates.weights"] = _whole(layer.gates.kernel)
    if layer.gating != "none":
        places |= _weights_and_norm("gating_prob", layer.gating_dense, layer.gating_bn)
    return places


def _streams(model: NeXtVLAD | NetVLAD) -> Iterable[tuple[str, keras.layers.Layer]]:
    if len(model.poolings) > len(STREAM_SCOPES):
        raise UserError(f"The originals have at most two features; this model has {len(model.poolings)}.")
    return zip(STREAM_SCOPES, model.poolings, strict=False)


def _whole(variable: keras.Variable) -> Placement:
    return Placement(tuple(variable.shape), variable.assign)


def _dense(name: str, layer: keras.layers.Dense) -> dict[str, Placement]:
    return {f"{name}.weights": _whole(layer.kernel), f"{name}.biases": _whole(layer.bias)}


def _weights_and_norm(
    name: str, layer: keras.layers.Dense, batch_norm: MaskedBatchNormalization | None, weights: str | None = None
) -> dict[str, Placement]:
    """A layer whose parts are separate variables, followed by batch normalization, or else with a bias."""
    places = {weights or f"{name}_weights": _whole(layer.kernel)}
    if batch_norm is None:
        return {**places, f"{name}_biases": _whole(layer.bias)}
    return places | _batch_norm(f"{name}_bn", batch_norm)


def _batch_norm(name: str, layer: MaskedBatchNormalization) -> dict[str, Placement]:
    def assign_moving_mean(array: np.ndarray) -> None:
        layer.moving_mean.assign(array)
        layer.finish_warm_up()

    return {
        f"{name}.gamma": _whole(layer.gamma),
        f"{name}.beta": _whole(layer.beta),
        f"{name}.moving_mean": Placement(tuple(layer.moving_mean.shape), assign_moving_mean),
        f"{name}.moving_variance": _whole(layer.moving_variance),
    }


def _lstm_stack(name: str, stack: StackedLSTM) -> dict[str, Placement]:
    places = {}
    for index, lstm in enumerate(stack.lstms):
        cell = f"{name}.multi_rnn_cell.cell_{index}.basic_lstm_cell"
        places |= {f"{cell}.{part}": place for part, place in _basic_lstm_cell(lstm.cell).items()}
    return places


def _basic_lstm_cell(cell: Any) -> dict[str, Placement]:
    """A TensorFlow 1 cell: one kernel for input and state, gates i, j, f, o, 1 added to the forget gate at run time.

    Keras has two kernels, gates i, f, c (= j), o, and that 1 in its bias.
    """
    features, units = cell.kernel.shape[0], cell.units

    def assign_kernel(array: np.ndarray) -> None:
        ordered = _reorder_gates(array)
        cell.kernel.assign(ordered[:features])
        cell.recurrent_kernel.assign(ordered[features:])

    def assign_bias(array: np.ndarray) -> None:
        bias = _reorder_gates(array)
        bias[units : 2 * units] += 1.0
        cell.bias.assign(bias)

    return {
        "kernel": Placement((features + units, 4 * units), assign_kernel),
        "bias": Placement((4 * units,), assign_bias),
    }


def _reorder_gates(array: np.ndarray) -> np.ndarray:
    """Columns i, j, f, o to i, f, j, o; a copy."""
    i, j, f, o = np.split(array, 4, axis=-1)
    return np.concatenate([i, f, j, o], axis=-1)
