"""What a recipe costs on all of YouTube-8M, from measured rates.

    python benchmarks/full_data_set.py                                    # rates of two cores, from training_step.py
    python benchmarks/full_data_set.py --all_frames=2000 --few_frames=9000 --teacher=6000 --devices=8
    python benchmarks/full_data_set.py --rehearse=2500                    # flags for a rehearsal on 2,500 videos

The three rates are videos/s of one device, rows of benchmarks/training_step.py: the training step of the teacher,
that of a student on labels, and the forward pass of the teacher. Hours of a stage are

    videos * epochs * (1 / rate of the step + 1 / rate of the teacher, where it runs in every step) / devices / 3600;

a teacher cache is written once, by one device. --efficiency is the share of the rates that is left beside the exchange
of gradients; docs/scaling.md says how large that is.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from measuring import print_table

from yt8m_distill.cli.flags import parse
from yt8m_distill.config.dataset import LONGEST_VIDEO
from yt8m_distill.config.recipes import with_recipe
from yt8m_distill.config.settings import as_text
from yt8m_distill.config.training import TrainCommand, TrainConfig
from yt8m_distill.experiments.budget import own_epochs
from yt8m_distill.runs.teachers import teacher_config

VIDEOS = 3_888_919  # of the training split, edition of 2018
BYTES_PER_VIDEO = 263_000


@dataclass(frozen=True)
class Stage:
    """A part of the training.

    Attributes:
        name: what it does.
        epochs: passes over the videos.
        steps: of the optimizer in all; 0: it has none.
        seconds: for a video, on one device.
        devices: that it runs on.
    """

    name: str
    epochs: int
    steps: int
    seconds: float
    devices: int

    def hours(self, videos: int) -> float:
        """Of the whole stage."""
        return videos * self.epochs * self.seconds / self.devices / 3600


def main(argv: Sequence[str] | None = None):
    arguments = parse_arguments(argv)
    config = read_recipe(arguments.recipe_file)
    if arguments.rehearse:
        print(" ".join(rehearsal_flags(config, arguments.rehearse / arguments.videos)))
        return
    stages = list(stages_of(config, arguments))
    rows = [row_of(stage, arguments.videos) for stage in stages]
    total = sum(stage.hours(arguments.videos) for stage in stages)
    steps = sum(stage.steps for stage in stages)
    head = ("", "epochs", "steps", "videos/s", "hours", "reading, MB/s")
    epochs = sum(stage.epochs for stage in stages)
    print_table(head, [*rows, ("all", f"{epochs}", f"{steps:,}", "", f"{total:,.1f}", "")])


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe_file", default="recipes/youtube8m_nextvlad.toml")
    parser.add_argument("--videos", type=int, default=VIDEOS)
    parser.add_argument("--all_frames", type=float, default=12.0, help="videos/s of a training step on 300 frames")
    parser.add_argument("--few_frames", type=float, default=53.0, help="videos/s of one on the student's frames")
    parser.add_argument("--teacher", type=float, default=41.0, help="videos/s of the teacher's forward pass")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--efficiency", type=float, default=1.0)
    parser.add_argument("--rehearse", type=int, default=0, metavar="VIDEOS")
    return parser.parse_args(argv)


def read_recipe(path: str) -> TrainConfig:
    """The settings of a recipe file, with what it leaves open."""
    command = parse(TrainCommand, ["train.py", f"--recipe_file={path}", "--recipe=paper"])
    return with_recipe(command.training)


def stages_of(config: TrainConfig, arguments: argparse.Namespace) -> Iterator[Stage]:
    """The training of the teachers, writing their cache, the training of the student."""
    if config.training_mode == "serial":
        yield from stages_of(teacher_config(config, None), arguments)
    frames = config.selection.frames(LONGEST_VIDEO)
    step = 1 / (arguments.all_frames if frames == LONGEST_VIDEO else arguments.few_frames)
    name = "all frames" if config.training_mode == "teacher" else f"{config.selection.describe()} frames"
    if config.training_mode == "serial":
        name = f"student of {name}, {', '.join(config.distillation.losses)}"
        if config.teacher_cache is not None:
            yield Stage("writing the teacher cache", 1, 0, 1 / arguments.teacher, 1)
        else:
            step += 1 / arguments.teacher
    epochs = own_epochs(config)
    steps = epochs * math.ceil(arguments.videos / config.learning.batch_size)
    yield Stage(name, epochs, steps, step / arguments.efficiency, arguments.devices)


def row_of(stage: Stage, videos: int) -> tuple[str, ...]:
    rate = stage.devices / stage.seconds
    reading = f"{rate * BYTES_PER_VIDEO / 1e6:,.0f}"
    return (stage.name, str(stage.epochs), f"{stage.steps:,}", f"{rate:,.0f}", f"{stage.hours(videos):,.1f}", reading)


def rehearsal_flags(config: TrainConfig, share: float) -> list[str]:
    """Flags that scale a recipe's schedule down to a share of its videos: the same epochs, fewer steps in each.

    The learning rate decays at the same parts of the training, and the average of the weights covers the same part.
    """
    flags = scaled(config, share)
    if "teacher_settings" in config.teacher_settings:
        raise SystemExit(
            "The teacher of this recipe has a teacher of its own, which flags cannot set: scale a copy of it."
        )
    if config.training_mode == "serial" and config.teacher_settings:
        of_teacher = {**config.teacher_settings, **scaled(teacher_config(config, None), share)}
        flags["teacher_settings"] = as_text(of_teacher)
    return [f"--{name}={value}" for name, value in flags.items()]


def scaled(config: TrainConfig, share: float) -> dict[str, str]:
    learning = config.learning
    flags = {}
    if learning.learning_rate_schedule == "decay":
        flags["learning_rate_decay_examples"] = str(max(1, round(learning.learning_rate_decay_examples * share)))
    if learning.warmup_steps is not None:
        flags["warmup_steps"] = str(round(learning.warmup_steps * share))
    if learning.ema_momentum is not None:
        flags["ema_momentum"] = f"{learning.ema_momentum ** (1 / share):.4g}"
    return flags


if __name__ == "__main__":
    main()
