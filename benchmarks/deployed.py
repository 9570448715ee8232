"""How large, fast and good is a model in each exported format?

    python benchmarks/deployed.py                                       # NeXtVLAD at the paper's size, random weights
    python benchmarks/deployed.py --train_dir=runs/x/teacher,runs/x/student30 --eval_data_pattern='yt8m/validate*'

The first is a teacher of 300 frames and students of 30, 10 and 6, for size and time; takes ten minutes, 7 GB of memory
and 5 GB of disk. The second exports finished runs, and has their GAP@20, too. Times are of one video by itself, or of
a batch with --batch_size=128, with all frames that the model sees, on as many threads as each runtime takes by itself:
the median of all calls, made in turns of some calls of each file. ONNX files are float32 and int8.
"""

import argparse
import contextlib
import io
import pathlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import get_args

import numpy as np
from measuring import nextvlad_args, print_machine, print_table, run_config, write_run

from yt8m_distill.config.deployment import EXPORT_FORMATS, ExportConfig, ONNXPrecision
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.deployment import runners
from yt8m_distill.deployment.export import run_export
from yt8m_distill.prediction.predict import prediction_function
from yt8m_distill.runs import loading


def main(argv: Sequence[str] | None = None):
    arguments = parse_arguments(argv)
    print_machine()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for label, train_dir in runs(arguments, folder):
            rows += rows_of(arguments, label, train_dir, folder / "export")
    columns = ["", "MB", "ms", "speed to Keras", "largest difference"]
    if len(rows[0]) > len(columns):
        columns.append("GAP@20")
    print_table(columns, rows)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train_dir", help="run directories, by commas, instead of random weights")
    parser.add_argument("--eval_data_pattern", help="labelled videos, instead of the runs' own")
    parser.add_argument("--eval_videos", type=int, default=20_000)
    parser.add_argument("--formats", default=",".join(EXPORT_FORMATS))
    parser.add_argument("--onnx_precisions", default=",".join(get_args(ONNXPrecision)))
    parser.add_argument("--batch_size", type=int, default=1, help="videos in a call")
    parser.add_argument("--frames", type=int, default=300, help="of the teacher with random weights")
    parser.add_argument("--students", default="30,10,6", help="frames of the students with random weights")
    parser.add_argument("--model_args", default="", help="as of train.py, for a smaller model")
    parser.add_argument("--calls", type=int, default=20, help="of each file in a repetition")
    parser.add_argument("--repetitions", type=int, default=5)
    return parser.parse_args(argv)


def runs(arguments: argparse.Namespace, folder: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
    """Name and run directory of every model."""
    if arguments.train_dir:
        yield from ((path, pathlib.Path(path)) for path in arguments.train_dir.split(","))
        return
    model_args = nextvlad_args(arguments.model_args)
    students = {f"k = {k}": FrameSelection(int(k)) for k in arguments.students.split(",")}
    for name, selection in {f"{arguments.frames} frames": ALL_FRAMES, **students}.items():
        write_run(folder / "run", run_config(model_args, arguments.frames, selection))
        yield name, folder / "run"
        shutil.rmtree(folder / "run")


def rows_of(
    arguments: argparse.Namespace, name: str, train_dir: pathlib.Path, folder: pathlib.Path
) -> list[tuple[str, ...]]:
    """A row for each file of a model's export, which is checked in passing."""
    config = ExportConfig(
        str(train_dir),
        str(folder),
        tuple(arguments.formats.split(",")),
        onnx_precisions=tuple(arguments.onnx_precisions.split(",")),
        eval_data_pattern=arguments.eval_data_pattern,
        eval_videos=arguments.eval_videos if arguments.train_dir else 0,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        described = run_export(config)
    model = prediction_function(loading.load(str(train_dir)).model)
    predicts = {file.path: runners.load(folder / file.path) for file in described.files}
    keras = {"Keras": lambda frames, num_frames: model({"frames": frames, "num_frames": num_frames})}
    video = full_videos(arguments.batch_size, described.frames, described.data.frame_size)
    seconds = median_seconds(keras | predicts, video, arguments)
    rows = []
    for file in described.files:
        own, ratio = 1000 * seconds[file.path], seconds["Keras"] / seconds[file.path]
        cells = (f"{file.num_bytes / 1e6:.2f}", f"{own:.2f}", f"{ratio:.2f}", f"{file.difference:.0e}")
        gap = next(
            (
                each.gap
                for each in described.files
                if (each.format, each.precision, each.batch) == (file.format, file.precision, None)
            ),
            None,
        )
        rows.append((f"{name}, {file.path}", *cells, *([] if gap is None else [f"{gap:.5f}"])))
    return rows


def full_videos(number: int, frames: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (number, frames, size), np.uint8), np.full(number, frames, np.int32)


def median_seconds(
    predicts: Mapping[str, Callable], video: tuple[np.ndarray, np.ndarray], arguments: argparse.Namespace
) -> dict[str, float]:
    """Of one call of each function."""
    seconds: dict[str, list[float]] = {name: [] for name in predicts}
    for _ in range(arguments.repetitions):
        for name, predict in predicts.items():
            predict(*video)  # the first call after another runtime's is slower
            for _ in range(arguments.calls):
                start = time.perf_counter()
                predict(*video)
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in seconds.items()}


if __name__ == "__main__":
    main()
