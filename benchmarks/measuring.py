"""What the benchmarks of speed share: videos, models with random weights, timing in turn, tables in Markdown.

Times of one run are compared with each other only: every repetition measures all tasks one after the other, so that
they meet the same machine, and ratios are medians over repetitions.
"""

import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from yt8m_distill.config.dataset import YOUTUBE_8M_2018, DatasetSpec
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.config.json import to_json
from yt8m_distill.config.recipes import with_recipe
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import Distillation, Learning
from yt8m_distill.data.sample import SampleSettings, write_sample
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.files import atomic
from yt8m_distill.models import NeXtVLAD, building
from yt8m_distill.models.arguments import typed_model_args
from yt8m_distill.runs import weights
from yt8m_distill.runs.directory import RunDir


@dataclass(frozen=True)
class Measured:
    """The repetitions of one task.

    Attributes:
        amount: what one repetition did, for instance videos; 1 where only time matters.
        seconds: of each repetition.
        processor_seconds: of each repetition, of all threads of this process.
    """

    amount: float
    seconds: list[float] = field(default_factory=list)
    processor_seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Seconds of a repetition."""
        return statistics.median(self.seconds)

    @property
    def rate(self) -> float:
        """Amount a second."""
        return self.amount / self.median


def measure_in_turn(tasks: Mapping[str, Callable[[], float]], repetitions: int) -> dict[str, Measured]:
    """Runs every task once for nothing, then all of them `repetitions` times, one after the other.

    Args:
        tasks: functions that return what they have done, as `Measured.amount`.
        repetitions: at least 1.
    """
    measured = {name: Measured(task()) for name, task in tasks.items()}
    for _ in range(repetitions):
        for name, task in tasks.items():
            start, processor = time.perf_counter(), time.process_time()
            task()
            measured[name].seconds.append(time.perf_counter() - start)
            measured[name].processor_seconds.append(time.process_time() - processor)
    return measured


def rate_ratio(first: Measured, second: Measured) -> float:
    """The rate of `first` to that of `second`: the median over repetitions."""
    ratios = [other / own for own, other in zip(first.seconds, second.seconds, strict=True)]
    return statistics.median(ratios) * first.amount / second.amount


def median_of(measured: Mapping[str, Measured], number: Callable[[Mapping[str, float]], float]) -> float:
    """The median over repetitions of a number that is computed from the tasks' seconds."""
    repetitions = zip(*(each.seconds for each in measured.values()), strict=True)
    return statistics.median(number(dict(zip(measured, seconds, strict=True))) for seconds in repetitions)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]):
    """Prints a Markdown table."""
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def print_machine():
    """One line on the machine, for whoever keeps the numbers."""
    versions = f"Python {platform.python_version()}"
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {versions}, {time.strftime('%Y-%m-%d')}")


def full_size_videos(folder: pathlib.Path, videos: int, frames: int, times: int) -> VideoFiles:
    """Random videos in the format of YouTube-8M, 1152 bytes a frame.

    Args:
        folder: where their file is written.
        videos: how many different ones.
        frames: of each.
        times: how often the file is read.
    """
    write_sample(folder, SampleSettings(videos=(videos, 1, 1), shards=(1, 1, 1), shortest=frames, longest=frames))
    return VideoFiles((str(folder / "train00.tfrecord"),) * times, video_spec(frames))


def video_spec(frames: int) -> DatasetSpec:
    """YouTube-8M with videos of so many frames."""
    edition = YOUTUBE_8M_2018
    names, sizes = zip(*edition.features, strict=True)
    return DatasetSpec(edition.name, edition.id_key, names, sizes, edition.num_classes, frames)


def nextvlad_args(text: str) -> dict[str, Any]:
    """Arguments of NeXtVLAD out of --model_args, as "clusters=64,groups=4"."""
    return typed_model_args(NeXtVLAD, dict(pair.split("=", 1) for pair in text.split(",") if pair))


def run_config(
    model_args: Mapping,
    frames: int,
    selection: FrameSelection = ALL_FRAMES,
    distillation: Distillation | None = None,
    **learning,
) -> RunConfig:
    """A NeXtVLAD with the papers' settings but for `model_args`: a teacher's run, with a selection a baseline's, with
    a distillation a serial student's.

    Args:
        **learning: fields of `config.Learning`.
    """
    mode = "serial" if distillation else "teacher" if selection == ALL_FRAMES else "baseline"
    return with_recipe(
        RunConfig(
            "NeXtVLAD",
            training_mode=mode,
            model_args=model_args,
            selection=selection,
            distillation=distillation,
            recipe="paper",
            data=video_spec(frames),
            learning=Learning(**learning),
        )
    )


def write_run(folder: pathlib.Path, config: RunConfig):
    """A run directory with the configuration, and a model with random weights as its best one."""
    run = RunDir(folder)
    atomic.make_directory(run.best)
    for role, model in building.build_models(config).items():
        model.save_weights(weights.weights_file(run.best, role))
    atomic.write_text(run.config_file, to_json(config))
