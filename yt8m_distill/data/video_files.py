"""File patterns to batches: order, shuffling, resume position, and what happens to bad records."""

import contextlib
import hashlib
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from yt8m_distill.config.dataset import SEGMENT, DatasetSpec, SpecOverrides
from yt8m_distill.data import format_detection, reading
from yt8m_distill.data.bad_records import BadRecord, BadRecords
from yt8m_distill.data.files import find_files
from yt8m_distill.data.prefetch import prefetched
from yt8m_distill.data.tfrecord import DamagedRecord, Frame, ask_for, frames_of_file, place_problem, read_record
from yt8m_distill.data.video import Video
from yt8m_distill.data.views import BEGINNING, Batch, Part, Position, View
from yt8m_distill.errors import UserError

log = logging.getLogger(__name__)
FILES_READ_AT_ONCE = 8
WINDOW_RECORDS = 2048  # shuffled together; about 470 MB of full-size YouTube-8M records, which are not held in memory
RECORDS_TO_DETECT_BY = 16  # of every file, where bad ones are skipped


@dataclass(frozen=True)
class VideoFiles:
    """Files with videos, and how to read them.

    Attributes:
        files: TFRecord files.
        spec: their format.
        bad_records: what happens to bad records, and what has happened.
        fraction: share of the records that is read, always the same ones; those of a smaller share are among those of
            a larger one.
        check: raises DamagedRecord where a video is no use for what is done with it.
        num_bytes: of all files, for estimates of the number of videos.
    """

    files: tuple[str, ...]
    spec: DatasetSpec
    bad_records: BadRecords = field(default_factory=BadRecords)
    fraction: float = 1.0
    check: Callable[[Video], object] = lambda video: None
    num_bytes: int = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "files", tuple(self.files))
        object.__setattr__(self, "num_bytes", sum(os.path.getsize(path) for path in self.files))

    def ordered_batches(
        self, view: View, batch_size: int, seed: int = 0, start: Position = BEGINNING
    ) -> Iterator[Batch]:
        """Every video once, file after file, in the order of the records.

        Args:
            view: which frames.
            batch_size: videos a batch; the last one may be smaller, and where bad records are skipped, others, too.
            seed: with the video's id it decides the frames of a "random" selection.
            start: where to begin.

        Returns:
            Batches of "video_id" (batch,), "frames" (batch, frames, features) uint8, zero-padded to the longest of the
            batch, "num_frames" (batch,) int32, "labels" (batch, classes) uint8, "position" (batch, 3) int64, the
            `Position` after each video, and for a view with all frames and a selection also "student_indices"
            (batch, k) and "student_num_frames" (batch,), int32. See `readers.all_frames` for video level and segments.
            The segments of a video are never in two batches, so most batches of segments are a little smaller than
            `batch_size`, and one of a single video may be larger.
        """
        groups = [[file] for file in range(len(self.files))]
        return self._batches(self._windows(groups, start, None), view, batch_size, seed)

    def training_batches(
        self,
        view: View,
        batch_size: int,
        *,
        seed: int,
        epoch: int,
        start: Position = BEGINNING,
        part: Part | None = None,
    ) -> Iterator[Batch]:
        """One epoch in an order that is a function of (seed, epoch) alone; see `ordered_batches` for the batches.

        Files in random order are read in groups of up to 8. The next records of all files of a group, the same number
        of each, are a window of about 2048 records, in which they are shuffled.

        With a `part` the batches, and their positions, are those of all processes, of which only this one's videos are
        read; "videos_of_all" is the number of videos in the whole batch. Where bad records are skipped, and of
        segments, all have to be read to know how many there are.
        """
        epoch_seed = int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])
        order = np.random.default_rng(epoch_seed).permutation(len(self.files))
        groups = np.array_split(order, -(-len(order) // FILES_READ_AT_ONCE))
        return self._batches(self._windows(groups, start, epoch_seed, part), view, batch_size, epoch_seed, part)

    def longest_of_first(self, count: int = 256) -> int:
        """Frames of the longest of the first `count` videos; 0 where there are none."""
        longest = max((video.num_frames for video in self.videos(count)), default=0)
        return min(longest, self.spec.longest_example or longest)

    def videos(self, count: int | None = None) -> Iterator[Video]:
        """The first `count` videos in the order of the records, or all of them."""
        windows = self._windows([[file] for file in range(len(self.files))], BEGINNING, None)
        for places in itertools.islice(_in_batches(windows, 1), count):
            yield from self._read(places, np.empty(places[0, 3], np.uint8))[1]

    def holds_records(self) -> bool:
        """Whether there is anything to read."""
        groups = [[file] for file in range(len(self.files))]
        return next(self._windows(groups, BEGINNING, None), None) is not None

    def _windows(
        self, groups: Sequence[Sequence[int]], start: Position, seed: int | None, part: Part | None = None
    ) -> Iterator[np.ndarray]:
        """Windows of places (records, 7): file, number, offset, bytes, and the `Position` after each record."""
        records_each = WINDOW_RECORDS // max(map(len, groups))
        for group in range(start.group, len(groups)):
            first = start.window if group == start.group else 0
            streams = [self._sound_frames(int(file), first * records_each, part) for file in groups[group]]
            for window in itertools.count(first):
                places = [place for stream in streams for place in itertools.islice(stream, records_each)]
                if not places:
                    break
                order = np.arange(len(places))
                if seed is not None:
                    np.random.default_rng((seed, group, window)).shuffle(order)
                positions = [(group, window, number) for number in range(1, len(places) + 1)]
                done = start.record if (group, window) == (start.group, start.window) else 0
                yield np.concatenate([np.array(places, np.int64)[order], np.array(positions, np.int64)], axis=1)[done:]

    def _sound_frames(self, file: int, skip: int, part: Part | None = None) -> Iterator[tuple[int, int, int, int]]:
        """(file, number, offset, bytes) of each record, as far as they can be found, without the first `skip`."""
        path = self.files[file]
        self.bad_records.note_file(path, os.path.getsize(path))
        if self.fraction < 1:  # a record's number does not say how many of those that are read came before it
            return itertools.islice(self._places(file, 0, part), skip, None)
        return self._places(file, skip, part)

    def _places(self, file: int, skip: int, part: Part | None) -> Iterator[tuple[int, int, int, int]]:
        path = self.files[file]
        for frame in frames_of_file(path, skip, read_ahead=not self._reads_only(part)):
            if problem := place_problem(path, frame):
                self.bad_records.note(path, BadRecord(frame.number, frame.num_bytes, problem))
            elif self.fraction == 1 or _is_among(self.fraction, path, frame.number):
                yield file, frame.number, frame.offset, frame.num_bytes

    def _reads_only(self, part: Part | None) -> bool:
        """Whether the records of a part can be told before they are read."""
        return part is not None and not self.bad_records.skip and self.spec.level != SEGMENT

    def _batches(
        self, windows: Iterator[np.ndarray], view: View, batch_size: int, seed: int, part: Part | None = None
    ) -> Iterator[Batch]:
        """Each batch is read while the one before it is used."""
        if view.in_segments or self.spec.level == SEGMENT:
            read = self._read_segment_batches
        else:
            read = self._read_parts if self._reads_only(part) else self._read_batches
        return prefetched(read(windows, view, batch_size, seed, part))

    def _read_batches(
        self, windows: Iterator[np.ndarray], view: View, batch_size: int, seed: int, part: Part | None
    ) -> Iterator[Batch]:
        buffer = np.empty(0, np.uint8)
        for places in _in_batches(windows, batch_size):
            buffer = _large_enough(buffer, places)
            positions, videos = self._read(places, buffer)
            if videos:  # all records of a batch may have been skipped
                yield self._batch(videos, positions, view, seed, part)

    def _read_parts(
        self, windows: Iterator[np.ndarray], view: View, batch_size: int, seed: int, part: Part
    ) -> Iterator[Batch]:
        buffer = np.empty(0, np.uint8)
        for places in _in_batches(windows, batch_size):
            own = part.of(places)
            buffer = _large_enough(buffer, own)
            _, videos = self._read(own, buffer, ask_before=True)
            yield {
                **view.batch(videos, self.spec, seed),
                "position": places[-1:, 4:],
                "videos_of_all": len(places),
            }

    def _batch(self, videos: Sequence[Video], positions: np.ndarray, view: View, seed: int, part: Part | None) -> Batch:
        if part is None:
            return {**view.batch(videos, self.spec, seed), "position": positions}
        own = view.batch(part.of(videos), self.spec, seed)
        return {**own, "position": positions[-1:], "videos_of_all": len(videos)}

    def _read_segment_batches(
        self, windows: Iterator[np.ndarray], view: View, batch_size: int, seed: int, part: Part | None
    ) -> Iterator[Batch]:
        """The segments of whole records, as many as go into a batch: it ends where a `Position` is."""
        segments, positions = [], []
        for places in _in_batches(windows, 1):
            after, videos = self._read(places, np.empty(places[0, 3], np.uint8))
            of_record = [segment for video in videos for segment in view.examples(video, self.spec)]
            if segments and len(segments) + len(of_record) > batch_size:
                yield self._batch(segments, np.array(positions), view, seed, part)
                segments, positions = [], []
            segments += of_record
            positions += [after[0]] * len(of_record) if of_record else []
        if segments:
            yield self._batch(segments, np.array(positions), view, seed, part)

    def _read(
        self, places: np.ndarray, buffer: np.ndarray, *, ask_before: bool = False
    ) -> tuple[np.ndarray, list[Video]]:
        """The videos at the places, views of the buffer, and the positions after them; bad ones left out.

        With `ask_before` the system is told of all places before the first one is read, and can fetch them together.
        """
        positions, videos, end = [], [], 0
        with contextlib.ExitStack() as opened:
            descriptors = {}
            for file in set(places[:, 0].tolist()):
                descriptors[file] = opened.enter_context(open(self.files[file], "rb", buffering=0)).fileno()
            for file, _, offset, num_bytes, *_ in places.tolist() if ask_before else ():
                ask_for(descriptors[file], offset, num_bytes)
            for file, number, offset, num_bytes, *position in places.tolist():
                path = self.files[file]
                begin, end = end, end + num_bytes
                try:
                    record = read_record(descriptors[file], offset, buffer[begin:end])
                    video = reading.read_video(record, self.spec)
                    self.check(video)
                    videos.append(video)
                    positions.append(position)
                except DamagedRecord as error:
                    self.bad_records.note(path, BadRecord(number, num_bytes, str(error)))
        return np.array(positions, np.int64).reshape(-1, 3), videos


def _in_batches(windows: Iterator[np.ndarray], batch_size: int) -> Iterator[np.ndarray]:
    """The rows of all windows in parts of `batch_size`; the last one may be smaller."""
    rest = None
    for window in windows:
        rows = window if rest is None else np.concatenate([rest, window])
        whole = len(rows) - len(rows) % batch_size
        yield from (rows[begin : begin + batch_size] for begin in range(0, whole, batch_size))
        rest = rows[whole:]
    if rest is not None and len(rest):
        yield rest


def _large_enough(buffer: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The same buffer for as long as it will do: fresh memory costs as much as reading into it."""
    needed = places[:, 3].sum()
    return buffer if len(buffer) >= needed else np.empty(needed, np.uint8)


def open_videos(
    pattern: str,
    flag: str,
    overrides: SpecOverrides,
    spec: DatasetSpec | None = None,
    *,
    skip_bad_records: bool = False,
) -> VideoFiles:
    """Files that match `pattern`, with their format, detected from the first record unless `spec` is given.

    Args:
        skip_bad_records: leave out what is damaged, instead of raising.

    Raises:
        UserError: no file matches, no file holds a record, not a TFRecord, or an edition that `detect_spec` refuses;
            an empty file, unless bad records are skipped.
    """
    files = find_files(pattern, flag)
    bad_records = BadRecords(skip_bad_records)
    for path in files:
        bad_records.note_file(path, os.path.getsize(path))
    return VideoFiles(tuple(files), spec or _detect(files, overrides, skip_bad_records), BadRecords(skip_bad_records))


def _detect(files: Sequence[str], overrides: SpecOverrides, skip_bad_records: bool) -> DatasetSpec:
    """The format by the first record, or by the first that shows one where bad ones are skipped."""
    problem = None
    for path in files:
        for frame in itertools.islice(frames_of_file(path), RECORDS_TO_DETECT_BY if skip_bad_records else 1):
            try:
                return format_detection.detect_spec(_record(path, frame), f"{path}, record {frame.number}", overrides)
            except UserError as error:
                problem = problem or error
        if problem and not skip_bad_records:
            break
    raise problem or UserError(f"the {len(files)} files hold no records (first: {files[0]}).")


def _record(path: str, frame: Frame) -> bytes:
    try:
        if problem := place_problem(path, frame):
            raise DamagedRecord(problem)
        with open(path, "rb", buffering=0) as file:
            return bytes(read_record(file.fileno(), frame.offset, np.empty(frame.num_bytes, np.uint8)))
    except DamagedRecord as error:
        raise UserError(f"{path}, record {frame.number}: {error}.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error


def _is_among(fraction: float, path: str, number: int) -> bool:
    """Whether a record, by its file's name and its number, is among a fraction of all records."""
    place = f"{os.path.basename(path)}:{number}".encode()
    return int.from_bytes(hashlib.blake2b(place, digest_size=6).digest()) < fraction * 2**48
