"""Serialized records, regular and not, and what the readers must make of each."""

import dataclasses
import random
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from tests.fuzz.attempts import attempt
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.data import batches, sequence_example
from yt8m_distill.data.reading import read_video
from yt8m_distill.data.sequence_example import BYTES, FLOATS, Record, parse_record, regular_record
from yt8m_distill.data.tfrecord import DamagedRecord
from yt8m_distill.data.video import Video, rated_segments

SPEC = DatasetSpec("YouTube-8M 2018", "id", ("rgb", "audio"), (6, 2), 50, 300)
THIN_SPEC = dataclasses.replace(SPEC, thin_frames=3)
MEANS_SPEC = DatasetSpec("YouTube-8M 2018", "id", ("mean_rgb", "mean_audio"), (3, 2), 50, 1, level="video")
RATED_SPEC = dataclasses.replace(SPEC, level="segment")
ONCE = -1.0
MUTATIONS = ("flip", "flip", "set", "set", "insert", "delete", "cut", "copy", "repeat")
ODDITIES = (0.0, 0.02, 0.2, ONCE, ONCE)

_CONTEXT_FEATURES = {"id": tf.io.FixedLenFeature([], tf.string), "labels": tf.io.VarLenFeature(tf.int64)}
_LIST_FEATURES = {name: tf.io.FixedLenSequenceFeature([], tf.string) for name in SPEC.feature_names}


_WHERE = st.integers(0, 2**16 - 1)
# What to do to some bytes, for `mutated`: how, where and where else (shares of the length), and with which byte.
CHANGES = st.lists(st.tuples(st.sampled_from(MUTATIONS), _WHERE, _WHERE, st.integers(0, 255)), max_size=2)


def record(seed: int, oddity: float) -> bytes:
    """A serialized SequenceExample, as writers make them, or with rare but mostly valid forms here and there."""
    return _Writer(random.Random(seed), oddity).sequence_example()


def _mutated_record(seed: int, oddity: float, changes: list[tuple]) -> bytes:
    return mutated(record(seed, oddity), changes)


def _mutated_means(seed: int, oddity: float, changes: list[tuple]) -> bytes:
    return mutated(_Writer(random.Random(seed), oddity).example(), changes)


def _mutated_rated(seed: int, oddity: float, changes: list[tuple]) -> bytes:
    return mutated(_Writer(random.Random(seed), oddity).rated_example(), changes)


RECORDS = st.builds(_mutated_record, st.integers(0, 2**63), st.sampled_from(ODDITIES), CHANGES)
VIDEO_LEVEL_RECORDS = st.builds(_mutated_means, st.integers(0, 2**63), st.sampled_from(ODDITIES), CHANGES)


RATED_RECORDS = st.builds(_mutated_rated, st.integers(0, 2**63), st.sampled_from(ODDITIES), CHANGES)


def mutated(data: bytes, changes: Sequence[tuple]) -> bytes:
    """The bytes after all changes, in order."""
    for how, first, second, byte in changes:
        begin, other = (place * (len(data) + 1) >> 16 for place in (first, second))
        end = min(begin + 1 + byte % 8, len(data))
        if how == "flip" and begin < len(data):
            data = data[:begin] + bytes([data[begin] ^ 1 << byte % 8]) + data[begin + 1 :]
        elif how == "set" and begin < len(data):
            data = data[:begin] + bytes([byte]) + data[begin + 1 :]
        elif how == "insert":
            data = data[:begin] + bytes([byte]) + data[begin:]
        elif how == "delete":
            data = data[:begin] + data[end:]
        elif how == "cut":
            data = data[:begin]
        elif how == "copy":  # over other bytes
            data = data[:other] + data[begin:end] + data[other + end - begin :]
        elif how == "repeat":
            data = data[:other] + data[begin:end] + data[other:]
    return data


