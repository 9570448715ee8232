"""The networks of keras.applications, with their ImageNet weights or those in a file."""

import os
import types
from collections.abc import Mapping

import keras
import tensorflow as tf

from yt8m_distill.errors import UserError
from yt8m_distill.files.untrusted import in_short
from yt8m_distill.video.backbones.backbone import BATCH_SIZE, Backbone, ImageOptions
from yt8m_distill.video.checksums import checksum_of_arrays

# Sizes of images that the weights were trained on, where it is not this one.
_USUAL_SIZE = 224
_SIZES = {
    **dict.fromkeys(("Xception", "InceptionV3", "InceptionResNetV2"), 299),
    **{f"EfficientNetB{i}": size for i, size in enumerate((224, 240, 260, 300, 380, 456, 528, 600))},
    **{f"EfficientNetV2B{i}": size for i, size in enumerate((224, 240, 260, 300))},
    **dict.fromkeys(("EfficientNetV2M", "EfficientNetV2L"), 480),
    "EfficientNetV2S": 384,
    "NASNetLarge": 331,
}


class KerasApplication(Backbone):
    """Pooled features of a network without its classifier.

    Args:
        name: of the network, as in keras.applications: "InceptionV3".
        weights: a weights file of the network without its classifier ("..._notop.h5", or by `save_weights`); None:
            Keras's own for ImageNet, which it downloads.
        options: size of the images, where it is not that of the ImageNet weights, and crop.
        batch_size: images at a time.

    Raises:
        UserError: weights cannot be downloaded, or a file has others.
    """

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        options: ImageOptions = ImageOptions(),
        batch_size: int = BATCH_SIZE,
    ):
        side = options.image_size or _SIZES.get(name, _USUAL_SIZE)
        module = _modules()[name]
        network = _network(name, module, weights, side)
        description = f"keras.applications.{name}, {side} pixels, bicubic, crop {options.crop:g}"
        identity = checksum_of_arrays(description, network.get_weights())
        super().__init__(name, network.output_shape[-1], (side, side), identity, options.crop, batch_size)
        self._network = tf.function(
            lambda pixels: network(module.preprocess_input(tf.cast(pixels, tf.float32)), training=False),
            input_signature=[tf.TensorSpec((batch_size, side, side, 3), tf.uint8)],
            autograph=False,
        )

    def compute(self, batch):
        return self._network(batch).numpy()


def application_named(name: str) -> str | None:
    """The network of keras.applications that is meant by a name; None: there is none.

    Example:
        >>> application_named("inception_v3")
        'InceptionV3'
    """
    plain = name.replace("_", "").lower()
    return next((network for network in _modules() if network.lower() == plain), None)


def _modules() -> Mapping[str, types.ModuleType]:
    """The module of each network, which has its preprocessing."""
    modules = [module for module in vars(keras.applications).values() if isinstance(module, types.ModuleType)]
    networks = [name for name, value in vars(keras.applications).items() if callable(value) and name[0].isupper()]
    found = {name: next((module for module in modules if hasattr(module, name)), None) for name in networks}
    return {name: module for name, module in found.items() if hasattr(module, "preprocess_input")}


def _network(name: str, module: types.ModuleType, weights: str | None, side: int) -> keras.Model:
    if weights and not os.path.isfile(weights):
        raise UserError(f"the weights of the backbone {name}: there is no file '{weights}'.")
    build = getattr(module, name)
    try:
        return build(include_top=False, pooling="avg", input_shape=(side, side, 3), weights=weights or "imagenet")
    except Exception as error:  # of the network, of HDF5, of Keras
        if weights:
            raise UserError(
                f"'{weights}' does not hold the weights of {name} without its classifier (in Keras a file that ends in "
                f"_notop.h5): {in_short(error)}."
            ) from error
        raise UserError(
            f"the ImageNet weights of {name} cannot be loaded, which Keras downloads: {in_short(error)}. Give a file "
            "of them as the backbone's weights, or use efficientnet_lite0, whose weights are in a package."
        ) from error
