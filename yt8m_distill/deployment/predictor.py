"""A trained model, or an export of one, as a function of frames: what `yt8m_distill.load` gives."""

import contextlib
import dataclasses
import logging
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from yt8m_distill.config.dataset import DEFAULT_RANGE, SEGMENT, VIDEO, VOCABULARY_FILE, DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.inputs import MANIFEST_FILE
from yt8m_distill.config.python_arguments import named_as_arguments
from yt8m_distill.data.batches import Batch, View
from yt8m_distill.data.video import Video
from yt8m_distill.deployment import hub
from yt8m_distill.deployment.export_files import chosen_file, load_file
from yt8m_distill.deployment.manifest import read_manifest
from yt8m_distill.errors import UserError
from yt8m_distill.prediction.vocabulary import load_vocabulary
from yt8m_distill.quantization import quantize
from yt8m_distill.ranking import ranked_classes

log = logging.getLogger(__name__)

MOST_CLIPPED = 0.05  # of numbers, from which they do not look like features in the model's range
ONE_VIDEO, SEVERAL = 2, 3  # dimensions of an array


@dataclass(frozen=True)
class Predictor:
    """Frames in, probabilities out, whatever the model is stored as.

    Attributes:
        data: the format that the model was trained on, with the sizes of its features.
        selection: the frames that it sees of each video.
        role: "student" or "teacher".
        source: where it is from.
        labels: name of each class; None: no vocabulary is known.
        seed: of frames that are drawn at random.
    """

    data: DatasetSpec
    selection: FrameSelection
    role: str
    source: pathlib.Path
    labels: tuple[str, ...] | None
    seed: int = 0
    _predict: Callable[[Batch], np.ndarray] = field(kw_only=True, repr=False)

    def predict(
        self,
        frames: Any,
        num_frames: Any = None,
        *,
        ids: Sequence[str] | None = None,
        batch_size: int = 128,
    ) -> np.ndarray:
        """Probabilities of all classes, (videos, classes) float32.

        Give all frames of a video, one a second: those that the model sees are selected here, as in its evaluation.

        Args:
            frames: an array (videos, frames, features), one video (frames, features), or a list of the latter, which
                may have different lengths. The features are side by side in the order of `data.feature_names`. uint8
                are the bytes of records; floats are what the bytes stand for, in [-2, 2] unless `data.feature_ranges`
                says otherwise, and are quantized like those. Of a model of video-level records: (videos, features)
                floats.
            num_frames: (videos,) real frames of each video of an array that is padded; None: all are.
            ids: of the videos; they decide frames that are drawn at random. None: their numbers.
            batch_size: videos at a time.

        Raises:
            UserError: frames of another shape, a batch_size below 1, or values that are not finite or no bytes.
        """
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, not {batch_size}.")
        videos, view = list(_videos(frames, num_frames, ids, self.data)), View(self.selection)
        batches = [
            self._predict(view.batch(videos[begin : begin + batch_size], self.data, self.seed))
            for begin in range(0, len(videos), batch_size)
        ]
        return np.concatenate(batches) if batches else np.zeros((0, self.data.num_classes), np.float32)

    def top(self, probabilities: Any, k: int = 5) -> list[list[tuple[str | int, float]]]:
        """The k best classes of each video with their probabilities, best first.

        Args:
            probabilities: of `predict`.
            k: how many.

        Returns:
            For each video (label, probability); the label is the class's name, or its number without a vocabulary.
        """
        ids = [str(i) for i in range(len(probabilities))]
        classes, scores = ranked_classes(ids, probabilities, k)
        names = self.labels or range(self.data.num_classes)
        return [
            [(names[index], score) for index, score in zip(*row, strict=True)]
            for row in zip(classes.tolist(), scores.tolist(), strict=True)
        ]