class _Writer:
    """Writes wire format by hand, as no serializer makes its rarer forms.

    Args:
        chance: decides.
        oddity: how often something is not as usual, in [0, 1]; or `ONCE`, at one place.
    """

    def __init__(self, chance: random.Random, oddity: float):
        self._chance = chance
        self._oddity = oddity
        self._asked = 0
        begin = chance.randrange(chance.choice((30, 60, 300)))
        self._odd_place = range(begin, begin + chance.randrange(1, 4))  # some things ask more than once

    def sequence_example(self) -> bytes:
        context = [(b"id", self._id()), (b"labels", self._labels())]
        context += [(name, self._feature()) for name in (b"extra", b"mean_rgb") if self._chance.random() < 0.3]
        context += [(b"", self._feature())] * self._odd()
        context += [pair for pair in ((b"id", self._id()), (b"labels", self._labels())) if self._odd() and self._odd()]
        if self._chance.random() < 0.2:
            context += [(b"thin_frames", self._number(3)), (b"thin_max_frames", self._number(300))]
        frames = self._chance.choices((0, 1, 2, 3, 20, 150), (10, 20, 40, 20, 9, 1))[0]
        lists = [(b"rgb", self._frames(frames, 6)), (b"audio", self._frames(frames - self._odd(), 2))]
        lists += [(b"flow", self._frames(2, self._chance.choice((0, 1, 130)))) for _ in range(self._odd())]
        lists += [(b"times", b"".join(self._field(1, self._feature()) for _ in range(3))) for _ in range(self._odd())]
        parts = [self._field(1, self._map(context)), self._field(2, self._map(lists))]
        if self._odd():
            parts.append(self._chance.choice([self._field(1, self._map([(b"id", self._id())])), self._unknown_field()]))
        return b"".join(self._some(parts))

    def example(self) -> bytes:
        """A video-level record."""
        entries = [(b"id", self._id()), (b"labels", self._labels())]
        entries += [(b"mean_rgb", self._means(3)), (b"mean_audio", self._means(2))]
        entries += [(b"extra", self._feature())] * self._odd()
        return b"".join(self._some([self._field(1, self._map(entries))]))

    def rated_example(self) -> bytes:
        """A frame-level record with ratings of segments."""
        count = self._chance.choice((0, 1, 3, 3, 8))
        lists = [self._numbers(count, 12), self._numbers(count, 50), self._scores(count)]
        entries = [(b"id", self._id()), (b"labels", self._labels())]
        names = (b"segment_start_times", b"segment_labels", b"segment_scores")
        entries += self._some(list(zip(names, lists, strict=True)))
        frames = [(b"rgb", self._frames(8, 6)), (b"audio", self._frames(8 - self._odd(), 2))]
        return b"".join(self._some([self._field(1, self._map(entries)), self._field(2, self._map(frames))]))

    def _numbers(self, count: int, bound: int) -> bytes:
        if self._odd():
            return self._feature()
        values = [self._chance.randrange(bound) for _ in range(count + self._odd())]
        if self._odd() and values:
            values[0] = self._chance.choice((bound, 2**31, 2**62, 2**64 - 1))
        return self._field(3, self._field(1, b"".join(map(self._varint, values))))

    def _scores(self, count: int) -> bytes:
        if self._odd():
            return self._feature()
        values = [np.float32(self._chance.choice((0, 1, 0.5))).tobytes() for _ in range(count + self._odd())]
        if self._odd() and values:
            values[0] = np.float32(self._chance.choice((np.nan, np.inf, -1, 1.1))).tobytes()
        return self._field(2, self._field(1, b"".join(values)))

    def _odd(self) -> bool:
        self._asked += 1
        return self._asked in self._odd_place if self._oddity == ONCE else self._chance.random() < self._oddity

    def _some(self, parts: list[bytes]) -> list[bytes]:
        """All of them in order; or in another order, one missing or one twice."""
        if self._odd() and parts:
            parts = [*parts, self._chance.choice(parts)] if self._chance.random() < 0.5 else parts[1:]
        if self._chance.random() < 0.3 or self._odd():
            self._chance.shuffle(parts)
        return parts

    def _map(self, entries: list[tuple[bytes, bytes]]) -> bytes:
        pairs = [[self._field(1, key), self._field(2, value)] for key, value in entries]
        ordered = [pair if not self._odd() else self._some(pair) for pair in pairs]
        return b"".join(self._some([self._field(1, b"".join(pair)) for pair in ordered]))

    def _id(self) -> bytes:
        count = 1 if not self._odd() else self._chance.choice((0, 2))
        return self._bytes_feature([self._chance.randbytes(self._chance.choice((0, 4, 4, 4, 200)))] * count)

    def _labels(self) -> bytes:
        return self._feature() if self._chance.random() < 0.1 else self._int_feature(50)

    def _number(self, value: int) -> bytes:
        return self._feature() if self._odd() else self._field(3, self._field(1, self._varint(value)))

    def _feature(self) -> bytes:
        kinds: list[Callable[[], bytes]] = [
            lambda: b"",
            lambda: self._int_feature(2**64),
            self._float_feature,
            lambda: self._bytes_feature([self._chance.randbytes(3)] * self._chance.choice((0, 1, 2))),
            lambda: self._int_feature(50) + self._float_feature(),
            self._unknown_field,
        ]
        return self._chance.choice(kinds)()

    def _bytes_feature(self, values: list[bytes]) -> bytes:
        return self._field(1, b"".join(self._field(1, value) for value in values))

    def _int_feature(self, bound: int) -> bytes:
        values = [self._chance.randrange(bound) for _ in range(self._chance.choice((0, 1, 2, 3)))]
        if self._odd():
            values.append(self._chance.choice((bound, 2**31, 2**63, 2**64 - 1)))
        if self._odd():
            return self._field(3, b"".join(b"\x08" + self._varint(value) for value in values))
        half = b"\x80" if self._odd() and self._odd() else b""  # of a number, whose rest is beyond the end
        return self._field(3, self._field(1, b"".join(map(self._varint, values)) + half))

    def _means(self, size: int) -> bytes:
        if self._odd():
            return self._feature()
        values = [np.float32(self._chance.uniform(-2, 2)).tobytes() for _ in range(size - self._odd())]
        if self._odd():
            values[0] = np.float32(self._chance.choice((np.nan, np.inf, -np.inf, 3e38))).tobytes()
        return self._field(2, self._field(1, b"".join(values)))

    def _float_feature(self) -> bytes:
        values = [self._chance.randbytes(4) for _ in range(self._chance.choice((0, 1, 5)))]
        if self._odd():
            return self._field(2, b"".join(b"\x0d" + value for value in values))
        return self._field(2, self._field(1, b"".join(values)[self._odd() :]))

    def _frames(self, count: int, size: int) -> bytes:
        rows = [self._field(1, self._frame(size)) for _ in range(count)]
        if self._odd():  # the same fault in the headers of all
            place, bit = self._chance.randrange(6), 1 << self._chance.randrange(8)
            rows = [row[:place] + bytes([row[place] ^ bit]) + row[place + 1 :] for row in rows if len(row) > place]
        return b"".join(rows)

    def _frame(self, size: int) -> bytes:
        if self._odd() and self._odd():
            return self._feature()
        if self._odd() and self._odd():
            size = self._chance.choice((0, 1, 6, 200))
        return self._bytes_feature([self._chance.randbytes(size)])

    def _unknown_field(self) -> bytes:
        number, payload = self._chance.choice((3, 4, 9, 17, 1000)), self._chance.randbytes(3)
        return self._field(number, payload) if self._odd() else self._varint(number << 3) + self._varint(7)

    def _field(self, number: int, payload: bytes) -> bytes:
        length = len(payload)
        if self._odd() and self._odd() and self._odd():
            length = max(0, length + self._chance.choice((-2, -1, 1, 2, 128)))
        return self._varint(number << 3 | 2) + self._varint(length) + payload

    def _varint(self, value: int) -> bytes:
        """In as few bytes as possible, or rarely with zeros appended: also valid, up to some length."""
        digits = bytearray()
        while value >= 0x80:
            digits.append(value & 0x7F | 0x80)
            value >>= 7
        digits.append(value)
        if self._odd() and self._odd():
            digits[-1] |= 0x80
            digits += b"\x80" * self._chance.randrange(7) + b"\0"
        return bytes(digits)


