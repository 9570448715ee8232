"""A record out of its bytes without a parser, where it is as regular as all published ones are.

All frames of a feature have the same size, so each begins with the same few bytes, at the same distance: a view of the
record as (frames, bytes) shows the frames without copying any. Every byte of it that is not a frame's content is
compared with what it must be; whatever is not regular is left to the parser.

A `tf.train.Example`, as video-level records are, has the same bytes as a SequenceExample that has only a context.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

_FIRST = 0x0A  # tag of a field with number 1 that has a length: context, map key, bytes list, values, frame
_SECOND = 0x12  # field 2: feature lists, map value, float list
_THIRD = 0x1A  # field 3: int64 list


class _Irregular(Exception):
    """Left to the parser."""


@dataclass(frozen=True)
class Record:
    """The content of a record.

    Attributes:
        context: per key the values: ints, or one or more bytes; none where nothing says of which kind they are. None
            where they are of any other kind.
        feature_lists: per name the frames, uint8 (frames, size), a view of the record.
        floats: per key of the context that holds floats, float32 (values,), a view of the record.
    """

    context: dict[str, list | None]
    feature_lists: dict[str, np.ndarray]
    floats: dict[str, np.ndarray]


def regular_record(data: bytes | memoryview) -> Record | None:
    """The content of a serialized `tf.train.SequenceExample` or `Example`; None where a parser has to look at it."""
    data = memoryview(data)
    try:
        parts = dict(_distinct(_fields(data, 0, len(data), (_FIRST, _SECOND))))
        context = _map_entries(data, parts.get(_FIRST, (0, 0)))
        lists = _map_entries(data, parts.get(_SECOND, (0, 0)))
        values = {key: _values(data, *place) for key, place in context.items()}
        floats = {key: value for key, value in values.items() if isinstance(value, np.ndarray)}
        return Record(
            {key: None if key in floats else value for key, value in values.items()},
            {key: _frames(data, *place) for key, place in lists.items()},
            floats,
        )
    except (_Irregular, IndexError, UnicodeDecodeError):
        return None


def serialized_context(data: bytes | memoryview) -> memoryview | None:
    """The context of a record, a serialized `tf.train.Features`; None where a parser has to look for it."""
    data = memoryview(data)
    try:
        start, end = dict(_distinct(_fields(data, 0, len(data), (_FIRST, _SECOND)))).get(_FIRST, (0, 0))
        return data[start:end]
    except (_Irregular, IndexError):
        return None


def _varint(data: memoryview, position: int, most_bytes: int = 5) -> tuple[int, int]:
    """An unsigned number and the position after it. As in protobuf, a length has at most 5 bytes."""
    byte = data[position]
    if byte < 0x80:
        return byte, position + 1
    value, shift = byte & 0x7F, 7
    while True:
        position += 1
        byte = data[position]
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position + 1
        if shift >= 7 * most_bytes:
            raise _Irregular


def _fields(data: memoryview, position: int, end: int, tags: tuple[int, ...]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Tag and place of each field; all must have one of the tags, and fill the message."""
    while position < end:
        tag = data[position]
        length, start = _varint(data, position + 1)
        position = start + length
        if tag not in tags or position > end:
            raise _Irregular
        yield tag, (start, position)


def _distinct(fields: Iterator[tuple[int, tuple[int, int]]]) -> Iterator[tuple[int, tuple[int, int]]]:
    seen = set()
    for tag, place in fields:
        if tag in seen:
            raise _Irregular
        seen.add(tag)
        yield tag, place