def load(
    path: str | os.PathLike,
    *,
    role: str | None = None,
    student_frames: int | None = None,
    vocabulary: str | os.PathLike | None = None,
) -> Predictor:
    """A trained model that predicts from arrays of frames.

    Args:
        path: a run directory of train.py, a model packed by `inference.py --output_model_tgz`, the folder of an
            export, whose first file is taken, or one of its files: a SavedModel, `.onnx` or `.tflite`. A str
            `hf://OWNER/NAME`, with `@REVISION` and `/PATH` where they are needed, is fetched from the Hugging Face hub
            into the user's cache. A SavedModel is a program: load those of authors whom you trust.
        role: "student" or "teacher"; None: the student, or the model of a teacher's run.
        student_frames: number k of frames to look at; None: as in the run. An export has its own.
        vocabulary: CSV file with the names of the classes; None: those in the run directory or the export, if any.

    Raises:
        UserError: nothing of these, damaged files, no such model, or a vocabulary of other classes.

    Example:
        model = yt8m_distill.load("runs/student")
        model.top(model.predict(frames), k=2)  # [[("Guitar", 0.93), ("Music", 0.88)], ...]
    """
    place = hub.fetch(path) if isinstance(path, str) and path.startswith(hub.SCHEME) else pathlib.Path(path)
    if role not in (None, "student", "teacher"):
        raise UserError(f"role={role!r} must be 'student' or 'teacher'.")
    if not place.exists():
        raise UserError(f"'{place}' does not exist; a run directory, a packed model or an export is needed.")
    if place.suffix == ".keras":
        raise UserError(f"'{place}' is a model that Keras saved: keras.models.load_model('{place}') reads it.")
    export = next((folder for folder in (place, *place.parents[:2]) if (folder / MANIFEST_FILE).is_file()), None)
    if export is not None:
        loaded = _exported(export, place, role, student_frames)
    else:
        loaded = _trained(place, role, student_frames)
    if vocabulary is None:
        return loaded
    names = _names(vocabulary, loaded.data.num_classes)
    return dataclasses.replace(loaded, labels=names)


def _exported(folder: pathlib.Path, path: pathlib.Path, role: str | None, student_frames: int | None) -> Predictor:
    """A file of an export, or its first one."""
    manifest = read_manifest(folder)
    files = {file.path: file for file in manifest.files}
    name = None if folder == path else path.relative_to(folder).as_posix()
    if name is not None and name not in files:
        raise UserError(f"'{path}' is not a file of the export in '{folder}', which has {', '.join(files) or 'none'}.")
    file = chosen_file(manifest, folder, name=name)
    if role not in (None, manifest.which):
        raise UserError(f"role={role!r}: the export in '{folder}' is of a {manifest.which}.")
    if student_frames not in (None, manifest.selection.k):
        raise UserError(
            f"student_frames={student_frames}: the export in '{folder}' sees {manifest.selection.describe()} frames; "
            "export the run again with others."
        )
    run = load_file(manifest, folder, file)
    return Predictor(
        manifest.data,
        manifest.selection,
        manifest.which,
        folder / file.path,
        manifest.class_names,
        _predict=lambda batch: run(batch["frames"], batch["num_frames"]),
    )


def _trained(path: pathlib.Path, role: str | None, student_frames: int | None) -> Predictor:
    """The Keras model of a run directory or a packed model."""
    from yt8m_distill.prediction.predict import prediction_function
    from yt8m_distill.runs import loading, packing

    with contextlib.ExitStack() as held:
        if path.is_dir():
            trained = loading.load(path, role)
        else:
            folder = held.enter_context(tempfile.TemporaryDirectory())
            trained = packing.load_packed(str(path), folder, which=role)
        with named_as_arguments():
            asked = None if student_frames is None else FrameSelection(student_frames, sampling_is_open=True)
            selection = trained.selection_for(asked)
        data, beside = trained.config.data, trained.run_path / VOCABULARY_FILE
        names = _names(beside, data.num_classes) if beside.is_file() else None
    predict, seed = prediction_function(trained.model, small_batches=True), trained.config.learning.seed
    return Predictor(data, selection, trained.role, trained.source, names, seed, _predict=predict)


def _names(path: str | os.PathLike, num_classes: int) -> tuple[str, ...]:
    names = load_vocabulary(path, num_classes)
    return tuple(names.get(index, str(index)) for index in range(num_classes))


