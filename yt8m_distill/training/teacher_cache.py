"""Teacher outputs for every training video, computed once: an epoch of a student then needs no forward pass of it.

A cache is a folder: `cache.json` describes what it holds and of which teacher, and there is one binary file for each
array, with one row per video in the order of the training files. Videos are looked up by their ids.
"""

import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from yt8m_distill.config.dataset import FRAME
from yt8m_distill.config.json import from_values
from yt8m_distill.config.run import RunConfig
from yt8m_distill.data.batches import Batch, View, check_view, example_ids
from yt8m_distill.data.reading_order import BEGINNING, Position, position_after
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic, untrusted
from yt8m_distill.files.lock import lock_directory
from yt8m_distill.files.resumable import ResumableFiles
from yt8m_distill.prediction.opened_model import predictions
from yt8m_distill.ranking import top_classes
from yt8m_distill.runs import loading
from yt8m_distill.runs.trained_model import TrainedModel
from yt8m_distill.training.checkpointing import names_and_sizes
from yt8m_distill.training.matching import losses_of

log = logging.getLogger(__name__)

WRITING_BATCH_SIZE = 128
SECONDS_BETWEEN_SAVES = 10.0
_KEYS = "keys"  # 8 bytes of a checksum of each video's id
_CHECKSUMS = "checksums"  # CRC-32 of the rows of a video in all other files
_DESCRIPTION = "cache.json"


@dataclass(frozen=True)
class Contents:
    """What a cache holds, and of which teacher: the content of `cache.json`.

    Attributes:
        teacher: checksum of its weights and settings.
        feature_names, feature_sizes, max_frames: how the videos were read.
        classes: number of classes.
        top: number of predictions stored for each video; None: all.
        dim: length of the representation; None where it is not stored.
        files: name and size of every training file.
        fraction: share of their videos that is stored.
        level: of the records: whether videos or their rated segments are stored.
        videos: rows of every array; None until they are counted.
        with_checksums: whether every row has one; those of earlier versions have none.
        teacher_run: the teacher's run directory (of several, the student's); None: not stored, by an earlier version.
    """

    teacher: str
    feature_names: tuple[str, ...]
    feature_sizes: tuple[int, ...]
    max_frames: int
    classes: int
    top: int | None
    dim: int | None
    files: list[list[str | int]]
    fraction: float
    level: str = FRAME
    videos: int | None = None
    with_checksums: bool = False
    teacher_run: str | None = None

    def arrays(self) -> dict[str, tuple[np.dtype, int]]:
        """Type and values per video of each array, by the name of its file."""
        half = np.dtype("<f2")
        arrays = {_KEYS: (np.dtype("<u8"), 1)}
        if self.dim is not None:
            arrays["representation"] = (half, self.dim)
        if self.top is None:
            arrays["predictions"] = (half, self.classes)
        else:
            arrays["top_classes"] = (np.dtype("<i4"), self.top)
            arrays["top_predictions"] = (half, self.top)
            arrays["mean_of_others"] = (half, 1)
        return {**arrays, _CHECKSUMS: (np.dtype("<u4"), 1)} if self.with_checksums else arrays

    def bytes_per_video(self) -> int:
        """Disk space of one video."""
        return sum(dtype.itemsize * width for dtype, width in self.arrays().values())

    def rows_of(self, keys: np.ndarray, outputs: Batch) -> list[np.ndarray]:
        """The teacher's outputs for some videos as they are stored, in the order of `arrays`.

        Args:
            keys: of the videos (videos,), see `_keys_of`.
            outputs: of the teacher.

        Raises:
            UserError: a value beyond the range of float16.
        """
        scores = outputs["predictions"]
        rows = [keys] if self.dim is None else [keys, outputs["representation"]]
        if self.top is None:
            rows.append(scores)
        else:
            # The others' mean, so that the predictions of a video keep their sum.
            classes, best = top_classes(scores, self.top)
            whole, shown = (part.sum(axis=-1, dtype=np.float64, keepdims=True) for part in (scores, best))
            rows += [classes, best, np.maximum(whole - shown, 0.0) / (self.classes - self.top)]
        if any(np.abs(row).max(initial=0.0) > np.finfo(np.float16).max for row in rows if row.dtype.kind == "f"):
            raise UserError(
                "the teacher's representation has values beyond 65504, which a cache of float16 cannot hold; leave out "
                "--teacher_cache."
            )
        forms = [form for name, form in self.arrays().items() if name != _CHECKSUMS]
        rows = [row.astype(dtype).reshape(-1, width) for row, (dtype, width) in zip(rows, forms, strict=True)]
        return [*rows, row_checksums(rows)] if self.with_checksums else rows


