"""The format of records, detected from the first one."""

import contextlib
import itertools
from collections.abc import Sequence

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
from yt8m_distill.config.frames import THIN_SAMPLINGS
from yt8m_distill.data.record_files import open_records
from yt8m_distill.data.record_format import (
    ID_KEYS,
    LABELS_KEY,
    LEARNING,
    PREDICTION,
    THIN_FRAMES_KEY,
    THIN_MAX_FRAMES_KEY,
    THIN_SAMPLING_KEY,
    described_keys,
    is_floats,
    is_multi_hot,
    thinning_of,
)
from yt8m_distill.data.sequence_example import BYTES, FLOATS, INT64S, Record, parse_record
from yt8m_distill.data.tfrecord import DamagedRecord, read_record
from yt8m_distill.errors import UserError

RECORDS_TO_DETECT_BY = 16  # of every file, where bad ones are skipped
_TYPES_BY_BYTES = {2: "float16", 4: "float32", 8: "float64"}
_QUANTIZE = "python -m yt8m_distill.quantize writes such features as uint8"


def detect_files(
    files: Sequence[str], overrides: SpecOverrides, skip_bad_records: bool, use: str = LEARNING
) -> DatasetSpec:
    """The format by the first record, or by the first that shows one where bad ones are skipped.

    Raises:
        UserError: no record shows it; or where labels are needed, those of all first videos are multi-hot vectors.
    """
    problem = None
    for path in files:
        records = _first_records(path, RECORDS_TO_DETECT_BY if skip_bad_records else 1)
        for number, record in enumerate(records, start=1):
            try:
                if isinstance(record, UserError):
                    raise record
                spec = detect_spec(record, f"{path}, record {number}", overrides)
            except UserError as error:
                problem = problem or error
            else:
                if use != PREDICTION:
                    _check_label_lists(path, records)
                return spec
        if problem and not skip_bad_records:
            break
    raise problem or UserError(f"the {len(files)} files hold no records (first: {files[0]}).")


def _first_records(path: str, count: int) -> list[bytes | UserError]:
    """The first records of a file, or what is wrong with them."""
    content: list[bytes | UserError] = []
    try:
        with open_records(path) as records:
            for frame in itertools.islice(records.frames(), count):
                try:
                    if frame.problem:
                        raise DamagedRecord(frame.problem)
                    buffer = np.empty(frame.num_bytes, np.uint8)
                    content.append(bytes(read_record(records.descriptor, frame.offset, buffer)))
                except DamagedRecord as error:
                    content.append(UserError(f"{path}, record {frame.number}: {error}."))
    except OSError as error:
        content.append(UserError(f"{path} cannot be read: {error.strerror}."))
    return content


def _check_label_lists(path: str, records: Sequence[bytes | UserError]):
    labels = []
    for record in records:
        with contextlib.suppress(DamagedRecord):
            labels.append(() if isinstance(record, UserError) else parse_record(record).values(LABELS_KEY, INT64S))
    labels = [values for values in labels if values]
    if labels and all(map(is_multi_hot, labels)):
        raise UserError(
            f"{path}: the '{LABELS_KEY}' of the first videos are multi-hot vectors ({len(labels[0])} numbers, each 0 "
            "or 1); they must be the lists of the videos' class numbers, such as [3, 17]."
        )


def detect_spec(serialized: bytes, where: str, overrides: SpecOverrides) -> DatasetSpec:
    """How to read a data set, from its first record and the user's flags.

    Args:
        serialized: the first record.
        where: "FILE, record N", for errors.
        overrides: what the flags say; they win, and must agree with the record.

    Raises:
        UserError: no SequenceExample or Example, records of another level than the flags say, no id, an unknown edition
            without --feature_names and --num_classes, a feature that the record lacks or has in another size than was
            given or published, a thin shard that was made with another --max_frames.
    """
    try:
        record = parse_record(serialized)
    except DamagedRecord as error:
        raise UserError(f"{where}: {error}.") from error
    level = _detect_level(record, where, overrides)
    id_key = _detect_id_key(record, where, overrides)
    available = _feature_names(record, level)
    edition = _edition_of(id_key, available, level)
    of_edition = [name for name, _ in edition.features_of(level)] if edition else []
    names = overrides.feature_names or tuple(name for name in of_edition if name in available)
    if not names or (edition is None and overrides.num_classes is None):
        raise UserError(
            f"{where}: unknown edition, with the {_kind(level)}s {', '.join(sorted(available))}; known are "
            f"{', '.join(edition.name for edition in EDITIONS)}. "
            "For features or a vocabulary of your own give --feature_names and --num_classes."
        )
    if not set(names) & set(of_edition):
        edition = None
    thin_frames, longest, thin_sampling = _detect_frames(record, where, level, overrides.max_frames)
    return DatasetSpec(
        edition=edition.name if edition else "own features",
        id_key=id_key,
        feature_names=names,
        feature_sizes=_feature_sizes(record, where, names, overrides.feature_sizes, level),
        num_classes=overrides.num_classes or _known_classes(edition, where),
        max_frames=_first_set(longest, overrides.max_frames, (edition or YOUTUBE_8M_2018).max_frames),
        thin_frames=thin_frames,
        level=level,
        thin_sampling=thin_sampling,
        float_frames=level != VIDEO and any(is_floats(record.feature_lists[name]) for name in names),
    )


