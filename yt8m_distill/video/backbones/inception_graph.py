"""youtube8m: the graph that the RGB features of YouTube-8M were made with, from Google's file."""

import pathlib
import tarfile
import zlib

import numpy as np
import tensorflow as tf

from yt8m_distill.errors import UserError
from yt8m_distill.files.untrusted import in_short
from yt8m_distill.plugins import register_backbone
from yt8m_distill.video.backbones.backbone import Backbone, ImageOptions
from yt8m_distill.video.checksums import checksum_of_arrays

NAME = "youtube8m"
GRAPH_FILE, ARCHIVE = "classify_image_graph_def.pb", "inception-2015-12-05.tgz"
_INPUT, _OUTPUT = "DecodeJpeg:0", "pool_3/_reshape:0"
_MOST_BYTES = 1 << 30  # the graph has 96 MB


@register_backbone(NAME)
class InceptionGraph(Backbone):
    """2048 pooled features of an image of any size, by the Inception v3 network of 2015, one image at a time.

    Args:
        weights: not to be given.
        model_dir: of `classify_image_graph_def.pb`, or of `inception-2015-12-05.tgz`, in which it is.
        options: not to be given, as the graph resizes and scales images itself.

    Raises:
        UserError: there is no such file, or it is another graph.

    Source: `feature_extractor.py` of the starter code: RGB bytes go where the graph has decoded a JPEG file.
    """

    def __init__(
        self, weights: str | None = None, model_dir: str | None = None, options: ImageOptions = ImageOptions()
    ):
        if weights:
            raise UserError(f"the weights of the backbone {NAME} are in its graph: give model_dir, not weights.")
        if options.crop != ImageOptions.crop:
            raise UserError(f"the backbone {NAME} sees whole frames, as its graph resizes them; give no crop.")
        path = _graph_file(model_dir)
        content = _graph_bytes(path)
        # A graph of its own, not a function: some of its operations are too old for functions.
        graph = tf.Graph()
        try:
            with graph.as_default():
                tf.graph_util.import_graph_def(tf.compat.v1.GraphDef.FromString(content), name="")
            size = graph.get_tensor_by_name(_OUTPUT).shape[-1]
            graph.get_tensor_by_name(_INPUT)
        except Exception as error:  # of protocol buffers, of TensorFlow
            raise UserError(f"'{path}' is not the graph of the backbone {NAME}: {in_short(error)}.") from error
        super().__init__(
            NAME,
            2048 if size is None else size,
            None,
            checksum_of_arrays(NAME, [np.frombuffer(content, np.uint8)]),
            0,
            batch_size=1,
        )
        self._session = tf.compat.v1.Session(graph=graph)

    def compute(self, batch):
        features = self._session.run(_OUTPUT, {_INPUT: batch[0]})
        return np.reshape(features, (1, self.size))


def _graph_file(model_dir: str | None) -> pathlib.Path:
    if model_dir:
        for name in (GRAPH_FILE, ARCHIVE):
            path = pathlib.Path(model_dir, name)
            if path.is_file():
                return path
    place = f"there is none in '{model_dir}'" if model_dir else "no model_dir was given"
    raise UserError(
        f"the backbone {NAME} needs Google's Inception graph, {GRAPH_FILE} or {ARCHIVE}, in model_dir: {place}."
    )


def _graph_bytes(path: pathlib.Path) -> bytes:
    try:
        if path.name == GRAPH_FILE:
            return path.read_bytes()
        with tarfile.open(path) as archive:
            member = next((m for m in archive if m.isfile() and pathlib.PurePosixPath(m.name).name == GRAPH_FILE), None)
            if member is None or member.size > _MOST_BYTES:
                raise UserError(f"'{path}' does not contain {GRAPH_FILE}.")
            return archive.extractfile(member).read()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise UserError(f"'{path}' cannot be read: {in_short(error)}.") from error
