"""GAP@20 and Hit@1 of the batch that a training step has learned from, computed where its predictions are."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from yt8m_distill.data.batches import Batch

TOP_K = 20


def batch_metrics(predictions: Sequence[tf.Tensor], batch: Batch) -> dict[str, float]:
    """Metrics of the predictions of one step, as the starter code prints them.

    They are of the model in training, with dropout, before the update, and of this process's videos.

    Args:
        predictions: (videos, classes) of each device, in the order of the batch.
        batch: that they are of. Of mixtures all labels count, of segments the positive ratings among the rated classes.

    Returns:
        "GAP@20" and "Hit@1"; empty where no video has a label.

    Example:
        >>> predictions = [tf.constant([[0.9, 0.8]]), tf.constant([[0.3, 0.2]])]
        >>> batch_metrics(predictions, {"labels": tf.constant([[1, 0], [0, 1]])})
        {'GAP@20': 0.75, 'Hit@1': 0.5}
    """
    gap, hit, positives = _gap_and_hits(list(predictions), batch["labels"], batch.get("label_weights"))
    return {f"GAP@{TOP_K}": float(gap), "Hit@1": float(hit)} if positives else {}


@tf.function(reduce_retracing=True, autograph=False)
def _gap_and_hits(predictions: list[tf.Tensor], labels: Any, label_weights: Any) -> tuple[tf.Tensor, ...]:
    """GAP@20 and Hit@1 as in `EvaluationMetrics`, and the number of labels."""
    scores = tf.cast(tf.concat(predictions, axis=0), tf.float32)
    positives = tf.cast(labels[: tf.shape(scores)[0]] > 0, tf.float32)
    if label_weights is not None:
        scores *= label_weights[: tf.shape(scores)[0]]
    best, classes = tf.math.top_k(scores, tf.minimum(TOP_K, tf.shape(scores)[1]))
    hits = tf.gather(positives, classes, batch_dims=1)
    ranked = tf.gather(tf.reshape(hits, [-1]), tf.argsort(tf.reshape(best, [-1]), direction="DESCENDING", stable=True))
    precisions = tf.cumsum(ranked) / tf.range(1.0, tf.cast(tf.size(ranked), tf.float32) + 1.0)
    total = tf.reduce_sum(positives)
    return tf.reduce_sum(precisions * ranked) / tf.maximum(total, 1.0), tf.reduce_mean(hits[:, 0]), total
