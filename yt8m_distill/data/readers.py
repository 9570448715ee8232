"""Serialized records to videos, for every edition and level of the format.

A frame-level record is a `tf.train.SequenceExample`: in its context the video's id (bytes) and labels (int64), in its
feature lists one bytes string a frame (a second) for every feature. Frames stay uint8. A record of a thin shard holds
only some of the frames, and says in its context which.

A video-level record is a `tf.train.Example` with id, labels, and for every feature its mean over the frames, as floats.
It is read as a video of one frame. Its bytes are those of a SequenceExample without feature lists.

At the segment level a frame-level record's context also holds ratings of segments, see `videos`.

TensorFlow is imported only where protobuf's parser is needed: a process that reads regular records starts quickly.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from yt8m_distill.config import FrameSelection
from yt8m_distill.data import wire
from yt8m_distill.data.framing import DamagedRecord
from yt8m_distill.data.videos import SCORES_KEY, SEGMENT_LABELS_KEY, START_TIMES_KEY, Ratings, Video
from yt8m_distill.dataset_spec import (
    AUDIOSET,
    EDITIONS,
    FRAME,
    SEGMENT,
    VIDEO,
    YOUTUBE_8M_2018,
    DatasetSpec,
    Edition,
    SpecOverrides,
)
from yt8m_distill.errors import UserError
from yt8m_distill.frame_selection import selected_indices

ID_KEYS = ("id", "video_id")
LABELS_KEY = "labels"
THIN_FRAMES_KEY = "thin_frames"  # k
THIN_MAX_FRAMES_KEY = "thin_max_frames"  # of the first so many frames the k were chosen; 0: of all
THIN_ORIGINAL_FRAMES_KEY = "thin_original_frames"  # of the video


def read_video(serialized: bytes | memoryview, spec: DatasetSpec) -> Video:
    """The video in a serialized record.

    Args:
        serialized: a SequenceExample, or an Example; the video's frames are views of it.
        spec: how to read it.

    Raises:
        DamagedRecord: no such message; no id; a missing feature, one with frames of another length or with a number
            that is not finite; a label out of range; at the segment level ratings that are no lists of the same length,
            or out of range.

    Source: the starter code's readers of both levels.
    Differs: where features differ in length the smallest counts (the original pads the shorter with zeros and takes
        the first one's count); a label or feature length out of bounds is an error.
    """
    record = wire.regular_record(serialized)
    video = None if record is None else _video(record, spec)
    return _parsed_video(bytes(serialized), spec) if video is None else video


def _video(record: wire.Record, spec: DatasetSpec) -> Video | None:
    """None where anything is not as it should be; the parser then finds out what."""
    context = record.context
    ids, labels = context.get(spec.id_key), context.get(LABELS_KEY, ())
    found = record.feature_lists
    if spec.level == VIDEO:
        found = {name: values[np.newaxis] for name, values in record.floats.items()}
    features = tuple(map(found.get, spec.feature_names))
    if ids is None or len(ids) != 1 or not isinstance(ids[0], bytes) or any(each is None for each in features):
        return None
    if labels is None or not all(isinstance(each, int) and 0 <= each < spec.num_classes for each in labels):
        return None
    if _thinning(context) != _expected_thinning(spec):
        return None
    sizes = zip(features, spec.feature_sizes, strict=True)
    if not all(each.shape[1] == size or not len(each) for each, size in sizes):
        return None
    if spec.level == VIDEO and not all(np.isfinite(each).all() for each in features):
        return None
    ratings = _ratings(record, spec)
    return None if ratings is None else _checked_length(ids[0], tuple(labels), features, ratings, spec)


def _ratings(record: wire.Record, spec: DatasetSpec) -> Ratings | None:
    """None where they are not as they should be."""
    if spec.level != SEGMENT:
        return Ratings()
    starts, labels = (record.context.get(key, []) for key in (START_TIMES_KEY, SEGMENT_LABELS_KEY))
    if SCORES_KEY in record.context and SCORES_KEY not in record.floats:
        return None
    if any(values is None or not all(isinstance(each, int) for each in values) for values in (starts, labels)):
        return None
    ratings = Ratings(starts, labels, record.floats.get(SCORES_KEY, ()))
    return None if ratings.problem(spec.num_classes) else ratings


def _thinning(context: Mapping) -> tuple | None:
    """The k and --max_frames that a thin record was made with; None where it holds all frames."""
    if THIN_FRAMES_KEY not in context:
        return None
    k, max_frames = context[THIN_FRAMES_KEY], context.get(THIN_MAX_FRAMES_KEY)
    return k[0] if k else None, max_frames[0] if max_frames else None


def _expected_thinning(spec: DatasetSpec) -> tuple[int, int] | None:
    return None if spec.thin_frames is None else (spec.thin_frames, spec.max_frames)


def _checked_length(
    video_id: bytes, labels: tuple, features: tuple[np.ndarray, ...], ratings: Ratings, spec: DatasetSpec
) -> Video:
    num_frames = min(map(len, features))
    num_frames = min(num_frames, spec.max_frames) if spec.max_frames else num_frames
    return Video(video_id, labels, features, num_frames, ratings)


def _parsed_video(serialized: bytes, spec: DatasetSpec) -> Video:
    """The same by protobuf's parser, which explains what is wrong."""
    example = _sequence_example(serialized)
    if problem := _explain(example, spec):
        raise DamagedRecord(problem)
    context = example.context.feature
    labels = tuple(context[LABELS_KEY].int64_list.value) if LABELS_KEY in context else ()
    sizes = zip(spec.feature_names, spec.feature_sizes, strict=True)
    features = tuple(_parsed_feature(example, name, size, spec.level) for name, size in sizes)
    ratings = _parsed_ratings(context) if spec.level == SEGMENT else Ratings()
    return _checked_length(context[spec.id_key].bytes_list.value[0], labels, features, ratings, spec)


def _parsed_ratings(context: Mapping) -> Ratings:
    starts, labels = (
        context[key].int64_list.value if key in context else () for key in (START_TIMES_KEY, SEGMENT_LABELS_KEY)
    )
    return Ratings(starts, labels, context[SCORES_KEY].float_list.value if SCORES_KEY in context else ())


def _parsed_feature(example, name: str, size: int, level: str) -> np.ndarray:
    """(frames, size)"""
    if level == VIDEO:
        return np.array(example.context.feature[name].float_list.value, np.float32)[None]
    rows = example.feature_lists.feature_list[name].feature
    return np.frombuffer(b"".join(row.bytes_list.value[0] for row in rows), np.uint8).reshape(-1, size)


def all_frames(videos: Sequence[Video], spec: DatasetSpec) -> dict[str, np.ndarray]:
    """A batch with all frames.

    Args:
        videos: or segments.
        spec: how they were read.

    Returns:
        "video_id" (batch,) bytes, "labels" (batch, classes) uint8 in {0, 1}, "num_frames" (batch,) int32, "frames"
        (batch, frames of the longest, features), the features side by side in the order of `spec`, padding 0; uint8, of
        the video level float32, prepared for a model. Of segments also "segment_start" (batch,) int64, and at the
        segment level "labels" float32, the scores in [0, 1], and "label_weights" (batch, classes) float32, 1 where the
        class was rated and 0 elsewhere.
    """
    counts = _counts(videos)
    return {**_described(videos, spec), "num_frames": counts, "frames": _frames(videos, spec, counts)}


def selected_frames(
    videos: Sequence[Video], spec: DatasetSpec, selection: FrameSelection, seed: int
) -> dict[str, np.ndarray]:
    """A batch with only the selected frames; "num_frames" counts those. No other frame is copied."""
    indices, counts = selected_indices(selection, _counts(videos), [video.key for video in videos], seed)
    return {**_described(videos, spec), "num_frames": counts, "frames": _frames(videos, spec, counts, indices)}


def frames_and_selection(
    videos: Sequence[Video], spec: DatasetSpec, selection: FrameSelection, seed: int
) -> dict[str, np.ndarray]:
    """A batch with all frames and, in "student_indices" and "student_num_frames", those the student sees."""
    indices, counts = selected_indices(selection, _counts(videos), [video.key for video in videos], seed)
    return {**all_frames(videos, spec), "student_indices": indices, "student_num_frames": counts}


def _counts(videos: Sequence[Video]) -> np.ndarray:
    return np.array([video.num_frames for video in videos], np.int32)


def _described(videos: Sequence[Video], spec: DatasetSpec) -> dict[str, np.ndarray]:
    ids = np.empty(len(videos), object)
    ids[:] = [video.video_id for video in videos]
    described = {"video_id": ids, **(_scores(videos, spec) if spec.level == SEGMENT else _labels(videos, spec))}
    if videos and videos[0].start is not None:
        described["segment_start"] = np.array([video.start for video in videos], np.int64)
    return described


def _labels(videos: Sequence[Video], spec: DatasetSpec) -> dict[str, np.ndarray]:
    labels = np.zeros((len(videos), spec.num_classes), np.uint8)
    for row, video in zip(labels, videos, strict=True):
        row[list(video.labels)] = 1
    return {"labels": labels}


def _scores(segments: Sequence[Video], spec: DatasetSpec) -> dict[str, np.ndarray]:
    labels, weights = np.zeros((2, len(segments), spec.num_classes), np.float32)
    for row, segment in enumerate(segments):
        classes = list(segment.scores)
        labels[row, classes] = list(segment.scores.values())
        weights[row, classes] = 1
    return {"labels": labels, "label_weights": weights}


def _frames(
    videos: Sequence[Video], spec: DatasetSpec, counts: np.ndarray, indices: np.ndarray | None = None
) -> np.ndarray:
    """(batch, longest, features): the first frames of every video, as many as it has, or those at `indices`."""
    frames = np.empty((len(videos), counts.max(initial=0), spec.frame_size), spec.frame_dtype)
    for row, (video, count) in enumerate(zip(videos, counts, strict=True)):
        begin = 0
        for feature, size in zip(video.features, spec.feature_sizes, strict=True):
            chosen = feature[:count] if indices is None else feature[indices[row, :count]]
            if count:
                frames[row, :count, begin : begin + size] = chosen
            begin += size
        frames[row, count:] = 0
    return _l2_normalized(frames) if spec.level == VIDEO and spec.normalized else frames


def _l2_normalized(frames: np.ndarray) -> np.ndarray:
    """Each vector brought to 2-norm 1; 0 stays 0.

    Source: the starter code, which does this to the input of every model. In float64, where no square of a float32
    overflows.
    """
    squares = np.sum(np.square(frames, dtype=np.float64), axis=-1, keepdims=True)
    return (frames / np.sqrt(np.maximum(squares, 1e-12))).astype(np.float32)


def detect_spec(serialized: bytes, where: str, overrides: SpecOverrides) -> DatasetSpec:
    """How to read a data set, from its first record and the user's flags.

    Args:
        serialized: the first record.
        where: "FILE, record N", for errors.
        overrides: what the flags say; they win, and must agree with the record.

    Raises:
        UserError: no SequenceExample or Example, records of another level than the flags say, an unknown edition
            without --feature_names and --num_classes, a feature that the record lacks or has in another size, a thin
            shard that was made with another --max_frames.
    """
    try:
        example = _sequence_example(serialized)
    except DamagedRecord as error:
        raise UserError(f"{where}: {error}.") from error
    context = example.context.feature
    level = _detect_level(example, where, overrides)
    id_key = next((key for key in ID_KEYS if key in context), None)
    if id_key is None:
        raise UserError(f"{where}: no video id; the context must hold one of {', '.join(ID_KEYS)}.")
    found = _feature_names(example, level)
    edition = _edition_of(id_key, found, level)
    published = dict(edition.features_of(level)) if edition else {}
    names = overrides.feature_names or tuple(name for name in published if name in found)
    if not names or (edition is None and overrides.num_classes is None):
        raise UserError(
            f"{where}: unknown edition, with the {_kind(level)}s {', '.join(sorted(found))}; known are "
            f"{', '.join(known.name for known in EDITIONS)}. "
            "For features of your own give --feature_names and --num_classes."
        )
    if not set(names) & set(published):
        edition, published = None, {}
    thin_frames, longest = _detect_frames(context, where, level, overrides.max_frames)
    return DatasetSpec(
        edition=edition.name if edition else "own features",
        id_key=id_key,
        feature_names=names,
        feature_sizes=_feature_sizes(example, where, names, overrides.feature_sizes, published, level),
        num_classes=overrides.num_classes or _known_classes(edition, where),
        max_frames=_first_set(longest, overrides.max_frames, (edition or YOUTUBE_8M_2018).max_frames),
        thin_frames=thin_frames,
        level=level,
    )


def _kind(level: str) -> str:
    return "feature" if level == VIDEO else "feature list"


def _detect_level(example, where: str, overrides: SpecOverrides) -> str:
    """What the record is; an error where it is not what it should be."""
    keys = ", ".join(sorted(example.context.feature)) or "none"
    if example.feature_lists.feature_list:
        found = FRAME
    elif _feature_names(example, VIDEO):
        found = VIDEO
    else:
        raise UserError(
            f"{where}: neither a frame-level record, as it has no feature lists, nor a video-level one, as it has no "
            f"floats (its keys: {keys})."
        )
    wanted = FRAME if overrides.level == SEGMENT else overrides.level or found
    if wanted != found:
        other = "one vector a video" if wanted == VIDEO else "one vector a second"
        raise UserError(f"{where}: {found}-level records ({keys}); {wanted}-level ones are needed, with {other}.")
    return SEGMENT if overrides.level == SEGMENT else found


def _feature_names(example, level: str) -> set[str]:
    """What may be a feature."""
    if level == VIDEO:
        return {key for key, value in example.context.feature.items() if value.WhichOneof("kind") == "float_list"}
    return set(example.feature_lists.feature_list)


def _detect_frames(context: Mapping, where: str, level: str, max_frames: int | None) -> tuple[int | None, int | None]:
    """The k of thin shards, and how many frames a video has at most, where the record says so."""
    if level != VIDEO:
        thinned = _detect_thinning(context, where, max_frames)
        if level == SEGMENT and thinned != (None, None):
            raise UserError(f"{where}: --segment_labels needs the original shards; thin ones do not hold all frames.")
        return thinned
    if max_frames not in (None, 1):
        raise UserError(f"{where}: --max_frames does nothing with video-level records; leave it out.")
    return None, 1


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


def _edition_of(id_key: str, names: set[str], level: str) -> Edition | None:
    """The edition with this id key whose first feature the record has; None for features of one's own."""
    if AUDIOSET.features_of(level)[0][0] in names:
        return AUDIOSET
    for edition in EDITIONS:
        if edition.id_key == id_key and names & {name for name, _ in edition.features_of(level)}:
            return edition
    return None


def _feature_sizes(example, where: str, names, given, published: Mapping[str, int], level: str) -> tuple[int, ...]:
    sizes = []
    for position, name in enumerate(names):
        found = _size_in_record(example, where, name, level)
        wanted = given[position] if given else found or published.get(name)
        if wanted is None:
            raise UserError(f"{where}: a video without frames does not show the size of '{name}'; --feature_sizes.")
        if found is not None and found != wanted:
            source = "--feature_sizes, or what the model was trained on"
            unit = "numbers" if level == VIDEO else "bytes a frame"
            raise UserError(f"{where}: feature '{name}' has {found} {unit}, not {wanted} ({source}).")
        sizes.append(wanted)
    return tuple(sizes)


def _size_in_record(example, where: str, name: str, level: str) -> int | None:
    """None where the video has no frames."""
    have = _feature_names(example, level)
    if name not in have:
        raise UserError(f"{where}: no {_kind(level)} '{name}' (--feature_names); it has {', '.join(sorted(have))}.")
    if level == VIDEO:
        return len(example.context.feature[name].float_list.value) or None
    rows = example.feature_lists.feature_list[name].feature
    return _row_size(rows[0], where, name) if rows else None


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
    explain_features = _explain_means if spec.level == VIDEO else _explain_frames
    problem = (
        _explain_labels(context, spec.num_classes)
        or _explain_thinning(context, spec)
        or _explain_ratings(context, spec)
        or explain_features(example, spec)
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


def _explain_ratings(context: Mapping, spec: DatasetSpec) -> str | None:
    if spec.level != SEGMENT:
        return None
    kinds = {START_TIMES_KEY: "int64", SEGMENT_LABELS_KEY: "int64", SCORES_KEY: "float"}
    for key, kind in kinds.items():
        if key in context and context[key].WhichOneof("kind") not in (None, f"{kind}_list"):
            return f"'{key}' must be {kind}"
    return _parsed_ratings(context).problem(spec.num_classes)


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


def _explain_means(example, spec: DatasetSpec) -> str | None:
    for name, size in zip(spec.feature_names, spec.feature_sizes, strict=True):
        if name not in example.context.feature:
            return f"it has no feature '{name}'"
        feature = example.context.feature[name]
        if feature.WhichOneof("kind") != "float_list":
            return f"feature '{name}' must be float"
        if len(feature.float_list.value) != size:
            return f"feature '{name}' has {len(feature.float_list.value)} numbers, not {size}"
        if not np.isfinite(feature.float_list.value).all():
            return f"feature '{name}' holds a number that is not finite"
    return None
