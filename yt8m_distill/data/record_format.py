"""What a record holds: keys, and what is wrong with one that cannot be read."""

from collections.abc import Mapping, Sequence

import numpy as np

from yt8m_distill.config.dataset import (
    SEGMENT,
    VIDEO,
    DatasetSpec,
)
from yt8m_distill.data import sequence_example
from yt8m_distill.data.tfrecord import DamagedRecord
from yt8m_distill.data.video import SCORES_KEY, SEGMENT_LABELS_KEY, START_TIMES_KEY, Ratings
from yt8m_distill.errors import UserError

ID_KEYS = ("id", "video_id")
LABELS_KEY = "labels"
THIN_FRAMES_KEY = "thin_frames"  # k
THIN_MAX_FRAMES_KEY = "thin_max_frames"  # of the first so many frames the k were chosen; 0: of all
THIN_ORIGINAL_FRAMES_KEY = "thin_original_frames"  # of the video


def thinning(context: Mapping) -> tuple | None:
    """The k and --max_frames that a thin record was made with; None where it holds all frames."""
    if THIN_FRAMES_KEY not in context:
        return None
    k, max_frames = context[THIN_FRAMES_KEY], context.get(THIN_MAX_FRAMES_KEY)
    return k[0] if k else None, max_frames[0] if max_frames else None


def expected_thinning(spec: DatasetSpec) -> tuple[int, int] | None:
    return None if spec.thin_frames is None else (spec.thin_frames, spec.max_frames)


def parsed_ratings(context: Mapping) -> Ratings:
    starts, labels = (
        context[key].int64_list.value if key in context else () for key in (START_TIMES_KEY, SEGMENT_LABELS_KEY)
    )
    return Ratings(starts, labels, context[SCORES_KEY].float_list.value if SCORES_KEY in context else ())


def thin_values(context: Mapping) -> dict[str, Sequence[int]]:
    keys = (THIN_FRAMES_KEY, THIN_MAX_FRAMES_KEY)
    return {key: context[key].int64_list.value for key in keys if key in context}


def parsed_example(serialized: bytes):
    import tensorflow as tf

    try:
        return tf.train.SequenceExample.FromString(serialized)
    except Exception as error:  # google.protobuf.message.DecodeError; its module's name differs between versions
        raise DamagedRecord("it is no tf.train.SequenceExample") from error


def row_size(feature, where: str, name: str) -> int:
    if len(feature.bytes_list.value) != 1:
        kind = feature.WhichOneof("kind") or "nothing"
        raise UserError(f"{where}: frames of '{name}' must be one bytes string each (uint8 values), not {kind}.")
    return len(feature.bytes_list.value[0])


def serialized_context(serialized: bytes | memoryview) -> bytes:
    """The context of a SequenceExample, as a serialized `tf.train.Features`."""
    context = sequence_example.serialized_context(serialized)
    return (
        parsed_example(bytes(serialized)).context.SerializeToString(deterministic=True)
        if context is None
        else bytes(context)
    )


def check_structure(serialized: bytes | memoryview):
    """Looks no further than whether a record is of the format at all.

    Raises:
        DamagedRecord: no SequenceExample.
    """
    if sequence_example.regular_record(serialized) is None:
        parsed_example(bytes(serialized))


def explain(example, spec: DatasetSpec) -> str | None:
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
    found, expected = thinning(thin_values(context)), expected_thinning(spec)
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
    return parsed_ratings(context).problem(spec.num_classes)


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
