"""A SavedModel that needs nothing but TensorFlow: it reads serialized videos itself, or takes frames."""

import functools
import pathlib
from collections.abc import Mapping, Sequence

import tensorflow as tf

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import ALL_FRAMES
from yt8m_distill.data.frame_selection import fixed_indices, selected_counts
from yt8m_distill.data.record_format import (
    ID_KEYS,
    MOST_MISSING_FRAMES,
    THIN_FRAMES_KEY,
    THIN_MAX_FRAMES_KEY,
    THIN_SAMPLING_KEY,
    thin_frames_of,
)
from yt8m_distill.deployment.exported_model import FRAMES_SIGNATURE, Network, portable, write_saved_model

SERIALIZED_SIGNATURE = "serialized"


def write(network: Network, folder: pathlib.Path, top_k: int, names: Sequence[str] | None):
    """Writes the SavedModel.

    Its signatures are "serialized", also as "serving_default": "serialized" (batch,) strings, SequenceExamples ->
    "video_ids" (batch,) strings, "class_indices" (batch, k) int32 and "scores" (batch, k) float32, best class first,
    and with a vocabulary "names" (batch, k) strings; and "frames", see `Network.predict`. Where the graph cannot choose
    the frames (`Network.reads_records`), there is only the latter.

    Args:
        network: what to write.
        folder: is created.
        top_k: classes of a video; all of them where there are fewer.
        names: of all classes; None: no vocabulary.
    """
    functions = {FRAMES_SIGNATURE: (network.predict, network.signature(None, None))}
    if network.reads_records:
        classify = functools.partial(_classify, network, min(top_k, network.spec.num_classes), names)
        serialized = classify, [tf.TensorSpec([None], tf.string, "serialized")]
        functions = {SERIALIZED_SIGNATURE: serialized, **functions}
    with portable(network.model, unroll=False):
        write_saved_model(folder, functions)


