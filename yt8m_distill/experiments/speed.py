"""Throughput from records to CSV (videos/s), of the teacher and each k in one run."""

import os
import pathlib
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from yt8m_distill.config.json import from_values
from yt8m_distill.experiments.results import Result, evaluated_videos, speed_key
from yt8m_distill.files import atomic, untrusted
from yt8m_distill.prediction import throughput
from yt8m_distill.prediction.predict import prediction_function
from yt8m_distill.runs import loading

REPETITIONS = 5
SECONDS = 2.0  # of each measurement in each repetition


@dataclass(frozen=True)
class Speed:
    """One model with one number of frames.

    Attributes:
        model, k, multiply_accumulates: the values of `results.speed_key`.
        videos_per_second: the median over repetitions.
    """

    model: str
    k: int | None
    multiply_accumulates: int | None
    videos_per_second: float

    @property
    def key(self) -> tuple:
        """As `results.speed_key`."""
        return self.model, self.k, self.multiply_accumulates


@dataclass(frozen=True)
class Speeds:
    """All speeds of one run on one machine.

    Attributes:
        machine: its description.
        speeds: of all models.
    """

    machine: str
    speeds: tuple[Speed, ...]


def read(path: pathlib.Path) -> dict[tuple, float]:
    """Videos per second by `speed_key`; empty if there is no file."""
    if not path.exists():
        return {}
    stored = from_values(Speeds, untrusted.read_json(path), str(path))
    return {speed.key: speed.videos_per_second for speed in stored.speeds}


def measure(results: Sequence[Result], path: pathlib.Path) -> dict[tuple, float]:
    """Measures one run for each speed key and writes `path`, unless it has all of them already.

    All are measured in turn, in each repetition, so that the machine is in the same state for all.
    """
    first = {speed_key(result): result for result in reversed(results)}
    stored = read(path)
    if first.keys() <= stored.keys():
        return stored
    tasks = {key: _task(first[key]) for key in sorted(first, key=str)}
    medians = throughput.measure_in_turn(tasks, REPETITIONS, SECONDS)
    machine = f"{platform.machine()}, {os.cpu_count()} processors, {time.strftime('%Y-%m-%d')}"
    speeds = tuple(Speed(*key, videos_per_second=rate) for key, rate in medians.items())
    atomic.write_json(path, asdict(Speeds(machine, speeds)))
    return medians


def _task(result: Result) -> throughput.Task:
    """Predicts the evaluation videos of one result."""
    trained = loading.load(result.config.train_dir)
    selections = result.run.evaluated_with()
    selection = next((s for s in selections if s.k == result.k), selections[0])
    videos = evaluated_videos(result.config, trained.config)
    return throughput.Task(prediction_function(trained.model), videos, selection)
