"""int8 ONNX files: products as numpy computes them, the same in any batch, and float32 where they lose too much."""

import numpy as np
import pytest

from tests.deployment.exports import CLASSES, FRAME_SIZE, K, export, write_run
from tests.helpers import learnable_videos, write_records
from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.deployment import export as exporting
from yt8m_distill.deployment import int8, runners
from yt8m_distill.deployment.int8 import Layer
from yt8m_distill.deployment.manifest import read_manifest
from yt8m_distill.serving import server

LSTM = {"cells": 12, "layers": 1, "block_length": 2}  # 48 columns


def test_choice_of_layers():
    """One loses too much alone; of the others, which add up, the worst goes."""
    losses = {Layer(name, name): loss for name, loss in {"a": 0.5, "b": 0.09, "c": 0.04, "d": 0.05}.items()}

    def loss(layers):
        return sum(losses[layer] for layer in layers)

    kept = [layer.name for layer in int8.float32_layers(list(losses), loss, 0.1)]
    assert kept == ["a", "b"]
    assert int8.float32_layers(list(losses), loss, 1.0) == []
    assert int8.float32_layers(list(losses), lambda layers: float("nan"), 1.0) == list(losses)


def test_weights_are_rounded_by_column():
    weights = np.random.default_rng(0).normal(0, [0.1, 10.0], (50, 2)).astype(np.float32)
    numbers, scales = int8.quantized(weights)
    assert np.abs(numbers).max(axis=0).tolist() == [63, 63]
    assert np.all(np.abs(numbers * scales - weights) <= scales * 0.5001)


def test_a_product_is_that_of_whole_numbers(tmp_path):
    """Against numpy: rows of very different sizes, and one of zeros."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(20, 40)).astype(np.float32)
    values = rng.normal(size=(6, 20)).astype(np.float32) * np.array([[1e-3], [1], [1e4], [0], [1], [5]], np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 20])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", 40])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, str(tmp_path / "float32.onnx"))
    int8.write(tmp_path / "float32.onnx", tmp_path / "int8.onnx", [Layer("w", "w")])
    session = onnxruntime.InferenceSession(str(tmp_path / "int8.onnx"), providers=["CPUExecutionProvider"])
    (products,) = session.run(None, {"x": values})

    columns = np.abs(weights).max(axis=0) / 63
    rows = np.maximum(np.abs(values).max(axis=1, keepdims=True), 1e-12) / 127
    expected = (np.rint(values / rows) @ np.rint(weights / columns)) * rows * columns
    np.testing.assert_allclose(products, expected, rtol=1e-5, atol=1e-12)
    assert np.all(products[3] == 0)
    exact = values @ weights
    assert np.abs(products - exact)[2].max() < 0.02 * np.abs(exact[2]).max()


@pytest.mark.slow
def test_export_in_both_precisions(tmp_path, capsys):
    data = write_records(tmp_path / "a.tfrecord", learnable_videos(40, CLASSES))
    run = tmp_path / "run"
    model = write_run(run, "HierarchicalRNN", LSTM, selection=FrameSelection(K), data_pattern=data)
    assert export(run, tmp_path / "out", "--formats=onnx", "--onnx_precisions=float32,int8") == 0
    manifest = read_manifest(tmp_path / "out")
    assert [(file.path, file.precision) for file in manifest.files] == [
        ("model.onnx", "float32"),
        ("model_int8.onnx", "int8"),
    ]
    text = (tmp_path / "out/README.md").read_text()
    loss = manifest.gap - manifest.files[1].gap
    assert loss <= 0.001
    assert f"int8 (model_int8.onnx) loses {loss:.5f}" in text

    rng = np.random.default_rng(3)
    frames, num_frames = rng.integers(0, 256, (20, K, FRAME_SIZE), np.uint8), np.arange(20, dtype=np.int32) % (K + 1)
    expected = np.array(model({"frames": frames, "num_frames": num_frames})["predictions"])
    _, predict = server.load(ServeConfig(str(tmp_path / "out"), "model_int8.onnx"))
    predicted = predict(frames, num_frames)
    assert 1e-6 < np.abs(predicted - expected).max() < 0.05
    alone = np.concatenate([predict(frames[i : i + 1], num_frames[i : i + 1]) for i in range(20)])
    np.testing.assert_allclose(alone, predicted, rtol=0, atol=1e-6)

    assert export(run, tmp_path / "out", "--formats=onnx", "--onnx_precisions=int8") == 0  # replaces the former one
    assert sorted(path.name for path in (tmp_path / "out").glob("*.onnx")) == ["model_int8.onnx"]
    assert export(run, tmp_path / "out", "--onnx_precisions=int8") == 2
    assert "--onnx_precisions does nothing without onnx in --formats" in capsys.readouterr().err


@pytest.mark.slow
def test_layers_that_lose_too_much_stay_float32(tmp_path, monkeypatch):
    """All but one are int8, and the model card names that."""
    data = write_records(tmp_path / "a.tfrecord", learnable_videos(40, CLASSES))
    write_run(tmp_path / "run", "HierarchicalRNN", LSTM, selection=FrameSelection(K), data_pattern=data)
    write, lossy = int8.write, "RNN_L2/cell_0/lstm_cell"

    def write_noted(source, target, layers):
        write(source, target, layers)
        chosen.append({layer.name for layer in layers})

    def gap(name, predict, reference):
        return reference.gap - (0.5 if lossy in chosen[-1] else 0.0)

    chosen: list[set[str]] = []
    monkeypatch.setattr(int8, "write", write_noted)
    monkeypatch.setattr(exporting, "_gap", gap)
    assert export(tmp_path / "run", tmp_path / "out", "--formats=onnx", "--onnx_precisions=int8") == 0
    (file,) = read_manifest(tmp_path / "out").files
    assert lossy in file.float32_layers
    assert chosen[-1] == chosen[0] - set(file.float32_layers)
    assert chosen[-1]
    assert f"`{lossy}`" in (tmp_path / "out/README.md").read_text()
    predict = runners.load(tmp_path / "out/model_int8.onnx")
    assert predict(np.zeros((2, K, FRAME_SIZE), np.uint8), np.array([K, 1], np.int32)).shape == (2, CLASSES)


@pytest.mark.slow
def test_a_model_of_narrow_products_only_is_refused(tmp_path, capsys):
    write_run(tmp_path / "run", "FrameLevelLogistic", {})
    assert (
        export(tmp_path / "run", tmp_path / "out", "--formats=onnx", "--onnx_precisions=int8", "--eval_videos=0") == 2
    )
    assert "no layer of this model has 32 columns" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