def _videos(frames: Any, num_frames: Any, ids: Sequence[str] | None, spec: DatasetSpec) -> Iterator[Video]:
    arrays = _arrays(frames, spec)
    if num_frames is not None:
        counts = np.asarray(num_frames)
        lengths = np.array([len(array) for array in arrays])
        if counts.shape != lengths.shape or counts.dtype.kind not in "iu" or ((counts < 0) | (counts > lengths)).any():
            raise UserError(
                f"num_frames must be one whole number for each of {len(arrays)} videos, at most its frames."
            )
        arrays = [array[:count] for array, count in zip(arrays, counts.tolist(), strict=True)]
    if ids is not None and len(ids) != len(arrays):
        raise UserError(f"ids must be one for each of {len(arrays)} videos, not {len(ids)}.")
    _warn_of_clipped(arrays, spec)
    for number, array in enumerate(arrays):
        key = str(number) if ids is None else ids[number]
        yield _video(key, _values(array, number, spec), spec)


def _arrays(frames: Any, spec: DatasetSpec) -> list[np.ndarray]:
    """One array (frames, features) for each video."""
    if hasattr(frames, "__array__"):
        array = np.asarray(frames)
        if spec.level == VIDEO and array.ndim == ONE_VIDEO:
            array = array[:, np.newaxis]
        arrays = [array] if array.ndim == ONE_VIDEO else list(array) if array.ndim == SEVERAL else None
    else:
        arrays = [np.asarray(video) for video in frames]
    size = spec.frame_size
    if arrays is None or any(array.ndim != ONE_VIDEO or array.shape[1] != size for array in arrays):
        shapes = {np.shape(frames)} if arrays is None else {array.shape for array in arrays}
        names = " + ".join(f"{name} ({n})" for name, n in zip(spec.feature_names, spec.feature_sizes, strict=True))
        raise UserError(
            f"frames must be (videos, frames, {size}), (frames, {size}), or a list of the latter: {names} in this "
            f"order; not of the shape {', '.join(map(str, sorted(shapes)))}."
        )
    return arrays


def _values(frames: np.ndarray, video: int, spec: DatasetSpec) -> np.ndarray:
    """Frames as the reader gives them: bytes, or at video level floats."""
    if spec.level == VIDEO:
        if frames.dtype.kind != "f" or len(frames) != 1:
            raise UserError(
                "the model takes video-level records: (videos, features) floats, the means over the frames."
            )
        return frames.astype(np.float32)
    if spec.level == SEGMENT and len(frames) > spec.longest_example:
        raise UserError(
            f"video {video} has {len(frames)} frames, and the model was trained on segments of {spec.longest_example}; "
            "give each segment as a video."
        )
    if frames.dtype == np.uint8:
        return frames
    if not np.isfinite(frames).all():
        raise UserError(f"video {video}: a value is not finite.")
    if frames.dtype.kind in "iu":
        if frames.size and (frames.min() < 0 or frames.max() > np.iinfo(np.uint8).max):
            raise UserError(f"video {video}: whole numbers are bytes, from 0 to 255.")
        return frames.astype(np.uint8)
    low, high = _ends(spec)
    return quantize(frames, high, low)


def _ends(spec: DatasetSpec) -> np.ndarray:
    """The lowest and the highest number of each value of a frame, (2, features)."""
    ranges = spec.feature_ranges or (DEFAULT_RANGE,) * len(spec.feature_sizes)
    return np.repeat(np.array(ranges), spec.feature_sizes, axis=0).T


def _warn_of_clipped(arrays: Sequence[np.ndarray], spec: DatasetSpec):
    """Says so where floats do not look like features in the model's range."""
    floats = next((array for array in arrays if array.dtype.kind == "f" and array.size), None)
    if floats is None or spec.level == VIDEO:
        return
    low, high = _ends(spec)
    clipped = float(np.mean((floats < low) | (floats > high)))
    if clipped > MOST_CLIPPED:
        log.warning(
            "%.0f %% of the first video's values are outside of %s and are clipped; are they other features, or bytes?",
            *(100 * clipped, spec.describe_ranges()),
        )


def _video(video_id: str, frames: np.ndarray, spec: DatasetSpec) -> Video:
    ends = np.cumsum(spec.feature_sizes)[:-1]
    count = min(len(frames), spec.longest_example or len(frames))
    return Video(video_id.encode(), (), tuple(np.split(frames, ends, axis=1)), count)
