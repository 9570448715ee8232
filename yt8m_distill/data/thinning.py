"""Rewrites shards with only the k uniform frames of each video, a part of the bytes: `run_thinning`.

A model that sees k uniform frames gets the same ones from a thin shard as from the original. The frames are those that
`frame_selection` chooses of the first `max_frames` frames that all features have. Beside them a record keeps its whole
context, and says there what was done: `thin_frames` (k), `thin_max_frames`, `thin_original_frames`.
"""

import functools
import itertools
import logging
import os
import pathlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from yt8m_distill.config.dataset import VIDEO, DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.shards import ThinConfig
from yt8m_distill.data import reading, record_format, sequence_example
from yt8m_distill.data.bad_records import BadRecords, report_skipped
from yt8m_distill.data.frame_selection import selected_indices
from yt8m_distill.data.reading import Video, records_of_file
from yt8m_distill.data.tfrecord import framed
from yt8m_distill.data.video_files import open_videos
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Thinning:
    """Which frames of which videos are kept.

    Attributes:
        spec: the format of the original shards.
        selection: the k uniform frames.
    """

    spec: DatasetSpec
    selection: FrameSelection

    def thin_record(self, serialized: memoryview, video: Video) -> bytes:
        """A thin record of a video and the record that it was read from."""
        indices, _ = selected_indices(self.selection, np.array([video.num_frames]), [video.video_id], 0)
        features = zip(self.spec.feature_names, video.features, strict=True)
        described = {
            record_format.THIN_FRAMES_KEY: self.selection.k,
            record_format.THIN_MAX_FRAMES_KEY: self.spec.max_frames,
            record_format.THIN_ORIGINAL_FRAMES_KEY: min(map(len, video.features)),
        }
        context = sequence_example.serialized_context(serialized) + sequence_example.serialized_int64s(described)
        return sequence_example.serialized_example(context, {name: frames[indices[0]] for name, frames in features})

    def thin_records(self, path: str, bad_records: BadRecords) -> Iterator[tuple[int, bytes]]:
        """How far a file has been read, and a thin record, for each of its good records."""
        for frame, serialized, video in records_of_file(
            path, bad_records, functools.partial(reading.read_video, spec=self.spec)
        ):
            yield frame.offset + frame.num_bytes, self.thin_record(serialized, video)


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
    thinning = Thinning(videos.spec, FrameSelection(config.frames))
    targets = _targets(videos.files, pathlib.Path(config.output_dir))
    done = {path for path, target in targets.items() if _is_done(path, target, thinning, config.bad_records.skip)}
    log.info("Thinning %d files to %d frames a video; %s", len(targets), config.frames, videos.spec.describe())
    if done:
        log.info("%d of them exist", len(done))
    atomic.make_directory(pathlib.Path(config.output_dir))
    count = 0
    with tqdm(total=videos.num_bytes, desc="Thinning", unit="B", unit_scale=True, mininterval=1.0) as bar:
        for path, target in targets.items():
            if path in done:
                bar.update(_size(path))
            else:
                count += _write_shard(path, target, thinning, videos.bad_records, bar)
    _print_summary(targets, count, config)
    report_skipped([videos.bad_records], config.bad_records.max_bad_fraction)


def _targets(files: Sequence[str], output_dir: pathlib.Path) -> dict[str, pathlib.Path]:
    """Where the thin shard of each file goes."""
    targets = {path: output_dir / os.path.basename(path) for path in files}
    sources: dict[pathlib.Path, str] = {}
    for path, target in targets.items():
        if os.path.realpath(os.path.dirname(path)) == os.path.realpath(output_dir):
            raise UserError(f"OUT_DIR: '{path}' is in it; thin shards need a directory of their own.")
        if target in sources:
            raise UserError(
                f"IN: '{sources[target]}' and '{path}' have the same name; thin them into directories of their own."
            )
        sources[target] = path
    return targets


def _is_done(path: str, target: pathlib.Path, thinning: Thinning, skip_bad_records: bool) -> bool:
    """Whether the thin shard exists; its first record tells, as shards appear only when complete.

    Raises:
        UserError: another file has its name.
    """
    if not os.path.lexists(target):
        return False
    first = next((data for _, _, data in records_of_file(str(target), BadRecords(skip=True), bytes)), None)
    if first is not None and first == next(thinning.thin_records(path, BadRecords(skip_bad_records)), (0, b""))[1]:
        return True
    raise UserError(
        f"OUT_DIR: '{target}' is not what --frames={thinning.selection.k} makes of '{path}'; "
        "remove it, or give another directory."
    )


def _write_shard(path: str, target: pathlib.Path, thinning: Thinning, bad_records: BadRecords, bar: tqdm) -> int:
    """Writes one thin shard; returns the number of its videos."""
    records = thinning.thin_records(path, bad_records)
    first = next(records, None)
    count, done = 0, 0
    if first is None:
        log.warning("%s holds no good record: no thin shard is written for it", path)
    else:
        with atomic.file_written_beside(target, binary=True) as file:
            for end, record in itertools.chain([first], records):
                file.write(framed(record))
                bar.update(end - done)
                count, done = count + 1, end
    bar.update(_size(path) - done)
    return count


def _size(path: str | os.PathLike) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0


def _print_summary(targets: dict[str, pathlib.Path], count: int, config: ThinConfig):
    before, after = sum(map(_size, targets)), sum(map(_size, targets.values()))
    share = 100 * after / max(before, 1)
    print(f"{count} videos written; all {len(targets)} thin shards are in {config.output_dir}.")
    print(f"They have {after:,} bytes, {share:.3g} % of the {before:,} bytes of the original shards.")
