"""The model in a TensorFlow 1 checkpoint of the original code bases, recognized by the names and shapes in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from yt8m_distill.errors import UserError
from yt8m_distill.plugins import MODELS
from yt8m_distill.tf1.weights import STREAM_SCOPES, plain_name

_CELL = "multi_rnn_cell.cell_{}.basic_lstm_cell.kernel"
# A variable that every checkpoint of the model has. The first match decides, as such a model has later ones, too.
_SIGNATURES = {
    "MixNeXtVLAD": "mix_weights.weights",
    "NeXtVLAD": "video_VLAD.fully_connected.weights",
    "NetVLAD": "video_VLAD.cluster_weights",
    "HierarchicalRNN": f"RNN_L1.rnn.{_CELL.format(0)}",
    "Lstm": f"rnn.{_CELL.format(0)}",
    "Dbof": "cluster_weights",
    "Moe": "experts.weights",
    "FrameLevelLogistic": "fully_connected.weights",
    "Logistic": "fully_connected.weights",
}
# Scopes within a model, in which there may be what looks like another one.
_PARTS_OF_MODELS = (*STREAM_SCOPES, "RNN_L1", "RNN_L2")
# Flags of the originals for what the shapes do not show, and the model argument for each.
_BY_FLAG = {
    "dbof_activation": "activation",
    "dbof_pooling_method": "pooling",
    "gating_remove_diag": "gating_remove_diag",
}


class Shapes(dict):
    """Shapes by plain name, within one scope."""

    def __missing__(self, name: str):
        raise UserError(f"the checkpoint has no variable {name}, which a model of this kind has.")


@dataclass(frozen=True)
class OriginalModel:
    """A model in a checkpoint.

    Attributes:
        model: name in `plugins.MODELS`.
        scope: prefix of the names of its variables; "" where there is none.
        names: of the variables in this scope, as in the checkpoint, by plain name within the scope.
        shapes: the same variables' shapes.
    """

    model: str
    scope: str
    names: Mapping[str, str]
    shapes: Shapes


@dataclass(frozen=True)
class Architecture:
    """What the shapes show of a model.

    Attributes:
        model_args: the arguments that they decide.
        features: length of each feature of a frame; their sum alone, where the shapes do not show more.
        num_classes: size of the vocabulary.
    """

    model_args: Mapping[str, Any]
    features: tuple[int, ...]
    num_classes: int


def find_original(
    shapes: Mapping[str, tuple[int, ...]], model: str | None, scope: str | None, flags: Mapping[str, Any]
) -> OriginalModel:
    """The model in a checkpoint.

    Args:
        shapes: by name.
        model: name of the model; None: recognized by the names.
        scope: of the model, or its last parts; None: there is only one.
        flags: of `model_flags.json`.

    Raises:
        UserError: no model, several scopes, or a model that looks like another one.
    """
    plain = {plain_name(name): name for name in shapes}
    candidates = [MODELS.get(model).__name__] if model else list(_SIGNATURES)
    for kind in candidates:
        scopes = _scopes_with(_signature(kind), plain, scope)
        if len(scopes) > 1:
            raise UserError(f"the checkpoint holds models in several scopes: {', '.join(scopes)}. Choose by --scope.")
        if scopes:
            inner = {name.removeprefix(f"{scopes[0]}."): name for name in plain if _is_in(scopes[0], name)}
            names = {ours: plain[name] for ours, name in inner.items()}
            shapes_in_scope = Shapes({ours: shapes[theirs] for ours, theirs in names.items()})
            return OriginalModel(_one_of_two(kind, model, flags), scopes[0], names, shapes_in_scope)
    what = f"a {candidates[0]}" if model else "any model of the original code"
    where = f" in the scope {scope}" if scope else ""
    raise UserError(f"the checkpoint has no variables of {what}{where}. It holds {_in_short(sorted(shapes))}.")


def _signature(kind: str) -> str:
    if kind not in _SIGNATURES:
        raise UserError(f"No original is known for {kind}. Known: {', '.join(_SIGNATURES)}.")
    return _SIGNATURES[kind]


def _scopes_with(signature: str, plain: Mapping[str, str], scope: str | None) -> list[str]:
    """The scopes that have this variable, of those that end with `scope`."""
    scopes = {f".{name}".removesuffix(f".{signature}")[1:] for name in plain if f".{name}".endswith(f".{signature}")}
    scopes = {name for name in scopes if name.rpartition(".")[2] not in _PARTS_OF_MODELS}
    if scope is None:
        return sorted(scopes)
    ending = scope.strip("/.").replace("/", ".")
    return sorted(name for name in scopes if f".{name}".endswith(f".{ending}"))


def _is_in(scope: str, name: str) -> bool:
    return not scope or name.startswith(f"{scope}.")


def _one_of_two(kind: str, model: str | None, flags: Mapping[str, Any]) -> str:
    """The two logistic models have the same variables."""
    if model or _SIGNATURES[kind] != _SIGNATURES["Logistic"]:
        return kind
    names = ("FrameLevelLogistic", "Logistic")
    name = str(flags.get("model", "")).removesuffix("Model")
    if name in names:
        return name
    raise UserError(f"{' and '.join(names)} have the same variables; choose one by --model.")


def _in_short(names: list[str]) -> str:
    return ", ".join([*names[:5], *(["..."] if len(names) > 5 else [])]) or "nothing"


def architecture_of(original: OriginalModel) -> Architecture:
    """The arguments, features and classes that the shapes show.

    Raises:
        UserError: a variable is missing, or the shapes are not those of such a model.
    """
    try:
        features, args = _DESCRIBED[original.model](original.shapes)
        classifier_args, num_classes = _classifier(_classifier_shapes(original))
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise UserError(f"the shapes in the checkpoint are not those of a {original.model}.") from error
    defaults = MODELS.get(original.model).argument_defaults()
    args = {name: value for name, value in {**classifier_args, **args}.items() if name in defaults}
    return Architecture(args, features, num_classes)


def _classifier_shapes(original: OriginalModel) -> Shapes:
    if original.model != "MixNeXtVLAD":
        return original.shapes
    return _below("branch_0", original.shapes)


def _below(scope: str, shapes: Shapes) -> Shapes:
    return Shapes({name.removeprefix(f"{scope}."): shape for name, shape in shapes.items() if _is_in(scope, name)})


def _classifier(shapes: Shapes) -> tuple[dict[str, Any], int]:
    """The arguments of the classifier, and the number of classes."""
    if "experts.weights" not in shapes:
        return {"classifier": "logistic"}, shapes["fully_connected.weights"][1]
    expert_units = shapes["experts.weights"][1]
    low_rank = "gates1.weights" in shapes
    num_classes = shapes["gates2.weights" if low_rank else "gates.weights"][1] - expert_units
    args = {"classifier": "moe", "mixtures": expert_units // num_classes}
    if low_rank:
        args["moe_gate_rank"] = shapes["gates1.weights"][1]
    if "gating_prob_weights" in shapes:
        args["moe_gating"] = "prob" if shapes["gating_prob_weights"][0] == num_classes else "input"
    return args, num_classes


def _stream_sizes(shapes: Shapes, name: str) -> tuple[int, ...]:
    first, *others = STREAM_SCOPES
    scopes = [first, *(scope for scope in others if f"{scope}.{name}" in shapes)]
    return tuple(shapes[f"{scope}.{name}"][0] for scope in scopes)


def _nextvlad(shapes: Shapes) -> tuple[tuple[int, ...], dict[str, Any]]:
    features, expanded = shapes["video_VLAD.fully_connected.weights"]
    hidden = shapes["hidden1_weights"][1]
    args = {
        "clusters": shapes["video_VLAD.cluster_weights2"][2],
        "groups": shapes["video_VLAD.fully_connected_1.weights"][1],
        "hidden_size": hidden,
        "expansion": expanded // features,
        "gating_reduction": hidden // shapes["gating_weights_1"][1],
    }
    return _stream_sizes(shapes, "fully_connected.weights"), args


def _mix_nextvlad(shapes: Shapes) -> tuple[tuple[int, ...], dict[str, Any]]:
    features, args = _nextvlad(_below("branch_0", shapes))
    return features, {**args, "branches": shapes["mix_weights.weights"][1]}


def _netvlad(shapes: Shapes) -> tuple[tuple[int, ...], dict[str, Any]]:
    batch_norm = "input_bn.gamma" in shapes
    args = {
        "clusters": shapes["video_VLAD.cluster_weights"][1],
        "hidden_size": shapes["hidden1_weights"][1],
        "gating": "gating_weights_2" in shapes,
        "lightvlad": "video_VLAD.cluster_weights2" not in shapes,
        "batch_norm": batch_norm,
    }
    if batch_norm:
        args["activation"] = "none" if "hidden1_biases" in shapes else "relu6"
    return _stream_sizes(shapes, "cluster_weights"), args


def _dbof(shapes: Shapes) -> tuple[tuple[int, ...], dict[str, Any]]:
    features, clusters = shapes["cluster_weights"]
    args = {
        "clusters": clusters,
        "hidden_size": shapes["hidden1_weights"][1],
        "batch_norm": "input_bn.gamma" in shapes,
    }
    return (features,), args


def _lstms(shapes: Shapes, scope: str) -> tuple[int, int, int]:
    """Features, cells and number of layers of an LSTM stack."""
    layers = 0
    while f"{scope}.{_CELL.format(layers)}" in shapes:
        layers += 1
    inputs, columns = shapes[f"{scope}.{_CELL.format(0)}"]
    return inputs - columns // 4, columns // 4, layers


def _lstm(shapes: Shapes) -> tuple[tuple[int, ...], dict[str, Any]]:
    features, cells, layers = _lstms(shapes, "rnn")
    inputs = next((shapes[name][0] for name in ("experts.weights", "fully_connected.weights") if name in shapes), 0)
    return (features,), {"cells": cells, "layers": layers, "final_state": "output" if inputs == cells else "all"}


def _hierarchical_rnn(shapes: Shapes) -> tuple[tuple[int, ...], dict[str, Any]]:
    features, cells, layers = _lstms(shapes, "RNN_L1.rnn")
    return (features,), {"cells": cells, "layers": layers}


def _on_the_mean(shapes: Shapes) -> tuple[tuple[int, ...], dict[str, Any]]:
    name = "experts.weights" if "experts.weights" in shapes else "fully_connected.weights"
    return (shapes[name][0],), {}


_DESCRIBED: Mapping[str, Callable[[Shapes], tuple[tuple[int, ...], dict[str, Any]]]] = {
    "MixNeXtVLAD": _mix_nextvlad,
    "NeXtVLAD": _nextvlad,
    "NetVLAD": _netvlad,
    "HierarchicalRNN": _hierarchical_rnn,
    "Lstm": _lstm,
    "Dbof": _dbof,
    "Moe": _on_the_mean,
    "FrameLevelLogistic": _on_the_mean,
    "Logistic": _on_the_mean,
}


def undecided_args(architecture: Architecture, model: str) -> list[str]:
    """The arguments that predictions depend on and that no shape shows."""
    args = architecture.model_args
    doubtful = ["activation", "pooling", "block_length"]
    doubtful += ["gating_remove_diag"] if args.get("gating") else []
    doubtful += ["moe_gating_remove_diag"] if args.get("moe_gating") == "prob" else []
    defaults = MODELS.get(model).argument_defaults()
    return [name for name in doubtful if name in defaults and name not in args]


def args_by_flags(flags: Mapping[str, Any]) -> dict[str, str]:
    """Model arguments by the flags of the originals, of any model, as texts."""
    args = {argument: flags[flag] for flag, argument in _BY_FLAG.items() if flag in flags}
    if "gating_remove_diag" in flags:
        args["moe_gating_remove_diag"] = flags["gating_remove_diag"]
    if "netvlad_relu" in flags:
        args["activation"] = "relu6" if flags["netvlad_relu"] else "none"
    return {name: str(value) for name, value in args.items()}
