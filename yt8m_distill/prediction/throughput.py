"""Throughput from records to CSV (videos/s), of several models in turn."""

import contextlib
import itertools
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.data.batches import Batch, View
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.files.progress_bar import ProgressBar
from yt8m_distill.prediction.submission import PredictionsWriter

BATCH_SIZE = 128
Key = TypeVar("Key")


@dataclass(frozen=True)
class Task:
    """A model with its frames.

    Attributes:
        predict: from `prediction_function`.
        videos: to predict, again and again.
        selection: the frames that the model sees.
    """

    predict: Callable
    videos: VideoFiles
    selection: FrameSelection

    def run(self, path: pathlib.Path, seconds: float) -> float:
        """Predicts into a CSV file for so many seconds, at least one batch; returns videos per second."""
        with PredictionsWriter(path) as writer, contextlib.closing(self._batches()) as batches:
            start = time.perf_counter()
            for batch in batches:
                writer.write(batch["video_id"], self.predict(batch))
                spent = time.perf_counter() - start
                if spent >= seconds:
                    break
        return writer.rows / spent

    def _batches(self) -> Iterator[Batch]:
        """Batches of all videos, endlessly."""
        for _ in itertools.count():
            with contextlib.closing(self.videos.ordered_batches(View(self.selection), BATCH_SIZE)) as batches:
                yield from batches


def measure_in_turn(tasks: Mapping[Key, Task], repetitions: int, seconds: float) -> dict[Key, float]:
    """The median videos per second of each task.

    All are measured in turn, in each repetition, so that the machine is in the same state for all.

    Args:
        tasks: by any key.
        repetitions: at least 1.
        seconds: of each measurement.
    """
    rates: dict[Key, list[float]] = {key: [] for key in tasks}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "predictions.csv"
        for task in tasks.values():
            task.run(path, 0.0)  # compiles the model
        with ProgressBar(repetitions * len(tasks), "Measuring speed", " runs") as bar:
            for key in [*tasks] * repetitions:
                rates[key].append(tasks[key].run(path, seconds))
                bar.update()
    return {key: statistics.median(values) for key, values in rates.items()}
