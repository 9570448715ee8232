"""Checks that exported files predict what the Keras model predicts, and measures their speed."""

import contextlib
import dataclasses
import pathlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.data.batches import View
from yt8m_distill.data.reading import read_video
from yt8m_distill.data.record_format import PREDICTION
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.deployment.exported_model import Network
from yt8m_distill.deployment.runners import Predict
from yt8m_distill.deployment.saved_model import SERIALIZED_SIGNATURE
from yt8m_distill.errors import UserError

# Largest difference between predictions, which are in [0, 1], and those of the Keras model.
BOUNDS = {"float32": 1e-5, "float16": 1e-3, "int8": 0.05}
MOST_GAP_LOSS = 0.01  # of int8, where there are labelled videos
MOST_INT8_LOSS = 0.001  # of an int8 ONNX file, whose layers that lose more stay float32
RANDOM_VIDEOS = 16
REAL_VIDEOS = 64
FRAMES_WITHOUT_LIMIT = 40  # of random videos, if the model takes any number
MOST_RUNS, MOST_SECONDS = 50, 2.0  # of a time measurement


@dataclass(frozen=True)
class Probe:
    """Videos and the predictions of the Keras model for them; frames and num_frames as in `runners.load`."""

    frames: np.ndarray
    num_frames: np.ndarray
    expected: np.ndarray


def random_probe(network: Network, reference: Callable) -> Probe:
    """Random videos, among them an empty and a full one, with random padding.

    Args:
        network: the model to export.
        reference: its predictions, see `prediction.predict.prediction_function`.
    """
    rng = np.random.default_rng(0)
    longest = network.frames or FRAMES_WITHOUT_LIMIT
    num_frames = rng.integers(0, longest + 1, RANDOM_VIDEOS, np.int32)
    num_frames[:3] = 0, 1, longest
    frames = rng.integers(0, 256, (RANDOM_VIDEOS, longest, network.spec.frame_size), np.uint8)
    return _probe(network, {"frames": frames, "num_frames": num_frames}, reference)


def real_probe(network: Network, reference: Callable, videos: VideoFiles) -> Probe:
    """The first videos of files.

    Raises:
        UserError: there are no videos.
    """
    holds_all = network.chooses and videos.spec.thin_frames is None
    view = View() if holds_all else View(network.selection)
    with contextlib.closing(videos.ordered_batches(view, REAL_VIDEOS)) as batches:
        batch = next(batches, None)
    if batch is None:
        raise UserError("--eval_data_pattern: no video was drawn from these files; increase --eval_videos.")
    return _probe(network, batch, reference)


def _probe(network: Network, batch: Mapping[str, np.ndarray], reference: Callable) -> Probe:
    return Probe(batch["frames"], batch["num_frames"], reference(network.seen(batch)))


def check(name: str, predict: Predict, probes: Sequence[Probe], bound: float) -> float:
    """The largest difference between an exported file's predictions and the Keras model's.

    Raises:
        UserError: it is above the bound, or not a number.
    """
    differences = [np.abs(predict(probe.frames, probe.num_frames) - probe.expected).max() for probe in probes]
    return _checked(name, float(np.max(differences)), bound)


def _checked(name: str, difference: float, bound: float) -> float:
    if not difference <= bound:  # also if it is NaN
        raise UserError(
            f"the predictions of '{name}' would differ from the Keras model's by {difference:.2g}; at most {bound:.0e} "
            "is allowed. Nothing was written."
        )
    return difference


def check_gap(name: str, gap: float, of_keras: float):
    """Raises UserError if an exported file's GAP@20 is too far below the Keras model's."""
    if not of_keras - gap <= MOST_GAP_LOSS:
        raise UserError(
            f"'{name}' would have a GAP@20 of {gap:.4f}, and the Keras model has {of_keras:.4f}; a loss of at most "
            f"{MOST_GAP_LOSS} is allowed. Nothing was written."
        )


def check_serialized(name: str, folder: pathlib.Path, network: Network, reference: Callable) -> float:
    """Checks the signature "serialized" against this package's reader and the Keras model.

    Returns:
        The largest difference.

    Raises:
        UserError: ids or classes differ, or predictions by more than the bound.
    """
    loaded = tf.saved_model.load(str(folder))
    records = list(_records(network.spec))
    outputs = loaded.signatures[SERIALIZED_SIGNATURE](serialized=tf.constant(records))
    ids, classes, scores = (outputs[key].numpy() for key in ("video_ids", "class_indices", "scores"))
    batch = _read(records, network.spec, network.selection)
    expected = reference(batch)
    if list(ids) != list(batch["video_id"]):
        raise UserError(f"'{name}' would read different video ids than this package. Nothing was written.")
    best = -np.sort(-expected, axis=1)[:, : classes.shape[1]]
    of_classes = np.take_along_axis(expected, classes, axis=1)
    difference = max(np.abs(scores - best).max(), np.abs(scores - of_classes).max())
    return _checked(name, float(difference), BOUNDS["float32"])


def _read(records: list[bytes], spec: DatasetSpec, selection: FrameSelection) -> dict[str, np.ndarray]:
    whole = dataclasses.replace(spec, thin_frames=None)
    videos = [read_video(record, whole, use=PREDICTION, generated=str(place)) for place, record in enumerate(records)]
    return View(selection).batch(videos, whole, seed=0)


def _records(spec: DatasetSpec) -> Iterator[bytes]:
    """Serialized random videos of all lengths, whose features differ by a frame."""
    rng = np.random.default_rng(1)
    longest = spec.max_frames or FRAMES_WITHOUT_LIMIT
    for index, length in enumerate((0, 1, 2, longest // 2, longest, longest + 3)):
        example = tf.train.SequenceExample()
        if spec.id_key:
            example.context.feature[spec.id_key].bytes_list.value.append(b"video %d" % index)
        for place, (name, size) in enumerate(zip(spec.feature_names, spec.feature_sizes, strict=True)):
            rows = example.feature_lists.feature_list[name].feature
            for frame in rng.integers(0, 256, (length + place % 2, size), np.uint8):
                rows.add().bytes_list.value.append(frame.tobytes())
        yield example.SerializeToString(deterministic=True)


def milliseconds(predict: Predict, probe: Probe) -> float:
    """The median time of one video of full length, by itself."""
    longest = int(np.argmax(probe.num_frames))
    video = probe.frames[longest : longest + 1], probe.num_frames[longest : longest + 1]
    seconds: list[float] = []
    predict(*video)
    while len(seconds) < MOST_RUNS and sum(seconds) < MOST_SECONDS:
        start = time.perf_counter()
        predict(*video)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)
