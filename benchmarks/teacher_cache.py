"""How much faster is a student's epoch with `--teacher_cache`, how large is it, and what do the top classes cost?

    python benchmarks/teacher_cache.py                                # about 3 minutes, 6 GB of memory
    python benchmarks/teacher_cache.py --audioset=$AUDIOSET           # also GAP@20 of students, about 4 minutes more

The first table has an epoch of a serial student of NeXtVLAD with the papers' settings on random videos of full size:
300 frames of 1152 bytes, k = 30, from records to the last step. The second one has students on AudioSet's released
features (a folder with train*.tfrecord and validate*.tfrecord), with the same teacher, seed and settings; dense and
no cache differ by what float16 leaves out, and a top cache gives all other classes their mean.
Measured (2 cores of a server of 2021 with AVX2, in a virtual machine, other work beside; TensorFlow 2.21):

| epoch of a student | s     | times as fast | bytes a video on disk |
|--------------------|-------|---------------|-----------------------|
| without a cache    | 11.16 | 1.00          | 0                     |
| dense              | 4.66  | 2.41          | 11,832                |
| top 20             | 4.40  | 2.47          | 4,230                 |

| AudioSet, 2 epochs, k = 3, one seed | rep,pred,ce: GAP@20 / mAP_full | MB   | pred,ce: GAP@20 / mAP_full | MB   |
|-------------------------------------|--------------------------------|------|----------------------------|------|
| without a cache                     | .2711 / .1333                  | 0    | .2718 / .1339              | 0    |
| dense                               | .2711 / .1333                  | 46.2 | .2718 / .1338              | 46.2 |
| top 20                              | .2695 / .1303                  | 25.6 | .2700 / .1303              | 2.9  |
"""

import argparse
import dataclasses
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence

from gap_runs import measured as trained_and_measured
from measuring import (
    full_size_videos,
    measure_in_turn,
    nextvlad_args,
    print_machine,
    print_table,
    rate_ratio,
    run_config,
    write_run,
)

from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import Distillation, Learning, TeacherCache, TrainConfig
from yt8m_distill.data.batches import StoredOutputs
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.models import building
from yt8m_distill.runs import loading, trained_model
from yt8m_distill.training import stages, teacher_cache
from yt8m_distill.training import step as training

AUDIOSET_MODEL = {"clusters": 32, "groups": 4, "hidden_size": 512}
WITHOUT = "without a cache"


def main(argv: Sequence[str] | None = None):
    arguments = parse_arguments(argv)
    print_machine()
    with tempfile.TemporaryDirectory() as name:
        report_epochs(arguments, pathlib.Path(name))
    if arguments.audioset:
        report_students(arguments)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=128, help="different ones")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--student_frames", type=int, default=30)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--top", type=int, default=20)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--model_args", default="", help="as of train.py, for a smaller model")
    parser.add_argument("--audioset", help="folder with AudioSet's features")
    parser.add_argument("--student_losses", default="rep,pred,ce", help="of the students on AudioSet")
    parser.add_argument("--num_epochs", type=int, default=2, help="on AudioSet")
    parser.add_argument("--output_dir", default="runs/teacher_cache", help="of the runs on AudioSet, which are kept")
    return parser.parse_args(argv)


def report_epochs(arguments: argparse.Namespace, folder: pathlib.Path):
    """Times of an epoch, their ratios, and bytes a video."""
    args = nextvlad_args(arguments.model_args)
    videos = full_size_videos(folder, arguments.videos, arguments.frames, 1)
    options = {"batch_size": arguments.batch_size, "num_epochs": 1}
    write_run(folder / "teacher", run_config(args, arguments.frames, **options))
    teacher = loading.load(str(folder / "teacher"))
    config = run_config(args, arguments.frames, FrameSelection(arguments.student_frames), Distillation(), **options)
    stored = {WITHOUT: None} | {
        name: teacher_cache.open_cache(
            dataclasses.replace(config, teacher_cache=TeacherCache(str(folder / name), top)), teacher, videos
        )
        for name, top in (("dense", None), (f"top {arguments.top}", arguments.top))
    }
    tasks = {name: epoch(config, teacher, videos, each) for name, each in stored.items()}
    times = measure_in_turn(tasks, arguments.repetitions)
    frames = f"{arguments.frames} frames, k = {arguments.student_frames}"
    print(f"\nAn epoch of a student: {arguments.videos} videos of {frames}")
    rows = [
        (name, f"{each.median:.2f}", f"{rate_ratio(each, times[WITHOUT]):.2f}", f"{bytes_a_video(folder / name):,.0f}")
        for name, each in times.items()
    ]
    print_table(("", "s", "times as fast", "bytes a video on disk"), rows)


def epoch(
    config: RunConfig, teacher: trained_model.TrainedModel, videos: VideoFiles, stored: StoredOutputs | None
) -> Callable[[], float]:
    """An epoch of training steps; returns the number of videos."""
    models = {**building.build_models(config), "teacher": teacher.model}
    stage = stages.stages(config, models, stored)[0]
    step_model = stages.step_model_of(stage, config)
    step = training.compiled_step(step_model, stage.view, config.data)

    def run() -> int:
        count = 0
        for batch in videos.training_batches(stage.view, config.learning.batch_size, seed=0, epoch=0):
            step(batch)
            count += len(batch["num_frames"])
        return count

    return run


def bytes_a_video(cache: pathlib.Path) -> float:
    """0 where there is no cache."""
    files = list(cache.glob("*.bin"))
    keys = cache / "keys.bin"
    return sum(path.stat().st_size for path in files) / (keys.stat().st_size / 8) if files else 0.0


def report_students(arguments: argparse.Namespace):
    """GAP@20 of students on AudioSet, without a cache and with each kind."""
    output, validate = pathlib.Path(arguments.output_dir), f"{arguments.audioset}/validate*"
    base = TrainConfig(
        "NeXtVLAD",
        training_mode="teacher",
        model_args=AUDIOSET_MODEL,
        train_data_pattern=f"{arguments.audioset}/train*",
        train_dir=str(output / "teacher"),
        learning=Learning(num_epochs=arguments.num_epochs, base_learning_rate=0.0003),
    )
    trained_and_measured(base, validate, True)
    found: dict[str, Mapping[str, float]] = {}
    for name, cache in students_of(output, arguments.top).items():
        student = dataclasses.replace(
            base,
            training_mode="serial",
            selection=FrameSelection(3),
            distillation=Distillation(tuple(arguments.student_losses.split(","))),
            teacher_dir=base.train_dir,
            teacher_cache=cache,
            train_dir=str(output / f"student_{name.replace(' ', '_')}"),
        )
        found[name] = trained_and_measured(student, validate, True)
    print(f"\nStudents of 3 frames on AudioSet, {arguments.num_epochs} epochs, losses {arguments.student_losses}")
    rows = []
    for name, metrics in found.items():
        difference = metrics["GAP@20"] - found[WITHOUT]["GAP@20"]
        size = sum(path.stat().st_size for path in (output / f"cache {name}").glob("*.bin")) / 1e6
        rows.append(
            (name, f"{metrics['GAP@20']:.4f}", f"{difference:.4f}", f"{metrics['mAP_full']:.4f}", f"{size:.1f}")
        )
    print_table(("", "GAP@20", "difference", "mAP_full", "MB on disk"), rows)


def students_of(output: pathlib.Path, top: int) -> dict[str, TeacherCache | None]:
    names = {"dense": None, f"top {top}": top}
    return {WITHOUT: None} | {name: TeacherCache(str(output / f"cache {name}"), each) for name, each in names.items()}


if __name__ == "__main__":
    main()