def _detect_id_key(record: Record, where: str, overrides: SpecOverrides) -> str:
    """The key of the video's id; empty where ids are generated."""
    if overrides.id_key is not None:
        candidates = [overrides.id_key]
    else:
        candidates = [key for key in dict.fromkeys((overrides.trained_id_key, *ID_KEYS)) if key]
        candidates += [""] if overrides.trained_id_key == "" else []
    for key in candidates:
        feature = record.context.get(key)
        if not key or (feature is not None and feature.kind in (BYTES, INT64S) and len(feature.values) == 1):
            return key
    raise UserError(
        f"{where}: no video id (one text or whole number) under {' or '.join(candidates)}; its keys: "
        f"{described_keys(record)}. --id_key=KEY names the one with the id; --id_key= makes ids of file name and "
        "number."
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


def _detect_frames(
    record: Record, where: str, level: str, max_frames: int | None
) -> tuple[int | None, int | None, str]:
    """The k of thin shards, how many frames a video has at most, where the record says so, and the thin sampling."""
    if level != VIDEO:
        thinned = _detect_thinning(record, where, max_frames)
        if level == SEGMENT and thinned[0] is not None:
            raise UserError(f"{where}: --segment_labels needs the original shards; thin ones do not hold all frames.")
        return thinned
    if max_frames not in (None, 1):
        raise UserError(f"{where}: --max_frames does nothing with video-level records; leave it out.")
    return None, 1, "uniform"


def _first_set(*values):
    return next(value for value in values if value is not None)


def _detect_thinning(record: Record, where: str, max_frames: int | None) -> tuple[int | None, int | None, str]:
    """The k, --max_frames and sampling of a thin shard; no k and --max_frames where the record holds all frames."""
    thinning = thinning_of(record)
    if thinning is None:
        return None, None, "uniform"
    if None in thinning:
        raise UserError(f"{where}: '{THIN_FRAMES_KEY}' and '{THIN_MAX_FRAMES_KEY}' of a thin shard must be int64.")
    if max_frames not in (None, thinning[1]):
        raise UserError(f"{where}: a thin shard that was made with --max_frames={thinning[1]}, not {max_frames}.")
    if thinning[-1] not in THIN_SAMPLINGS:
        known = ", ".join(THIN_SAMPLINGS)
        raise UserError(f"{where}: '{THIN_SAMPLING_KEY}' of a thin shard must be one of {known}, not '{thinning[-1]}'.")
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
    level: str,
) -> tuple[int, ...]:
    published = dict(itertools.chain.from_iterable(edition.features_of(level) for edition in EDITIONS))
    checked = []
    for position, name in enumerate(names):
        size_in_record = _size_in_record(record, where, name, level)
        size = sizes[position] if sizes else published.get(name) or size_in_record
        if size is None:
            raise UserError(f"{where}: a video without frames does not show the size of '{name}'; --feature_sizes.")
        if size_in_record is not None and size_in_record != size:
            in_floats = level == VIDEO or is_floats(record.feature_lists[name])
            raise UserError(f"{where}: {_other_size(name, size_in_record, size, level, in_floats, bool(sizes))}.")
        checked.append(size)
    return tuple(checked)


def _other_size(name: str, size_in_record: int, size: int, level: str, in_floats: bool, given: bool) -> str:
    """The message where a feature has another size than was given or published."""
    unit = "numbers" if in_floats else "bytes"
    unit = unit if level == VIDEO else f"{unit} a frame"
    text = f"feature '{name}' has {size_in_record} {unit}, not "
    if given:
        return f"{text}{size} (--feature_sizes, or what the model was trained on)"
    guess = "" if in_floats else _guess(size_in_record, size)
    return f"{text}the published {size}{guess}. A feature of your own size needs --feature_names and --feature_sizes"


def _guess(num_bytes: int, size: int) -> str:
    """What frames of another number of bytes than the published one may be."""
    factor, rest = divmod(num_bytes, size)
    if rest or factor < 2:
        return ""
    if factor in _TYPES_BY_BYTES:
        return f": probably {size} {_TYPES_BY_BYTES[factor]} values, where uint8 is read ({_QUANTIZE})"
    return f": probably {factor} frames in one string, where each has its own"


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
    if is_floats(frames):
        return len(first.values)
    if first.kind != BYTES or len(first.values) != 1:
        raise UserError(
            f"{where}: frames of '{name}' must be one bytes string (uint8 values) or a list of floats each, not "
            f"{first.kind or 'nothing'}."
        )
    return len(first.values[0])
