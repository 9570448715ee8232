"""Files with videos: opened by a pattern, read as videos or as batches."""

import hashlib
import itertools
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np

from yt8m_distill.config.dataset import SEGMENT, DatasetSpec, SpecOverrides
from yt8m_distill.config.shard import Shard
from yt8m_distill.data.bad_records import BadRecord, BadRecords
from yt8m_distill.data.batch_reader import BatchReader
from yt8m_distill.data.batches import Batch, View
from yt8m_distill.data.feature_ranges import with_described, with_ranges
from yt8m_distill.data.float_frames import with_fitted_ranges
from yt8m_distill.data.format_detection import detect_files
from yt8m_distill.data.reading import RecordReader
from yt8m_distill.data.reading_order import BEGINNING, Place, Position, ReadingOrder, in_batches
from yt8m_distill.data.record_files import FileStamp, open_unchanged, tell_of_compressed
from yt8m_distill.data.record_format import LEARNING
from yt8m_distill.data.tfrecord import Frame
from yt8m_distill.data.video import Video
from yt8m_distill.errors import UserError
from yt8m_distill.files.patterns import find_files


@dataclass(frozen=True)
class VideoFiles:
    """Files with videos, and how to read them.

    Attributes:
        files: paths of TFRecord files.
        spec: their format.
        bad_records: what happens to bad records, and what has happened.
        fraction: share of the records that is read, always the same ones; those of a smaller share are among those of
            a larger one.
        rest: whether the records that are not among that share are read instead.
        use: what the records are read for, one of `record_format.USES`.
        stamps: of files as they were found, by path: a file that changes meanwhile is an error.
    """

    files: tuple[str, ...]
    spec: DatasetSpec
    bad_records: BadRecords = field(default_factory=BadRecords)
    fraction: float = 1.0
    rest: bool = False
    use: str = LEARNING
    stamps: Mapping[str, FileStamp] = field(default_factory=dict, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "files", tuple(self.files))

    @cached_property
    def num_bytes(self) -> int:
        """Of all files, for estimates of the number of videos."""
        return sum(map(self.size_of, self.files))

    def size_of(self, path: str) -> int:
        """Bytes of one of the files."""
        return self.stamps[path].num_bytes if path in self.stamps else os.path.getsize(path)

    def ordered_batches(
        self, view: View, batch_size: int, seed: int = 0, start: Position = BEGINNING
    ) -> Generator[Batch]:
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
            (batch, k) and "student_num_frames" (batch,), int32. See `batches.all_frames` for video level and segments.
            The segments of a video are never in two batches, so most batches of segments are a little smaller than
            `batch_size`, and one of a single video may be larger.
        """
        return self._batches(ReadingOrder.of_files(len(self.files)), start, view, batch_size, seed)

    def training_batches(
        self,
        view: View,
        batch_size: int,
        *,
        seed: int,
        epoch: int,
        start: Position = BEGINNING,
        shard: Shard | None = None,
    ) -> Generator[Batch]:
        """One epoch in the order `ReadingOrder.of_epoch`; see `ordered_batches` for the batches.

        With a `shard` the batches, and their positions, are those of all processes, of which only this one's videos are
        read; "videos_of_all" is the number of videos in the whole batch. Where bad records are skipped, and of
        segments, all have to be read to know how many there are.
        """
        order = ReadingOrder.of_epoch(len(self.files), seed, epoch)
        return self._batches(order, start, view, batch_size, order.seed, shard)

    def _batches(
        self, order: ReadingOrder, start: Position, view: View, batch_size: int, seed: int, shard: Shard | None = None
    ) -> Generator[Batch]:
        reader = BatchReader(self._records, view, batch_size, seed, shard)
        places = partial(self._places_of_file, read_ahead=not reader.reads_shard_only)
        return reader.batches(order.windows(places, start))

    def longest_of_first(self, count: int = 256) -> int:
        """Frames of the longest of the first `count` videos; 0 where there are none."""
        longest = max((video.num_frames for video in self.videos(count)), default=0)
        return min(longest, self.spec.longest_example or longest)

    def videos(self, count: int | None = None) -> Iterator[Video]:
        """The first `count` videos in the order of the records, or all of them."""
        for places in itertools.islice(in_batches(self._windows_in_order(), 1), count):
            yield from self._records.read(places, np.empty(places[0, 3], np.uint8))[1]

    def holds_records(self) -> bool:
        """Whether there is anything to read."""
        return next(self._windows_in_order(), None) is not None

    def estimated_videos(self, count: int = 64, view: View | None = None) -> int:
        """Number of videos by file sizes and the mean length of the first `count` records; for progress bars only.

        At the segment level, and for a view in segments, the number of these.
        """
        lengths = [frame.num_bytes for frame in itertools.islice(self._frames(), count)]
        records = len(lengths) if len(lengths) < count else self.num_bytes / np.mean(lengths)
        return max(min(len(lengths), 1), round(self._share * records * self._examples_each(count, view or View())))

    def part(self, share: float) -> "VideoFiles":
        """A share of these videos, always the same ones."""
        kept = share * self._share
        return replace(self, fraction=1 - kept if self.rest else kept)

    @property
    def _share(self) -> float:
        """The share of the records that is read."""
        return 1 - self.fraction if self.rest else self.fraction

    def _frames(self) -> Iterator[Frame]:
        for path in self.files:
            with open_unchanged(path, self.stamps.get(path)) as records:
                yield from records.frames()

    def count_examples(self) -> int:
        """Number of videos, or at the segment level about that of rated segments; reads the headers of all records.

        Bad records are counted as far as their place is known.
        """
        files = replace(self, bad_records=BadRecords(skip=True))  # those that train complain
        records = sum(1 for file in range(len(self.files)) for _ in files._places_of_file(file, read_ahead=False))
        return round(records * files._examples_each(1024, View()))

    def _examples_each(self, count: int, view: View) -> float:
        """The mean of the first records."""
        if not view.in_segments and self.spec.level != SEGMENT:
            return 1.0
        numbers = [len(view.examples(video, self.spec)) for video in self.videos(count)]
        return float(np.mean(numbers)) if numbers else 1.0

    @property
    def _records(self) -> RecordReader:
        return RecordReader(self.files, self.spec, self.bad_records, self.use, self.stamps)

    def _windows_in_order(self) -> Iterator[np.ndarray]:
        return ReadingOrder.of_files(len(self.files)).windows(self._places_of_file)

    def _places_of_file(self, file: int, skip: int = 0, *, read_ahead: bool = True) -> Iterator[Place]:
        """The places of a file's records, as far as they can be found, without the first `skip`."""
        if self._share < 1:  # a record's number does not say how many of those that are read came before it
            return itertools.islice(self._readable_places(file, 0, read_ahead), skip, None)
        return self._readable_places(file, skip, read_ahead)

    def _readable_places(self, file: int, skip: int, read_ahead: bool) -> Iterator[Place]:
        path, reads_all = self.files[file], self._share == 1
        with open_unchanged(path, self.stamps.get(path)) as records:
            self.bad_records.note_file(path, records.all_bytes)
            for frame in records.frames(skip, read_ahead=read_ahead):
                number, offset, num_bytes, problem, is_gap = frame
                if problem:
                    self.bad_records.note(path, BadRecord(number, num_bytes, problem, is_gap))
                elif reads_all or _is_among(self.fraction, path, number) != self.rest:
                    yield file, number, offset, num_bytes


