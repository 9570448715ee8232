"""Rewrites shards with only the k frames of each video that a student sees, a part of the bytes: `run_thinning`.

A model that sees k uniform frames, or k that are chosen by their features, gets the same ones from a thin shard as from
the original. The frames are those that `frame_selection` chooses of the first `max_frames` frames that all features
have. Beside them a record keeps its whole context, and says there what was done: `thin_frames` (k), `thin_max_frames`,
`thin_original_frames`, and `thin_sampling` where it is not uniform.
"""

import logging
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass

from yt8m_distill.config.dataset import VIDEO, DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.shards import ThinConfig
from yt8m_distill.data import record_format, sequence_example
from yt8m_distill.data.bad_records import BadRecords, report_skipped
from yt8m_distill.data.batches import indices_in
from yt8m_distill.data.feature_ranges import keep_ranges
from yt8m_distill.data.reading import videos_of_file
from yt8m_distill.data.rewriting import Rewriting, size_of
from yt8m_distill.data.video import Video
from yt8m_distill.data.video_files import open_videos
from yt8m_distill.errors import UserError
from yt8m_distill.files.lock import lock_directory

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Thinning:
    """Which frames of which videos are kept.

    Attributes:
        spec: the format of the original shards.
        selection: the k frames.
    """

    spec: DatasetSpec
    selection: FrameSelection

    def thin_record(self, serialized: memoryview, video: Video) -> bytes:
        """A thin record of a video and the record that it was read from."""
        indices = indices_in(video, self.spec, self.selection)
        features = zip(self.spec.feature_names, video.features, strict=True)
        described = {
            record_format.THIN_FRAMES_KEY: self.selection.k,
            record_format.THIN_MAX_FRAMES_KEY: self.spec.max_frames,
            record_format.THIN_ORIGINAL_FRAMES_KEY: min(map(len, video.features)),
        }
        context = sequence_example.serialized_context(serialized) + sequence_example.serialized_int64s(described)
        if self.selection.sampling != "uniform":
            context += sequence_example.serialized_bytes(
                record_format.THIN_SAMPLING_KEY, self.selection.sampling.encode()
            )
        if not self.spec.id_key:  # numbers of records may differ where bad ones are left out
            context += sequence_example.serialized_bytes(record_format.ID_KEYS[0], video.video_id)
        return sequence_example.serialized_example(context, {name: frames[indices] for name, frames in features})

    def thin_records(self, path: str, bad_records: BadRecords) -> Iterator[tuple[int, bytes]]:
        """How far a file has been read, and a thin record, for each of its good records."""
        for frame, serialized, video in videos_of_file(path, self.spec, bad_records):
            yield frame.end, self.thin_record(serialized, video)


def run_thinning(config: ThinConfig):
    """Writes a thin shard for each file, under its name; shards that exist are kept.

    Raises:
        UserError: no file matches, an unknown format, thin shards or video-level records as input, a file in
            the output directory that is something else, a bad record, no space on the disk.
        TooManyBadRecords: at the end, more of the input than allowed was skipped.
    """
    videos = open_videos(config.pattern, "IN", config.overrides, skip_bad_records=config.bad_records.skip)
    if videos.spec.level == VIDEO:
        raise UserError(f"IN: '{videos.files[0]}' holds video-level records: there are no frames to choose from.")
    if videos.spec.thin_frames is not None:
        raise UserError(
            f"IN: '{videos.files[0]}' is a thin shard already; thin shards are made from the original ones."
        )
    thinning = Thinning(videos.spec, FrameSelection(config.frames, sampling=config.sampling))
    output_dir = pathlib.Path(config.output_dir)
    rewriting = Rewriting(thinning.thin_records, "Thinning", "thin shards", _flags(thinning.selection))
    targets = rewriting.targets(videos.files, output_dir)
    log.info("Thinning %d files to %d frames a video; %s", len(targets), config.frames, videos.spec.describe())
    with lock_directory(output_dir):
        keep_ranges(videos.spec, videos.files, output_dir)
        count = rewriting.write(targets, videos.bad_records)
    _print_summary(targets, count, config)
    report_skipped([videos.bad_records], config.bad_records.max_bad_fraction)


def _flags(selection: FrameSelection) -> str:
    return f"--frames={selection.k}" + f" --frame_sampling={selection.sampling}" * (selection.sampling != "uniform")


def _print_summary(targets: dict[str, pathlib.Path], count: int, config: ThinConfig):
    before, after = sum(map(size_of, targets)), sum(map(size_of, targets.values()))
    share = 100 * after / max(before, 1)
    print(f"{count} videos written; all {len(targets)} thin shards are in {config.output_dir}.")
    print(f"They have {after:,} bytes, {share:.3g} % of the {before:,} bytes of the original shards.")
