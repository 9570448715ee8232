"""TensorBoard curves of a training, without a gap or a repetition after it was killed and resumed."""

import contextlib
import dataclasses
import math
import os
import pathlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from yt8m_distill.data.batches import Batch, View, videos_in
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.distiller import LabelTrainer, student_view
from yt8m_distill.errors import UserError
from yt8m_distill.evaluation.results import curves_named
from yt8m_distill.runs import checkpoints
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.training.batch_metrics import batch_metrics
from yt8m_distill.training.step import StepResult

HISTOGRAM_VIDEOS = 16


class TrainingLogs:
    """The event files of a training: a writer for each curve folder.

    Args:
        folder: `logs` of the run directory.
        names: the folders in it that the training writes; others, such as those of eval.py, are left alone.
        silent: nothing is written, and what is there is left alone.
    """

    def __init__(self, folder: pathlib.Path, names: Iterable[str], *, silent: bool = False):
        self._folder = folder
        self._names = tuple(names)
        self._silent = silent
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def writer(self, name: str) -> tf.summary.SummaryWriter:
        """The one writer of a folder."""
        assert name in self._names
        if self._silent:
            return tf.summary.create_noop_writer()
        if name not in self._writers:
            with curves_named(self._folder / name):
                self._writers[name] = tf.summary.create_file_writer(str(self._folder / name))
        return self._writers[name]

    def sizes(self) -> dict[str, int]:
        """Bytes of every event file, with all that was logged until now."""
        for name, writer in self._writers.items():
            with curves_named(self._folder / name):
                writer.flush()
        return {str(path.relative_to(self._folder)): path.stat().st_size for path in self._files()}

    def cut_back(self, sizes: Mapping[str, int]):
        """Takes the event files back to the state in which they had these sizes; others are removed."""
        for path in () if self._silent else self._files():
            size = sizes.get(str(path.relative_to(self._folder)))
            if size is None:
                path.unlink()
            else:
                os.truncate(path, min(size, path.stat().st_size))

    def close(self):
        """Closes all writers."""
        for name, writer in self._writers.items():
            with curves_named(self._folder / name):
                writer.close()

    def _files(self) -> list[pathlib.Path]:
        return [path for name in self._names for path in sorted((self._folder / name).glob("events.out.tfevents.*"))]


@dataclass(frozen=True)
class _DoneStep:
    """A step whose result has not been looked at: that would wait for the device."""

    number: int
    loss: tf.Tensor
    video_ids: Sequence[bytes]


class StepLog:
    """Means of the loss terms, metrics of a batch, learning rate and speed, for the default TensorBoard writer.

    Looking at a result waits for the device, so the steps are only noted until someone asks for the means.

    Args:
        run: of the training, for error messages.
        label_loss: as in the settings; only that of metrics shares their chart.
    """

    def __init__(self, run: RunDir, label_loss: str = "CrossEntropyLoss"):
        self._run = run
        self._label_loss = "ce" if label_loss == "CrossEntropyLoss" else label_loss.removesuffix("Loss").lower()
        self._steps: list[_DoneStep] = []
        self._last: tuple[Sequence[tf.Tensor], Batch] | None = None
        self.start()

    def start(self):
        """From here on speed is measured."""
        self._started, self._waited, self._videos = time.monotonic(), 0.0, 0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """What happens within counts as waiting for input."""
        asked = time.monotonic()
        yield
        self._waited += time.monotonic() - asked

    def add(self, step: int, result: StepResult, batch: Batch):
        """Notes a step.

        Args:
            step: its number.
            result: whose loss is the mean since `write`; not to be looked at yet.
            batch: that it was done with.
        """
        self._videos += videos_in(batch)
        self._steps.append(_DoneStep(step, result.loss, batch["video_id"]))
        labels = {name: batch[name] for name in ("labels", "label_weights") if name in batch}  # frames would be held
        self._last = result.predictions, labels

    def write(self, step: int, step_model: LabelTrainer) -> dict[str, float]:
        """Logs the means since the last call, and starts new ones.

        Returns:
            The mean of "loss", and "GAP@20" and "Hit@1" of the last step's batch, where it has labels.

        Raises:
            UserError: a loss is not finite.
        """
        terms, seconds = self.finite_means(step, step_model), time.monotonic() - self._started
        metrics = batch_metrics(*self._last)
        scalars = {
            **{self._tag(name): value for name, value in terms.items()},
            **{f"loss_weights/{name}": weight for name, weight in _measured_weights(step_model).items()},
            **{f"metrics/{name}": value for name, value in metrics.items()},
            "train/learning_rate": step_model.optimizer.learning_rate,
            "train/videos_per_second": self._videos / seconds,
            "train/share_of_time_waiting_for_input": self._waited / seconds,
        }
        for name, value in scalars.items():
            tf.summary.scalar(name, value, step=step)
        step_model.reset_metrics()
        self.start()
        return {"loss": terms["loss"], **metrics}

    def _tag(self, term: str) -> str:
        if term in ("ce", "teacher_ce"):
            term = term.removesuffix("ce") + self._label_loss
        return f"loss/{'total' if term == 'loss' else term}"

    def finite_means(self, step: int, step_model: LabelTrainer) -> dict[str, float]:
        """The means of all loss terms since the last `write`.

        Args:
            step: steps done.
            step_model: that did them.

        Raises:
            UserError: the loss is NaN or infinite; it names the first such step, and its videos.
        """
        terms = {name: float(value) for name, value in step_model.means().items()}
        if not math.isfinite(terms["loss"]):
            raise UserError(self._describe_bad_loss(step, terms))
        self._steps.clear()
        return terms

    def _describe_bad_loss(self, step: int, terms: Mapping[str, float]) -> str:
        state = checkpoints.describe_last(self._run)
        bad = ", ".join(name for name, value in terms.items() if not math.isfinite(value))
        first = next((done for done in self._steps if not math.isfinite(float(done.loss))), None)
        where = f"at step {step}"
        if first is not None:
            ids = " ".join(video_id.decode(errors="replace") for video_id in first.video_ids)
            where = f"at step {first.number}, whose batch has the videos {ids}"
        return (
            f"the loss is {terms['loss']} {where} (not finite: {bad}). {state}; "
            "a lower --base_learning_rate may help, with --start_new_model."
        )


def _measured_weights(step_model: LabelTrainer) -> dict[str, float]:
    return {} if step_model.shares is None else step_model.shares.by_name()


def log_histograms(models: Mapping[str, keras.Model], videos: VideoFiles, view: View, step: int):
    """Gates and cluster assignments of the first few videos, where the models have them, for the default writer.

    Args:
        models: by role.
        videos: that are trained on.
        view: the frames that are read.
        step: steps done.
    """
    unmixed = dataclasses.replace(view, mixup=0.0)
    with contextlib.closing(videos.ordered_batches(unmixed, HISTOGRAM_VIDEOS)) as batches:
        few = next(batches, None)
    for role, model in models.items() if few else ():
        frames = few if role == "teacher" else student_view(few)
        chosen = None if role == "teacher" else frames.get("choices")
        inputs = {name: frames[name] for name in ("frames", "num_frames")}
        inputs |= {} if chosen is None else {"choices": chosen}
        real = tf.sequence_mask(inputs["num_frames"], inputs["frames"].shape[1]) if chosen is None else chosen
        for name, value in model(inputs, return_intermediates=True).items():
            if name.startswith(("gates", "assignment")):
                shown = tf.boolean_mask(value, real) if name.startswith("assignment") else value
                tf.summary.histogram(f"{role}/{name}", shown, step=step)
