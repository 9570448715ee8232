"""Models by name, their arguments, and bounds of these."""

import pytest

from tests.models.test_every_model import TINY
from yt8m_distill.errors import UserError
from yt8m_distill.models import HierarchicalRNN, NetVLAD, NeXtVLAD
from yt8m_distill.models.arguments import check_sizes, typed_model_args
from yt8m_distill.models.building import build_model
from yt8m_distill.plugins import MODELS


def test_names():
    assert {"HierarchicalRNN", "NetVLAD", "NeXtVLAD"} <= set(MODELS.names())
    assert set(TINY) == set(MODELS.names())


@pytest.mark.parametrize("model", [HierarchicalRNN, NetVLAD, NeXtVLAD])
def test_class_by_name_with_or_without_model(model):
    assert MODELS.get(model.__name__) is model
    assert MODELS.get(f"{model.__name__}Model") is model


@pytest.mark.parametrize("name", ["nextvlad", "Model", "", "NeXtVLADModelModel"])
def test_unknown_model_lists_the_known(name):
    with pytest.raises(UserError, match=r"Unknown model .* Known: .*NetVLAD.*NeXtVLAD"):
        MODELS.get(name)


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


def test_texts_get_the_types_of_the_constructor():
    texts = {"clusters": "64", "dropout": "1e-1", "gating": "false", "activation": "none", "classifier": "moe"}
    typed = {"clusters": 64, "dropout": 0.1, "gating": False, "activation": "none", "classifier": "moe"}
    assert typed_model_args(NetVLAD, texts) == typed
    assert typed_model_args(NetVLAD, typed) == typed
    assert repr(typed_model_args(NeXtVLAD, {"dropout": "0"})) == repr(typed_model_args(NeXtVLAD, {"dropout": 0}))
    assert repr(typed_model_args(NeXtVLAD, {"dropout": "0"})) == "{'dropout': 0.0}"
    assert typed_model_args(NeXtVLAD, {}) == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clusters": "many"}, "clusters must be of type int, not 'many'"),
        ({"clusters": "6.5"}, "clusters must be of type int"),
        ({"clusters": 6.5}, "clusters must be of type int, not 6.5"),
        ({"clusters": True}, "clusters must be of type int, not True"),
        ({"gating": "1"}, "gating must be of type bool"),
        ({"gating": 1}, "gating must be of type bool"),
        ({"dropout": "half"}, "dropout must be of type float"),
        ({"activation": 3}, "activation must be of type str"),
        ({"blocks": "2"}, r"NetVLAD has no argument 'blocks'. .*hidden_size=1024"),
        ({"classifier_layer": "x"}, "NetVLAD has no argument 'classifier_layer'"),
    ],
)
def test_values_of_another_type_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        typed_model_args(NetVLAD, values)


@pytest.mark.parametrize(
    ("model_args", "feature_sizes", "num_classes", "message"),
    [
        ({"layers": 65}, (8,), 3, "layers must be at most 64, not 65"),
        ({"block_length": 3601}, (8,), 3, "block_length must be at most 3600"),
        ({"branches": 65}, (8,), 3, "branches must be at most 64"),
        ({"iterations": 1 << 17}, (8,), 3, "iterations must be at most 65536"),
        ({"cells": (1 << 24) + 1}, (8,), 3, "cells must be at most 16777216"),
        ({}, (1 << 25,), 3, "feature_sizes must be at most"),
        ({}, (1,) * 65, 3, "feature_sizes must name at most 64"),
        ({}, (8,), 1 << 25, "num_classes must be at most"),
    ],
)
def test_sizes_that_no_one_needs(model_args, feature_sizes, num_classes, message):
    with pytest.raises(UserError, match=message):
        check_sizes(model_args, feature_sizes, num_classes)
    check_sizes({"layers": 64, "cells": 1 << 24, "dropout": 1e30, "activation": "x"}, (1 << 24,) * 64, 1 << 24)
