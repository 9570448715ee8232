"""Small records read many at once: the same videos as `reading.RecordReader` reads one by one, several times faster.

A record of a few kilobytes takes Python longer to take apart than anything else. So the records of a window are read
in one piece of each file, and walked through together (`record_layout`); the rules of `record_format` are then checked
for all of them. Only what is certain to be a good video is taken from there: any other record is left to
`RecordReader`, which reads it, or says what is wrong with it.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import google_crc32c
import numpy as np

from yt8m_distill.config.dataset import FRAME, DatasetSpec
from yt8m_distill.data.reading import RecordReader
from yt8m_distill.data.record_files import open_unchanged
from yt8m_distill.data.record_format import (
    LABELS_KEY,
    LEARNING,
    MOST_MISSING_FRAMES,
    PREDICTION,
    THIN_FRAMES_KEY,
    THIN_MAX_FRAMES_KEY,
    THIN_SAMPLING_KEY,
    problem_of,
)
from yt8m_distill.data.record_layout import PADDING, Layout, Numbers, Places, Ranges, all_places, places_of_records
from yt8m_distill.data.sequence_example import BYTES, INT64S, frame_header, regular_record
from yt8m_distill.data.tfrecord import FOOTER_BYTES, HEADER_BYTES, masked
from yt8m_distill.data.video import Video
from yt8m_distill.data.video_table import VideoTable
from yt8m_distill.errors import UserError

SMALL_BYTES = 1 << 13  # of a record, on average; larger ones take no longer one by one
FEWEST_RECORDS = 16  # below, one by one is as fast
_MOST_BYTES = 1 << 25  # read at once
_MOST_BESIDE = 16  # times the bytes of the records: as much may be read to have them
_TRIED_RECORDS = 4  # for a layout
_THIN_KEYS = (THIN_FRAMES_KEY, THIN_MAX_FRAMES_KEY, THIN_SAMPLING_KEY)
_NOT_IN_CSV = np.isin(np.arange(256), list(b',"\r\n')) | (np.arange(256) >= 0x80)


class SmallRecords:
    """Reads batches of the records of some windows.

    Args:
        reader: reads what is not small, or not regular.
    """

    def __init__(self, reader: RecordReader):
        self._reader = reader
        self._content = np.empty(0, np.uint8)
        self._buffer = np.empty(0, np.uint8)

    def batches(
        self, batches: Sequence[np.ndarray], *, prefetch: bool = False
    ) -> Iterator[tuple[np.ndarray, "VideoTable | list[Video]"]]:
        """The positions after the records of each batch, and their videos, bad ones left out; valid until the next one.

        Args:
            batches: each rows of windows of `ReadingOrder`; all together, about a window.
            prefetch: as of `RecordReader.read`.
        """
        every = np.concatenate(batches)
        window = self._window(every) if self._are_small(every) else None
        begin = 0
        for places in batches:
            rows = np.arange(begin, begin + len(places))
            begin += len(places)
            if window is None or self._has_changed(places):
                yield self._one_by_one(places, prefetch)
            else:
                yield self._batch(window, places, rows)

    def _batch(
        self, window: "_Window", places: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, "VideoTable | list[Video]"]:
        regular = window.regular[rows]
        if regular.all():
            begin = window.table_rows[rows[0]]
            return places[:, 4:], window.table[begin : begin + len(rows)]
        good = window.table.rows(window.table_rows[rows[regular]])
        positions, videos = self._one_by_one(places[~regular])
        if not videos:
            return places[regular, 4:], good
        positions = np.concatenate([places[regular, 4:], positions])
        order = np.lexsort(positions.T[::-1])
        every = [*good, *videos]
        return positions[order], [every[index] for index in order.tolist()]

    def _one_by_one(self, places: np.ndarray, prefetch: bool = False) -> tuple[np.ndarray, list[Video]]:
        needed = places[:, 3].sum()
        if len(self._buffer) < needed:  # fresh memory costs as much as reading into it
            self._buffer = np.empty(needed, np.uint8)
        return self._reader.read(places, self._buffer, prefetch=prefetch)

    def _are_small(self, places: np.ndarray) -> bool:
        spec, num_bytes = self._reader.spec, places[:, 3].sum()
        fits = len(places) >= FEWEST_RECORDS and num_bytes <= min(SMALL_BYTES * len(places), _MOST_BYTES)
        return bool(fits and spec.level == FRAME and spec.id_key)

    def _has_changed(self, places: np.ndarray) -> bool:
        """Whether a file is not as it was: what is read one by one then says so."""
        for path in {self._reader.files[file] for file in places[:, 0].tolist()}:
            try:
                status, stamp = os.stat(path), self._reader.stamps.get(path)
            except OSError:
                return True
            if stamp and (stamp.num_bytes, stamp.written) != (status.st_size, status.st_mtime_ns):
                return True
        return False

    def _window(self, places: np.ndarray) -> "_Window | None":
        begins = self._load(places)
        if begins is None:
            return None
        begins, ends = begins + HEADER_BYTES, begins + places[:, 3] - FOOTER_BYTES
        layout = self._layout(begins, ends)
        if layout is None:
            return None
        sound = self._are_sound(begins, ends)
        found = places_of_records(self._content, begins, ends, layout)
        return _Videos(self._content, found, layout, self._reader.spec, self._reader.use).window(sound)

    def _load(self, places: np.ndarray) -> np.ndarray | None:
        """Where each record begins in `_content`; None where there is much between them, or a file cannot be read."""
        files, of_file = np.unique(places[:, 0], return_inverse=True)
        first, last = np.full(len(files), np.iinfo(np.int64).max), np.zeros(len(files), np.int64)
        np.minimum.at(first, of_file, places[:, 2])
        np.maximum.at(last, of_file, places[:, 2] + places[:, 3])
        ends = np.cumsum(last - first)
        if ends[-1] > min(_MOST_BESIDE * places[:, 3].sum(), 2 * _MOST_BYTES):
            return None
        if len(self._content) < ends[-1] + PADDING:
            self._content = np.zeros(ends[-1] + PADDING, np.uint8)
        begins = ends - (last - first)
        for file, offset, begin, end in zip(
            files.tolist(), first.tolist(), begins.tolist(), ends.tolist(), strict=True
        ):
            path = self._reader.files[file]
            try:
                with open_unchanged(path, self._reader.stamps.get(path)) as records:
                    records.read_into(self._content[begin:end], offset)
            except (OSError, UserError):  # is raised where the batch is read that needs the file
                return None
        return places[:, 2] - first[of_file] + begins[of_file]

    def _are_sound(self, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Whether the checksum of each record is right."""
        content, checksum = self._content, google_crc32c.value
        crcs = [checksum(content[begin:end]) for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
        stored = self._content[ends[:, np.newaxis] + np.arange(FOOTER_BYTES)].view("<u4")[:, 0]
        return masked(np.array(crcs, np.int64)) == stored

    def _layout(self, begins: np.ndarray, ends: np.ndarray) -> Layout | None:
        """That of the first good record; None where the first ones have none, or not what is read."""
        spec = self._reader.spec
        for begin, end in zip(begins[:_TRIED_RECORDS].tolist(), ends[:_TRIED_RECORDS].tolist(), strict=True):
            record = regular_record(memoryview(self._content)[begin:end])
            if record is None or problem_of(record, spec, self._reader.use):
                continue
            layout = Layout.of(record)
            if layout and layout.kinds.get(spec.id_key) == BYTES and set(spec.feature_names) <= set(layout.sizes):
                return Layout({LABELS_KEY: INT64S, **layout.kinds}, layout.sizes)  # others may have labels
        return None


@dataclass(frozen=True)
class _Window:
    """The records of a window.

    Attributes:
        regular: bool (records,), whether a record is a video of the table.
        table_rows: int64 (records,), which one.
        table: of those that are regular.
    """

    regular: np.ndarray
    table_rows: np.ndarray
    table: VideoTable


@dataclass(frozen=True)
class _Videos:
    """Checks the rules of `record_format` for many records, and makes videos of those that follow them."""

    content: np.ndarray
    places: Places
    layout: Layout
    spec: DatasetSpec
    use: str

    def window(self, sound: np.ndarray) -> _Window:
        counts, strides = self._frame_counts()
        read = np.minimum(counts, self.spec.max_frames) if self.spec.max_frames else counts
        same_length = read.max(axis=1) - read.min(axis=1) <= MOST_MISSING_FRAMES
        ids = self.places.texts[self.spec.id_key]
        regular = self.places.regular & sound & same_length & self._have_features() & self._are_ids_fine(ids)
        regular &= self._are_labels_fine() & self._are_thinned()
        rows = np.flatnonzero(regular)
        labels = self._labels(rows)
        begins = np.stack([self.places.frames[name].begins for name in self.spec.feature_names], axis=1)
        headers = np.array(strides) - self.spec.feature_sizes
        table = VideoTable(
            self.content,
            self._strings(ids, rows),
            np.concatenate([[0], np.cumsum(labels.counts)]),
            labels.values,
            (begins + headers)[rows],
            counts[rows],
            strides,
            self.spec.feature_sizes,
            read.min(axis=1)[rows].astype(np.int32),
        )
        return _Window(regular, np.cumsum(regular) - 1, table)

    def _strings(self, texts: Ranges, rows: np.ndarray) -> list[bytes]:
        lengths = texts.ends[rows] - texts.begins[rows]
        joined = self.content[all_places(texts.begins[rows], lengths)[0]].tobytes()
        ends = np.cumsum(lengths).tolist()
        return [joined[begin:end] for begin, end in itertools.pairwise([0, *ends])]

    def _frame_counts(self) -> tuple[np.ndarray, list[int]]:
        """Frames of each feature, (records, features), and the bytes from one to the next."""
        strides = [len(frame_header(size)) + size for size in self.spec.feature_sizes]
        lists = [self.places.frames[name] for name in self.spec.feature_names]
        counts = [(each.ends - each.begins) // stride for each, stride in zip(lists, strides, strict=True)]
        return np.stack(counts, axis=1), strides

    def _have_features(self) -> np.ndarray:
        sizes_fit = all(
            self.layout.sizes[name] == size
            for name, size in zip(self.spec.feature_names, self.spec.feature_sizes, strict=True)
        )
        return sizes_fit & np.all([self.places.frames[name].found for name in self.spec.feature_names], axis=0)

    def _are_ids_fine(self, ids: Ranges) -> np.ndarray:
        if self.use == LEARNING:
            return ids.found
        fine = self.places.regular & ids.found
        rows = np.flatnonzero(fine)
        places, of_row = all_places(ids.begins[rows], ids.ends[rows] - ids.begins[rows])
        fine[rows[of_row[_NOT_IN_CSV[self.content[places]]]]] = False
        return fine

    def _are_labels_fine(self) -> np.ndarray:
        """Each in [0, classes), none twice."""
        if LABELS_KEY not in self.places.numbers:  # of another kind
            return np.zeros(len(self.places.regular), bool)
        fine = np.ones(len(self.places.regular), bool)
        values, counts = self.places.numbers[LABELS_KEY]
        of_row = np.repeat(np.arange(len(counts)), counts)
        outside = values >= self.spec.num_classes
        fine[of_row[outside]] = False
        pairs = np.sort(of_row[~outside] * self.spec.num_classes + values[~outside])
        fine[pairs[1:][pairs[1:] == pairs[:-1]] // self.spec.num_classes] = False
        return fine

    def _labels(self, rows: np.ndarray) -> Numbers:
        """Those of some records."""
        if self.use == PREDICTION:
            return Numbers(np.zeros(0, np.int64), np.zeros(len(rows), np.int64))
        values, counts = self.places.numbers[LABELS_KEY]
        kept = np.zeros(len(counts), bool)
        kept[rows] = True
        return Numbers(values[np.repeat(kept, counts)], counts[rows])

    def _are_thinned(self) -> np.ndarray:
        """Whether records hold the frames that the spec says: all, or those of thin shards."""
        spec, lacks_all = self.spec, np.ones(len(self.places.regular), bool)
        for key in _THIN_KEYS:
            lacks_all &= ~self.places.has.get(key, np.zeros_like(lacks_all))
        if spec.thin_frames is None:
            return lacks_all
        if spec.thin_sampling != "uniform" or THIN_SAMPLING_KEY in self.layout.kinds:
            return np.zeros_like(lacks_all)
        return self._is_number(THIN_FRAMES_KEY, spec.thin_frames) & self._is_number(
            THIN_MAX_FRAMES_KEY, spec.max_frames
        )

    def _is_number(self, key: str, number: int) -> np.ndarray:
        """Whether a key of the context holds just this number."""
        same = np.zeros(len(self.places.regular), bool)
        if key in self.places.numbers:
            values, counts = self.places.numbers[key]
            single = counts == 1
            same[single] = values[np.repeat(single, counts)] == number
        return same & self.places.has.get(key, same)
