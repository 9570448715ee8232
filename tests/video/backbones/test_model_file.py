"""Backbones in files of users."""

import keras
import numpy as np
import pytest

from yt8m_distill.errors import UserError
from yt8m_distill.video.backbones.backbone import ImageOptions
from yt8m_distill.video.backbones.naming import backbone_named

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)


def small_network(batch_size=None, pooled=True):
    image = keras.Input((8, 8, 3), batch_size)
    x = keras.layers.Conv2D(5, 3, name="conv")(image)
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(x) if pooled else x)


def features_by_numpy(network, images):
    """The means over places of a convolution."""
    kernel, bias = (np.asarray(values, np.float64) for values in network.get_layer("conv").get_weights())
    images = np.asarray(images, np.float64)
    total = sum(
        images[:, row : row + 6, column : column + 6] @ kernel[row, column] for row in range(3) for column in range(3)
    )
    return (total + bias).mean(axis=(1, 2))


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("ending", ["network.keras", "network.h5"])
def test_keras_file(tmp_path, pooled, ending):
    network = small_network(pooled=pooled)
    network.save(tmp_path / ending)
    backbone = backbone_named(str(tmp_path / ending))
    assert (backbone.size, backbone.image_size) == (5, (8, 8))
    np.testing.assert_allclose(backbone(IMAGES), features_by_numpy(network, IMAGES), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("pixels", "scaled"),
    [
        ("unit", IMAGES / 255),
        ("signed", IMAGES / 127.5 - 1),
        ("imagenet", (IMAGES / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
    ],
)
def test_pixels(tmp_path, pixels, scaled):
    network = small_network()
    network.save(tmp_path / "network.keras")
    backbone = backbone_named(str(tmp_path / "network.keras"), options=ImageOptions(pixels=pixels))
    np.testing.assert_allclose(backbone(IMAGES), features_by_numpy(network, scaled), rtol=1e-4, atol=1e-5)
    assert backbone.identity != backbone_named(str(tmp_path / "network.keras")).identity


@pytest.mark.slow
def test_saved_model(tmp_path):
    network = small_network()
    network.export(tmp_path / "network", verbose=False)
    backbone = backbone_named(str(tmp_path / "network"))
    np.testing.assert_allclose(backbone(IMAGES), features_by_numpy(network, IMAGES), rtol=1e-4, atol=1e-3)


def write_onnx(path, shape, kernel, pooled=False):
    """A convolution, in the layout of PyTorch's exports."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("Conv", ["image", "kernel"], ["places" if pooled else "features"])]
    nodes += [helper.make_node("ReduceMean", ["places"], ["features"], axes=[2, 3], keepdims=0)] if pooled else []
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", floats, shape)],
        [helper.make_tensor_value_info("features", floats, None)],
        [onnx.numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("shape", [("n", 3, 8, 8), (1, 3, 8, 8), ("n", 3, "h", "w")])
@pytest.mark.parametrize("pooled", [True, False])
def test_onnx_file(tmp_path, shape, pooled):
    network = small_network()
    kernel = network.get_layer("conv").get_weights()[0].transpose(3, 2, 0, 1)
    write_onnx(tmp_path / "network.onnx", shape, np.ascontiguousarray(kernel), pooled)
    backbone = backbone_named(str(tmp_path / "network.onnx"), options=ImageOptions(image_size=8))
    assert (backbone.size, backbone.image_size) == (5, (8, 8))
    np.testing.assert_allclose(backbone(IMAGES), features_by_numpy(network, IMAGES), rtol=1e-4, atol=1e-3)
    if shape[3] == "w":
        assert backbone_named(str(tmp_path / "network.onnx")).image_size == (224, 224)
    else:
        with pytest.raises(UserError, match=r"takes images of 8 x 8 pixels, not of 9"):
            backbone_named(str(tmp_path / "network.onnx"), options=ImageOptions(image_size=9))


def test_other_files_are_errors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.onnx").write_text("text")
    (tmp_path / "text.keras").write_text("text")
    (tmp_path / "text.txt").write_text("text")
    (tmp_path / "empty").mkdir()
    vectors = keras.Input((4,))
    keras.Model(vectors, keras.layers.Dense(2)(vectors)).save(tmp_path / "vectors.keras")
    image = keras.Input((8, 8, 3))
    keras.Model(image, [image + 1, image + 2]).save(tmp_path / "two.keras")
    lambdas = keras.Model(image, keras.layers.Lambda(lambda x: x)(image))
    lambdas.save(tmp_path / "code.keras")
    lambdas.save(tmp_path / "code.h5")
    for name, message in {
        "text.keras": "'text.keras' cannot be loaded: ",
        "text.txt": "'text.txt' is not known: it must be a file that ends in .keras, .h5, .hdf5, .onnx, or the folder",
        "empty": "'empty' cannot be loaded: ",
        "none.keras": "the backbone 'none.keras' does not exist.",
        "no_such_name": "Unknown backbone 'no_such_name'. Known: efficientnet_lite0, youtube8m",
        "vectors.keras": "the input of the backbone 'vectors.keras' must be images",
        "two.keras": "must have one output, the outputs of this model are",
        "code.keras": "'code.keras' cannot be loaded: ",
        "code.h5": "'code.h5' cannot be loaded: ",
    }.items():
        with pytest.raises(UserError) as error:
            backbone_named(name)
        assert message in str(error.value)
    pytest.importorskip("onnxruntime")
    with pytest.raises(UserError, match=r"'text\.onnx' cannot be loaded: "):
        backbone_named("text.onnx")


def test_arguments_that_would_do_nothing_are_errors(tmp_path):
    with pytest.raises(UserError, match="is a file with its weights in it"):
        backbone_named("a.keras", weights="w.h5")
    with pytest.raises(UserError, match="efficientnet_lite0 has its own image size and pixel values"):
        backbone_named("efficientnet_lite0", options=ImageOptions(image_size=100))
    with pytest.raises(UserError, match="MobileNet scales pixels as its weights need it"):
        backbone_named("MobileNet", options=ImageOptions(pixels="unit"))
