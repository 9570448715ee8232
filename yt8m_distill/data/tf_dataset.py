"""Batches as a `tf.data.Dataset`, for Keras's `fit` and `evaluate`."""

import itertools
import math
import numbers
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import tensorflow as tf

from yt8m_distill.config.dataset import SEGMENT, VIDEO, DatasetSpec, SpecOverrides
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.config.python_arguments import named_as_arguments
from yt8m_distill.data.batches import Batch, View, check_view
from yt8m_distill.data.video_files import VideoFiles, check_segments, open_videos
from yt8m_distill.errors import UserError

_PATTERN = "pattern"
_MOST_COUNTED_BYTES = 1 << 33  # of files whose records are counted: progress bars know the total then
_Signature = dict[str, tf.TensorSpec]


def dataset(
    pattern: str,
    *,
    teacher_frames: int | Literal["all"] | None = "all",
    student_frames: int | Sequence[int] | None = None,
    student_stride: int | None = None,
    frame_sampling: str = "uniform",
    batch_size: int = 128,
    shuffle: bool = True,
    seed: int = 0,
    skip_bad_records: bool = False,
    **data_format: Any,
) -> tf.data.Dataset:
    """Videos in TFRecord files, as `Distiller` and `LabelTrainer` take them in `fit` and `evaluate`.

    Args:
        pattern: globs, files and folders, separated by commas.
        teacher_frames: frames of each video in a batch: "all", or the number of first ones; None: only the student's,
            as for a baseline or for evaluation.
        student_frames: number k of frames of the student; of several, one is drawn for each video.
        student_stride: every j-th frame, instead. With neither there is no student.
        frame_sampling: which k frames, a name in `plugins.FRAME_SAMPLINGS`.
        batch_size: videos in a batch.
        shuffle: whether each iteration, an epoch of `fit`, has an order of its own; else it is that of the files.
        seed: of the orders, and of frames that are drawn.
        skip_bad_records: leave out damaged records instead of raising.
        **data_format: arguments of `config.dataset.SpecOverrides`, where the format is not to be detected.

    Returns:
        Pairs of inputs, "frames" (batch, frames, features) uint8, zero-padded, and "num_frames" (batch,) int32, and
        labels (batch, classes) uint8 in {0, 1}. With a teacher and a student also "student_indices" (batch, k) and
        "student_num_frames" (batch,) int32, or for frame_sampling="learned" instead "choices" (batch, k) bool. Rated
        segments have float32 labels in [0, 1] and, third, label_weights (batch, classes) float32.

    Raises:
        UserError: no files, another format, frames that the files do not hold, or nobody's frames are asked for.
    """
    with named_as_arguments():
        selection = _selection(student_frames, student_stride, frame_sampling)
    if batch_size < 1:
        raise UserError(f"batch_size must be at least 1, not {batch_size}.")
    if teacher_frames is None and selection == ALL_FRAMES:
        raise UserError("teacher_frames or student_frames must be given: whose frames are they?")
    if teacher_frames not in (None, "all"):
        data_format |= {"max_frames": _first_frames(teacher_frames, "max_frames" in data_format)}
    view = View(selection, with_all_frames=teacher_frames is not None and selection != ALL_FRAMES)
    videos = _opened(pattern, view, skip_bad_records, data_format)
    epochs = itertools.count() if shuffle else itertools.repeat(None)
    return _dataset(videos, view, batch_size, lambda: _batches(videos, view, batch_size, seed, next(epochs)))


def detect(pattern: str, **data_format: Any) -> DatasetSpec:
    """The format of TFRecord files, with what a model is built for: `feature_sizes`, `num_classes`, `feature_ranges`.

    Args:
        pattern: as of `dataset`.
        **data_format: as of `dataset`.

    Raises:
        UserError: as of `dataset`.
    """
    return _opened(pattern, View(), False, data_format).spec


def _dataset(
    videos: VideoFiles, view: View, batch_size: int, batches: Callable[[], Iterator[Batch]]
) -> tf.data.Dataset:
    inputs, targets = signature(view, videos.spec)

    def examples() -> Iterator[tuple[Any, ...]]:
        with named_as_arguments():
            for batch in batches():
                yield {name: batch[name] for name in inputs}, *(batch[name] for name in targets)

    made = tf.data.Dataset.from_generator(examples, output_signature=(inputs, *targets.values())).prefetch(1)
    if videos.bad_records.skip or videos.spec.level == SEGMENT or videos.num_bytes > _MOST_COUNTED_BYTES:
        return made  # their number does not follow from that of the records, or these are not counted soon
    return made.apply(tf.data.experimental.assert_cardinality(math.ceil(videos.count_examples() / batch_size)))


def _first_frames(teacher_frames: Any, limited: bool) -> int:
    if limited or not isinstance(teacher_frames, numbers.Integral) or teacher_frames < 1:
        raise UserError(
            f"teacher_frames={teacher_frames!r} must be 'all', None, or, instead of max_frames, at least 1."
        )
    return int(teacher_frames)


def _selection(frames: int | Sequence[int] | None, stride: int | None, sampling: str) -> FrameSelection:
    if frames is None and stride is None:
        if sampling != "uniform":
            raise UserError(f"frame_sampling={sampling!r} does nothing without student_frames.")
        return ALL_FRAMES
    values: dict[str, Any] = {"frame_sampling": sampling}
    if frames is not None:
        values["student_frames"] = tuple(frames) if isinstance(frames, Sequence) else (frames,)
    if stride is not None:
        values["student_stride"] = stride
    return FrameSelection.for_training(values)


def _opened(pattern: str, view: View, skip_bad_records: bool, data_format: dict[str, Any]) -> VideoFiles:
    with named_as_arguments():
        videos = open_videos(pattern, _PATTERN, SpecOverrides(**data_format), skip_bad_records=skip_bad_records)
        check_segments(videos, _PATTERN)
        check_view(videos.spec, view, _PATTERN)
    if videos.spec.level == VIDEO and view.selection != ALL_FRAMES:
        raise UserError("student_frames: these are video-level records, which have one vector for each video.")
    return videos


def _batches(videos: VideoFiles, view: View, batch_size: int, seed: int, epoch: int | None) -> Iterator[Batch]:
    if epoch is None:
        return videos.ordered_batches(view, batch_size, seed)
    return videos.training_batches(view, batch_size, seed=seed, epoch=epoch)


def signature(view: View, spec: DatasetSpec) -> tuple[_Signature, _Signature]:
    """Inputs and targets of a training step, for all batch shapes."""
    inputs = {
        "frames": tf.TensorSpec([None, None, spec.frame_size], spec.frame_dtype),
        "num_frames": tf.TensorSpec([None], tf.int32),
    }
    if view.selection.by_student:
        inputs["choices"] = tf.TensorSpec([None, None], tf.bool)
    elif view.with_all_frames:
        inputs["student_indices"] = tf.TensorSpec([None, None], tf.int32)
        inputs["student_num_frames"] = tf.TensorSpec([None], tf.int32)
    if view.stored is not None:
        inputs |= {name: tf.TensorSpec([None, width], tf.float32) for name, width in view.stored.widths.items()}

    rated = spec.level == SEGMENT
    soft = rated or view.mixup > 0
    targets = {"labels": tf.TensorSpec([None, spec.num_classes], tf.float32 if soft else tf.uint8)}
    if rated:
        targets["label_weights"] = tf.TensorSpec([None, spec.num_classes], tf.float32)
    return inputs, targets
