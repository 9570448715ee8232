"""A trained model as it is deployed: its inputs and outputs, and how it is traced."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from yt8m_distill.choosing.samplings import chosen_indices
from yt8m_distill.choosing.typicality import read_values
from yt8m_distill.config.dataset import SEGMENT, VIDEO, DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.data.batches import choices_of
from yt8m_distill.data.frame_selection import is_formula, needs_all_frames, selected_indices
from yt8m_distill.deployment.manifest import most_frames
from yt8m_distill.errors import UserError
from yt8m_distill.layers import StackedLSTM, append_frames
from yt8m_distill.plugins import FRAME_SAMPLINGS
from yt8m_distill.runs import trained_model

FRAMES_SIGNATURE = "frames"


@dataclass(frozen=True)
class Network:
    """A model and the frames that it sees.

    Attributes:
        model: built, with its weights.
        spec: of the records that it was trained on.
        selection: the frames it sees.
    """

    model: keras.Model
    spec: DatasetSpec
    selection: FrameSelection

    @property
    def frames(self) -> int | None:
        """Largest number of frames that it gets of a video; None: there is no limit."""
        return most_frames(self.spec, self.selection)

    @property
    def chooses(self) -> bool:
        """Whether it takes all frames, and chooses among them by their features."""
        return needs_all_frames(self.selection)

    @property
    def reads_records(self) -> bool:
        """Whether a SavedModel can read serialized videos: TensorFlow computes which of their frames the model sees.

        Not of segments, as only the caller knows which parts of a video these are, and not of frames that a function
        chooses (`plugins.register_frame_sampling`).
        """
        return self.spec.level != SEGMENT and (self.chooses or is_formula(self.selection))

    def checked_frames(self, file_format: str) -> int:
        """`frames`, for a format with a fixed number of frames.

        Raises:
            UserError: there is no limit.
        """
        if self.frames is None:
            raise UserError(
                f"--formats={file_format}: such a file takes a fixed number of frames, and this model takes all frames "
                "of videos of any length (--max_frames=0). Export it as saved_model, or with --student_frames."
            )
        return self.frames

    def signature(self, batch: int | None, frames: int | None) -> list[tf.TensorSpec]:
        """Inputs of `predict`: (batch, frames, features) uint8 and (batch,) int32; None: any number."""
        return [
            tf.TensorSpec([batch, frames, self.spec.frame_size], tf.uint8, name="frames"),
            tf.TensorSpec([batch], tf.int32, name="num_frames"),
        ]

    def predict(self, frames: tf.Tensor, num_frames: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predictions (batch, classes) float32 in [0, 1], by name, from selected frames; from all, where it `chooses`.

        Frames that are chosen already are all chosen again.
        """
        inputs = {"frames": frames, "num_frames": num_frames}
        if self.selection.by_student:
            counts = tf.minimum(num_frames, self.selection.k)
            inputs["choices"] = tf.range(self.selection.k)[tf.newaxis] < counts[:, tf.newaxis]
        elif self.chooses:
            inputs = self._chosen(frames, num_frames)
        return {"predictions": self.model(inputs, training=False)["predictions"]}

    def seen(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A batch with all frames as the Keras model takes it, with frames chosen by numpy: a file must agree."""
        frames, num_frames = batch["frames"], batch["num_frames"]
        if self.selection.by_student:
            return {**batch, "choices": choices_of(np.minimum(num_frames, self.selection.k))}
        if not self.chooses:
            return dict(batch)
        values = read_values(frames, self.spec.feature_sizes)
        indices, counts = selected_indices(self.selection, num_frames, [b""] * len(frames), 0, values)
        return {**batch, "frames": np.take_along_axis(frames, indices[..., np.newaxis], axis=1), "num_frames": counts}

    def _chosen(self, frames: tf.Tensor, num_frames: tf.Tensor) -> dict[str, tf.Tensor]:
        """What `seen` says, as a graph."""
        k = self.selection.k
        counts = tf.minimum(num_frames, k)
        frames = append_frames(frames, k)  # a video may have fewer frames
        values = read_values(frames, self.spec.feature_sizes, keras.ops)
        sampling = FRAME_SAMPLINGS.get(self.selection.sampling)
        indices = chosen_indices(sampling, values, num_frames, counts, k, keras.ops)
        real = tf.range(k)[tf.newaxis] < counts[:, tf.newaxis]
        indices = tf.cast(tf.where(real, indices, tf.zeros([], tf.float64)), tf.int32)
        return {"frames": tf.gather(frames, indices, batch_dims=1), "num_frames": counts}


def of_trained(trained: trained_model.TrainedModel, selection: FrameSelection | None) -> Network:
    """The model to export.

    Args:
        trained: a model of a run.
        selection: frames it is to see; None: those of its run.

    Raises:
        UserError: a model of video-level records, a teacher with a selection, or frames that are drawn at random.
    """
    if trained.config.data.level == VIDEO:
        raise UserError(
            f"{trained.config.model} takes video-level records, one vector per video, which are computed from all of "
            "its frames; only models that take frames can be exported."
        )
    selection = trained.selection_for(selection)
    if selection.sampling == "random":
        raise UserError(
            "these frames are drawn at random, by the video's id; an exported model needs fixed frames: give "
            f"--student_frames={selection.k} --frame_sampling=uniform, or another --frame_sampling."
        )
    return Network(trained.model, trained.config.data, selection)


def write_saved_model(folder: pathlib.Path, functions: dict[str, tuple[Callable, list[tf.TensorSpec]]]):
    """Writes a SavedModel of functions, by the names of their signatures, with only the variables that they read.

    The first one is also "serving_default". Keras's own export stores all variables twice.
    """
    traced = {
        name: tf.function(function, input_signature=signature, autograph=False).get_concrete_function()
        for name, (function, signature) in functions.items()
    }
    module = tf.Module()
    # Only what an attribute refers to is saved.
    variables = [variable for function in traced.values() for variable in function.variables]
    module.captured = list({id(variable): variable for variable in variables}.values())
    tf.saved_model.save(module, str(folder), signatures={"serving_default": next(iter(traced.values())), **traced})


@contextlib.contextmanager
def portable(model: keras.Model, *, unroll: bool) -> Iterator[None]:
    """In this context a model is traced without cuDNN kernels, so that the graph runs on any device.

    Args:
        model: any.
        unroll: unrolls the loops of LSTMs, whose number of steps must be fixed then.
    """
    lstms = [lstm for stack in _lstm_stacks(model) for lstm in stack.lstms]
    before = [(lstm.use_cudnn, lstm.unroll) for lstm in lstms]
    try:
        _set_kernels(lstms, [(False, unroll)] * len(lstms))
        yield
    finally:
        _set_kernels(lstms, before)


def _set_kernels(lstms: list[keras.layers.LSTM], settings: list[tuple[Any, bool]]):
    for lstm, (use_cudnn, unroll) in zip(lstms, settings, strict=True):
        lstm.use_cudnn, lstm.unroll = use_cudnn, unroll


def _lstm_stacks(model: keras.Model) -> Iterator[StackedLSTM]:
    for layer in model.layers:
        if isinstance(layer, StackedLSTM):
            yield layer
        elif isinstance(layer, keras.Model):
            yield from _lstm_stacks(layer)