def parsed(data: bytes) -> tf.train.SequenceExample | None:
    """By protobuf; None where it refuses."""
    try:
        return tf.train.SequenceExample.FromString(data)
    except Exception as error:
        if type(error).__name__ != "DecodeError":  # whose module has other names in other versions
            raise
        return None


def check_record(data: bytes):
    """Whatever the bytes: `regular_record` agrees with protobuf or leaves them to it, and so does `read_video`."""
    example, found = parsed(data), regular_record(data)
    if found is not None:
        assert example is not None, "regular_record accepts what protobuf refuses"
        _assert_same_content(found, example)
    elif example is not None:
        _assert_same_content(parse_record(data), example)
    for spec in (SPEC, THIN_SPEC):
        video = video_or_none(data, spec)
        expected = None if example is None else _expected_video(example, spec)
        assert _plain(video) == expected
        if video is not None:
            if found is not None and found.context["id"].kind == BYTES:
                _assert_tensorflow_agrees(data, expected)
            _assert_written_again_equal(data, spec, example, expected)


def check_video_level_record(data: bytes):
    """The same of a video-level record, and what a batch makes of it is finite."""
    example, found = parsed(data), regular_record(data)
    if found is not None:
        assert example is not None, "regular_record accepts what protobuf refuses"
        _assert_same_content(found, example)
    video = video_or_none(data, MEANS_SPEC)
    expected = None if example is None else _expected_means(example)
    if video is None or expected is None:
        assert video is expected
        return
    assert (video.video_id, list(video.labels), video.num_frames) == (*expected[:2], 1)
    np.testing.assert_array_equal(np.concatenate(video.features, axis=1)[0], expected[2])
    norm = np.linalg.norm(batches.all_frames([video], MEANS_SPEC)["frames"].astype(np.float64))
    np.testing.assert_allclose(norm, min(1.0, np.linalg.norm(expected[2].astype(np.float64)) / 1e-6), rtol=1e-5)


