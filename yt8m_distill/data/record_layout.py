"""Where things are in many small records, found for all of them at once.

What takes numpy a few operations for a thousand records takes Python as many for each. The records are walked through
together, field by field: `places_of_records` computes for all of them where the next field begins. Records may differ
in the order of their keys, and in the lengths of what these hold. A record that has anything else than the `Layout` is
not regular here, and says nothing: whoever reads it record by record knows what to make of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from yt8m_distill.data.sequence_example import BYTES, FLOATS, INT64S, Record, frame_header

PADDING = 64  # bytes behind the records: what is looked at beyond the end of one that is cut short
MOST_NAMES = 16  # of a context, or of the feature lists; more are read record by record
_FIRST, _SECOND, _THIRD = 0x0A, 0x12, 0x1A  # tags, as in `sequence_example`
_LISTS = {BYTES: _FIRST, FLOATS: _SECOND, INT64S: _THIRD}
_MOST_VARINT_BYTES = 9  # of a number; ten: a negative one


@dataclass(frozen=True)
class Layout:
    """What regular records hold; each may lack some of it, and nothing may be there twice.

    Attributes:
        kinds: of the context's features, by key; bytes are one string.
        sizes: bytes of a frame, by the name of the feature list.
    """

    kinds: Mapping[str, str]
    sizes: Mapping[str, int]

    @classmethod
    def of(cls, record: Record) -> "Layout | None":
        """That of a record; None where it has too much, or frames that are not all bytes of one size."""
        kinds = {key: feature.kind for key, feature in record.context.items() if feature.kind}
        arrays = {name: frames for name, frames in record.feature_lists.items() if isinstance(frames, np.ndarray)}
        sizes = {name: frames.shape[1] for name, frames in arrays.items() if len(frames)}
        if len(sizes) < len(record.feature_lists) or max(len(kinds), len(sizes)) > MOST_NAMES:
            return None
        return cls(kinds, sizes)


class Ranges(NamedTuple):
    """A part of every record.

    Attributes:
        begins: int64 (records,), its first byte.
        ends: int64 (records,), the byte after it.
        found: bool (records,), whether it is there; if not, the numbers mean nothing.
    """

    begins: np.ndarray
    ends: np.ndarray
    found: np.ndarray


class Numbers(NamedTuple):
    """A list of whole numbers in every record.

    Attributes:
        values: int64, of all records.
        counts: int64 (records,).
    """

    values: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Places:
    """What is where in the records that are regular.

    Attributes:
        regular: bool (records,); of the others all else means nothing.
        texts: the string of every key of bytes.
        numbers: of every key of int64s.
        has: bool (records,), whether a record has a key, by key.
        frames: of every feature list all frames with their headers.
    """

    regular: np.ndarray
    texts: Mapping[str, Ranges]
    numbers: Mapping[str, Numbers]
    has: Mapping[str, np.ndarray]
    frames: Mapping[str, Ranges]


def places_of_records(content: np.ndarray, begins: np.ndarray, ends: np.ndarray, layout: Layout) -> Places:
    """Where everything is, in records of a layout.

    Args:
        content: uint8, the bytes of the records, and at least `PADDING` behind the last one.
        begins: int64 (records,), the first byte of each record's data.
        ends: int64 (records,), the byte after it.
        layout: of most of them.
    """
    return _Walk(content, begins, ends).places(layout)


class _Walk:
    """A walk through all records; `_regular` says which have been as they should so far."""

    def __init__(self, content: np.ndarray, begins: np.ndarray, ends: np.ndarray):
        self._content, self._begins, self._ends = content, begins, ends
        self._regular = np.ones(len(begins), bool)

    def places(self, layout: Layout) -> Places:
        context = self._field(self._begins, self._ends, _FIRST)
        lists = self._field(context.ends, self._ends, _SECOND)
        self._regular &= context.found & lists.found & (lists.ends == self._ends)
        features = self._entries(context, list(layout.kinds))
        frames = self._entries(lists, list(layout.sizes))
        texts, numbers = {}, {}
        for key, kind in layout.kinds.items():
            if kind == BYTES:
                texts[key] = self._text(features[key])
            else:
                packed = self._packed(features[key], _LISTS[kind])
                if kind == INT64S:
                    numbers[key] = self._numbers(packed)
                else:
                    self._keep((packed.ends - packed.begins) % 4 == 0, packed.found)
        for name, size in layout.sizes.items():
            self._check_frames(frames[name], size)
        return Places(self._regular, texts, numbers, {key: places.found for key, places in features.items()}, frames)

    def _keep(self, fine: np.ndarray, of: np.ndarray):
        """Of the records that have something, those where it is fine stay regular."""
        self._regular &= fine | ~of

    def _at(self, places: np.ndarray) -> np.ndarray:
        return self._content.take(places, mode="clip")

    def _field(self, at: np.ndarray, ends: np.ndarray, tag: int) -> Ranges:
        """A field with a length, which must have a tag and fit into its message."""
        lengths, begins, found = self._lengths(at + 1)
        stops = begins + lengths
        return Ranges(begins, stops, found & (self._at(at) == tag) & (stops <= ends))

    def _lengths(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Numbers of at most three bytes, the places after them, and whether they have no more."""
        byte = self._at(at).astype(np.int64)
        values, after, unfinished = byte & 0x7F, at + 1, byte >= 0x80
        for shift in (7, 14):
            if not unfinished.any():
                break
            byte = self._at(after).astype(np.int64)
            values += np.where(unfinished, (byte & 0x7F) << shift, 0)
            after = after + unfinished
            unfinished &= byte >= 0x80
        return values, after, ~unfinished

    def _entries(self, maps: Ranges, names: Sequence[str]) -> dict[str, Ranges]:
        """The values of a map by key; keys may be in any order, and each must be one of the names."""
        entries = {name: self._nothing() for name in names}
        at = maps.begins.copy()
        for _ in names:
            rows = np.flatnonzero(self._regular & (at < maps.ends))
            entry = self._field(at[rows], maps.ends[rows], _FIRST)
            key = self._field(entry.begins, entry.ends, _FIRST)
            value = self._field(key.ends, entry.ends, _SECOND)
            unnamed = entry.found & key.found & value.found & (value.ends == entry.ends)
            fine = np.zeros(len(rows), bool)
            for name, places in entries.items():
                same = self._those_named(name, key, unnamed)
                unnamed[same] = False
                fine[same] = ~places.found[rows[same]]
                places.begins[rows[same]], places.ends[rows[same]] = value.begins[same], value.ends[same]
                places.found[rows[same]] = True
            self._regular[rows] = fine
            at[rows] = entry.ends
        self._regular &= at == maps.ends
        return entries

    def _those_named(self, name: str, key: Ranges, candidates: np.ndarray) -> np.ndarray:
        """Indices of the candidates with this key."""
        text = np.frombuffer(name.encode(), np.uint8)
        rows = np.flatnonzero(candidates & (key.ends - key.begins == len(text)))
        return rows[(self._at(key.begins[rows, np.newaxis] + np.arange(len(text))) == text).all(axis=1)]

    def _nothing(self) -> Ranges:
        numbers = np.zeros((2, len(self._begins)), np.int64)
        return Ranges(*numbers, np.zeros(len(self._begins), bool))

    def _text(self, places: Ranges) -> Ranges:
        """The one string of a list of bytes."""
        strings = self._field(places.begins, places.ends, _FIRST)
        text = self._field(strings.begins, strings.ends, _FIRST)
        self._keep(
            strings.found & text.found & (strings.ends == places.ends) & (text.ends == places.ends), places.found
        )
        return Ranges(text.begins, text.ends, places.found)

    def _packed(self, places: Ranges, tag: int) -> Ranges:
        """The bytes of a list of numbers, which may be empty."""
        lists = self._field(places.begins, places.ends, tag)
        packed = self._field(lists.begins, lists.ends, _FIRST)
        empty = lists.begins == places.ends
        fine = empty | (packed.found & (packed.ends == places.ends))
        self._keep(lists.found & (lists.ends == places.ends) & fine, places.found)
        return Ranges(np.where(empty, lists.begins, packed.begins), places.ends, places.found)

    def _numbers(self, packed: Ranges) -> Numbers:
        """Numbers of 0 or more; the last byte of each, and no other, is below 0x80."""
        self._keep((packed.begins == packed.ends) | (self._at(packed.ends - 1) < 0x80), packed.found)
        rows = np.flatnonzero(self._regular & packed.found & (packed.begins < packed.ends))
        places, of_row = all_places(packed.begins[rows], packed.ends[rows] - packed.begins[rows])
        byte = self._at(places).astype(np.int64)
        last = np.flatnonzero(byte < 0x80)
        first = np.concatenate([[0], last[:-1] + 1]) if len(last) else last
        digits = np.arange(len(byte)) - np.repeat(first, last + 1 - first)
        self._regular[rows[of_row[digits >= _MOST_VARINT_BYTES]]] = False
        parts = (byte & 0x7F) << 7 * np.minimum(digits, _MOST_VARINT_BYTES - 1)
        counts = np.zeros(len(self._begins), np.int64)
        counts[rows] = np.bincount(of_row[last], minlength=len(rows))
        return Numbers(np.add.reduceat(parts, first) if len(first) else parts, counts)

    def _check_frames(self, places: Ranges, size: int):
        """Frames of one size: each has the header that belongs to it, at the same distance."""
        header = np.frombuffer(frame_header(size), np.uint8)
        lengths, stride = places.ends - places.begins, len(header) + size
        self._keep((lengths > 0) & (lengths % stride == 0), places.found)
        rows = np.flatnonzero(self._regular & places.found)
        _, of_row = all_places(places.begins[rows], lengths[rows] // stride)
        firsts = np.flatnonzero(np.diff(of_row, prepend=-1))
        at = places.begins[rows][of_row] + (np.arange(len(of_row)) - firsts[of_row]) * stride
        fine = np.ones(len(at), bool)
        for index, byte in enumerate(header):
            fine &= self._at(at + index) == byte
        self._regular[rows[of_row[~fine]]] = False


def all_places(begins: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every place of some ranges, and the index of its range."""
    of_range = np.repeat(np.arange(len(begins)), lengths)
    before = np.cumsum(lengths) - lengths
    return begins[of_range] + np.arange(len(of_range)) - before[of_range], of_range
