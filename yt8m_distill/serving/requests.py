"""Parses request bodies into videos: TFRecord files, JSON or `.npz` files of frames. Nothing in them is trusted."""

import dataclasses
import io
import itertools
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yt8m_distill.config.dataset import SEGMENT, VIDEO, DatasetSpec
from yt8m_distill.data.batches import View
from yt8m_distill.data.compression import HEAD_BYTES, compression_of
from yt8m_distill.data.foreign_files import kind_of_file
from yt8m_distill.data.frame_selection import needs_all_frames, selected_indices
from yt8m_distill.data.reading import read_video
from yt8m_distill.data.record_format import PREDICTION
from yt8m_distill.data.tfrecord import HEADER_BYTES, DamagedRecord, length_in, records_of_bytes
from yt8m_distill.data.video import Video
from yt8m_distill.deployment.manifest import Manifest
from yt8m_distill.errors import UserError
from yt8m_distill.files import array_files, untrusted

MOST_ID_BYTES = 1000
MOST_ARRAYS = 100  # of an .npz file, of which two are read
_MOST_DIRECTORY_BYTES = 1 << 16  # of an .npz file
_DIRECTORY_END, _DIRECTORY_END_BYTES = b"PK\5\6", 22  # of a zip file, before its comment of at most 65,535 bytes
_DIRECTORY_SIZE = ((10, 2), (12, 4))  # in it, where and how long: the number of files, and the directory's bytes
MOST_MARKS = 1_000_000  # quotes and opening brackets of a JSON body, beside those of its frames


class BadBodyError(ValueError):
    """A body that cannot be used; the message says why.

    Attributes:
        status: of the answer.
    """

    status = 400


class CostlyBodyError(BadBodyError):
    """A body that takes more memory or time than one may take."""

    status = 413

    def __init__(self):
        super().__init__("the request takes more memory or time to read than one may take; send fewer videos in it")


@dataclass(frozen=True)
class Videos:
    """Videos as the model takes them.

    Attributes:
        ids: as the client sent them, or indices.
        frames: the selected frames, uint8 (videos, frames, features).
        num_frames: int32 (videos,).
        all_frames: int32 (videos,), of the whole video; None: not told, as frames are chosen by their features.
        positions: int32 (videos, frames), which of these the selected ones are, the first `num_frames`; likewise.
    """

    ids: Sequence[str]
    frames: np.ndarray
    num_frames: np.ndarray
    all_frames: np.ndarray | None = None
    positions: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)


def parse(content_type: str, body: bytes, manifest: Manifest, most_videos: int, k: int | None = None) -> Videos:
    """The videos of a request.

    Args:
        content_type: one of `PARSERS`.
        body: of the request.
        manifest: of the model that is to see them.
        most_videos: that a request may have.
        k: frames that the model is to see, one of `manifest.numbers`; None: those of its selection.

    Raises:
        BadBodyError: it does not match `content_type` or the model, has no videos or too many, or long ids.
    """
    videos = list(PARSERS[content_type](body, manifest.data, most_videos))
    if not videos:
        raise BadBodyError("the request contains no videos")
    if any(len(video.video_id) > MOST_ID_BYTES for video in videos):
        raise BadBodyError(f"the id of a video is longer than {MOST_ID_BYTES:,} bytes")
    return selected(videos, manifest, k)


def selected(videos: Sequence[Video], manifest: Manifest, k: int | None = None) -> Videos:
    """The frames of videos that a model sees; `k` as of `parse`."""
    selection = manifest.selection if k is None else dataclasses.replace(manifest.selection, k=k)
    batch = View(selection).batch(videos, manifest.data, seed=0)
    ids = [video.video_id.decode(errors="replace") for video in videos]
    if needs_all_frames(selection):
        return Videos(ids, batch["frames"], batch["num_frames"])
    all_frames = np.array([video.num_frames for video in videos], np.int32)
    positions, _ = selected_indices(selection, all_frames, [video.video_id for video in videos], seed=0)
    return Videos(ids, batch["frames"], batch["num_frames"], all_frames, positions)


def _check_count(videos: int, most_videos: int):
    if videos > most_videos:
        raise BadBodyError(f"more than {most_videos} videos; send them in several requests")


def _records(body: bytes, spec: DatasetSpec, most_videos: int) -> Iterator[Video]:
    if spec.level == SEGMENT:
        raise BadBodyError("the model was trained on segments, and records hold whole videos: send frames")
    whole = dataclasses.replace(spec, thin_frames=None, float_frames=spec.level != VIDEO)
    records = records_of_bytes(body)
    for number in itertools.count(1):
        try:
            data = next(records, None)
            video = None if data is None else read_video(data, whole, use=PREDICTION, generated=str(number - 1))
        except DamagedRecord as error:
            raise BadBodyError(f"record {number}: {_foreign_kind(body) or error}") from error
        if video is None:
            return
        _check_count(number, most_videos)
        yield video


def _foreign_kind(body: bytes) -> str | None:
    """What a body is that is not a TFRecord file, in words; None where it begins with a record."""
    if length_in(body[:HEADER_BYTES]) is not None:
        return None
    kind = compression_of(body[:HEAD_BYTES])
    return f"the body is compressed ({kind}); send it unpacked" if kind else kind_of_file(body)


