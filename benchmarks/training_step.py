"""What does a training step cost beyond the passes that it cannot do without?

    python benchmarks/training_step.py                                   # about 2 minutes, 8 GB of memory
    python benchmarks/training_step.py --batch_size=16 --repetitions=3   # a quick look

NeXtVLAD with the papers' settings on one batch of random frames, 300 a video, and the steps that `train.py` compiles.
To expect: a teacher step at most 3.5 times its forward pass and one bare Adam update; a serial distillation step at
most 1.15 times (the teacher's forward pass + a step of the student by itself, on labels). How long the steps of a
training wait for videos is TensorBoard's `train/share_of_time_waiting_for_input`.
Measured (2 cores of a server of 2021 with AVX2, in a virtual machine; TensorFlow 2.21):

| batch size 80, 300 frames, student k = 30 | s    | videos/s |
|-------------------------------------------|------|----------|
| teacher: forward pass                     | 1.94 | 41       |
| bare Adam update                          | 0.60 | 133      |
| teacher: training step                    | 6.51 | 12       |
| student: training step on labels          | 1.51 | 53       |
| serial distillation step                  | 3.44 | 23       |

(teacher's training step - Adam update) / forward pass: 3.04;
serial distillation step / (teacher's forward pass + student's training step): 0.99.

That was with Keras's Adam. Processor seconds on one core with AVX-512, batch size 80, 30 frames: Keras's update 0.37,
that in one pass 0.12; the whole step 1.60 and 1.36.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from measuring import Measured, measure_in_turn, median_of, nextvlad_args, print_machine, print_table, run_config

from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import Distillation
from yt8m_distill.data.batches import Batch
from yt8m_distill.data.frame_selection import selected_indices
from yt8m_distill.models import building
from yt8m_distill.prediction.predict import prediction_function
from yt8m_distill.training import optimizers, stages
from yt8m_distill.training import step as training

FORWARD, ADAM, TEACHER = "teacher: forward pass", "bare Adam update", "teacher: training step"
KERAS_ADAM = "bare update of Keras's Adam"
STUDENT, SERIAL = "student: training step on labels", "serial distillation step"


def main(argv: Sequence[str] | None = None):
    arguments = parse_arguments(argv)
    print_machine()
    measured = measure_in_turn(tasks_of(arguments), arguments.repetitions)
    report(arguments, measured)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch_size", type=int, default=80)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--student_frames", type=int, default=30)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--model_args", default="", help="as of train.py, for a smaller model")
    return parser.parse_args(argv)


def tasks_of(arguments: argparse.Namespace) -> dict[str, Callable[[], float]]:
    """Everything that is measured, by name; teacher and student are the same models throughout."""
    selection = FrameSelection(arguments.student_frames)
    args = nextvlad_args(arguments.model_args)
    configs = {
        "teacher": run_config(args, arguments.frames, batch_size=arguments.batch_size),
        "student": run_config(args, arguments.frames, selection, batch_size=arguments.batch_size),
        "serial": run_config(args, arguments.frames, selection, Distillation(), batch_size=arguments.batch_size),
    }
    models = {role: building.build_models(configs[role])[role] for role in ("teacher", "student")}
    batches = random_batches(arguments, selection, configs["teacher"].data.num_classes)
    predict = prediction_function(models["teacher"])
    return {
        FORWARD: lambda: len(predict(batches["teacher"])),
        ADAM: adam_update(
            configs["teacher"], models["teacher"], optimizers.make_optimizer(configs["teacher"].learning)
        ),
        KERAS_ADAM: adam_update(configs["teacher"], models["teacher"], keras.optimizers.Adam(epsilon=1e-8)),
        TEACHER: training_step(configs["teacher"], models, batches["teacher"]),
        STUDENT: training_step(configs["student"], models, batches["student"]),
        SERIAL: training_step(configs["serial"], models, batches["serial"]),
    }


def random_batches(arguments: argparse.Namespace, selection: FrameSelection, classes: int) -> dict[str, Batch]:
    """The same videos for the teacher, the student and both."""
    random = np.random.default_rng(0)
    videos, frames = arguments.batch_size, arguments.frames
    lengths = np.full(videos, frames, np.int32)
    indices, counts = selected_indices(selection, lengths, [b""] * videos, 0)
    teacher = {
        "frames": random.integers(0, 256, (videos, frames, 1152), np.uint8),
        "num_frames": lengths,
        "labels": (random.random((videos, classes)) < 3.4 / classes).astype(np.uint8),
    }
    student = {**teacher, "frames": teacher["frames"][np.arange(videos)[:, None], indices], "num_frames": counts}
    return {
        "teacher": teacher,
        "student": student,
        "serial": {**teacher, "student_indices": indices, "student_num_frames": counts},
    }


def compiled_step(config: RunConfig, models: Mapping[str, keras.Model]) -> Callable[[Batch], training.StepResult]:
    """The step of the first stage of a training, as `train.py` compiles it; its loss is the mean so far."""
    stage = stages.stages(config, models)[0]
    return training.compiled_step(stages.step_model_of(stage, config), stage.view, config.data)


def training_step(config: RunConfig, models: Mapping[str, keras.Model], batch: Batch) -> Callable[[], float]:
    """The step of the first stage of a training, on one batch; returns the number of videos."""
    step = compiled_step(config, models)

    def run() -> int:
        float(step(batch).loss)
        return len(batch["num_frames"])

    return run


def adam_update(config: RunConfig, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Callable[[], float]:
    """The optimizer's update of all variables with gradients that are there; they are 0, which costs the same."""
    variables = model.trainable_variables
    optimizer.build(variables)
    gradients = [tf.zeros(variable.shape) for variable in variables]
    update = tf.function(lambda gradients: optimizer.apply_gradients(zip(gradients, variables, strict=True)))

    def run() -> int:
        update(gradients)
        return config.learning.batch_size

    return run


def report(arguments: argparse.Namespace, measured: Mapping[str, Measured]):
    """Times, and those ratios."""
    print(f"\nBatch size {arguments.batch_size}, teacher {arguments.frames} frames, student {arguments.student_frames}")
    print_table(("", "s", "videos/s"), [(n, f"{m.median:.2f}", f"{m.rate:.0f}") for n, m in measured.items()])
    ratios = {
        "Keras's Adam update / Adam update": lambda s: s[KERAS_ADAM] / s[ADAM],
        "(teacher's training step - Adam update) / forward pass": lambda s: (s[TEACHER] - s[ADAM]) / s[FORWARD],
        "serial distillation step / (teacher's forward pass + student's training step)": lambda s: (
            s[SERIAL] / (s[FORWARD] + s[STUDENT])
        ),
    }
    print_table(("", "ratio"), [(name, f"{median_of(measured, ratio):.2f}") for name, ratio in ratios.items()])


if __name__ == "__main__":
    main()
