"""Batches of serialized frame-level records to tensors, for every edition of the format.

A record is a `tf.train.SequenceExample`: in its context the video's id (bytes) and labels (int64), in its feature
lists one bytes string a frame (a second) for every feature. Frames stay uint8.
"""

from collections.abc import Mapping

import tensorflow as tf

from yt8m_distill.config import FrameSelection
from yt8m_distill.dataset_spec import AUDIOSET, EDITIONS, YOUTUBE_8M_2018, DatasetSpec, SpecOverrides
from yt8m_distill.errors import UserError
from yt8m_distill.frame_selection import selected_indices

ID_KEYS = ("id", "video_id")
LABELS_KEY = "labels"


def parse_records(serialized: tf.Tensor, where: tf.Tensor, spec: DatasetSpec) -> dict[str, tf.Tensor]:
    """A batch of records, the frames not yet decoded.

    Args:
        serialized: strings (batch,), each a SequenceExample.
        where: strings (batch,), "FILE, record N"; the error that is raised for a bad record holds it.
        spec: how to read them.

    Returns:
        "video_id" (batch,) strings, "labels" (batch, classes) uint8 in {0, 1}, "num_frames" (batch,) int32: the
        smallest count of any feature, at most `spec.max_frames`; "feature_frames": for every feature (batch, frames)
        strings, which beyond num_frames hold anything.

    Source: the starter code's frame reader.
    Differs: where features differ in length the smallest counts (the original pads the shorter with zeros and takes
        the first one's count); a label or feature length out of bounds names the record.
    """
    context, lists, lengths = tf.io.parse_sequence_example(
        serialized,
        context_features={
            spec.id_key: tf.io.FixedLenFeature([], tf.string),
            LABELS_KEY: tf.io.VarLenFeature(tf.int64),
        },
        sequence_features={name: tf.io.FixedLenSequenceFeature([], tf.string) for name in spec.feature_names},
        example_names=where,
    )
    counts = tf.stack([tf.cast(lengths[name], tf.int32) for name in spec.feature_names])
    num_frames = tf.reduce_min(counts, axis=0)
    if spec.max_frames:
        num_frames = tf.minimum(num_frames, spec.max_frames)
    longest = tf.reduce_max(num_frames)
    return {
        "video_id": context[spec.id_key],
        "labels": _multi_hot(context[LABELS_KEY], where, spec.num_classes),
        "num_frames": num_frames,
        "feature_frames": [lists[name][:, :longest] for name in spec.feature_names],
    }


def _multi_hot(labels: tf.SparseTensor, where: tf.Tensor, num_classes: int) -> tf.Tensor:
    """(batch, classes) uint8 from each video's list of labels."""
    in_range = (labels.values >= 0) & (labels.values < num_classes)
    videos = labels.indices[:, 0]
    with tf.control_dependencies([_assert_records(in_range, tf.gather(where, videos))]):
        places = tf.stack([videos, labels.values], axis=1)
    zeros = tf.zeros([tf.size(where), num_classes], tf.uint8)
    return tf.tensor_scatter_nd_update(zeros, places, tf.ones_like(labels.values, tf.uint8))


def decode_frames(
    feature_frames: list[tf.Tensor], num_frames: tf.Tensor, where: tf.Tensor, spec: DatasetSpec
) -> tf.Tensor:
    """Frames as uint8 (batch, frames, features), the features side by side in the order of `spec`, padding 0."""
    real = tf.sequence_mask(num_frames, tf.shape(feature_frames[0])[1])
    decoded = []
    for strings, size in zip(feature_frames, spec.feature_sizes, strict=True):
        right_length = tf.reduce_all((tf.strings.length(strings) == size) | ~real, axis=1)
        with tf.control_dependencies([_assert_records(right_length, where)]):
            # An empty string decodes to zeros: padding, also where one feature is longer than the other.
            decoded.append(tf.io.decode_raw(tf.where(real, strings, ""), tf.uint8, fixed_length=size))
    frames = tf.concat(decoded, axis=2) if len(decoded) > 1 else decoded[0]
    return tf.ensure_shape(frames, [None, None, spec.frame_size])