def check_rated_record(data: bytes):
    """The same of a record with rated segments, and a batch of them has the scores where somebody rated."""
    example = parsed(data)
    video = video_or_none(data, RATED_SPEC)
    expected = None if example is None else _expected_ratings(example)
    if video is None or expected is None:
        assert video is expected
        return
    segments = rated_segments(video)
    batch = batches.all_frames(segments, RATED_SPEC)
    assert {
        (segment.start, int(each)): batch["labels"][row, each]
        for row, segment in enumerate(segments)
        for each in np.flatnonzero(batch["label_weights"][row])
    } == expected
    for row, segment in enumerate(segments):
        wanted = [np.concatenate(frame) for frame in zip(*video.features, strict=False)][segment.start :][:5]
        assert batch["num_frames"][row] == len(wanted)
        assert batch["frames"][row].tobytes().startswith(b"".join(frame.tobytes() for frame in wanted))


def video_or_none(data: bytes, spec: DatasetSpec = SPEC) -> Video | None:
    """By `read_video`; None where it says what is wrong."""
    return attempt(lambda: read_video(data, spec), DamagedRecord)[0]


def _assert_same_content(record: Record, example: tf.train.SequenceExample):
    context, lists = example.context.feature, example.feature_lists.feature_list
    assert {key: feature.kind for key, feature in record.context.items()} == {
        key: feature.WhichOneof("kind") for key, feature in context.items()
    }
    for key, (kind, values) in record.context.items():
        expected = list(getattr(context[key], kind).value) if kind else []
        if kind == FLOATS:
            np.testing.assert_array_equal(values, np.array(expected, np.float32))
        else:
            assert list(values) == expected
    assert set(record.feature_lists) == set(lists)
    for name, frames in record.feature_lists.items():
        rows = [feature.values for feature in frames] if isinstance(frames, tuple) else [[f.tobytes()] for f in frames]
        kinds = [row.WhichOneof("kind") for row in lists[name].feature]
        expected = [
            list(getattr(row, kind).value) if kind else [] for row, kind in zip(lists[name].feature, kinds, strict=True)
        ]
        values = [row.tolist() if isinstance(row, np.ndarray) else list(row) for row in rows]
        assert repr(values) == repr(expected)  # as text, as NaN does not equal itself


