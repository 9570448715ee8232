"""What a record holds: its keys, and the one table of rules that records must keep.

A frame-level record is a `tf.train.SequenceExample`: in its context the video's id (bytes, or a number) and labels
(int64), in its feature lists one bytes string a frame (a second) for every feature. A record of a thin shard holds only
some of the frames, and says in its context which. A video-level record is a `tf.train.Example` with id, labels, and for
every feature its mean over the frames, as floats. At the segment level a frame-level record's context also holds
ratings of segments, see `video`.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from yt8m_distill.config.dataset import FRAME, SEGMENT, VIDEO, DatasetSpec
from yt8m_distill.config.frames import THIN_SAMPLINGS, FrameSelection
from yt8m_distill.data.sequence_example import BYTES, FLOATS, INT64S, Feature, Frames, Record
from yt8m_distill.data.video import Ratings

ID_KEYS = ("id", "video_id")
LABELS_KEY = "labels"
THIN_FRAMES_KEY = "thin_frames"  # k
THIN_SAMPLING_KEY = "thin_sampling"  # the frame sampling that chose them; it is not there where that is "uniform"
THIN_MAX_FRAMES_KEY = "thin_max_frames"  # of the first so many frames the k were chosen; 0: of all
THIN_ORIGINAL_FRAMES_KEY = "thin_original_frames"  # of the video
START_TIMES_KEY = "segment_start_times"
SEGMENT_LABELS_KEY = "segment_labels"
SCORES_KEY = "segment_scores"
# What records are read for: to train and evaluate, which needs labels; to predict, which never looks at labels, and
# writes ids into lines of text; to check whatever any of these would refuse.
LEARNING, PREDICTION, VERIFICATION = USES = ("learning", "prediction", "verification")
MOST_MISSING_FRAMES = 1  # of a feature: those that are computed from sound and from pictures may end a frame apart
MOST_RATINGS = 4096  # of one video: far above all that makes sense, and keeps what a record takes bounded


@dataclass(frozen=True)
class Rule:
    """A rule that records must keep.

    Attributes:
        rule: in words.
        levels: of the records that it is for.
        problem: what is wrong with a record, in words; None where it keeps the rule.
        uses: what the records are read for.
    """

    rule: str
    levels: tuple[str, ...]
    problem: Callable[[Record, DatasetSpec], str | None]
    uses: tuple[str, ...] = USES


def problem_of(record: Record, spec: DatasetSpec, use: str = LEARNING) -> str | None:
    """What is wrong with a record, in words: the first of `RULES` that it breaks; None where it can be read.

    Args:
        record: its content.
        spec: the format.
        use: what it is read for, one of `USES`.
    """
    for rule in RULES:
        if spec.level in rule.levels and use in rule.uses and (problem := rule.problem(record, spec)):
            video_id = id_of(record, spec)
            return f"video '{video_id.decode(errors='replace')}': {problem}" if video_id else problem
    return None


def id_of(record: Record, spec: DatasetSpec, generated: str = "") -> bytes | None:
    """The id of a record's video, of a number its digits; None where there is none.

    Args:
        record: its content.
        spec: the format.
        generated: the id where records need none (`spec.id_key` is empty).
    """
    if not spec.id_key:
        return generated.encode()
    # The editions of YouTube-8M have their ids under different keys, and may be read together.
    for key in (spec.id_key, *ID_KEYS) if spec.id_key in ID_KEYS else (spec.id_key,):
        feature = record.context.get(key)
        if feature is not None and feature.kind in (BYTES, INT64S) and len(feature.values) == 1:
            value = feature.values[0]
            return value if isinstance(value, bytes) else b"%d" % value
    return None


def generated_id(path: str | os.PathLike, number: int) -> str:
    """The id of a record without one: the file's name and the record's number, as a line of text can hold them."""
    return f"{re.sub(r'[^!#-+.-~-]', '_', os.path.basename(path))}:{number}"


def described_keys(record: Record) -> str:
    """The keys of a record's context and their kinds, for messages."""
    kinds = (f"{key} ({(feature.kind or 'empty').removesuffix('_list')})" for key, feature in record.context.items())
    return ", ".join(sorted(kinds)) or "none"


def id_text_problem(video_id: bytes) -> str | None:
    """What keeps a video's id out of the lines of a CSV file, in words; None where nothing does."""
    try:
        text = video_id.decode()
    except UnicodeDecodeError:
        return "is not UTF-8 text"
    if any(mark in text for mark in ',"\r\n'):
        return "has a comma, a quote or a line break, which a CSV file cannot hold"
    return None


def thinning_of(record: Record) -> tuple[int | None, int | None, str] | None:
    """The k, --max_frames and sampling that a thin record was made with; None for k or --max_frames that is not int64.

    Returns None where the record holds all frames.
    """
    if THIN_FRAMES_KEY not in record.context:
        return None
    k, max_frames = (record.values(key, INT64S) for key in (THIN_FRAMES_KEY, THIN_MAX_FRAMES_KEY))
    name = "uniform"
    if THIN_SAMPLING_KEY in record.context:
        name = b"".join(record.values(THIN_SAMPLING_KEY, BYTES)[:1]).decode(errors="replace")
    return k[0] if k else None, max_frames[0] if max_frames else None, name


def thin_frames_of(selection: FrameSelection) -> int:
    """The k of thin shards that hold just the frames of a selection; 0 where none do."""
    return selection.k if selection.k is not None and selection.sampling in THIN_SAMPLINGS else 0


