"""Records as `tf.train.SequenceExample`: read out of their bytes without a parser where they are regular, and written.

All frames of a feature have the same size, so each begins with the same few bytes, at the same distance: a view of the
record as (frames, bytes) shows the frames without copying any. Every byte of it that is not a frame's content is
compared with what it must be; whatever is not regular is left to protobuf's parser. Both give a `Record`.

A `tf.train.Example`, as video-level records are, has the same bytes as a SequenceExample that has only a context.

TensorFlow is imported only where protobuf's parser is needed: a process that reads regular records starts quickly.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from yt8m_distill.data.sequence_example_message import message_class
from yt8m_distill.data.tfrecord import DamagedRecord

BYTES, FLOATS, INT64S = "bytes_list", "float_list", "int64_list"  # kinds of features, as protobuf calls them

_FIRST = 0x0A  # tag of a field with number 1 that has a length: context, map key, bytes list, values, frame
_SECOND = 0x12  # field 2: feature lists, map value, float list
_THIRD = 0x1A  # field 3: int64 list


class _Irregular(Exception):
    """Left to the parser."""


class Feature(NamedTuple):
    """A `tf.train.Feature`.

    Attributes:
        kind: `BYTES`, `FLOATS` or `INT64S`; None: it is of no kind, and has no values.
        values: bytes, ints, or of floats an array, float32 (values,).
    """

    kind: str | None = None
    values: Sequence = ()


# A feature list: uint8 (frames, size) where each frame is one bytes string of the same size, else its features.
Frames = np.ndarray | tuple[Feature, ...]


@dataclass(frozen=True)
class Record:
    """The content of a record.

    Attributes:
        context: features by key.
        feature_lists: frames by name; arrays are views of the record.
    """

    context: Mapping[str, Feature]
    feature_lists: Mapping[str, Frames]

    def values(self, key: str, kind: str) -> Sequence:
        """The values under a key of the context; none where it is missing or of another kind."""
        feature = self.context.get(key)
        return feature.values if feature is not None and feature.kind == kind else ()


def parse_record(data: bytes | memoryview) -> Record:
    """The content of a serialized `tf.train.SequenceExample` or `Example`.

    Raises:
        DamagedRecord: it is neither.
    """
    record = regular_record(data)
    return parsed_record(bytes(data)) if record is None else record


def regular_record(data: bytes | memoryview) -> Record | None:
    """The content of a record without a parser; None where a parser has to look at it."""
    data = memoryview(data)
    try:
        parts = dict(_distinct(_fields(data, 0, len(data), (_FIRST, _SECOND))))
        context = _map_entries(data, parts.get(_FIRST, (0, 0)))
        lists = _map_entries(data, parts.get(_SECOND, (0, 0)))
        return Record(
            {key: _feature(data, *place) for key, place in context.items()},
            {key: _frames(data, *place) for key, place in lists.items()},
        )
    except (_Irregular, IndexError, UnicodeDecodeError):
        return None


def parsed_record(data: bytes) -> Record:
    """The content of a record by protobuf's parser.

    Raises:
        DamagedRecord: it refuses the record.
    """
    example = _parsed(data)
    return Record(
        {key: _parsed_feature(feature) for key, feature in example.context.feature.items()},
        {name: _parsed_frames(rows.feature) for name, rows in example.feature_lists.feature_list.items()},
    )


def _parsed(data: bytes) -> Any:
    try:
        return message_class().FromString(data)
    except DecodeError as error:
        raise DamagedRecord("it is not a tf.train.SequenceExample") from error


def _parsed_feature(feature: Any) -> Feature:
    kind = feature.WhichOneof("kind")
    values = getattr(feature, kind).value if kind else ()
    return Feature(kind, np.array(values, np.float32) if kind == FLOATS else list(values))


def _parsed_frames(rows: Sequence) -> Frames:
    features = tuple(map(_parsed_feature, rows))
    frames = [feature.values[0] for feature in features if feature.kind == BYTES and len(feature.values) == 1]
    if len(frames) < len(features) or len(set(map(len, frames))) > 1:
        return features
    return np.frombuffer(b"".join(frames), np.uint8).reshape(len(frames), len(frames[0]) if frames else 0)


def serialized_context(data: bytes | memoryview) -> bytes:
    """The context of a record, a serialized `tf.train.Features`.

    Raises:
        DamagedRecord: it is not a record.
    """
    data = memoryview(data)
    try:
        start, end = dict(_distinct(_fields(data, 0, len(data), (_FIRST, _SECOND)))).get(_FIRST, (0, 0))
        return bytes(data[start:end])
    except (_Irregular, IndexError):
        return _parsed(bytes(data)).context.SerializeToString(deterministic=True)


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


def _feature(data: memoryview, start: int, end: int) -> Feature:
    kinds = list(_fields(data, start, end, (_FIRST, _SECOND, _THIRD)))
    if not kinds:
        return Feature()
    if len(kinds) > 1:
        raise _Irregular
    tag, place = kinds[0]
    values = [place for _, place in _fields(data, *place, (_FIRST,))]
    if tag == _FIRST:
        return Feature(BYTES, [bytes(data[start:end]) for start, end in values])
    if len(values) > 1:
        raise _Irregular
    packed = values[0] if values else (0, 0)
    return Feature(INT64S, list(_varints(data, *packed))) if tag == _THIRD else Feature(FLOATS, _floats(data, *packed))


def _floats(data: memoryview, start: int, end: int) -> np.ndarray:
    count, rest = divmod(end - start, 4)
    if rest:
        raise _Irregular
    return np.frombuffer(data, "<f4", count, start) if count else np.zeros(0, np.float32)


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


def serialized_int64s(values: Mapping[str, int | Sequence[int]]) -> bytes:
    """A serialized `tf.train.Features` with one number of 0 or more, or a list of them, for each key."""
    return b"".join(_map_entry(key.encode(), _int64s(value)) for key, value in values.items())


def serialized_bytes(key: str, value: bytes) -> bytes:
    """A serialized `tf.train.Features` with one bytes string."""
    return _map_entry(key.encode(), _field(_FIRST, _field(_FIRST, value)))


def _int64s(value: int | Sequence[int]) -> bytes:
    numbers = [value] if isinstance(value, int) else value
    packed = b"".join(map(_varint_bytes, numbers))
    return _field(_THIRD, _field(_FIRST, packed) if numbers else b"")


def frame_header(size: int) -> bytes:
    """The bytes before a frame of `size` bytes in a feature list, as protobuf writes them."""
    value = _field_header(_FIRST, size)
    bytes_list = _field_header(_FIRST, len(value) + size) + value
    return _field_header(_FIRST, len(bytes_list) + size) + bytes_list


def _feature_list(frames: np.ndarray) -> bytes:
    """A feature list: each frame a feature, in it a bytes list, in it one value."""
    num_frames, size = frames.shape
    header = frame_header(size)
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
