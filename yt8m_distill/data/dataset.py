"""File patterns to batches: order, shuffling, resume position, and errors that name file and record."""

import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from yt8m_distill.config import FrameSelection
from yt8m_distill.data import readers
from yt8m_distill.dataset_spec import DatasetSpec, SpecOverrides
from yt8m_distill.errors import UserError

FILES_READ_AT_ONCE = 8
SHUFFLED_RECORDS = 2048  # serialized; about 470 MB of full-size YouTube-8M records

_LOCATION = r"Name: (?P<path>.+), record (?P<number>\d+)"


def find_files(pattern: str, flag: str) -> list[str]:
    """The files that `pattern` names, each once: in the order of its parts, sorted within each.

    Args:
        pattern: globs, files and folders, separated by commas; of a folder, its files with "tfrecord" in the name.
        flag: where the pattern comes from, for errors.

    Raises:
        UserError: nothing matches one of the parts.
    """
    files: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in pattern.split(","))):
        wanted = os.path.join(part, "*tfrecord*") if os.path.isdir(part) else part
        found = [part] if os.path.isfile(part) else [path for path in glob.glob(wanted) if os.path.isfile(path)]
        if not found:
            raise UserError(f"--{flag}: no file matches '{wanted}'.")
        for path in sorted(found):
            files.setdefault(os.path.realpath(path), path)
    if not files:
        raise UserError(f"--{flag} is empty; give files, globs or directories, separated by commas.")
    return list(files.values())


@dataclass(frozen=True)
class View:
    """Which frames of a video are read.

    Attributes:
        selection: the student's frames; None reads all.
        with_all_frames: all frames, and the selection's indices beside them.
    """

    selection: FrameSelection | None = None
    with_all_frames: bool = False

    def reader(self, spec: DatasetSpec, seed: int) -> Callable:
        """Function of (serialized, where), both (batch,), to the videos' tensors."""
        if self.selection is None:
            return lambda serialized, where: readers.read_all_frames(serialized, where, spec)
        read = readers.read_frames_and_selection if self.with_all_frames else readers.read_selected_frames
        return lambda serialized, where: read(serialized, where, spec, self.selection, seed)


