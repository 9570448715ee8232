"""Serialized frame-level records to videos, for every edition of the format.

A record is a `tf.train.SequenceExample`: in its context the video's id (bytes) and labels (int64), in its feature
lists one bytes string a frame (a second) for every feature. Frames stay uint8. A record of a thin shard holds only some
of the frames, and says in its context which.

TensorFlow is imported only where protobuf's parser is needed: a process that reads regular records starts quickly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from yt8m_distill.config import FrameSelection
from yt8m_distill.data import wire
from yt8m_distill.data.framing import DamagedRecord
from yt8m_distill.dataset_spec import AUDIOSET, EDITIONS, YOUTUBE_8M_2018, DatasetSpec, SpecOverrides
from yt8m_distill.errors import UserError
from yt8m_distill.frame_selection import selected_indices

ID_KEYS = ("id", "video_id")
LABELS_KEY = "labels"
THIN_FRAMES_KEY = "thin_frames"  # k
THIN_MAX_FRAMES_KEY = "thin_max_frames"  # of the first so many frames the k were chosen; 0: of all
THIN_ORIGINAL_FRAMES_KEY = "thin_original_frames"  # of the video


@dataclass(frozen=True)
class Video:
    """One record as it was read; frames are views of its bytes.

    Attributes:
        video_id: as in the record.
        labels: in [0, classes).
        features: for every feature of the spec uint8 (frames, size); features may differ in their number of frames.
        num_frames: the smallest number of frames of any feature, at most `spec.max_frames`.
    """

    video_id: bytes
    labels: tuple[int, ...]
    features: tuple[np.ndarray, ...]
    num_frames: int


def read_video(serialized: bytes | memoryview, spec: DatasetSpec) -> Video:
    """The video in a serialized record.

    Args:
        serialized: a SequenceExample; the video's frames are views of it.
        spec: how to read it.

    Raises:
        DamagedRecord: no SequenceExample; no id; a missing feature, one with frames of another length; a label out of
            range.

    Source: the starter code's frame reader.
    Differs: where features differ in length the smallest counts (the original pads the shorter with zeros and takes
        the first one's count); a label or feature length out of bounds is an error.
    """
    record = wire.regular_record(serialized)
    video = None if record is None else _video(record.context, record.feature_lists, spec)
    return _parsed_video(bytes(serialized), spec) if video is None else video


def _video(context: Mapping, feature_lists: Mapping, spec: DatasetSpec) -> Video | None:
    """None where anything is not as it should be; the parser then finds out what."""
    ids, labels = context.get(spec.id_key), context.get(LABELS_KEY, ())
    features = tuple(map(feature_lists.get, spec.feature_names))
    if ids is None or len(ids) != 1 or not isinstance(ids[0], bytes) or any(each is None for each in features):
        return None
    if labels is None or not all(isinstance(each, int) and 0 <= each < spec.num_classes for each in labels):
        return None
    if _thinning(context) != _expected_thinning(spec):
        return None
    sizes = zip(features, spec.feature_sizes, strict=True)
    if not all(each.shape[1] == size or not len(each) for each, size in sizes):
        return None
    return _checked_length(ids[0], tuple(labels), features, spec)


def _thinning(context: Mapping) -> tuple | None:
    """The k and --max_frames that a thin record was made with; None where it holds all frames."""
    if THIN_FRAMES_KEY not in context:
        return None
    k, max_frames = context[THIN_FRAMES_KEY], context.get(THIN_MAX_FRAMES_KEY)
    return k[0] if k else None, max_frames[0] if max_frames else None


def _expected_thinning(spec: DatasetSpec) -> tuple[int, int] | None:
    return None if spec.thin_frames is None else (spec.thin_frames, spec.max_frames)


def _checked_length(video_id: bytes, labels: tuple, features: tuple[np.ndarray, ...], spec: DatasetSpec) -> Video:
    num_frames = min(map(len, features))
    return Video(video_id, labels, features, min(num_frames, spec.max_frames) if spec.max_frames else num_frames)


def _parsed_video(serialized: bytes, spec: DatasetSpec) -> Video:
    """The same by protobuf's parser, which explains what is wrong."""
    example = _sequence_example(serialized)
    if problem := _explain(example, spec):
        raise DamagedRecord(problem)
    context, lists = example.context.feature, example.feature_lists.feature_list
    labels = tuple(context[LABELS_KEY].int64_list.value) if LABELS_KEY in context else ()
    features = tuple(
        np.frombuffer(b"".join(row.bytes_list.value[0] for row in lists[name].feature), np.uint8).reshape(-1, size)
        for name, size in zip(spec.feature_names, spec.feature_sizes, strict=True)
    )
    return _checked_length(context[spec.id_key].bytes_list.value[0], labels, features, spec)


def all_frames(videos: Sequence[Video], spec: DatasetSpec) -> dict[str, np.ndarray]:
    """A batch with all frames.

    Returns:
        "video_id" (batch,) bytes, "labels" (batch, classes) uint8 in {0, 1}, "num_frames" (batch,) int32, "frames"
        uint8 (batch, frames of the longest, features), the features side by side in the order of `spec`, padding 0.
    """
    counts = _counts(videos)
    return {**_described(videos, spec), "num_frames": counts, "frames": _frames(videos, spec, counts)}


def selected_frames(
    videos: Sequence[Video], spec: DatasetSpec, selection: FrameSelection, seed: int
) -> dict[str, np.ndarray]:
    """A batch with only the selected frames; "num_frames" counts those. No other frame is copied."""
    indices, counts = selected_indices(selection, _counts(videos), _ids(videos), seed)
    return {**_described(videos, spec), "num_frames": counts, "frames": _frames(videos, spec, counts, indices)}


def frames_and_selection(
    videos: Sequence[Video], spec: DatasetSpec, selection: FrameSelection, seed: int
) -> dict[str, np.ndarray]:
    """A batch with all frames and, in "student_indices" and "student_num_frames", those the student sees."""
    indices, counts = selected_indices(selection, _counts(videos), _ids(videos), seed)
    return {**all_frames(videos, spec), "student_indices": indices, "student_num_frames": counts}


def _ids(videos: Sequence[Video]) -> list[bytes]:
    return [video.video_id for video in videos]


def _counts(videos: Sequence[Video]) -> np.ndarray:
    return np.array([video.num_frames for video in videos], np.int32)


def _described(videos: Sequence[Video], spec: DatasetSpec) -> dict[str, np.ndarray]:
    labels = np.zeros((len(videos), spec.num_classes), np.uint8)
    for row, video in zip(labels, videos, strict=True):
        row[list(video.labels)] = 1
    ids = np.empty(len(videos), object)
    ids[:] = _ids(videos)
    return {"video_id": ids, "labels": labels}


def _frames(
    videos: Sequence[Video], spec: DatasetSpec, counts: np.ndarray, indices: np.ndarray | None = None
) -> np.ndarray:
    """(batch, longest, features): the first frames of every video, as many as it has, or those at `indices`."""
    frames = np.empty((len(videos), counts.max(initial=0), spec.frame_size), np.uint8)
    for row, (video, count) in enumerate(zip(videos, counts, strict=True)):
        begin = 0
        for feature, size in zip(video.features, spec.feature_sizes, strict=True):
            chosen = feature[:count] if indices is None else feature[indices[row, :count]]
            if count:
                frames[row, :count, begin : begin + size] = chosen
            begin += size
        frames[row, count:] = 0
    return frames


def detect_spec(serialized: bytes, where: str, overrides: SpecOverrides) -> DatasetSpec:
    """How to read a data set, from its first record and the user's flags.

    Args:
        serialized: the first record.
        where: "FILE, record N", for errors.
        overrides: what the flags say; they win, and must agree with the record.

    Raises:
        UserError: no SequenceExample, video-level records, an unknown edition without --feature_names and
            --num_classes, a feature that the record lacks or has in another size, a thin shard that was made with
            another --max_frames.
    """
    try:
        example = _sequence_example(serialized)
    except DamagedRecord as error:
        raise UserError(f"{where}: {error}.") from error
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
    thin_frames, thin_max_frames = _detect_thinning(context, where, overrides.max_frames)
    return DatasetSpec(
        edition=edition.name if edition else "own features",
        id_key=id_key,
        feature_names=names,
        feature_sizes=_feature_sizes(example, where, names, overrides.feature_sizes, edition),
        num_classes=overrides.num_classes or _known_classes(edition, where),
        max_frames=_first_set(thin_max_frames, overrides.max_frames, (edition or YOUTUBE_8M_2018).max_frames),
        thin_frames=thin_frames,
    )


def _first_set(*values):
    return next(value for value in values if value is not None)


def _detect_thinning(context: Mapping, where: str, max_frames: int | None) -> tuple[int | None, int | None]:
    """The k and --max_frames of a thin shard, None and None where the record holds all frames."""
    found = _thinning(_thin_values(context))
    if found is None:
        return None, None
    if None in found:
        raise UserError(f"{where}: '{THIN_FRAMES_KEY}' and '{THIN_MAX_FRAMES_KEY}' of a thin shard must be int64.")
    if max_frames not in (None, found[1]):
        raise UserError(f"{where}: a thin shard that was made with --max_frames={found[1]}, not {max_frames}.")
    return found


def _thin_values(context: Mapping) -> dict[str, Sequence[int]]:
    keys = (THIN_FRAMES_KEY, THIN_MAX_FRAMES_KEY)
    return {key: context[key].int64_list.value for key in keys if key in context}


def _known_classes(edition, where: str) -> int:
    if edition is None:
        raise UserError(f"{where}: for features of your own give --num_classes, too.")
    return edition.num_classes


def _sequence_example(serialized: bytes):
    import tensorflow as tf

    try:
        return tf.train.SequenceExample.FromString(serialized)
    except Exception as error:  # google.protobuf.message.DecodeError; its module's name differs between versions
        raise DamagedRecord("it is no tf.train.SequenceExample") from error


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
            source = "--feature_sizes, or what the model was trained on"
            raise UserError(f"{where}: feature '{name}' has {found} bytes a frame, not {wanted} ({source}).")
        sizes.append(wanted)
    return tuple(sizes)


def _row_size(feature, where: str, name: str) -> int:
    if len(feature.bytes_list.value) != 1:
        kind = feature.WhichOneof("kind") or "nothing"
        raise UserError(f"{where}: frames of '{name}' must be one bytes string each (uint8 values), not {kind}.")
    return len(feature.bytes_list.value[0])


def serialized_context(serialized: bytes | memoryview) -> bytes:
    """The context of a SequenceExample, as a serialized `tf.train.Features`."""
    context = wire.serialized_context(serialized)
    return (
        _sequence_example(bytes(serialized)).context.SerializeToString(deterministic=True)
        if context is None
        else bytes(context)
    )


def check_structure(serialized: bytes | memoryview):
    """Looks no further than whether a record is of the format at all.

    Raises:
        DamagedRecord: no SequenceExample.
    """
    if wire.regular_record(serialized) is None:
        _sequence_example(bytes(serialized))


def _explain(example, spec: DatasetSpec) -> str | None:
    """What is wrong with a parsed record, in words; None when it can be read with `spec`."""
    context = example.context.feature
    video_id = _context_id(context, spec.id_key)
    if video_id is None:
        return f"it has no video id in '{spec.id_key}'"
    problem = (
        _explain_labels(context, spec.num_classes) or _explain_thinning(context, spec) or _explain_frames(example, spec)
    )
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


def _explain_thinning(context: Mapping, spec: DatasetSpec) -> str | None:
    found, expected = _thinning(_thin_values(context)), _expected_thinning(spec)
    if found == expected:
        return None

    def described(thinning: tuple | None) -> str:
        return "not thin" if thinning is None else "thin, with --frames={} and --max_frames={}".format(*thinning)

    return f"its shard is {described(found)}; the data began with one that is {described(expected)}. Give one kind"


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