def _json(body: bytes, spec: DatasetSpec, most_videos: int) -> Iterator[Video]:
    _check_marks(body, spec)
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadBodyError(f"not valid JSON: {untrusted.in_short(error)}") from error
    videos = content.get("videos") if isinstance(content, dict) else None
    if not isinstance(videos, list) or not all(isinstance(video, dict) for video in videos):
        raise BadBodyError('the JSON must have the form {"videos": [{"id": "...", "frames": [[0, 255, ...], ...]}]}')
    _check_count(len(videos), most_videos)
    for index, video in enumerate(videos):
        video_id = video.get("id", str(index))
        if not isinstance(video_id, str):
            raise BadBodyError(f"video {index}: the id must be a string")
        yield video_of_frames(video_id, _frames(video.get("frames"), index, spec), spec)


def _check_marks(body: bytes, spec: DatasetSpec):
    """Counts what makes a parser take much more memory than a body has bytes, before it is called."""
    most_rows = len(body) // (2 * spec.frame_size)
    if sum(map(body.count, (b"[", b"{", b'"'))) > most_rows + MOST_MARKS:
        raise BadBodyError("the JSON has many more lists, objects or texts than videos need")


def _frames(rows: Any, index: int, spec: DatasetSpec) -> np.ndarray:
    """Lists of numbers as uint8 (frames, features)."""
    problem = f"video {index}: frames must be a list of lists of {spec.frame_size} integers from 0 to 255"
    if not isinstance(rows, list):
        raise BadBodyError(problem)
    for row in rows:  # checked before numpy sees them, which would give every value the memory of the longest string
        if not isinstance(row, list) or len(row) != spec.frame_size or set(map(type, row)) != {int}:
            raise BadBodyError(problem)
    try:
        values = b"".join(map(bytes, rows))
    except (ValueError, OverflowError) as error:
        raise BadBodyError(problem) from error
    return np.frombuffer(values, np.uint8).reshape(len(rows), spec.frame_size)


def _npz(body: bytes, spec: DatasetSpec, most_videos: int) -> Iterator[Video]:
    arrays = _arrays(body)
    frames = arrays.get("frames")
    if frames is None or frames.dtype != np.uint8 or frames.ndim != 3 or frames.shape[2] != spec.frame_size:
        raise BadBodyError(f"the .npz file must hold 'frames', uint8 (videos, frames, {spec.frame_size})")
    _check_count(len(frames), most_videos)
    num_frames = arrays["num_frames"] if "num_frames" in arrays else np.full(len(frames), frames.shape[1])
    if num_frames.dtype.kind not in "iu" or num_frames.shape != frames.shape[:1]:
        raise BadBodyError("'num_frames' in the .npz file must be integers, one for each video")
    if np.any(num_frames < 0) or np.any(num_frames > frames.shape[1]):
        raise BadBodyError(f"'num_frames' in the .npz file must be from 0 to {frames.shape[1]}, the number of frames")
    for index, (rows, count) in enumerate(zip(frames, num_frames.tolist(), strict=True)):
        yield video_of_frames(str(index), rows[:count], spec)


def _arrays(body: bytes) -> dict[str, np.ndarray]:
    """What is read of an .npz file, whose headers are checked before memory is given to its arrays."""
    _check_directory(body)
    try:
        array_files.check_array_archive(io.BytesIO(body), len(body), "the .npz file")
        with np.load(io.BytesIO(body), allow_pickle=False) as stored:
            return {name: stored[name] for name in ("frames", "num_frames") if name in stored.files}
    except UserError as error:
        raise BadBodyError(str(error).removesuffix(".")) from error
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise BadBodyError(f"the .npz file is damaged: {untrusted.in_short(error)}") from error


def _check_directory(body: bytes):
    """Checks the size of a zip file's directory, as its end states it, before all of it is read."""
    end = body.rfind(_DIRECTORY_END, max(0, len(body) - _DIRECTORY_END_BYTES - 0xFFFF))
    num_arrays, num_bytes = (int.from_bytes(body[end + at : end + at + size], "little") for at, size in _DIRECTORY_SIZE)
    if end >= 0 and (num_arrays > MOST_ARRAYS or num_bytes > _MOST_DIRECTORY_BYTES):
        raise BadBodyError(f"the .npz file has more than {MOST_ARRAYS} arrays, or too long names; send 'frames' alone")


def video_of_frames(video_id: str, frames: np.ndarray, spec: DatasetSpec) -> Video:
    ends = np.cumsum(spec.feature_sizes)[:-1]
    num_frames = min(len(frames), spec.longest_example or len(frames))
    return Video(video_id.encode(errors="replace"), (), tuple(np.split(frames, ends, axis=1)), num_frames)


PARSERS: dict[str, Callable[[bytes, DatasetSpec, int], Iterator[Video]]] = {
    "application/x-tfrecord": _records,
    "application/json": _json,
    "application/x-npz": _npz,
}