def row_checksums(rows: Sequence[np.ndarray]) -> np.ndarray:
    """CRC-32 (videos, 1) of the rows of each video in all arrays (videos, width), one after another."""
    joined = np.concatenate([np.ascontiguousarray(array).view(np.uint8) for array in rows], axis=1)
    return np.array([zlib.crc32(row) for row in joined], "<u4")[:, np.newaxis]


class TeacherCache:
    """The stored outputs of a teacher. They stay on disk; only the order of the videos' ids is held in memory.

    Args:
        folder: of a complete cache.
        contents: its description.

    Attributes:
        widths: values per video of each array that `of` returns, by name.

    Raises:
        UserError: a file is missing or of another size, or one id stands for different videos.
    """

    def __init__(self, folder: pathlib.Path, contents: Contents):
        self._folder = folder
        self._contents = contents
        self._arrays = {name: self._open(name, *form) for name, form in contents.arrays().items()}
        keys = np.array(self._arrays[_KEYS][:, 0])
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        self._check_twice_stored()
        self.widths = {"teacher_predictions": contents.classes}
        if contents.dim is not None:
            self.widths["teacher_representation"] = contents.dim

    def _open(self, name: str, dtype: np.dtype, width: int) -> np.ndarray:
        path, videos = self._folder / f"{name}.bin", self._contents.videos
        expected = videos * width * dtype.itemsize
        size = path.stat().st_size if path.is_file() else 0
        if size != expected:
            raise UserError(
                f"'{path}' has {size:,} bytes, not {expected:,}: the teacher cache is damaged. Remove its folder; it "
                "is then written again."
            )
        return np.memmap(path, dtype, "r", shape=(videos, width))

    def _check_twice_stored(self):
        """The same video may be in two files; two videos with one id cannot be told apart later."""
        for place in np.flatnonzero(self._keys[1:] == self._keys[:-1]):
            first, second = self._order[place : place + 2]
            one, other = (self._predictions(self._rows(np.array([row]))) for row in (first, second))
            if not np.allclose(one, other, atol=0.01):
                raise UserError(
                    f"the training videos number {first + 1} and {second + 1}, in the order of the files, have the "
                    f"same id but are not the same, so the teacher cache in '{self._folder}' cannot tell them apart. "
                    "Remove it, and leave out --teacher_cache."
                )

    def of(self, video_ids: Sequence[bytes]) -> Batch:
        """The teacher's outputs for some videos, float32.

        Args:
            video_ids: of a batch.

        Returns:
            "teacher_predictions" (batch, classes) and, where it is stored, "teacher_representation" (batch, dim).

        Raises:
            UserError: a video is not in the cache.
        """
        keys = _keys_of(video_ids)
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        missing = np.flatnonzero(self._keys[places] != keys)
        if len(missing):
            name = video_ids[missing[0]].decode(errors="replace")
            raise UserError(
                f"the video '{name}' is not in the teacher cache in '{self._folder}': the training files are no longer "
                "those that it was written from. Give another --teacher_cache."
            )
        stored = self._rows(self._order[places])
        outputs = {"teacher_predictions": self._predictions(stored)}
        if self._contents.dim is not None:
            outputs["teacher_representation"] = stored["representation"].astype(np.float32)
        return outputs

    def _rows(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Some rows of every array."""
        stored = {name: array[rows] for name, array in self._arrays.items()}
        checksums = stored.pop(_CHECKSUMS, None)
        if checksums is not None and not np.array_equal(checksums, row_checksums(list(stored.values()))):
            raise self._damaged()
        return stored

    def _damaged(self) -> UserError:
        return UserError(f"the teacher cache in '{self._folder}' is damaged. Remove it; it is then written again.")

    def _predictions(self, stored: Mapping[str, np.ndarray]) -> np.ndarray:
        if self._contents.top is None:
            return stored["predictions"].astype(np.float32)
        others = stored["mean_of_others"].astype(np.float32)
        scores = np.repeat(others, self._contents.classes, axis=1)
        best = stored["top_predictions"].astype(np.float32)
        classes = stored["top_classes"].astype(np.int64)
        if classes.size and not 0 <= classes.min() <= classes.max() < self._contents.classes:
            raise self._damaged()
        np.put_along_axis(scores, classes, best, axis=1)
        return scores


def _keys_of(video_ids: Sequence[bytes]) -> np.ndarray:
    digests = b"".join(hashlib.blake2b(video_id, digest_size=8).digest() for video_id in video_ids)
    return np.frombuffer(digests, "<u8")


def open_cache(config: RunConfig, teacher: TrainedModel, videos: VideoFiles) -> TeacherCache:
    """Opens the cache of `config.teacher_cache`; it is written first, or completed, where it is not there.

    Args:
        config: of the student.
        teacher: finished.
        videos: that the student is trained on.

    Raises:
        UserError: the folder holds the cache of another teacher, of other settings or of other files; or it cannot be
            written; or a bad record.
    """
    folder = pathlib.Path(config.teacher_cache.directory)
    needed = _needed_contents(config, teacher, videos)
    stored = _stored_contents(folder, needed)
    if stored is None:
        check_view(videos.spec, View(), "train_data_pattern")  # thin shards do not hold what the teacher sees
        with lock_directory(folder):
            stored = _stored_contents(folder, needed)  # another training may have completed it just now
            if stored is None:
                _write(folder, needed, teacher, videos)
                stored = _stored_contents(folder, needed)
    _check_files(folder, stored, needed, thin=videos.spec.thin_frames is not None)
    log.info("The teacher's outputs for %d videos are in %s: it does not run again", stored.videos, folder)
    return TeacherCache(folder, stored)


def _needed_contents(config: RunConfig, teacher: TrainedModel, videos: VideoFiles) -> Contents:
    top, data = config.teacher_cache.top, config.data
    if top is not None and top >= data.num_classes:
        raise UserError(f"--teacher_cache_top={top} must be below the number of classes, {data.num_classes}.")
    # Without a limit, everything that a student with other losses needs, too; else only what this one needs.
    read = {output for loss in losses_of(config) for output in loss.teacher_outputs}
    with_representation = top is None or "representation" in read
    return Contents(
        teacher=loading.fingerprint(teacher),
        feature_names=tuple(data.feature_names),
        feature_sizes=tuple(data.feature_sizes),
        max_frames=data.max_frames,
        classes=data.num_classes,
        top=top,
        dim=teacher.model.representation_size if with_representation else None,
        files=names_and_sizes(videos),
        fraction=videos.fraction,
        level=data.level,
        with_checksums=True,
        teacher_run=os.path.realpath(teacher.run_path),
    )


def _stored_contents(folder: pathlib.Path, needed: Contents) -> Contents | None:
    """What the cache in the folder holds; None where there is none, or it lacks the representations.

    Raises:
        UserError: it is of another teacher, or of other settings.
    """
    path = folder / _DESCRIPTION
    if not path.exists():
        return None
    stored = from_values(Contents, untrusted.read_json(path), str(path))
    differing = [
        name
        for name in ("teacher", "feature_names", "feature_sizes", "max_frames", "classes", "top", "level")
        if getattr(stored, name) != getattr(needed, name)
    ]
    if None not in (stored.dim, needed.dim) and stored.dim != needed.dim:
        differing.append("dim")
    if differing == ["teacher"] and stored.teacher_run == needed.teacher_run:
        log.info("The teacher has been trained since the teacher cache in %s was written: writing it again", folder)
        return None
    if differing:
        described = "; ".join(f"{name}: {getattr(stored, name)}, not {getattr(needed, name)}" for name in differing)
        raise UserError(
            f"'{folder}' holds the teacher cache of another teacher, or of other settings ({described}). "
            "Give another --teacher_cache, or remove that folder."
        )
    if needed.dim is not None and stored.dim is None:
        log.info("The teacher cache in %s has no representations, which a loss needs: writing it again", folder)
        return None
    if stored.videos is None or stored.videos < 1:
        raise UserError(f"'{path}' does not say how many videos the teacher cache holds; remove its folder.")
    return stored


def _check_files(folder: pathlib.Path, stored: Contents, needed: Contents, *, thin: bool):
    """Checks that all of the student's videos are in the cache; thin shards of the same names hold the same videos."""
    stored_files = [file[:1] if thin else file for file in stored.files]
    for file in needed.files:
        if (file[:1] if thin else file) not in stored_files:
            raise UserError(
                f"the teacher cache in '{folder}' was written from other training files; '{file[0]}' is not among "
                "them, or has changed. Give another --teacher_cache, or remove that folder."
            )
    if needed.fraction > stored.fraction:
        raise UserError(
            f"the teacher cache in '{folder}' holds {stored.fraction:g} of the videos; "
            f"{needed.fraction:g} of them need another --teacher_cache."
        )


def _write(folder: pathlib.Path, contents: Contents, teacher: TrainedModel, videos: VideoFiles):
    """Runs the teacher once over all videos; resumes where an earlier process was stopped."""
    # The description comes last: without it, there is no cache.
    paths = [*(folder / f"{name}.bin" for name in contents.arrays()), folder / _DESCRIPTION]
    (folder / _DESCRIPTION).unlink(missing_ok=True)
    with ResumableFiles(paths, dataclasses.asdict(contents)) as files:
        start, done = _start(files, videos)
        if done == 0:
            # Half of the estimate, as an estimate that is too high should not refuse what would fit.
            needed = videos.estimated_videos() // 2 * contents.bytes_per_video()
            atomic.check_space(folder, needed, "the teacher cache", "make room, or give --teacher_cache_top=20.")
        saved = time.monotonic()
        batches = predictions(
            _outputs_function(teacher.model),
            videos,
            View(),
            batch_size=WRITING_BATCH_SIZE,
            seed=0,
            description="Storing the teacher's outputs",
            start=start,
            done=done,
        )
        for batch, outputs in batches:
            for number, rows in enumerate(contents.rows_of(_keys_of(example_ids(batch)), outputs)):
                files.write(rows.tobytes(), number)
            done += len(batch["video_id"])
            if time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
                position = dataclasses.astuple(position_after(batch))
                files.save({"videos": done, "next": position, "bad_records": videos.bad_records.as_json()})
                saved = time.monotonic()
        if not done:
            raise UserError("the training files hold no videos to store the teacher's outputs of.")
        described = dataclasses.asdict(dataclasses.replace(contents, videos=done))
        files.write(json.dumps(described, indent=2) + "\n", len(paths) - 1)
        files.finish()


def _start(files: ResumableFiles, videos: VideoFiles) -> tuple[Position, int]:
    """Where to start, and how many videos are stored already."""
    if files.other_work:
        log.info(
            "There is an incomplete teacher cache of another teacher or other videos, or a damaged one: starting again."
        )
    if files.state is None:
        return BEGINNING, 0
    done = files.state["videos"]
    log.info("Resuming the teacher cache after %d videos", done)
    videos.bad_records.restore(files.state["bad_records"])
    return Position(*files.state["next"]), done


def _outputs_function(model) -> Callable[[Batch], Batch]:
    """A function from a batch to the model's representation and predictions, compiled once for all shapes."""
    signature = [
        tf.TensorSpec([None, None, sum(model.feature_sizes)], tf.uint8),
        tf.TensorSpec([None], tf.int32),
    ]

    @tf.function(input_signature=signature, autograph=False)
    def outputs(frames, num_frames):
        result = model({"frames": frames, "num_frames": num_frames}, training=False)
        return {name: result[name] for name in ("representation", "predictions") if name in result}

    return lambda batch: {name: value.numpy() for name, value in outputs(batch["frames"], batch["num_frames"]).items()}