def _classify(network: Network, top_k: int, names: Sequence[str] | None, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """The best classes of serialized videos."""
    video_ids, frames, num_frames = _read(network, serialized)
    scores, classes = tf.math.top_k(network.predict(frames, num_frames)["predictions"], top_k)
    named = {} if names is None else {"names": tf.gather(tf.constant(names), classes)}
    return {"video_ids": video_ids, "class_indices": classes, "scores": scores, **named}


def _read(network: Network, serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Ids, selected frames (batch, frames, features) uint8 and their number; as `data.reading` reads them.

    The graph checks what it can of `record_format.RULES`: the id, the frames that are selected, and thin shards.
    """
    spec = network.spec
    strings = tf.io.FixedLenSequenceFeature([], tf.string)
    context, features, lengths = tf.io.parse_sequence_example(
        serialized, _context_features(spec), dict.fromkeys(spec.feature_names, strings)
    )
    available = functools.reduce(tf.minimum, (lengths[name] for name in spec.feature_names))
    available = tf.minimum(available, spec.max_frames) if spec.max_frames else available
    indices, counts = _selected(network, available)
    with tf.control_dependencies([*_thin_checks(network, context), _length_check(spec, lengths)]):
        sizes = zip(spec.feature_names, spec.feature_sizes, strict=True)
        parts = [_decoded(features[name], name, size, indices, counts) for name, size in sizes]
    return _video_ids(context, spec, tf.shape(serialized)[0]), tf.concat(parts, axis=-1), tf.cast(counts, tf.int32)


def _context_features(spec: DatasetSpec) -> dict[str, tf.io.FixedLenFeature]:
    features = {key: tf.io.FixedLenFeature([], tf.string, default_value="") for key in _id_keys(spec)}
    features[THIN_FRAMES_KEY] = tf.io.FixedLenFeature([], tf.int64, default_value=0)
    features[THIN_SAMPLING_KEY] = tf.io.FixedLenFeature([], tf.string, default_value="uniform")
    features[THIN_MAX_FRAMES_KEY] = tf.io.FixedLenFeature([], tf.int64, default_value=spec.max_frames)
    return features


def _id_keys(spec: DatasetSpec) -> list[str]:
    """The editions of YouTube-8M have their ids under different keys; that of the training data comes first."""
    return list(dict.fromkeys([spec.id_key, *ID_KEYS])) if spec.id_key in ID_KEYS else list(filter(None, [spec.id_key]))


def _video_ids(context: Mapping[str, tf.Tensor], spec: DatasetSpec, videos: tf.Tensor) -> tf.Tensor:
    """The ids of the records; their indices, where records have none."""
    keys = _id_keys(spec)
    if not keys:
        return tf.strings.as_string(tf.range(videos))
    video_ids = functools.reduce(
        lambda ids, key: tf.where(tf.strings.length(ids) > 0, ids, context[key]), keys[1:], context[keys[0]]
    )
    there = tf.reduce_all(tf.strings.length(video_ids) > 0)
    with tf.control_dependencies([tf.debugging.Assert(there, [f"a record has no video id in {' or '.join(keys)}"])]):
        return tf.identity(video_ids)


def _thin_checks(network: Network, context: Mapping[str, tf.Tensor]) -> list[tf.Operation]:
    """A record of a thin shard must hold just the frames that would be selected."""
    thin = context[THIN_FRAMES_KEY]
    fits = (thin == thin_frames_of(network.selection)) & (context[THIN_MAX_FRAMES_KEY] == network.spec.max_frames)
    fits &= context[THIN_SAMPLING_KEY] == network.selection.sampling
    text = "a record of a thin shard holds other frames than the model sees; thin_frames ="
    return [tf.debugging.Assert(tf.reduce_all((thin == 0) | fits), [text, thin])]


def _length_check(spec: DatasetSpec, lengths: Mapping[str, tf.Tensor]) -> tf.Operation:
    """Features may differ by at most `MOST_MISSING_FRAMES` frames."""
    counts = tf.stack([lengths[name] for name in spec.feature_names])
    counts = tf.minimum(counts, spec.max_frames) if spec.max_frames else counts
    fits = tf.reduce_max(counts, axis=0) - tf.reduce_min(counts, axis=0) <= MOST_MISSING_FRAMES
    return tf.debugging.Assert(tf.reduce_all(fits), ["the features of a record differ in their number of frames"])


def _selected(network: Network, available: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Indices (batch, at least 1) and their number (batch,), int64; 0 where a video has no more."""
    selection = network.selection
    everything = selection == ALL_FRAMES or network.chooses
    counts = available if everything else selected_counts(selection, available, arrays=tf)
    steps = tf.range(tf.maximum(tf.reduce_max(counts), 1))[tf.newaxis]
    indices = steps + 0 * counts[:, tf.newaxis]
    if not everything:
        indices = fixed_indices(selection, steps, available[:, tf.newaxis], counts[:, tf.newaxis], tf)
    return tf.where(steps < counts[:, tf.newaxis], indices, 0), counts


def _decoded(rows: tf.Tensor, name: str, size: int, indices: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    """The frames at `indices` of one feature, uint8 (batch, frames, size), 0 after the first `counts`."""
    # One column more, as there may be no frame at all.
    rows = tf.concat([rows, tf.fill([tf.shape(rows)[0], 1], "")], axis=1)
    chosen = tf.gather(rows, indices, batch_dims=1)
    real = tf.range(tf.shape(indices)[1], dtype=tf.int64)[tf.newaxis] < counts[:, tf.newaxis]
    right = tf.reduce_all((tf.strings.length(chosen) == size) | ~real)
    with tf.control_dependencies([tf.debugging.Assert(right, [f"a frame of {name} has not {size} bytes"])]):
        chosen = tf.where(real, chosen, tf.constant(b"\0" * size))
    decoded = tf.io.decode_raw(chosen, tf.uint8)
    return tf.reshape(decoded, [tf.shape(indices)[0], tf.shape(indices)[1], size])
