"""NeXtVLAD in plain TensorFlow, written from the paper; `peers.py` runs it, meant for TensorFlow 2.15 with Python 3.11.

Layers have the names of ours. Padded frames get no attention, but enter the batch statistics of a training.
"""

import numpy as np
import tensorflow as tf
from peer_process import serve

PARTS_OF_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def dense(weights: dict, name: str) -> tf.keras.layers.Dense:
    values = [weights[f"{name}/{part}"] for part in ("kernel", "bias") if f"{name}/{part}" in weights]
    layer = tf.keras.layers.Dense(values[0].shape[1], use_bias=len(values) == 2)
    layer.build((None, values[0].shape[0]))
    layer.set_weights(values)
    return layer


def batch_norm(weights: dict, name: str) -> tf.keras.layers.BatchNormalization:
    values = [weights[f"{name}/{part}"] for part in PARTS_OF_NORM]
    layer = tf.keras.layers.BatchNormalization(momentum=0.999, epsilon=1e-3)
    layer.build((None, len(values[0])))
    layer.set_weights(values)
    return layer


class Pooling(tf.keras.layers.Layer):
    """Section 3.2: frames (batch, frames, features) to (batch, group size * clusters)."""

    def __init__(self, weights: dict, name: str):
        super().__init__()
        self.features = weights[f"{name}/fully_connected/kernel"].shape[0]
        self.expand = dense(weights, f"{name}/fully_connected")
        self.attention = dense(weights, f"{name}/fully_connected_1")
        self.assignment = dense(weights, f"{name}/cluster_weights")
        self.cluster_bn = batch_norm(weights, f"{name}/cluster_bn")
        centers = weights[f"{name}/cluster_weights2"]
        _, self.size, self.clusters = centers.shape
        self.centers = self.add_weight(
            shape=centers.shape, initializer=lambda shape, dtype=None: tf.constant(centers), name="centers"
        )
        self.vlad_bn = batch_norm(weights, f"{name}/vlad_bn")

    def call(self, frames, real, training=False):
        batch = tf.shape(frames)[0]
        expanded = self.expand(tf.reshape(frames, [-1, self.features]))
        attention = tf.sigmoid(self.attention(expanded)) * tf.reshape(tf.cast(real, tf.float32), [-1, 1])
        logits = self.cluster_bn(self.assignment(expanded), training=training)
        assignment = tf.nn.softmax(tf.reshape(logits, [batch, -1, self.clusters]))
        assignment *= tf.reshape(attention, [batch, -1, 1])
        vlad = tf.matmul(tf.reshape(expanded, [batch, -1, self.size]), assignment, transpose_a=True)
        vlad -= tf.reduce_sum(assignment, 1, keepdims=True) * self.centers
        vlad = tf.reshape(tf.math.l2_normalize(vlad, 1), [-1, self.size * self.clusters])
        return self.vlad_bn(vlad, training=training)


class NeXtVLAD(tf.keras.Model):
    """Frames as bytes (batch, frames, features) and num_frames (batch,) to logits (batch, classes)."""

    def __init__(self, weights: dict, dropout: float):
        super().__init__()
        self.pooling_0, self.pooling_1 = (Pooling(weights, f"vlad_{stream}") for stream in range(2))
        self.dropout = tf.keras.layers.Dropout(dropout)
        self.hidden = dense(weights, "hidden1_weights")
        self.hidden_bn = batch_norm(weights, "hidden1_bn")
        self.squeeze = dense(weights, "gating/gating_weights_1")
        self.gating_bn = batch_norm(weights, "gating/gating_bn")
        self.excite = dense(weights, "gating/gating_weights_2")
        self.classifier = dense(weights, "classifier/fully_connected")

    def call(self, frames, num_frames, training=False):
        real = tf.sequence_mask(num_frames, tf.shape(frames)[1])
        poolings = self.pooling_0, self.pooling_1
        streams = tf.split(tf.cast(frames, tf.float32) * (4 / 255) + (4 / 512 - 2), [p.features for p in poolings], -1)
        pooled = [pooling(stream, real, training=training) for pooling, stream in zip(poolings, streams)]  # noqa: B905
        hidden = self.hidden(self.dropout(tf.concat(pooled, -1), training=training))
        hidden = self.hidden_bn(hidden, training=training)
        squeezed = tf.nn.relu(self.gating_bn(self.squeeze(hidden), training=training))
        return self.classifier(hidden * tf.sigmoid(self.excite(squeezed)))


class Network:
    """See `peer_process.serve`."""

    def __init__(self, weights: dict, learning: dict):
        self.model = NeXtVLAD(weights, learning["dropout"])
        self.learning = learning
        self.optimizer = tf.keras.optimizers.Adam(
            learning["learning_rate"], epsilon=1e-8, clipnorm=learning["clip_norm"]
        )
        self.optimizer.build(self.model.trainable_weights)
        features = sum(pooling.features for pooling in (self.model.pooling_0, self.model.pooling_1))
        frames = tf.TensorSpec([None, None, features], tf.uint8), tf.TensorSpec([None], tf.int32)
        labels = tf.TensorSpec([None, weights["classifier/fully_connected/bias"].shape[0]], tf.uint8)
        self._predictions = tf.function(lambda *inputs: tf.sigmoid(self.model(*inputs)), input_signature=frames)
        self._step = tf.function(self._compute_step, input_signature=(*frames, labels))

    def _compute_step(self, frames, num_frames, labels):
        with tf.GradientTape() as tape:
            logits = self.model(frames, num_frames, training=True)
            entropy = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels, tf.float32), logits)
            penalty = sum(tf.nn.l2_loss(tf.convert_to_tensor(each)) for each in self.model.classifier.trainable_weights)
            loss = tf.reduce_mean(tf.reduce_sum(entropy, -1)) + self.learning["l2"] * penalty
        weights = self.model.trainable_weights
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))  # noqa: B905
        return loss

    def predict(self, frames: np.ndarray, num_frames: np.ndarray) -> np.ndarray:
        return self._predictions(frames, num_frames).numpy()

    def train(self, frames: np.ndarray, num_frames: np.ndarray, labels: np.ndarray) -> float:
        return float(self._step(frames, num_frames, labels))


if __name__ == "__main__":
    serve(f"TensorFlow {tf.__version__}", Network)
