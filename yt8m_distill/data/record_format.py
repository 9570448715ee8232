"""What a record holds: its keys, and the one table of rules that records must keep.

A frame-level record is a `tf.train.SequenceExample`: in its context the video's id (bytes) and labels (int64), in its
feature lists one bytes string a frame (a second) for every feature. A record of a thin shard holds only some of the
frames, and says in its context which. A video-level record is a `tf.train.Example` with id, labels, and for every
feature its mean over the frames, as floats. At the segment level a frame-level record's context also holds ratings of
segments, see `video`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from yt8m_distill.config.dataset import FRAME, SEGMENT, VIDEO, DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.data.sequence_example import BYTES, FLOATS, INT64S, Frames, Record
from yt8m_distill.data.video import Ratings

ID_KEYS = ("id", "video_id")
LABELS_KEY = "labels"
THIN_FRAMES_KEY = "thin_frames"  # k
THIN_MAX_FRAMES_KEY = "thin_max_frames"  # of the first so many frames the k were chosen; 0: of all
THIN_ORIGINAL_FRAMES_KEY = "thin_original_frames"  # of the video
START_TIMES_KEY = "segment_start_times"
SEGMENT_LABELS_KEY = "segment_labels"
SCORES_KEY = "segment_scores"
MOST_RATINGS = 4096  # of one video: far above all that makes sense, and keeps what a record takes bounded


@dataclass(frozen=True)
class Rule:
    """A rule that records must keep.

    Attributes:
        rule: in words.
        levels: of the records that it is for.
        problem: what is wrong with a record, in words; None where it keeps the rule.
    """

    rule: str
    levels: tuple[str, ...]
    problem: Callable[[Record, DatasetSpec], str | None]


def problem_of(record: Record, spec: DatasetSpec) -> str | None:
    """What is wrong with a record, in words: the first of `RULES` that it breaks; None where it can be read."""
    for rule in RULES:
        if spec.level in rule.levels and (problem := rule.problem(record, spec)):
            ids = record.values(spec.id_key, BYTES)
            return f"video '{ids[0].decode(errors='replace')}': {problem}" if len(ids) == 1 else problem
    return None


def thinning_of(record: Record) -> tuple[int | None, int | None] | None:
    """The k and --max_frames that a thin record was made with, None where they are not int64.

    Returns None where the record holds all frames.
    """
    if THIN_FRAMES_KEY not in record.context:
        return None
    k, max_frames = (record.values(key, INT64S) for key in (THIN_FRAMES_KEY, THIN_MAX_FRAMES_KEY))
    return k[0] if k else None, max_frames[0] if max_frames else None


def thin_frames_of(selection: FrameSelection) -> int:
    """The k of thin shards that hold just the frames of a selection; 0 where none do."""
    return selection.k if selection.k is not None and selection.sampling == "uniform" else 0


def ratings_of(record: Record) -> Ratings:
    """The ratings of segments, empty where there are none."""
    starts, labels = (record.values(key, INT64S) for key in (START_TIMES_KEY, SEGMENT_LABELS_KEY))
    return Ratings(starts, labels, record.values(SCORES_KEY, FLOATS))


def _id_problem(record: Record, spec: DatasetSpec) -> str | None:
    return None if len(record.values(spec.id_key, BYTES)) == 1 else f"it has no video id in '{spec.id_key}'"


def _labels_problem(record: Record, spec: DatasetSpec) -> str | None:
    if problem := _kind_problem(record, LABELS_KEY, INT64S):
        return problem
    for label in record.values(LABELS_KEY, INT64S):
        if not 0 <= label < spec.num_classes:
            return f"label {label} is outside [0, {spec.num_classes}); --num_classes sets the number of classes"
    return None


def _kind_problem(record: Record, key: str, kind: str) -> str | None:
    """A key may be missing, or without any values."""
    feature = record.context.get(key)
    if feature is None or feature.kind in (None, kind):
        return None
    return f"'{key}' must be {kind.removesuffix('_list')}"


def _thinning_problem(record: Record, spec: DatasetSpec) -> str | None:
    thinning = thinning_of(record)
    expected = None if spec.thin_frames is None else (spec.thin_frames, spec.max_frames)
    if thinning == expected:
        return None
    kind, expected_kind = map(_described_thinning, (thinning, expected))
    return f"its shard is {kind}; the data began with one that is {expected_kind}. Give one kind"


def _described_thinning(thinning: tuple | None) -> str:
    return "not thin" if thinning is None else "thin, with --frames={} and --max_frames={}".format(*thinning)


def _ratings_problem(record: Record, spec: DatasetSpec) -> str | None:
    for key, kind in ((START_TIMES_KEY, INT64S), (SEGMENT_LABELS_KEY, INT64S), (SCORES_KEY, FLOATS)):
        if problem := _kind_problem(record, key, kind):
            return problem
    ratings = ratings_of(record)
    lengths = len(ratings.starts), len(ratings.labels), len(ratings.scores)
    if len(set(lengths)) > 1:
        return "'{}', '{}' and '{}' have {}, {} and {} values: they must be as many".format(
            START_TIMES_KEY, SEGMENT_LABELS_KEY, SCORES_KEY, *lengths
        )
    if lengths[0] > MOST_RATINGS:
        return f"{lengths[0]} rated segments; at most {MOST_RATINGS} are read"
    for start, label, score in zip(ratings.starts, ratings.labels, ratings.scores, strict=True):
        if start < 0:
            return f"a segment starts at {start} seconds"
        if not 0 <= label < spec.num_classes:
            return f"segment label {label} is outside [0, {spec.num_classes}); --num_classes sets the number of classes"
        if not 0 <= score <= 1:
            return f"segment score {score:g} is outside [0, 1]"
    return None


def _frames_problem(record: Record, spec: DatasetSpec) -> str | None:
    for name, size in zip(spec.feature_names, spec.feature_sizes, strict=True):
        if name not in record.feature_lists:
            return f"it has no feature list '{name}'"
        for second, frame_size in enumerate(_different_frame_sizes(record.feature_lists[name])):
            if frame_size is None:
                return f"frame {second} of '{name}' is not one bytes string"
            if frame_size != size:
                return f"frame {second} of '{name}' has {frame_size} bytes, not {size}"
    return None


def _different_frame_sizes(frames: Frames) -> Sequence[int | None]:
    """Bytes of each frame, None where it is not one bytes string; of frames of one size only the first one's."""
    if isinstance(frames, np.ndarray):
        return [frames.shape[1]] if len(frames) else []
    return [len(f.values[0]) if f.kind == BYTES and len(f.values) == 1 else None for f in frames]


def _means_problem(record: Record, spec: DatasetSpec) -> str | None:
    for name, size in zip(spec.feature_names, spec.feature_sizes, strict=True):
        if name not in record.context:
            return f"it has no feature '{name}'"
        feature = record.context[name]
        if feature.kind != FLOATS:
            return f"feature '{name}' must be float"
        if len(feature.values) != size:
            return f"feature '{name}' has {len(feature.values)} numbers, not {size}"
        if not np.isfinite(feature.values).all():
            return f"feature '{name}' holds a number that is not finite"
    return None


_ALL = (FRAME, VIDEO, SEGMENT)
# In this order; `problem_of` reports the first one that is broken.
RULES = (
    Rule("one video id, bytes", _ALL, _id_problem),
    Rule("labels, if any, int64 in [0, classes)", _ALL, _labels_problem),
    Rule("all frames, or those of the thin shards that the data began with", _ALL, _thinning_problem),
    Rule("as many start times, labels and scores of segments, each in its range", (SEGMENT,), _ratings_problem),
    Rule("every feature a list of frames, each one bytes string of the right size", (FRAME, SEGMENT), _frames_problem),
    Rule("every feature as many finite floats as it should have", (VIDEO,), _means_problem),
)
