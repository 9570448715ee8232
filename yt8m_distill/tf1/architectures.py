"""Which of our models a TensorFlow 1 checkpoint of the original code bases is of, by the names and shapes in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from yt8m_distill.errors import UserError
from yt8m_distill.models import registry
from yt8m_distill.tf1.weights import STREAM_SCOPES, plain_name

_CELL = "multi_rnn_cell.cell_{}.basic_lstm_cell.kernel"
# A variable that every checkpoint of the model has. The first that is found decides, as later ones are in it, too.
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
# The flags of the originals that say what the shapes do not, and the argument that each of them is.
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
        model: name in the registry.
        scope: in front of the names of its variables, "" where there is none.
        names: of the variables in this scope, as in the checkpoint, by plain name within the scope.
        shapes: the same variables' shapes.
    """

    model: str
    scope: str
    names: Mapping[str, str]
    shapes: Shapes


@dataclass(frozen=True)
class Architecture:
    """What the shapes say.

    Attributes:
        model_args: the arguments that they decide.
        features: length of each feature of a frame; a single number, of all together, where they do not say more.
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
        model: name of the model; None: found by the names.
        scope: of the model, or its last parts; None: there is only one.
        flags: of `model_flags.json`.

    Raises:
        UserError: no model, several scopes, or a model that cannot be told from another.
    """
    plain = {plain_name(name): name for name in shapes}
    wanted = [registry.model_class(model).__name__] if model else list(_SIGNATURES)
    for kind in wanted:
        scopes = _scopes_with(_signature(kind), plain, scope)
        if len(scopes) > 1:
            raise UserError(f"the checkpoint holds models in several scopes: {', '.join(scopes)}. Choose by --scope.")
        if scopes:
            inner = {name.removeprefix(f"{scopes[0]}."): name for name in plain if _is_in(scopes[0], name)}
            names = {ours: plain[name] for ours, name in inner.items()}
            own = Shapes({ours: shapes[theirs] for ours, theirs in names.items()})
            return OriginalModel(_one_of_two(kind, model, flags), scopes[0], names, own)
    what = f"a {wanted[0]}" if model else "any model of the original code"
    where = f" in the scope {scope}" if scope else ""
    raise UserError(f"the checkpoint has no variables of {what}{where}. It holds {_in_short(sorted(shapes))}.")


def _signature(kind: str) -> str:
    if kind not in _SIGNATURES:
        raise UserError(f"No original is known for {kind}. Known: {', '.join(_SIGNATURES)}.")
    return _SIGNATURES[kind]


def _scopes_with(signature: str, plain: Mapping[str, str], scope: str | None) -> list[str]:
    """The scopes that have this variable, of those that end with `scope`."""
    found = {f".{name}".removesuffix(f".{signature}")[1:] for name in plain if f".{name}".endswith(f".{signature}")}
    found = {each for each in found if each.rpartition(".")[2] not in _PARTS_OF_MODELS}
    if scope is None:
        return sorted(found)
    wanted = scope.strip("/.").replace("/", ".")
    return sorted(each for each in found if f".{each}".endswith(f".{wanted}"))


def _is_in(scope: str, name: str) -> bool:
    return not scope or name.startswith(f"{scope}.")


def _one_of_two(kind: str, model: str | None, flags: Mapping[str, Any]) -> str:
    """The two logistic models have the same variables."""
    if model or _SIGNATURES[kind] != _SIGNATURES["Logistic"]:
        return kind
    names = ("FrameLevelLogistic", "Logistic")
    told = str(flags.get("model", "")).removesuffix("Model")
    if told in names:
        return told
    raise UserError(f"{' and '.join(names)} have the same variables; say by --model which of them it is.")


def _in_short(names: list[str]) -> str:
    return ", ".join([*names[:5], *(["..."] if len(names) > 5 else [])]) or "nothing"


def architecture_of(original: OriginalModel) -> Architecture:
    """The arguments, features and classes that the shapes show.

    Raises:
        UserError: a variable is missing, or the shapes are not those of such a model.
    """
    try:
        features, args = _DESCRIBED[original.model](original.shapes)
        of_classifier, num_classes = _classifier(_classifier_shapes(original))
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise UserError(f"the shapes in the checkpoint are not those of a {original.model}.") from error
    known = registry.model_class(original.model).argument_defaults()
    args = {name: value for name, value in {**of_classifier, **args}.items() if name in known}
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
    of_experts = shapes["experts.weights"][1]
    low_rank = "gates1.weights" in shapes
    num_classes = shapes["gates2.weights" if low_rank else "gates.weights"][1] - of_experts
    args = {"classifier": "moe", "mixtures": of_experts // num_classes}
    if low_rank:
        args["moe_gate_rank"] = shapes["gates1.weights"][1]
    if "gating_prob_weights" in shapes:
        args["moe_gating"] = "prob" if shapes["gating_prob_weights"][0] == num_classes else "input"
    return args, num_classes


def _stream_sizes(shapes: Shapes, name: str) -> tuple[int, ...]:
    first, *others = STREAM_SCOPES
    there = [scope for scope in others if f"{scope}.{name}" in shapes]
    return tuple(shapes[f"{scope}.{name}"][0] for scope in (first, *there))


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
    """Features, cells and number of the LSTMs."""
    layers = 0
    while f"{scope}.{_CELL.format(layers)}" in shapes:
        layers += 1
    inputs, columns = shapes[f"{scope}.{_CELL.format(0)}"]
    return inputs - columns // 4, columns // 4, layers


def _lstm(shapes: Shapes) -> tuple[tuple[int, ...], dict[str, Any]]:
    features, cells, layers = _lstms(shapes, "rnn")
    seen = next((shapes[name][0] for name in ("experts.weights", "fully_connected.weights") if name in shapes), 0)
    return (features,), {"cells": cells, "layers": layers, "final_state": "output" if seen == cells else "all"}


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
    """The arguments that predictions depend on, and that no shape shows."""
    args = architecture.model_args
    doubtful = ["activation", "pooling", "block_length"]
    doubtful += ["gating_remove_diag"] if args.get("gating") else []
    doubtful += ["moe_gating_remove_diag"] if args.get("moe_gating") == "prob" else []
    known = registry.model_class(model).argument_defaults()
    return [name for name in doubtful if name in known and name not in args]


def args_by_flags(flags: Mapping[str, Any]) -> dict[str, str]:
    """The arguments that the flags of the originals say, of any model, as texts."""
    found = {argument: flags[flag] for flag, argument in _BY_FLAG.items() if flag in flags}
    if "gating_remove_diag" in flags:
        found["moe_gating_remove_diag"] = flags["gating_remove_diag"]
    if "netvlad_relu" in flags:
        found["activation"] = "relu6" if flags["netvlad_relu"] else "none"
    return {name: str(value) for name, value in found.items()}
