"""GAP@k and mAP in Keras: the package's numbers, in compile, fit and evaluate."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from yt8m_distill.errors import UserError
from yt8m_distill.metrics import EvaluationMetrics, GlobalAveragePrecision, MeanAveragePrecision


def videos(count: int = 50, classes: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.uniform(size=(count, classes)) < 0.1).astype(np.float32)
    return labels, rng.uniform(size=(count, classes)).astype(np.float32)


def expected(labels: np.ndarray, predictions: np.ndarray, top_k: int) -> dict[str, float]:
    metrics = EvaluationMetrics(labels.shape[1], top_k)
    metrics.update(predictions, labels)
    return metrics.result()


@pytest.mark.parametrize("top_k", [1, 20, 100])
def test_are_the_numbers_of_the_package_eagerly_and_in_graphs(top_k):
    labels, predictions = videos()
    metrics = GlobalAveragePrecision(top_k), MeanAveragePrecision(top_k)
    update = [tf.function(metric.update_state) for metric in metrics]
    for begin in range(0, 40, 10):
        for in_graph in update:
            in_graph(tf.constant(labels[begin : begin + 10]), tf.constant(predictions[begin : begin + 10]))
    for metric in metrics:
        metric.update_state(labels[40:], predictions[40:])
    results = expected(labels, predictions, top_k)
    assert [metric.name for metric in metrics] == [f"GAP@{top_k}", "mAP"]
    np.testing.assert_allclose([float(m.result()) for m in metrics], [results[m.name] for m in metrics], rtol=1e-6)
    for metric in metrics:
        metric.reset_state()
        assert float(metric.result()) == 0.0
        metric.update_state(labels[:7], predictions[:7])
    results = expected(labels[:7], predictions[:7], top_k)
    np.testing.assert_allclose([float(m.result()) for m in metrics], [results[m.name] for m in metrics], rtol=1e-6)


def test_a_graph_ranks_again_only_when_a_tenth_is_new(monkeypatch):
    labels, predictions = videos(400)
    ranked = []
    result = EvaluationMetrics.result
    monkeypatch.setattr(EvaluationMetrics, "result", lambda self: ranked.append(self) or result(self))
    metric = GlobalAveragePrecision()
    step = tf.function(lambda y, p: (metric.update_state(y, p), metric.result())[1])
    values = [float(step(*map(tf.constant, rows))) for rows in zip(labels[:, None], predictions[:, None], strict=True)]
    assert len(ranked) < 60  # of 400 steps
    exact = expected(labels, predictions, 20)["GAP@20"]
    assert float(metric.result()) == pytest.approx(exact)
    assert values[-1] == pytest.approx(exact, abs=0.05)


def test_in_fit_and_evaluate_and_a_keras_file(tmp_path):
    labels, _ = videos()
    inputs = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(30, activation="sigmoid")])
    metrics = [GlobalAveragePrecision(top_k=5), MeanAveragePrecision(name="map_5", top_k=5)]
    model.compile(optimizer="sgd", loss="binary_crossentropy", metrics=metrics, jit_compile=False)
    history = model.fit(inputs, labels, batch_size=8, epochs=2, verbose=0, validation_data=(inputs, labels)).history
    results = model.evaluate(inputs, labels, batch_size=8, verbose=0, return_dict=True)
    exact = expected(labels, model.predict(inputs, verbose=0), 5)
    assert results["GAP@5"] == history["val_GAP@5"][-1] == pytest.approx(exact["GAP@5"])
    assert results["map_5"] == pytest.approx(exact["mAP"])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    again = loaded.evaluate(inputs, labels, batch_size=50, verbose=0, return_dict=True)
    assert again["GAP@5"] == pytest.approx(results["GAP@5"])
    assert again["map_5"] == pytest.approx(results["map_5"])


def test_wrong_use_is_refused():
    with pytest.raises(UserError, match="top_k is 0"):
        GlobalAveragePrecision(top_k=0)
    with pytest.raises(UserError, match="counts every video alike"):
        GlobalAveragePrecision().update_state([[1, 0]], [[0.5, 0.1]], sample_weight=[1.0])
    with pytest.raises(UserError, match="only 0 and 1"):
        MeanAveragePrecision().update_state([[0.5, 0]], [[0.5, 0.1]])
