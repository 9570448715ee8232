"""Models by name and their arguments as text."""

import pytest

from tests.models.test_every_model import TINY
from yt8m_distill.errors import UserError
from yt8m_distill.models import HierarchicalRNN, NetVLAD, NeXtVLAD
from yt8m_distill.models.registry import build_model, model_class, model_names, parse_model_args


def test_names():
    assert {"HierarchicalRNN", "NetVLAD", "NeXtVLAD"} <= set(model_names())
    assert set(TINY) == set(model_names())


@pytest.mark.parametrize("model", [HierarchicalRNN, NetVLAD, NeXtVLAD])
def test_class_by_name_with_or_without_model(model):
    assert model_class(model.__name__) is model
    assert model_class(f"{model.__name__}Model") is model


@pytest.mark.parametrize("name", ["nextvlad", "Model", "", "NeXtVLADModelModel"])
def test_unknown_model_lists_the_known(name):
    with pytest.raises(UserError, match=r"Unknown model .* Known models: .*NetVLAD.*NeXtVLAD"):
        model_class(name)


def test_build_model_passes_the_arguments_on():
    model = build_model("NetVLADModel", feature_sizes=[8, 4], num_classes=3, clusters=2, hidden_size=4)

    assert model.feature_sizes == (8, 4)
    assert model.num_classes == 3
    assert model.model_args == {
        "input_normalization": "l2",
        "classifier": "logistic",
        "mixtures": 2,
        "moe_gating": "none",
        "moe_gating_remove_diag": False,
        "moe_gate_rank": 0,
        "clusters": 2,
        "hidden_size": 4,
        "dropout": 0.0,
        "gating": True,
        "gating_remove_diag": False,
        "activation": "relu6",
        "lightvlad": False,
        "batch_norm": True,
        "iterations": 0,
        "sample_random_frames": True,
    }


def test_unknown_argument_lists_the_known():
    with pytest.raises(UserError, match=r"NetVLAD has no argument 'groups'. .*clusters=256.*activation=relu6"):
        build_model("NetVLAD", feature_sizes=(8,), num_classes=3, groups=2)


def test_parse_model_args_takes_types_from_the_constructor():
    text = " clusters=64, hidden_size=512,dropout=1e-1,gating=false,activation=none,classifier=moe "

    assert parse_model_args("NetVLAD", text) == {
        "clusters": 64,
        "hidden_size": 512,
        "dropout": 0.1,
        "gating": False,
        "activation": "none",
        "classifier": "moe",
    }
    assert parse_model_args("NeXtVLAD", "dropout=0") == {"dropout": 0.0}
    assert parse_model_args("NeXtVLAD", "") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clusters", "written argument=value"),
        ("clusters=many", "clusters must be of type int, not 'many'"),
        ("clusters=6.5", "clusters must be of type int"),
        ("gating=1", "gating must be of type bool"),
        ("dropout=half", "dropout must be of type float"),
        ("clusters=2,clusters=3", "clusters is given twice"),
        ("blocks=2", r"NetVLAD has no argument 'blocks'. .*hidden_size=1024"),
        ("classifier_layer=x", "NetVLAD has no argument 'classifier_layer'"),
    ],
)
def test_parse_model_args_refuses(text, message):
    with pytest.raises(UserError, match=message):
        parse_model_args("NetVLAD", text)
