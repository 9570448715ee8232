"""Batches read from places: whole ones, one process's shard of each, or those of segments."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from yt8m_distill.config.dataset import SEGMENT
from yt8m_distill.config.shard import Shard
from yt8m_distill.data.batches import Batch, View
from yt8m_distill.data.prefetch import prefetched
from yt8m_distill.data.reading import RecordReader
from yt8m_distill.data.reading_order import batches_of_windows, in_batches
from yt8m_distill.data.small_records import SmallRecords
from yt8m_distill.data.video import Video


@dataclass(frozen=True)
class BatchReader:
    """Makes batches of the records at some places.

    Attributes:
        records: reads the videos.
        view: which frames.
        batch_size: videos a batch.
        seed: with the video's id it decides frames that are drawn.
        shard: of every batch, which is read; None: all of it.
    """

    records: RecordReader
    view: View
    batch_size: int
    seed: int
    shard: Shard | None = None

    @property
    def reads_shard_only(self) -> bool:
        """Whether the records of a shard are known before they are read.

        Where bad records are skipped, and of segments, all have to be read to know how many there are.
        """
        return self.shard is not None and not self.records.bad_records.skip and self.records.spec.level != SEGMENT

    def batches(self, windows: Iterator[np.ndarray]) -> Generator[Batch]:
        """Batches of the windows of a `ReadingOrder`; each is read while the one before it is used."""
        if self.view.in_segments or self.records.spec.level == SEGMENT:
            return prefetched(self._segment_batches(windows))
        return prefetched(self._shards(windows) if self.reads_shard_only else self._whole_batches(windows))

    def _whole_batches(self, windows: Iterator[np.ndarray]) -> Iterator[Batch]:
        records = SmallRecords(self.records)
        for batches in batches_of_windows(windows, self.batch_size):
            for positions, videos in records.batches(batches):
                if videos:  # all records of a batch may have been skipped
                    yield self._batch(videos, positions)

    def _shards(self, windows: Iterator[np.ndarray]) -> Iterator[Batch]:
        records = SmallRecords(self.records)
        for batches in batches_of_windows(windows, self.batch_size):
            of_shard = [self.shard.of_at_least_one(places) for places in batches]
            for places, (_, videos) in zip(batches, records.batches(of_shard, prefetch=True), strict=True):
                yield {**self._arrays(videos), "position": places[-1:, 4:], "videos_of_all": len(places)}

    def _segment_batches(self, windows: Iterator[np.ndarray]) -> Iterator[Batch]:
        """The segments of whole records, as many as fit into a batch: it ends where a `Position` is."""
        segments, positions = [], []
        for places in in_batches(windows, 1):
            after, videos = self.records.read(places, np.empty(places[0, 3], np.uint8))
            of_record = [segment for video in videos for segment in self.view.examples(video, self.records.spec)]
            if segments and len(segments) + len(of_record) > self.batch_size:
                yield self._batch(segments, np.array(positions))
                segments, positions = [], []
            segments += of_record
            positions += [after[0]] * len(of_record) if of_record else []
        if segments:
            yield self._batch(segments, np.array(positions))

    def _batch(self, videos: Sequence[Video], positions: np.ndarray) -> Batch:
        if self.shard is None:
            return {**self._arrays(videos), "position": positions}
        videos_of_shard = self.shard.of_at_least_one(videos)
        return {**self._arrays(videos_of_shard), "position": positions[-1:], "videos_of_all": len(videos)}

    def _arrays(self, videos: Sequence[Video]) -> Batch:
        return self.view.batch(videos, self.records.spec, self.seed)