def _is_among(fraction: float, path: str, number: int) -> bool:
    """Whether a record, by its file's name and its number, is among a fraction of all records."""
    place = f"{os.path.basename(path)}:{number}".encode()
    return int.from_bytes(hashlib.blake2b(place, digest_size=6).digest()) < fraction * 2**48


def open_videos(
    pattern: str,
    flag: str,
    overrides: SpecOverrides,
    spec: DatasetSpec | None = None,
    *,
    skip_bad_records: bool = False,
    use: str = LEARNING,
) -> VideoFiles:
    """Files that match `pattern`, with their format, detected from the first record unless `spec` is given.

    Args:
        pattern: globs, files and folders, separated by commas.
        flag: where the pattern comes from, for errors.
        overrides: what the user says about the format.
        spec: the format; None: it is detected.
        skip_bad_records: leave out what is damaged, instead of raising.
        use: what the records are read for, one of `record_format.USES`.

    Raises:
        UserError: no file matches, no file holds a record, not a TFRecord, or an edition that `detect_spec` refuses;
            an empty file, unless bad records are skipped.
    """
    stamps = {path: FileStamp.of(path) for path in find_files(pattern, flag)}
    bad_records, files = BadRecords(skip_bad_records), tuple(stamps)
    for path, stamp in stamps.items():
        bad_records.note_file(path, stamp.num_bytes)
    tell_of_compressed(files)
    spec = spec or detect_files(files, with_described(overrides, files), skip_bad_records, use)
    spec = with_ranges(spec, files)
    if overrides.trained_id_key is None:  # otherwise the ranges are the model's
        spec = with_fitted_ranges(spec, files)
    check_generated_ids(spec, files)
    return VideoFiles(files, spec, BadRecords(skip_bad_records), use=use, stamps=stamps)


def check_generated_ids(spec: DatasetSpec, files: Sequence[str]):
    """Checks that ids of file name and record number differ, where records have none.

    Raises:
        UserError: two files have the same name.
    """
    seen: dict[str, str] = {}
    for path in files if not spec.id_key else ():
        other = seen.setdefault(os.path.basename(path), path)
        if other != path:
            raise UserError(f"--id_key= makes ids of file names, and '{other}' and '{path}' have the same.")


def check_segments(videos: VideoFiles, flag: str, count: int = 256):
    """Checks that there are rated segments, where these are the examples.

    Raises:
        UserError: none of the first `count` videos has any.
    """
    if videos.spec.level == SEGMENT and not any(video.ratings.starts for video in videos.videos(count)):
        raise UserError(
            f"--{flag}: none of the first videos has rated segments ('segment_start_times', 'segment_labels', "
            "'segment_scores'). Leave out --segment_labels for whole videos."
        )
