"""youtube8m: a small graph with the names of Google's."""

import io
import tarfile

import numpy as np
import pytest
import tensorflow as tf

from yt8m_distill.errors import UserError
from yt8m_distill.video.backbones.backbone import ImageOptions
from yt8m_distill.video.backbones.inception_graph import ARCHIVE, GRAPH_FILE
from yt8m_distill.video.backbones.naming import backbone_named

KERNEL = np.random.default_rng(1).normal(size=(12, 7)).astype(np.float32)


def graph_bytes(output="pool_3/_reshape"):
    """Decodes a JPEG file, resizes it to 2 x 2 pixels and scales it, as Google's does to 299 x 299.

    It has one of the operations that new graphs may not have any more, and the version of old ones.
    """
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(tf.compat.v1.GraphDef(versions={"producer": 8}), name="")
        content = tf.compat.v1.placeholder(tf.string, [], name="DecodeJpeg/contents")
        image = tf.image.decode_jpeg(content, channels=3, name="DecodeJpeg")
        x = tf.compat.v1.image.resize_bilinear(tf.expand_dims(tf.cast(image, tf.float32), 0), [2, 2])
        x = (x - 128) * 0.0078125
        x = tf.raw_ops.BatchNormWithGlobalNormalization(
            t=x,
            m=[0.1, 0.2, 0.3],
            v=[1.0, 2.0, 4.0],
            beta=[0.0, 0.0, 0.5],
            gamma=[1.0, 1.0, 1.0],
            variance_epsilon=1e-3,
            scale_after_normalization=False,
        )
        x = tf.matmul(tf.reshape(x, [1, 12]), KERNEL)
        tf.reshape(x, [1, 7], name=output)
    return graph.as_graph_def().SerializeToString()


def features_by_numpy(image):
    height, width = image.shape[:2]
    rows, columns = [0, height // 2], [0, width // 2]  # the old way of resizing; even sizes need no mean of two pixels
    x = (image[np.ix_(rows, columns)].astype(np.float64) - 128) / 128
    x = (x - [0.1, 0.2, 0.3]) / np.sqrt(np.array([1.0, 2.0, 4.0]) + 1e-3) + [0, 0, 0.5]
    return x.reshape(-1) @ KERNEL


@pytest.mark.parametrize("packed", [False, True])
def test_features_are_those_of_the_graph(tmp_path, packed):
    content = graph_bytes()
    if packed:
        with tarfile.open(tmp_path / ARCHIVE, "w:gz") as archive:
            for name, data in (("LICENSE", b"text"), (f"./{GRAPH_FILE}", content)):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    else:
        (tmp_path / GRAPH_FILE).write_bytes(content)
    backbone = backbone_named("youtube8m", model_dir=str(tmp_path))
    assert (backbone.name, backbone.size, backbone.image_size) == ("youtube8m", 7, None)
    images = [np.random.default_rng(i).integers(0, 256, (2 * i + 4, 10, 3), np.uint8) for i in range(3)]
    features = backbone([backbone.prepare(image) for image in images])
    expected = np.stack([features_by_numpy(image) for image in images])
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5)
    assert features.dtype == np.float32


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(UserError, match=r"classify_image_graph_def\.pb or inception-2015-12-05\.tgz, in model_dir: no"):
        backbone_named("youtube8m")
    with pytest.raises(UserError, match=r"in model_dir: there is none in '.*'\."):
        backbone_named("youtube8m", model_dir=str(tmp_path))
    with pytest.raises(UserError, match="give model_dir, not weights"):
        backbone_named("youtube8m", weights="w", model_dir=str(tmp_path))
    with pytest.raises(UserError, match="give no others"):
        backbone_named("youtube8m", model_dir=str(tmp_path), options=ImageOptions(image_size=100))


def test_other_files_are_errors(tmp_path):
    for content in (b"text", graph_bytes(output="other")):
        (tmp_path / GRAPH_FILE).write_bytes(content)
        with pytest.raises(UserError, match="is not the graph of the backbone youtube8m: "):
            backbone_named("youtube8m", model_dir=str(tmp_path))
    (tmp_path / GRAPH_FILE).unlink()
    (tmp_path / ARCHIVE).write_bytes(b"text")
    with pytest.raises(UserError, match=r"2015-12-05\.tgz' cannot be read"):
        backbone_named("youtube8m", model_dir=str(tmp_path))
    with tarfile.open(tmp_path / ARCHIVE, "w:gz"):
        pass
    with pytest.raises(UserError, match=r"does not contain classify_image_graph_def\.pb"):
        backbone_named("youtube8m", model_dir=str(tmp_path))