def _map_entries(data: memoryview, place: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Places of a map's values by key."""
    entries = {}
    for _, (start, end) in _fields(data, *place, (_FIRST,)):
        fields = list(_fields(data, start, end, (_FIRST, _SECOND)))
        if [tag for tag, _ in fields] != [_FIRST, _SECOND]:
            raise _Irregular
        (_, key), (_, value) = fields
        name = bytes(data[key[0] : key[1]]).decode()
        if name in entries:
            raise _Irregular
        entries[name] = value
    return entries


def _values(data: memoryview, start: int, end: int) -> list | np.ndarray | None:
    """The values of a `tf.train.Feature`; floats as an array."""
    kinds = list(_fields(data, start, end, (_FIRST, _SECOND, _THIRD)))
    if not kinds:
        return []
    if len(kinds) > 1:
        raise _Irregular
    kind, place = kinds[0]
    values = [place for _, place in _fields(data, *place, (_FIRST,))]
    if kind == _FIRST:
        return [bytes(data[start:end]) for start, end in values] or None
    if len(values) > 1:
        raise _Irregular
    packed = values[0] if values else (0, 0)
    if kind == _THIRD:
        return list(_varints(data, *packed))
    count, rest = divmod(packed[1] - packed[0], 4)
    if rest:
        raise _Irregular
    return np.frombuffer(data, "<f4", count, packed[0]) if count else np.zeros(0, np.float32)


def _varints(data: memoryview, position: int, end: int) -> Iterator[int]:
    while position < end:
        value, position = _varint(data, position, 9)  # ten: a negative number, or none
        if position > end:
            raise _Irregular
        yield value


def _frames(data: memoryview, start: int, end: int) -> np.ndarray:
    """(frames, size) uint8: the frames of a feature list, each one bytes string of the same size."""
    if start == end:
        return np.zeros((0, 0), np.uint8)
    feature, feature_start = _varint(data, start + 1)
    values, values_start = _varint(data, feature_start + 1)
    size, first = _varint(data, values_start + 1)
    stride = first + size - start
    whole = data[start] == data[feature_start] == data[values_start] == _FIRST
    nested = feature_start + feature == values_start + values == first + size
    if not (whole and nested) or (end - start) % stride:
        raise _Irregular
    rows = np.frombuffer(data, np.uint8, end - start, start).reshape(-1, stride)
    header = first - start
    if rows[:, :header].tobytes() != rows[0, :header].tobytes() * len(rows):
        raise _Irregular
    return rows[:, header:]


def serialized_example(context: bytes | memoryview, feature_lists: Mapping[str, np.ndarray]) -> bytes:
    """A serialized `tf.train.SequenceExample`: the same bytes that protobuf makes, without building its messages.

    Args:
        context: a serialized `tf.train.Features`, which may be several ones joined.
        feature_lists: per name the frames, uint8 (frames, size).
    """
    lists = (_map_entry(name.encode(), _feature_list(frames)) for name, frames in feature_lists.items())
    return _field(_FIRST, context) + _field(_SECOND, b"".join(lists))


def serialized_int64s(values: Mapping[str, int]) -> bytes:
    """A serialized `tf.train.Features` with one number of 0 or more for each key."""
    features = (_field(_THIRD, _field(_FIRST, _varint_bytes(value))) for value in values.values())
    return b"".join(_map_entry(key.encode(), feature) for key, feature in zip(values, features, strict=True))


def _feature_list(frames: np.ndarray) -> bytes:
    """A feature list: each frame a feature, in it a bytes list, in it one value."""
    num_frames, size = frames.shape
    value = _field_header(_FIRST, size)
    bytes_list = _field_header(_FIRST, len(value) + size) + value
    header = _field_header(_FIRST, len(bytes_list) + size) + bytes_list
    rows = np.empty((num_frames, len(header) + size), np.uint8)
    rows[:, : len(header)] = np.frombuffer(header, np.uint8)
    rows[:, len(header) :] = frames
    return rows.tobytes()


def _map_entry(key: bytes, value: bytes) -> bytes:
    return _field(_FIRST, _field(_FIRST, key) + _field(_SECOND, value))


def _field(tag: int, content: bytes | memoryview) -> bytes:
    return _field_header(tag, len(content)) + content


def _field_header(tag: int, length: int) -> bytes:
    return bytes((tag,)) + _varint_bytes(length)


def _varint_bytes(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit says that another byte follows."""
    return bytes((value,)) if value < 0x80 else bytes((value & 0x7F | 0x80,)) + _varint_bytes(value >> 7)
