"""The format of records, detected from the first one."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from yt8m_distill.config.dataset import (
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
from yt8m_distill.data.record_format import (
    ID_KEYS,
    THIN_FRAMES_KEY,
    THIN_MAX_FRAMES_KEY,
    thinning_of,
)
from yt8m_distill.data.sequence_example import BYTES, FLOATS, Record, parse_record
from yt8m_distill.data.tfrecord import DamagedRecord, Frame, frames_of_file, place_problem, read_record
from yt8m_distill.errors import UserError

RECORDS_TO_DETECT_BY = 16  # of every file, where bad ones are skipped


def detect_files(files: Sequence[str], overrides: SpecOverrides, skip_bad_records: bool) -> DatasetSpec:
    """The format by the first record, or by the first that shows one where bad ones are skipped."""
    problem = None
    for path in files:
        for frame in itertools.islice(frames_of_file(path), RECORDS_TO_DETECT_BY if skip_bad_records else 1):
            try:
                return detect_spec(_first_record(path, frame), f"{path}, record {frame.number}", overrides)
            except UserError as error:
                problem = problem or error
        if problem and not skip_bad_records:
            break
    raise problem or UserError(f"the {len(files)} files hold no records (first: {files[0]}).")


def _first_record(path: str, frame: Frame) -> bytes:
    try:
        if problem := place_problem(path, frame):
            raise DamagedRecord(problem)
        with open(path, "rb", buffering=0) as file:
            return bytes(read_record(file.fileno(), frame.offset, np.empty(frame.num_bytes, np.uint8)))
    except DamagedRecord as error:
        raise UserError(f"{path}, record {frame.number}: {error}.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error


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
        record = parse_record(serialized)
    except DamagedRecord as error:
        raise UserError(f"{where}: {error}.") from error
    level = _detect_level(record, where, overrides)
    id_key = next((key for key in ID_KEYS if key in record.context), None)
    if id_key is None:
        raise UserError(f"{where}: no video id; the context must hold one of {', '.join(ID_KEYS)}.")
    available = _feature_names(record, level)
    edition = _edition_of(id_key, available, level)
    published = dict(edition.features_of(level)) if edition else {}
    names = overrides.feature_names or tuple(name for name in published if name in available)
    if not names or (edition is None and overrides.num_classes is None):
        raise UserError(
            f"{where}: unknown edition, with the {_kind(level)}s {', '.join(sorted(available))}; known are "
            f"{', '.join(edition.name for edition in EDITIONS)}. "
            "For features of your own give --feature_names and --num_classes."
        )
    if not set(names) & set(published):
        edition, published = None, {}
    thin_frames, longest = _detect_frames(record, where, level, overrides.max_frames)
    return DatasetSpec(
        edition=edition.name if edition else "own features",
        id_key=id_key,
        feature_names=names,
        feature_sizes=_feature_sizes(record, where, names, overrides.feature_sizes, published, level),
        num_classes=overrides.num_classes or _known_classes(edition, where),
        max_frames=_first_set(longest, overrides.max_frames, (edition or YOUTUBE_8M_2018).max_frames),
        thin_frames=thin_frames,
        level=level,
    )


def _kind(level: str) -> str:
    return "feature" if level == VIDEO else "feature list"


def _detect_level(record: Record, where: str, overrides: SpecOverrides) -> str:
    """The level of the record; an error where it is not the one that is needed."""
    keys = ", ".join(sorted(record.context)) or "none"
    if record.feature_lists:
        level = FRAME
    elif _feature_names(record, VIDEO):
        level = VIDEO
    else:
        raise UserError(
            f"{where}: neither a frame-level record, as it has no feature lists, nor a video-level one, as it has no "
            f"floats (its keys: {keys})."
        )
    expected = FRAME if overrides.level == SEGMENT else overrides.level or level
    if expected != level:
        vectors = "one vector a video" if expected == VIDEO else "one vector a second"
        raise UserError(f"{where}: {level}-level records ({keys}); {expected}-level ones are needed, with {vectors}.")
    return SEGMENT if overrides.level == SEGMENT else level


def _feature_names(record: Record, level: str) -> set[str]:
    """Names that may be those of features."""
    if level == VIDEO:
        return {key for key, feature in record.context.items() if feature.kind == FLOATS}
    return set(record.feature_lists)


def _detect_frames(record: Record, where: str, level: str, max_frames: int | None) -> tuple[int | None, int | None]:
    """The k of thin shards, and how many frames a video has at most, where the record says so."""
    if level != VIDEO:
        thinned = _detect_thinning(record, where, max_frames)
        if level == SEGMENT and thinned != (None, None):
            raise UserError(f"{where}: --segment_labels needs the original shards; thin ones do not hold all frames.")
        return thinned
    if max_frames not in (None, 1):
        raise UserError(f"{where}: --max_frames does nothing with video-level records; leave it out.")
    return None, 1


def _first_set(*values):
    return next(value for value in values if value is not None)


def _detect_thinning(record: Record, where: str, max_frames: int | None) -> tuple[int | None, int | None]:
    """The k and --max_frames of a thin shard, None and None where the record holds all frames."""
    thinning = thinning_of(record)
    if thinning is None:
        return None, None
    if None in thinning:
        raise UserError(f"{where}: '{THIN_FRAMES_KEY}' and '{THIN_MAX_FRAMES_KEY}' of a thin shard must be int64.")
    if max_frames not in (None, thinning[1]):
        raise UserError(f"{where}: a thin shard that was made with --max_frames={thinning[1]}, not {max_frames}.")
    return thinning


def _known_classes(edition, where: str) -> int:
    if edition is None:
        raise UserError(f"{where}: for features of your own give --num_classes, too.")
    return edition.num_classes


def _edition_of(id_key: str, names: set[str], level: str) -> Edition | None:
    """The edition with this id key whose first feature the record has; None for a user's own features."""
    if AUDIOSET.features_of(level)[0][0] in names:
        return AUDIOSET
    for edition in EDITIONS:
        if edition.id_key == id_key and names & {name for name, _ in edition.features_of(level)}:
            return edition
    return None


def _feature_sizes(
    record: Record,
    where: str,
    names: Sequence[str],
    sizes: Sequence[int] | None,
    published: Mapping[str, int],
    level: str,
) -> tuple[int, ...]:
    checked = []
    for position, name in enumerate(names):
        size_in_record = _size_in_record(record, where, name, level)
        size = sizes[position] if sizes else size_in_record or published.get(name)
        if size is None:
            raise UserError(f"{where}: a video without frames does not show the size of '{name}'; --feature_sizes.")
        if size_in_record is not None and size_in_record != size:
            source = "--feature_sizes, or what the model was trained on"
            unit = "numbers" if level == VIDEO else "bytes a frame"
            raise UserError(f"{where}: feature '{name}' has {size_in_record} {unit}, not {size} ({source}).")
        checked.append(size)
    return tuple(checked)


def _size_in_record(record: Record, where: str, name: str, level: str) -> int | None:
    """None where the video has no frames."""
    names = _feature_names(record, level)
    if name not in names:
        raise UserError(f"{where}: no {_kind(level)} '{name}' (--feature_names); it has {', '.join(sorted(names))}.")
    if level == VIDEO:
        return len(record.context[name].values) or None
    frames = record.feature_lists[name]
    if isinstance(frames, np.ndarray):
        return frames.shape[1] if len(frames) else None
    first = frames[0]
    if first.kind != BYTES or len(first.values) != 1:
        kind = first.kind or "nothing"
        raise UserError(f"{where}: frames of '{name}' must be one bytes string each (uint8 values), not {kind}.")
    return len(first.values[0])