def _assert_records(good: tf.Tensor, where: tf.Tensor) -> tf.Operation:
    """Fails with the place of the first record that is not good."""
    first_bad = tf.boolean_mask(where, ~good)[:1]
    return tf.debugging.Assert(tf.reduce_all(good), [tf.strings.join(["Name: ", first_bad])])


def read_all_frames(serialized: tf.Tensor, where: tf.Tensor, spec: DatasetSpec) -> dict[str, tf.Tensor]:
    """Videos with all their frames: "frames" uint8 (batch, frames, features), "num_frames", "video_id", "labels"."""
    videos = parse_records(serialized, where, spec)
    frames = decode_frames(videos.pop("feature_frames"), videos["num_frames"], where, spec)
    return {**videos, "frames": frames}


def read_selected_frames(
    serialized: tf.Tensor, where: tf.Tensor, spec: DatasetSpec, selection: FrameSelection, seed: int
) -> dict[str, tf.Tensor]:
    """Videos with only their selected frames decoded; "num_frames" counts those."""
    videos = parse_records(serialized, where, spec)
    indices, counts = selected_indices(selection, videos["num_frames"], _video_seeds(seed, videos["video_id"]))
    chosen = [tf.gather(strings, indices, batch_dims=1) for strings in videos.pop("feature_frames")]
    return {**videos, "num_frames": counts, "frames": decode_frames(chosen, counts, where, spec)}


def read_frames_and_selection(
    serialized: tf.Tensor, where: tf.Tensor, spec: DatasetSpec, selection: FrameSelection, seed: int
) -> dict[str, tf.Tensor]:
    """Videos with all frames and, in "student_indices" and "student_num_frames", those the student sees."""
    videos = read_all_frames(serialized, where, spec)
    indices, counts = selected_indices(selection, videos["num_frames"], _video_seeds(seed, videos["video_id"]))
    return {**videos, "student_indices": indices, "student_num_frames": counts}


def _video_seeds(seed: int, video_ids: tf.Tensor) -> tf.Tensor:
    """int64 (batch, 2): the seed of a random selection, from the run's seed and the video's id."""
    hashes = tf.strings.to_hash_bucket_fast(video_ids, 2**62)
    return tf.stack([tf.fill(tf.shape(hashes), tf.constant(seed, tf.int64)), hashes], axis=1)


def detect_spec(serialized: bytes, where: str, overrides: SpecOverrides) -> DatasetSpec:
    """How to read a data set, from its first record and the user's flags.

    Args:
        serialized: the first record.
        where: "FILE, record N", for errors.
        overrides: what the flags say; they win, and must agree with the record.

    Raises:
        UserError: no SequenceExample, video-level records, an unknown edition without --feature_names and
            --num_classes, a feature that the record lacks or has in another size.
    """
    example = _parse_example(serialized, where)
    context, lists = example.context.feature, example.feature_lists.feature_list
    if not lists:
        raise UserError(_without_feature_lists(where, sorted(context)))
    id_key = next((key for key in ID_KEYS if key in context), None)
    if id_key is None:
        raise UserError(f"{where}: no video id; the context must hold one of {', '.join(ID_KEYS)}.")
    edition = _edition_of(id_key, set(lists))
    names = overrides.feature_names or _edition_features(edition, set(lists))
    if not names or (edition is None and overrides.num_classes is None):
        raise UserError(
            f"{where}: unknown edition, with the feature lists {', '.join(sorted(lists))}; known are "
            f"{', '.join(known.name for known in EDITIONS)}. "
            "For features of your own give --feature_names and --num_classes."
        )
    if edition is not None and not set(names) & {name for name, _ in edition.features}:
        edition = None
    return DatasetSpec(
        edition=edition.name if edition else "own features",
        id_key=id_key,
        feature_names=names,
        feature_sizes=_feature_sizes(example, where, names, overrides.feature_sizes, edition),
        num_classes=overrides.num_classes or _known_classes(edition, where),
        max_frames=_first_set(overrides.max_frames, (edition or YOUTUBE_8M_2018).max_frames),
    )


def _first_set(*values):
    return next(value for value in values if value is not None)


def _known_classes(edition, where: str) -> int:
    if edition is None:
        raise UserError(f"{where}: for features of your own give --num_classes, too.")
    return edition.num_classes


