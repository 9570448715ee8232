"""Backbones by name."""

import os

from yt8m_distill.errors import UserError
from yt8m_distill.plugins import BACKBONES
from yt8m_distill.video.backbones.backbone import Backbone, ImageOptions

DEFAULT = "efficientnet_lite0"


def backbone_named(
    name: str = DEFAULT,
    weights: str | None = None,
    model_dir: str | None = None,
    options: ImageOptions = ImageOptions(),
) -> Backbone:
    """A backbone, ready to compute.

    Args:
        name: a registered one ("efficientnet_lite0", "youtube8m", those of plugins); a network of keras.applications;
            or the path of a Keras model, a SavedModel or an ONNX file.
        weights: a file of weights for those that can have others than their own.
        model_dir: folder of Google's files, for youtube8m.
        options: how frames become the input of the network.

    Raises:
        UserError: there is none, its weights cannot be loaded, or an argument would do nothing.
    """
    if name in BACKBONES.names():
        if BACKBONES.is_built_in(name) and (options.image_size or options.pixels != ImageOptions.pixels):
            raise UserError(f"the backbone {name} has its own image size and pixel values; give no others.")
        return BACKBONES.get(name)(weights, model_dir, options)
    # From here on TensorFlow is needed, even to know the names.
    from yt8m_distill.video.backbones.keras_applications import KerasApplication, application_named
    from yt8m_distill.video.backbones.model_file import ENDINGS, ModelFile

    if name.endswith(ENDINGS) or os.path.exists(name) or os.sep in name:
        if weights:
            raise UserError(f"the backbone '{name}' is a file with its weights in it; it takes no others.")
        return ModelFile(name, options)
    application = application_named(name)
    if application is None:
        raise UserError(
            f"Unknown backbone '{name}'. Known: {', '.join(BACKBONES.names())}, the networks of keras.applications "
            f"(InceptionV3, EfficientNetV2S, ConvNeXtTiny, ...), and paths of files that end in {', '.join(ENDINGS)} "
            "or of SavedModels."
        )
    if options.pixels != ImageOptions.pixels:
        raise UserError(f"the backbone {application} scales pixels as its weights need it; give no other way.")
    return KerasApplication(application, weights, options)
