"""Multiply-accumulates against the products of the traced graph and published figures; parameters against counts."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import load_case
from yt8m_distill.flops import multiply_accumulates, parameter_count
from yt8m_distill.models import HierarchicalRNN, NetVLAD, NeXtVLAD, VideoModel
from yt8m_distill.models.registry import build_model


def _products_in_graph(model: VideoModel, frames: int) -> int:
    """Multiply-accumulates of all matrix products in the graph that classifies one video."""
    signature = {
        "frames": tf.TensorSpec((1, frames, sum(model.feature_sizes)), tf.uint8),
        "num_frames": tf.TensorSpec((1,), tf.int32),
    }
    graph = tf.function(lambda inputs: model(inputs)["predictions"]).get_concrete_function(signature).graph
    count = 0
    for operation in graph.get_operations():
        if operation.type in ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"):
            transposed = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
            inner = operation.inputs[0].shape[-2 if transposed else -1]
            count += math.prod(operation.outputs[0].shape) * inner
    return count


@pytest.mark.parametrize("frames", [1, 30])
@pytest.mark.parametrize(
    "model",
    [
        NeXtVLAD((12, 6), 5, clusters=6, groups=4, hidden_size=8, gating_reduction=2),
        NeXtVLAD((12,), 5, clusters=6, groups=4, hidden_size=8, expansion=3, classifier="moe", mixtures=3),
        NetVLAD((12, 6), 5, clusters=6, hidden_size=8),
        NetVLAD((12, 6), 5, clusters=6, hidden_size=8, gating=False, activation="none", classifier="moe"),
    ],
)
def test_count_equals_the_products_in_the_graph(model, frames):
    total, by_layer = multiply_accumulates(model, frames)

    assert total == sum(by_layer.values()) == _products_in_graph(model, frames)


def test_lstm_counts_every_step():
    model = HierarchicalRNN((6, 2), 10, cells=4, layers=2, block_length=5)

    total, by_layer = multiply_accumulates(model, 12)

    # 3 blocks of 5 steps below, 3 steps above; 4 gates, each from a cell's input and its own state
    lower = 15 * (4 * 4 * (8 + 4) + 4 * 4 * (4 + 4))
    upper = 3 * (4 * 4 * (16 + 4) + 4 * 4 * (4 + 4))
    assert by_layer == {"lower": lower, "upper": upper, "classifier": 16 * 10}
    assert total == lower + upper + 160


def _full_size(name: str, num_classes: int, feature_sizes: tuple[int, ...] = (1024, 128), **model_args) -> VideoModel:
    """A model of full size whose variables have shapes but no values, so that it needs no memory."""
    try:
        with keras.StatelessScope(initialize_variables=False):
            return build_model(name, feature_sizes=feature_sizes, num_classes=num_classes, **model_args)
    finally:
        # Else Keras keeps the variables in mind, to be initialized later.
        keras.utils.clear_session()


@pytest.mark.parametrize(
    ("case", "name", "num_classes", "model_args"),
    [
        ("nextvlad_8g_128k_2048h_logistic_r8", "NeXtVLAD", 3862, {}),
        ("nextvlad_16g_128k_2048h_logistic_r8", "NeXtVLAD", 3862, {"groups": 16}),
        ("nextvlad_8g_112k_2048h_logistic_r16", "NeXtVLAD", 3862, {"clusters": 112, "gating_reduction": 16}),
        ("netvlad_128k_2048h_gating_logistic", "NetVLAD", 3862, {"clusters": 128, "hidden_size": 2048}),
        (
            "netvlad_128k_2048h_nogating_logistic",
            "NetVLAD",
            3862,
            {"clusters": 128, "hidden_size": 2048, "gating": False},
        ),
        ("hlstm_teacher_1024x2_4716_moe2", "HierarchicalRNN", 4716, {"classifier": "moe"}),
    ],
)
def test_parameters_equal_the_originals(case, name, num_classes, model_args):
    counts = load_case("h_param_counts")

    assert parameter_count(_full_size(name, num_classes, **model_args)) == counts[f"{case}.trainable"]


@pytest.mark.parametrize(("frames", "published"), [(300, 1.337e9), (30, 0.134e9)])
def test_nextvlad_video_stream_equals_the_published_compute(frames, published):
    _, by_layer = multiply_accumulates(_full_size("NeXtVLAD", 3862), frames)

    parts = [by_layer[f"vlad_0/{step}"] for step in ("expansion", "assignment", "aggregation")]

    np.testing.assert_allclose(sum(parts), published, rtol=3e-3)


@pytest.mark.parametrize(("frames", "published"), [(300, 5.058e9), (30, 0.520e9)])
def test_hierarchical_rnn_lower_level_equals_the_published_compute(frames, published):
    model_args = HierarchicalRNN.args_for_frames(frames)
    model = _full_size("HierarchicalRNN", 3862, feature_sizes=(1024,), **model_args)
    _, by_layer = multiply_accumulates(model, frames)

    # The papers' own convention: with element-wise work, without the upper level.
    np.testing.assert_allclose(by_layer["lower"] + 28 * 1024 * frames + by_layer["classifier"], published, rtol=1e-3)
