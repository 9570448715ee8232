"""Spectrograms against TensorFlow's, VGGish against a forward pass in numpy."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import shared_path
from tests.tf1.test_conversion import write_checkpoint
from yt8m_distill.errors import UserError
from yt8m_distill.quantization import quantize
from yt8m_distill.video.audio_features import audio_feature_named
from yt8m_distill.video.log_mel import log_mel_spectrograms
from yt8m_distill.video.projection_files import read_projection

RATE = 16000
SOUND = np.random.default_rng(0).uniform(-0.5, 0.5, 5 * RATE // 2).astype(np.float32)


def spectrograms_by_tensorflow(sound):
    """(seconds, 98, 64), of whole seconds."""
    seconds = tf.constant(sound[: len(sound) // RATE * RATE].reshape(-1, RATE))
    magnitudes = tf.abs(tf.signal.stft(seconds, 400, 160, 512, tf.signal.hann_window))
    bands = tf.signal.linear_to_mel_weight_matrix(64, 257, RATE, 125.0, 7500.0)
    return np.asarray(tf.math.log(magnitudes @ bands + 0.01))


def test_spectrograms_are_those_of_tensorflow():
    result = log_mel_spectrograms(SOUND[: 2 * RATE].reshape(2, RATE))
    assert result.shape == (2, 98, 64)
    np.testing.assert_allclose(result, spectrograms_by_tensorflow(SOUND), rtol=0, atol=2e-4)


def test_a_tone_is_in_its_band():
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    band = log_mel_spectrograms(tone[np.newaxis])[0].mean(axis=0).argmax()
    low, high = (1127 * np.log(1 + hertz / 700) for hertz in (125, 7500))
    assert band == round((1127 * np.log(1 + 1000 / 700) - low) / (high - low) * 65 - 1)


def test_logmel_has_mean_and_deviation_of_each_second():
    feature = audio_feature_named("logmel")
    features = feature(SOUND)
    assert (features.shape, features.dtype, feature.size) == ((3, 128), np.float32, 128)
    expected = spectrograms_by_tensorflow(np.pad(SOUND, (0, RATE // 2)))
    np.testing.assert_allclose(features[:, :64], expected.mean(axis=1), rtol=0, atol=1e-4)
    np.testing.assert_allclose(features[:, 64:], expected.std(axis=1), rtol=0, atol=2e-4)
    assert feature(SOUND[:0]).shape == (0, 128)
    np.testing.assert_allclose(feature(np.zeros(1))[0, :64], np.log(0.01))


def test_a_second_alone_gives_what_it_gives_in_a_film():
    feature = audio_feature_named("logmel")
    sound = np.random.default_rng(0).normal(0, 0.2, 70 * RATE).astype(np.float32)
    features = feature(sound)
    for second in (0, 1, 64, 69):
        part = sound[second * RATE : (second + 1) * RATE]
        np.testing.assert_array_equal(feature(part)[0], features[second])


def test_names_and_rates():
    assert audio_feature_named("none") is None
    with pytest.raises(UserError, match=r"Unknown audio feature 'x'\. Known: logmel, vggish, none\."):
        audio_feature_named("x")
    with pytest.raises(ValueError, match="16000 samples a second, not 44100"):
        audio_feature_named()(SOUND, 44100)
    with pytest.raises(UserError, match=r"needs Google's checkpoint vggish_model\.ckpt in model_dir"):
        audio_feature_named("vggish")


def small_vggish():
    """Weights under the names of the checkpoint, with few channels."""
    rng = np.random.default_rng(2)
    shapes = {"conv1": (1, 2), "conv2": (2, 3), "conv3.conv3_1": (3, 4), "conv3.conv3_2": (4, 4)}
    shapes |= {"conv4.conv4_1": (4, 5), "conv4.conv4_2": (5, 5)}
    weights = {f"{name}.weights": rng.normal(0, 0.4, (3, 3, *shape)) for name, shape in shapes.items()}
    shapes |= {"fc1.fc1_1": (6 * 4 * 5, 9), "fc1.fc1_2": (9, 8), "fc2": (8, 7)}
    for name, shape in shapes.items():
        weights.setdefault(f"{name}.weights", rng.normal(0, 0.3, shape))
        weights[f"{name}.biases"] = rng.normal(0, 0.1, shape[1])
    return {name: values.astype(np.float32) for name, values in weights.items()}


def rename_checkpoint(folder):
    for file in folder.glob("model.ckpt-120.*"):
        file.rename(folder / file.name.replace("model.ckpt-120", "vggish_model.ckpt"))


def embedding_by_numpy(patch, weights):
    def layer(x, name):
        kernel, bias = weights[f"{name}.weights"], weights[f"{name}.biases"]
        if kernel.ndim == 2:
            return x @ kernel + bias
        x = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        height, width = x.shape[0] - 2, x.shape[1] - 2
        return bias + sum(x[i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3))

    def pooled(x):
        return x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, -1).max(axis=(1, 3))

    x = patch[..., np.newaxis]
    for names in (("conv1",), ("conv2",), ("conv3.conv3_1", "conv3.conv3_2"), ("conv4.conv4_1", "conv4.conv4_2")):
        for name in names:
            x = np.maximum(layer(x, name), 0)
        x = pooled(x)
    x = x.reshape(-1)
    for name in ("fc1.fc1_1", "fc1.fc1_2"):
        x = np.maximum(layer(x, name), 0)
    return layer(x, "fc2")


@pytest.mark.slow
def test_vggish_is_the_numpy_forward_pass_of_its_checkpoint(tmp_path):
    weights = small_vggish()
    write_checkpoint(tmp_path, weights, scope="vggish/")
    rename_checkpoint(tmp_path)
    feature = audio_feature_named("vggish", str(tmp_path))
    assert (feature.name, feature.size) == ("vggish", 7)
    sound = np.random.default_rng(3).normal(0, 0.3, 10 * RATE).astype(np.float32)
    features = feature(sound)
    patches = spectrograms_by_tensorflow(sound)[:, :96]
    expected = np.stack([embedding_by_numpy(patch, weights) for patch in patches])
    assert expected.std() > 0.01
    assert expected.min() < 0  # no activation behind it
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(feature(sound[9 * RATE :])[0], features[9])


@pytest.mark.slow
def test_other_checkpoints_are_errors(tmp_path):
    with pytest.raises(UserError, match=r"^model_dir=.*vggish_model\.ckpt: there is no checkpoint of this name"):
        audio_feature_named("vggish", str(tmp_path))
    weights = small_vggish()
    write_checkpoint(tmp_path, {**weights, "fc2.weights": np.zeros((3, 7), np.float32)}, scope="vggish/")
    rename_checkpoint(tmp_path)
    with pytest.raises(UserError, match="is not the checkpoint of VGGish: its sizes do not fit"):
        audio_feature_named("vggish", str(tmp_path))
    del weights["conv4.conv4_1.biases"]
    write_checkpoint(tmp_path, weights, scope="vggish/")
    rename_checkpoint(tmp_path)
    with pytest.raises(UserError, match=r"it has no 'vggish/conv4/conv4_1/biases'"):
        audio_feature_named("vggish", str(tmp_path))


@pytest.mark.slow
def test_googles_smoke_test():
    """Where Google's files are: a tone of 1 kHz, and the numbers of vggish_smoke_test.py, within its 10 %."""
    folder = shared_path("vggish")
    tone = np.sin(2 * np.pi * 1000 * np.arange(3 * RATE) / RATE)
    features = audio_feature_named("vggish", str(folder))(tone)
    assert features.shape == (3, 128)
    np.testing.assert_allclose([features.mean(), features.std()], [0.000657, 0.343], rtol=0.1)
    processed = quantize(read_projection(folder / "vggish_pca_params.npz")(features))
    np.testing.assert_allclose([processed.mean(), processed.std()], [126.0, 89.3], rtol=0.1)
