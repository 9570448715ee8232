"""Frame-level records as bytes, the same that protobuf makes of them, without building its messages."""

from collections.abc import Mapping

import numpy as np

# Tags of fields that have a length, by field number, as in `wire`.
_FIRST = b"\x0a"
_SECOND = b"\x12"
_THIRD = b"\x1a"


def sequence_example(context: bytes | memoryview, feature_lists: Mapping[str, np.ndarray]) -> bytes:
    """A serialized `tf.train.SequenceExample`.

    Args:
        context: a serialized `tf.train.Features`, which may be several ones joined.
        feature_lists: per name the frames, uint8 (frames, size).
    """
    lists = (_entry(name.encode(), _frames(frames)) for name, frames in feature_lists.items())
    return _field(_FIRST, context) + _field(_SECOND, b"".join(lists))


def int64_features(values: Mapping[str, int]) -> bytes:
    """A serialized `tf.train.Features` with one number of 0 or more for each key."""
    features = (_field(_THIRD, _field(_FIRST, _varint(value))) for value in values.values())
    return b"".join(_entry(key.encode(), feature) for key, feature in zip(values, features, strict=True))


def _frames(frames: np.ndarray) -> bytes:
    """A feature list: each frame a feature, in it a bytes list, in it one value."""
    num_frames, size = frames.shape
    value = _FIRST + _varint(size)
    bytes_list = _FIRST + _varint(len(value) + size) + value
    header = _FIRST + _varint(len(bytes_list) + size) + bytes_list
    rows = np.empty((num_frames, len(header) + size), np.uint8)
    rows[:, : len(header)] = np.frombuffer(header, np.uint8)
    rows[:, len(header) :] = frames
    return rows.tobytes()


def _entry(key: bytes, value: bytes) -> bytes:
    """One entry of a map."""
    return _field(_FIRST, _field(_FIRST, key) + _field(_SECOND, value))


def _field(tag: bytes, content: bytes | memoryview) -> bytes:
    return tag + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit says that another byte follows."""
    return bytes((value,)) if value < 0x80 else bytes((value & 0x7F | 0x80,)) + _varint(value >> 7)