@dataclass(frozen=True)
class VideoFiles:
    """Files with videos, and how to read them.

    Attributes:
        files: TFRecord files.
        spec: their format.
        num_bytes: of all files, for estimates of the number of videos.
    """

    files: tuple[str, ...]
    spec: DatasetSpec
    num_bytes: int = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "files", tuple(self.files))
        object.__setattr__(self, "num_bytes", sum(os.path.getsize(path) for path in self.files))

    def ordered_batches(self, view: View, batch_size: int, seed: int = 0) -> tf.data.Dataset:
        """Every video once, file after file, in the order of the records.

        Args:
            view: which frames.
            batch_size: videos a batch; the last one may be smaller.
            seed: with the video's id it decides the frames of a "random" selection.

        Returns:
            Batches of "video_id" (batch,), "frames" (batch, frames, features) uint8, zero-padded to the longest of the
            batch, "num_frames" (batch,) int32, "labels" (batch, classes) uint8, and for a view with all frames and a
            selection also "student_indices" (batch, k) and "student_num_frames" (batch,), int32.
        """
        records = tf.data.Dataset.from_tensor_slices(list(self.files)).flat_map(_records_of_file)
        return self._batches(records, view, batch_size, seed)

    def training_batches(
        self, view: View, batch_size: int, *, seed: int, epoch: int, skip_batches: int = 0
    ) -> tf.data.Dataset:
        """One epoch in an order that is a function of (seed, epoch) alone; see `ordered_batches` for the batches.

        Args:
            skip_batches: batches of this epoch that are already done: their records are read, but not decoded.
        """
        epoch_seed = int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])
        files = np.random.default_rng(epoch_seed).permutation(list(self.files))
        records = tf.data.Dataset.from_tensor_slices(files).interleave(
            _records_of_file,
            cycle_length=min(FILES_READ_AT_ONCE, len(files)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        records = records.shuffle(SHUFFLED_RECORDS, seed=epoch_seed, reshuffle_each_iteration=False)
        return self._batches(records.skip(skip_batches * batch_size), view, batch_size, epoch_seed)

    def _batches(self, records: tf.data.Dataset, view: View, batch_size: int, seed: int) -> tf.data.Dataset:
        batches = records.batch(batch_size)
        reader = view.reader(self.spec, seed)
        return batches.map(reader, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)


def _records_of_file(path: tf.Tensor) -> tf.data.Dataset:
    """(serialized record, "FILE, record N") of one file, N counting from 1."""
    numbered = tf.data.TFRecordDataset(path, buffer_size=1 << 20).enumerate(1)
    return numbered.map(lambda number, record: (record, tf.strings.join([path, ", record ", tf.as_string(number)])))


def iterate(batches: tf.data.Dataset, videos: VideoFiles) -> Iterator[dict[str, tf.Tensor]]:
    """The batches; a damaged or wrong record ends them with a UserError that names file, record and problem."""
    try:
        yield from batches
    except tf.errors.DataLossError as error:
        raise UserError(_find_damage(videos.files)) from error
    except tf.errors.InvalidArgumentError as error:
        raise UserError(_explain(error, videos)) from error
    except tf.errors.OpError as error:
        raise UserError(f"reading {', '.join(videos.files[:3])} failed: {_in_short(error)}") from error


def _find_damage(files: Sequence[str]) -> str:
    """File and record number of the first damage, found by reading the files once more, one by one."""
    for path in files:
        number = 0
        try:
            for _ in tf.data.TFRecordDataset(path):
                number += 1
        except tf.errors.DataLossError as error:
            if number == 0 and not _plausible_first_header(path):
                return f"{path} is not a TFRecord file."
            return f"{path}, record {number + 1}: damaged or cut short ({_in_short(error)})."
    return f"a record could not be read, but a second reading of {len(files)} files found no damage; try again."


def _in_short(error: tf.errors.OpError) -> str:
    """TensorFlow's message without the names of graph nodes around it."""
    return re.sub(r"\{\{.*?\}\}|\[\[.*?\]\]|\[Op:.*", "", error.message).strip()


def _plausible_first_header(path: str) -> bool:
    """Whether the file begins with a record length that fits into it."""
    with open(path, "rb") as file:
        header = file.read(8)
    return len(header) == 8 and int.from_bytes(header, "little") + 16 <= os.path.getsize(path)


def _explain(error: tf.errors.OpError, videos: VideoFiles) -> str:
    """The bad record's place and problem; the reader puts the place into most errors, the others are searched for."""
    match = re.search(_LOCATION, error.message)
    if match:
        path, number = match["path"], int(match["number"])
        serialized = next(iter(tf.data.TFRecordDataset(path).skip(number - 1))).numpy()
        problem = readers.explain_bad_record(serialized, videos.spec) or _in_short(error)
        return f"{path}, record {number}: {problem}."
    for path in videos.files:
        for number, record in enumerate(tf.data.TFRecordDataset(path), start=1):
            if problem := readers.explain_bad_record(record.numpy(), videos.spec):
                return f"{path}, record {number}: {problem}."
    return f"reading {', '.join(videos.files[:3])} failed: {_in_short(error)}"


def open_videos(pattern: str, flag: str, overrides: SpecOverrides, spec: DatasetSpec | None = None) -> VideoFiles:
    """Files that match `pattern`, with their format, detected from the first record unless `spec` is given.

    Raises:
        UserError: no file matches, no file holds a record, not a TFRecord, or an edition that `detect_spec` refuses.
    """
    files = find_files(pattern, flag)
    if spec is None:
        spec = readers.detect_spec(*_first_record(files, flag), overrides)
    return VideoFiles(tuple(files), spec)


def _first_record(files: Sequence[str], flag: str) -> tuple[bytes, str]:
    for path in files:
        try:
            for record in tf.data.TFRecordDataset(path).take(1):
                return record.numpy(), f"{path}, record 1"
        except tf.errors.DataLossError as error:
            raise UserError(_find_damage([path])) from error
        except tf.errors.OpError as error:
            raise UserError(f"{path} cannot be read: {_in_short(error)}") from error
    raise UserError(f"--{flag}: the {len(files)} files hold no records (first: {files[0]}).")


def longest_of_first(videos: VideoFiles, count: int = 256) -> int:
    """Frames of the longest of the first `count` videos."""
    sample = videos.ordered_batches(View(), count).take(1)
    return max((int(tf.reduce_max(batch["num_frames"])) for batch in iterate(sample, videos)), default=0)


def estimated_videos(videos: VideoFiles, count: int = 64) -> int:
    """Number of videos by file sizes and the mean length of the first records; for progress bars only."""
    lengths = [len(record.numpy()) for record in tf.data.TFRecordDataset(list(videos.files)).take(count)]
    if len(lengths) < count:
        return len(lengths)
    return max(1, round(videos.num_bytes / (np.mean(lengths) + 16)))
