"""Metrics of a training step's batch."""

import numpy as np
import pytest
import tensorflow as tf

from yt8m_distill.metrics import EvaluationMetrics
from yt8m_distill.training.batch_metrics import batch_metrics


@pytest.mark.parametrize("classes", [7, 50])
def test_they_are_those_of_an_evaluation(classes):
    random = np.random.default_rng(classes)
    labels = (random.random((40, classes)) < 0.1).astype(np.uint8)
    scores = np.float32(random.permutation(labels.size).reshape(labels.shape) / labels.size * 0.8 + 0.2 * labels)
    evaluation = EvaluationMetrics(classes)
    evaluation.update(scores, labels)
    expected = evaluation.result()
    found = batch_metrics([tf.constant(part) for part in (scores[:30], scores[30:30], scores[30:])], {"labels": labels})
    assert found == {name: pytest.approx(expected[name], abs=1e-6) for name in ("GAP@20", "Hit@1")}


def test_of_segments_only_rated_classes_count():
    batch = {
        "labels": np.array([[0.0, 1.0, 0.0]], np.float32),
        "label_weights": np.array([[0.0, 1.0, 1.0]], np.float32),
    }
    assert batch_metrics([tf.constant([[0.9, 0.5, 0.4]])], batch) == {"GAP@20": 1.0, "Hit@1": 1.0}


def test_without_labels_there_are_none():
    assert batch_metrics([tf.constant([[0.9, 0.5]])], {"labels": np.zeros((1, 2), np.uint8)}) == {}