def _parse_example(serialized: bytes, where: str) -> tf.train.SequenceExample:
    try:
        return tf.train.SequenceExample.FromString(serialized)
    except Exception as error:  # google.protobuf.message.DecodeError; its module's name differs between versions
        raise UserError(f"{where}: no tf.train.SequenceExample ({error}).") from error


def _without_feature_lists(where: str, context_keys: list[str]) -> str:
    if any(key.startswith("mean_") for key in context_keys):
        return (
            f"{where}: video-level records ({', '.join(context_keys)}); "
            "these models need frame-level records, with one feature vector a second."
        )
    return f"{where}: no frame-level record: it has no feature lists (its keys: {', '.join(context_keys) or 'none'})."


def _edition_of(id_key: str, list_names: set[str]):
    """The edition with this id key whose first feature the record has; None for features of one's own."""
    if AUDIOSET.features[0][0] in list_names:
        return AUDIOSET
    for edition in EDITIONS:
        if edition.id_key == id_key and list_names & {name for name, _ in edition.features}:
            return edition
    return None


def _edition_features(edition, list_names: set[str]) -> tuple[str, ...]:
    return tuple(name for name, _ in edition.features if name in list_names) if edition else ()


def _feature_sizes(example, where: str, names, given, edition) -> tuple[int, ...]:
    published = dict(edition.features) if edition else {}
    sizes = []
    for position, name in enumerate(names):
        if name not in example.feature_lists.feature_list:
            have = ", ".join(sorted(example.feature_lists.feature_list))
            raise UserError(f"{where}: no feature list '{name}' (--feature_names); it has {have}.")
        rows = example.feature_lists.feature_list[name].feature
        found = _row_size(rows[0], where, name) if rows else None
        wanted = given[position] if given else found or published.get(name)
        if wanted is None:
            raise UserError(f"{where}: a video without frames does not show the size of '{name}'; --feature_sizes.")
        if found is not None and found != wanted:
            raise UserError(f"{where}: feature '{name}' has {found} bytes a frame, not {wanted} (--feature_sizes).")
        sizes.append(wanted)
    return tuple(sizes)


def _row_size(feature, where: str, name: str) -> int:
    if len(feature.bytes_list.value) != 1:
        kind = feature.WhichOneof("kind") or "nothing"
        raise UserError(f"{where}: frames of '{name}' must be one bytes string each (uint8 values), not {kind}.")
    return len(feature.bytes_list.value[0])


def explain_bad_record(serialized: bytes, spec: DatasetSpec) -> str | None:
    """What is wrong with a record, in words; None when it can be read with `spec`."""
    try:
        example = tf.train.SequenceExample.FromString(serialized)
    except Exception:  # google.protobuf.message.DecodeError; its module's name differs between versions
        return "it is no tf.train.SequenceExample"
    context = example.context.feature
    video_id = _context_id(context, spec.id_key)
    if video_id is None:
        return f"it has no video id in '{spec.id_key}'"
    problem = _explain_labels(context, spec.num_classes) or _explain_frames(example, spec)
    return f"video '{video_id}': {problem}" if problem else None


def _context_id(context: Mapping, id_key: str) -> str | None:
    values = context[id_key].bytes_list.value if id_key in context else ()
    return values[0].decode(errors="replace") if len(values) == 1 else None


def _explain_labels(context: Mapping, num_classes: int) -> str | None:
    if LABELS_KEY not in context:
        return None
    if context[LABELS_KEY].WhichOneof("kind") not in (None, "int64_list"):
        return f"'{LABELS_KEY}' must be int64"
    for label in context[LABELS_KEY].int64_list.value:
        if not 0 <= label < num_classes:
            return f"label {label} is outside [0, {num_classes}); --num_classes sets the number of classes"
    return None


def _explain_frames(example, spec: DatasetSpec) -> str | None:
    for name, size in zip(spec.feature_names, spec.feature_sizes, strict=True):
        if name not in example.feature_lists.feature_list:
            return f"it has no feature list '{name}'"
        for second, row in enumerate(example.feature_lists.feature_list[name].feature):
            if len(row.bytes_list.value) != 1:
                return f"frame {second} of '{name}' is not one bytes string"
            if len(row.bytes_list.value[0]) != size:
                return f"frame {second} of '{name}' has {len(row.bytes_list.value[0])} bytes, not {size}"
    return None