def ratings_of(record: Record) -> Ratings:
    """The ratings of segments, empty where there are none."""
    starts, labels = (record.values(key, INT64S) for key in (START_TIMES_KEY, SEGMENT_LABELS_KEY))
    return Ratings(starts, labels, record.values(SCORES_KEY, FLOATS))


def _id_problem(record: Record, spec: DatasetSpec) -> str | None:
    if id_of(record, spec) is not None:
        return None
    return (
        f"it has no video id in '{spec.id_key}' (one text or whole number); its keys: {described_keys(record)}; "
        "--id_key names the one with the id, --id_key= numbers the records"
    )


def _id_text_problem(record: Record, spec: DatasetSpec) -> str | None:
    problem = id_text_problem(id_of(record, spec))
    return problem and f"its id {problem}"


def _segment_id_problem(record: Record, spec: DatasetSpec) -> str | None:
    text = id_of(record, spec).decode(errors="replace")
    if spec.id_key and (not text or any(mark.isspace() for mark in text)):
        return "its id is empty or has a space, which a list of segments cannot hold"
    return None


def _labels_problem(record: Record, spec: DatasetSpec) -> str | None:
    if problem := _kind_problem(record, LABELS_KEY, INT64S):
        return problem
    labels = record.values(LABELS_KEY, INT64S)
    if is_multi_hot(labels):
        return (
            f"its {len(labels)} labels are all 0 or 1: a multi-hot vector; '{LABELS_KEY}' must be the list of the "
            "video's class numbers"
        )
    for label in labels:
        if not 0 <= label < spec.num_classes:
            return f"label {label} is outside [0, {spec.num_classes}); --num_classes sets the number of classes"
    if len(set(labels)) < len(labels):
        label = next(label for place, label in enumerate(labels) if label in labels[:place])
        return f"label {label} is repeated; '{LABELS_KEY}' must be the list of the video's class numbers, each once"
    return None


def is_multi_hot(labels: Sequence[int]) -> bool:
    """Whether labels are 0s and 1s with repetitions, so that they cannot be a list of classes."""
    return len(labels) > 2 and set(labels) <= {0, 1}


def _kind_problem(record: Record, key: str, kind: str) -> str | None:
    """A key may be missing, or without any values."""
    feature = record.context.get(key)
    if feature is None or feature.kind in (None, kind):
        return None
    return f"'{key}' must be {kind.removesuffix('_list')}"


def _thinning_problem(record: Record, spec: DatasetSpec) -> str | None:
    thinning = thinning_of(record)
    expected = None if spec.thin_frames is None else (spec.thin_frames, spec.max_frames, spec.thin_sampling)
    if thinning == expected:
        return None
    kind, expected_kind = map(_described_thinning, (thinning, expected))
    return f"its shard is {kind}; the data began with one that is {expected_kind}. Give one kind"


def _described_thinning(thinning: tuple | None) -> str:
    if thinning is None:
        return "not thin"
    sampling = "" if thinning[-1] == "uniform" else f" and --frame_sampling={thinning[-1]}"
    return "thin, with --frames={} and --max_frames={}".format(*thinning[:-1]) + sampling


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
        frames = record.feature_lists[name]
        if spec.float_frames and is_floats(frames):
            if problem := _floats_problem(frames, name, size):
                return problem
            continue
        for second, frame_size in enumerate(_different_frame_sizes(frames)):
            if frame_size is None:
                return f"frame {second} of '{name}' is not one bytes string"
            if frame_size != size:
                return f"frame {second} of '{name}' has {frame_size} bytes, not {size}"
    return None


def is_floats(frames: Frames) -> bool:
    """Whether frames are lists of floats."""
    return not isinstance(frames, np.ndarray) and len(frames) > 0 and {frame.kind for frame in frames} == {FLOATS}


def _floats_problem(frames: Sequence[Feature], name: str, size: int) -> str | None:
    for second, frame in enumerate(frames):
        if len(frame.values) != size:
            return f"frame {second} of '{name}' has {len(frame.values)} numbers, not {size}"
        if not np.isfinite(frame.values).all():
            return f"frame {second} of '{name}' holds a number that is not finite"
    return None


def _lengths_problem(record: Record, spec: DatasetSpec) -> str | None:
    counts = [len(record.feature_lists[name]) for name in spec.feature_names]
    read = [min(count, spec.max_frames or count) for count in counts]
    if max(read) - min(read) <= MOST_MISSING_FRAMES:
        return None
    described = " and ".join(f"{count} of '{name}'" for name, count in zip(spec.feature_names, counts, strict=True))
    lost = "so that the video has none" if not min(read) else f"so that {max(read) - min(read)} would be dropped"
    return f"it has {described} frames, {lost}"


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
_FRAMES = (FRAME, SEGMENT)
# In this order; `problem_of` reports the first one that is broken.
RULES = (
    Rule("one video id, bytes or int64, unless ids are generated", _ALL, _id_problem),
    Rule("an id that a line of a CSV file can hold", _ALL, _id_text_problem, (PREDICTION, VERIFICATION)),
    Rule("an id that a list of segments can hold", (SEGMENT,), _segment_id_problem, (VERIFICATION,)),
    Rule("labels, if any, int64 in [0, classes), each once", _ALL, _labels_problem, (LEARNING, VERIFICATION)),
    Rule("all frames, or those of the thin shards that the data began with", _ALL, _thinning_problem),
    Rule("as many start times, labels and scores of segments, each in its range", (SEGMENT,), _ratings_problem),
    Rule("every feature a list of frames, each one bytes string of the right size", _FRAMES, _frames_problem),
    Rule("features that differ by at most one frame", _FRAMES, _lengths_problem),
    Rule("every feature as many finite floats as it should have", (VIDEO,), _means_problem),
)