def _expected_video(example: tf.train.SequenceExample, spec: DatasetSpec) -> tuple | None:
    """(id, labels, frames of each feature) as the format's definition has it; None where it is violated."""
    context, lists = example.context.feature, example.feature_lists.feature_list
    video_id = next(filter(None, (_expected_id(context, key) for key in ("id", "video_id"))), None)
    labels = list(context["labels"].int64_list.value) if "labels" in context else []
    kind = context["labels"].WhichOneof("kind") if "labels" in context else None
    features = []
    for name, size in zip(spec.feature_names, spec.feature_sizes, strict=True):
        rows = [list(row.bytes_list.value) for row in lists[name].feature] if name in lists else None
        if rows is None or any(len(row) != 1 or len(row[0]) != size for row in rows):
            return None
        features.append([row[0] for row in rows])
    if video_id is None or kind not in (None, "int64_list") or not all(0 <= each < spec.num_classes for each in labels):
        return None
    counts = [min(len(feature), spec.max_frames) for feature in features]
    if len(set(labels)) < len(labels) or max(counts) > min(counts) + 1:
        return None
    thin = [list(context[key].int64_list.value)[:1] for key in ("thin_frames", "thin_max_frames") if key in context]
    if ("thin_frames" in context or spec.thin_frames) and thin != [[spec.thin_frames], [spec.max_frames]]:
        return None
    return video_id[0], labels, features


def _expected_id(context, key: str) -> list[bytes]:
    """The id under a key, as a list that is empty where there is none."""
    if key not in context:
        return []
    feature = context[key]
    values = list(feature.bytes_list.value) or [str(value).encode() for value in feature.int64_list.value]
    return values if len(values) == 1 else []


def _expected_ratings(example: tf.train.SequenceExample) -> dict[tuple[int, int], np.float32] | None:
    """Score by start time and class, as the format's definition has it; None where it is violated."""
    context, lists = example.context.feature, []
    for key, kind in zip(
        ("segment_start_times", "segment_labels", "segment_scores"),
        ("int64_list", "int64_list", "float_list"),
        strict=True,
    ):
        if key in context and context[key].WhichOneof("kind") not in (None, kind):
            return None
        lists.append(list(getattr(context[key], kind).value) if key in context else [])
    if _expected_video(example, SPEC) is None or len(set(map(len, lists))) > 1:
        return None
    ratings = list(zip(*lists, strict=True))
    if not all(start >= 0 and 0 <= each < SPEC.num_classes and 0 <= score <= 1 for start, each, score in ratings):
        return None
    return {(start, each): np.float32(score) for start, each, score in ratings}


def _expected_means(example: tf.train.SequenceExample) -> tuple | None:
    """(id, labels, all numbers) as the format's definition has it; None where it is violated."""
    context = example.context.feature
    if any(
        name not in context or context[name].WhichOneof("kind") != "float_list" for name in MEANS_SPEC.feature_names
    ):
        return None
    means = [np.array(context[name].float_list.value, np.float32) for name in MEANS_SPEC.feature_names]
    without_features = dataclasses.replace(MEANS_SPEC, feature_names=("x",), feature_sizes=(1,))
    described = tf.train.SequenceExample()
    described.context.CopyFrom(example.context)
    described.feature_lists.feature_list["x"].SetInParent()
    found = _expected_video(described, without_features)
    whole = tuple(map(len, means)) == MEANS_SPEC.feature_sizes and np.isfinite(np.concatenate(means)).all()
    return (*found[:2], np.concatenate(means)) if found is not None and whole else None


def _plain(video: Video | None) -> tuple | None:
    if video is None:
        return None
    assert video.num_frames == min([*map(len, video.features), SPEC.max_frames])
    assert all(feature.dtype == np.uint8 for feature in video.features)
    return video.video_id, list(video.labels), [[row.tobytes() for row in feature] for feature in video.features]


def _assert_tensorflow_agrees(data: bytes, expected: tuple):
    """TensorFlow's own parser, which in rare forms differs from protobuf: it refuses some, and keys that are there
    twice have another value for it.
    """
    context, lists = tf.io.parse_single_sequence_example(data, _CONTEXT_FEATURES, _LIST_FEATURES)
    features = [lists[name].numpy().tolist() for name in SPEC.feature_names]
    assert (context["id"].numpy(), context["labels"].values.numpy().tolist(), features) == expected


def _assert_written_again_equal(data: bytes, spec: DatasetSpec, example: tf.train.SequenceExample, expected: tuple):
    """As thin shards are written: the context unchanged, the frames written again."""
    context = sequence_example.serialized_context(data)
    again = tf.train.Features.FromString(context)
    assert again.SerializeToString(deterministic=True) == example.context.SerializeToString(deterministic=True)
    frames = dict(zip(spec.feature_names, read_video(data, spec).features, strict=True))
    assert _plain(read_video(sequence_example.serialized_example(context, frames), spec)) == expected
