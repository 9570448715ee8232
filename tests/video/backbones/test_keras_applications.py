"""A network of keras.applications with weights in a file."""

import keras
import numpy as np
import pytest

from yt8m_distill.errors import UserError
from yt8m_distill.video.backbones.backbone import ImageOptions
from yt8m_distill.video.backbones.keras_applications import application_named
from yt8m_distill.video.backbones.naming import backbone_named


def test_names():
    assert application_named("InceptionV3") == application_named("inception_v3") == "InceptionV3"
    assert application_named("efficientnetv2s") == "EfficientNetV2S"
    assert application_named("ConvNeXtTiny") == "ConvNeXtTiny"
    assert application_named("keras_applications") is application_named("imagenet_utils") is None


@pytest.mark.slow
def test_features_are_those_of_the_network(tmp_path):
    network = keras.applications.MobileNet(include_top=False, pooling="avg", input_shape=(96, 96, 3), weights=None)
    rng = np.random.default_rng(1)
    for layer in network.layers:  # larger ones than Keras begins with, whose outputs would vanish
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            (kernel,) = layer.get_weights()
            layer.set_weights([rng.normal(0, np.sqrt(2 / (kernel.size / layer.output.shape[-1])), kernel.shape)])
    network.save_weights(tmp_path / "mobilenet.weights.h5")
    weights, options = str(tmp_path / "mobilenet.weights.h5"), ImageOptions(image_size=96)
    backbone = backbone_named("mobilenet", weights, options=options)
    assert (backbone.name, backbone.size, backbone.image_size) == ("MobileNet", 1024, (96, 96))
    images = np.random.default_rng(0).integers(0, 256, (5, 96, 96, 3), np.uint8)
    expected = network(images / np.float32(127.5) - 1, training=False)  # MobileNet's preprocessing
    assert np.std(expected) > 1e-4
    np.testing.assert_allclose(backbone(images), expected, rtol=1e-4, atol=1e-6)

    # The same weights: the same features; other weights or another crop: other ones.
    assert backbone_named("MobileNet", weights, options=options).identity == backbone.identity
    whole = backbone_named("MobileNet", weights, options=ImageOptions(image_size=96, crop=0))
    assert whole.identity != backbone.identity
    network.set_weights([1.5 * values for values in network.get_weights()])
    network.save_weights(weights)
    assert backbone_named("MobileNet", weights, options=options).identity != backbone.identity


@pytest.mark.slow
def test_weights_that_cannot_be_had_are_errors(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"the weights of the backbone MobileNet: there is no file 'none\.h5'"):
        backbone_named("MobileNet", "none.h5")
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(UserError, match=r"other\.weights\.h5' does not hold the weights of MobileNet without"):
        backbone_named("MobileNet", str(tmp_path / "other.weights.h5"))

    def offline(*_, **__):
        raise OSError("URL fetch failure: no route to host")

    monkeypatch.setattr("keras.utils.get_file", offline)
    monkeypatch.setattr("keras.src.applications.mobilenet.file_utils.get_file", offline)
    with pytest.raises(UserError, match=r"weights of MobileNet cannot be loaded, .* no route to host\. Give a file"):
        backbone_named("MobileNet")
