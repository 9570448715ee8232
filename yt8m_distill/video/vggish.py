"""VGGish with the weights in Google's checkpoint."""

import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from yt8m_distill.errors import UserError
from yt8m_distill.plugins import register_audio_feature
from yt8m_distill.tf1.checkpoint import read_checkpoint
from yt8m_distill.video.audio_features import AudioFeature
from yt8m_distill.video.batches import in_fixed_batches
from yt8m_distill.video.checksums import checksum_of_arrays
from yt8m_distill.video.log_mel import BANDS, log_mel_spectrograms

NAME = "vggish"
CHECKPOINT = "vggish_model.ckpt"
_FRAMES = 96  # of 10 ms each: 0.96 s
_BATCH_SIZE = 8
# Each tuple ends with a pooling to half the size.
_CONVOLUTIONS = (("conv1",), ("conv2",), ("conv3/conv3_1", "conv3/conv3_2"), ("conv4/conv4_1", "conv4/conv4_2"))
_HIDDEN = ("fc1/fc1_1", "fc1/fc1_2")
_EMBEDDING = "fc2"


@register_audio_feature(NAME)
class Vggish(AudioFeature):
    """The embedding of the first 0.96 s of each second, 128 values.

    Args:
        model_dir: of `vggish_model.ckpt`.

    Raises:
        UserError: there is no such checkpoint, or one of another network.

    Source: `vggish_slim.py` (Hershey et al., 2017). The embedding is that before its activation, as in the features of
        AudioSet and YouTube-8M.
    Differs: a window every 1.0 s, like MediaPipe's for YouTube-8M; VGGish's own code has one every 0.96 s.
    """

    def __init__(self, model_dir: str | None = None):
        if not model_dir:
            raise UserError(f"the audio feature {NAME} needs Google's checkpoint {CHECKPOINT} in model_dir.")
        checkpoint = read_checkpoint(os.path.join(model_dir, CHECKPOINT), "model_dir")
        names = [name for group in _CONVOLUTIONS for name in group]
        names = [f"{name}/{part}" for name in (*names, *_HIDDEN, _EMBEDDING) for part in ("weights", "biases")]
        missing = [name for name in names if f"vggish/{name}" not in checkpoint.values]
        if missing:
            raise UserError(f"'{checkpoint.path}' is not the checkpoint of VGGish: it has no 'vggish/{missing[0]}'.")
        values = {name: np.asarray(checkpoint.values[f"vggish/{name}"], np.float32) for name in names}
        identity = checksum_of_arrays("vggish, 0.96 s of each second", values.values())
        super().__init__(NAME, values[f"{_EMBEDDING}/biases"].size, identity)
        variables = {name: tf.Variable(value, trainable=False) for name, value in values.items()}
        self._network = tf.function(lambda patches: _embedding(patches, variables), autograph=False)
        try:
            self._run(np.zeros((_BATCH_SIZE, _FRAMES, BANDS), np.float32))
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            raise UserError(f"'{checkpoint.path}' is not the checkpoint of VGGish: its sizes do not fit.") from error

    def compute(self, seconds):
        patches = log_mel_spectrograms(seconds)[:, :_FRAMES].astype(np.float32)
        return in_fixed_batches(self._run, patches, _BATCH_SIZE, self.size)

    def _run(self, patches: np.ndarray) -> np.ndarray:
        return self._network(tf.constant(patches)).numpy()


def _embedding(patches: tf.Tensor, values: Mapping[str, tf.Variable]) -> tf.Tensor:
    """Embeddings (batch, size) of spectrograms (batch, 96, 64)."""
    x = patches[..., tf.newaxis]
    for group in _CONVOLUTIONS:
        for name in group:
            x = tf.nn.conv2d(x, values[f"{name}/weights"], 1, "SAME") + values[f"{name}/biases"]
            x = tf.nn.relu(x)
        x = tf.nn.max_pool2d(x, 2, 2, "SAME")
    x = tf.reshape(x, (patches.shape[0], -1))
    for name in _HIDDEN:
        x = tf.nn.relu(x @ values[f"{name}/weights"] + values[f"{name}/biases"])
    return x @ values[f"{_EMBEDDING}/weights"] + values[f"{_EMBEDDING}/biases"]
