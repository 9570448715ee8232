"""How much faster are students than their teacher, from records to CSV, and how near is the model to bare products?

    python benchmarks/inference_time.py                                  # about 3 minutes, 5 GB of memory
    python benchmarks/inference_time.py --bfloat16                       # also where the processor has no units for it

NeXtVLAD with the papers' settings and random weights, on random videos of full size: 300 frames of 1152 bytes. The
first table is what `inference.py` does, from records to CSV, with where its time goes: waiting for input (records are
read in a thread of their own), the model, writing. The second one is what it does for students with
`--engine=onnxruntime` and `--precision=int8`. The third one compares the model on one batch with nothing but the matrix
products of the same shapes. Loading the model, or exporting it, is not counted.

To expect: 300 frames at 75 % of the rate of bare matrix products or more; k = 30 at least 4.5 times as fast as the
teacher, k = 6 at least 7 times; bfloat16 at least 1.6 times as fast as float32 where the processor has units for it.
Measured (2 cores of a server of 2021 with AVX2 and without bfloat16 units, in a virtual machine; TensorFlow 2.21):

| float32    | records to CSV, videos/s | to the teacher | waiting for input | model | writing | model to products |
|------------|--------------------------|----------------|-------------------|-------|---------|-------------------|
| 300 frames | 39                       | 1.00           | 2 %               | 97 %  | 0 %     | 0.91              |
| k = 30     | 253                      | 6.42           | 6 %               | 93 %  | 1 %     | 1.00              |
| k = 10     | 409                      | 10.38          | 6 %               | 93 %  | 1 %     | 0.97              |
| k = 6      | 456                      | 11.71          | 9 %               | 89 %  | 1 %     | 0.94              |

GAP@20 of trained teachers in both precisions (`eval.py --precision`):

| model           | data     | float32 | bfloat16 |
|-----------------|----------|---------|----------|
| NeXtVLAD        | AudioSet | .38306  | .38312   |
| NetVLAD         | AudioSet | .37229  | .37230   |
| HierarchicalRNN | AudioSet | .34735  | .34731   |
| NeXtVLAD        | sample   | .95898  | .95887   |
| NetVLAD         | sample   | .94591  | .94578   |
| HierarchicalRNN | sample   | .82383  | .82395   |
"""

import argparse
import functools
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from measuring import (
    Measured,
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
from yt8m_distill.data.batches import View
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.deployment import int8, onnx, runners
from yt8m_distill.deployment.exported_model import Network
from yt8m_distill.devices.precision import has_units
from yt8m_distill.models import NeXtVLAD
from yt8m_distill.prediction.predict import SMALL_BATCH, prediction_function
from yt8m_distill.prediction.submission import PredictionsWriter
from yt8m_distill.runs import loading

PARTS = ("waiting for input", "model", "writing")


def main(argv: Sequence[str] | None = None):
    arguments = parse_arguments(argv)
    print_machine()
    precisions = ["float32"]
    if arguments.bfloat16 or has_units("bfloat16"):
        precisions.append("bfloat16")
    else:
        print("This processor has no bfloat16 units (avx512_bf16, amx_bf16): only float32 is measured.")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_run(folder / "run", run_config(model_args(arguments), arguments.frames))
        models = {precision: loading.load(str(folder / "run"), precision=precision) for precision in precisions}
        report_end_to_end(arguments, folder, models)
        report_engines(arguments, folder, models["float32"])
        report_products(arguments, models)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=128, help="different ones")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--times", type=int, default=2, help="how often their file is read in a repetition")
    parser.add_argument("--students", default="30,10,6", help="their frames")
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--model_args", default="", help="as of train.py, for a smaller model")
    parser.add_argument("--bfloat16", action="store_true", help="measure it even where the processor has no units")
    return parser.parse_args(argv)


def model_args(arguments: argparse.Namespace) -> dict[str, Any]:
    return nextvlad_args(arguments.model_args)


def views(arguments: argparse.Namespace) -> dict[str, View]:
    """What the teacher and the students see, by name."""
    students = {f"k = {k}": View(FrameSelection(int(k))) for k in arguments.students.split(",")}
    return {f"{arguments.frames} frames": View(), **students}


@dataclass
class Inference:
    """Records to CSV, as `run_inference` does it.

    Attributes:
        predict: see `prediction_function`.
        videos: what to predict.
        view: the frames the model sees.
        batch_size: videos at a time.
        output_file: the CSV.
        spent: seconds of each call, by `PARTS`.
    """

    predict: Callable
    videos: VideoFiles
    view: View
    batch_size: int
    output_file: pathlib.Path
    spent: list[dict[str, float]] = field(default_factory=list)

    def __call__(self) -> int:
        """Predicts all videos; returns their number."""
        spent = dict.fromkeys(PARTS, 0.0)
        self.spent.append(spent)
        with PredictionsWriter(self.output_file) as writer:
            start = time.perf_counter()
            for batch in self.videos.ordered_batches(self.view, self.batch_size):
                received = time.perf_counter()
                scores = self.predict(batch)
                predicted = time.perf_counter()
                writer.write(batch["video_id"], scores)
                written = time.perf_counter()
                for part, begin, end in zip(
                    PARTS, (start, received, predicted), (received, predicted, written), strict=True
                ):
                    spent[part] += end - begin
                start = written
        return writer.rows

    def share(self, part: str) -> str:
        """The part's share of the time in percent, without the first call, which compiles the model."""
        spent = sum(call[part] for call in self.spent[1:])
        return f"{100 * spent / sum(sum(call.values()) for call in self.spent[1:]):.0f} %"


def report_end_to_end(arguments: argparse.Namespace, folder: pathlib.Path, models: Mapping[str, Any]):
    """Records to CSV by precision and frames."""
    videos = full_size_videos(folder, arguments.videos, arguments.frames, arguments.times)
    tasks, small = {}, arguments.batch_size <= SMALL_BATCH
    for precision, trained in models.items():
        predict = prediction_function(trained.model, small_batches=small)
        for name, view in views(arguments).items():
            tasks[f"{name}, {precision}"] = Inference(
                predict, videos, view, arguments.batch_size, folder / "predictions.csv"
            )
    measured = measure_in_turn(tasks, arguments.repetitions)
    teacher = next(iter(measured.values()))
    rows = [
        (name, f"{each.rate:,.0f}", f"{rate_ratio(each, teacher):.2f}", *map(tasks[name].share, PARTS))
        for name, each in measured.items()
    ]
    print("\nFrom records to CSV")
    print_table(("", "videos/s", "to the teacher", *PARTS), rows)


def report_engines(arguments: argparse.Namespace, folder: pathlib.Path, trained: Any):
    """Records to CSV by Keras and by exported files, students only."""
    videos = full_size_videos(folder, arguments.videos, arguments.frames, arguments.times)
    rows, small = [], arguments.batch_size <= SMALL_BATCH
    for k in map(int, arguments.students.split(",")):
        predicts = {
            "Keras": prediction_function(trained.model, small_batches=small),
            **onnx_predictions(trained, k, folder),
        }
        tasks = {
            name: Inference(predict, videos, View(FrameSelection(k)), arguments.batch_size, folder / "predictions.csv")
            for name, predict in predicts.items()
        }
        measured = measure_in_turn(tasks, arguments.repetitions)
        for name, each in measured.items():
            ratios = (f"{rate_ratio(each, measured[other]):.2f}" for other in ("Keras", "ONNX float32"))
            rows.append((f"k = {k}, {name}", f"{each.rate:,.0f}", *ratios, *map(tasks[name].share, PARTS)))
    print("\nFrom records to CSV, by engine")
    print_table(("", "videos/s", "to Keras", "to ONNX float32", *PARTS), rows)


def onnx_predictions(trained: Any, k: int, folder: pathlib.Path) -> dict[str, Callable]:
    """Functions of a batch, by name."""
    network = Network(trained.model, trained.config.data, FrameSelection(k))
    files = {name: folder / f"{k} {name}.onnx" for name in ("ONNX float32", "ONNX int8")}
    source, target = files.values()
    onnx.write(network, source)
    int8.write(source, target, int8.find_layers(network, source))
    return {name: functools.partial(predict_frames, runners.load(path)) for name, path in files.items()}


def predict_frames(predict: Callable, batch: Mapping[str, Any]) -> np.ndarray:
    return predict(batch["frames"], batch["num_frames"])


def report_products(arguments: argparse.Namespace, models: Mapping[str, Any]):
    """The model on one batch, and the matrix products of the same shapes."""
    rows, small = [], arguments.batch_size <= SMALL_BATCH
    for precision, trained in models.items():
        predict = prediction_function(trained.model, small_batches=small)
        for name, view in views(arguments).items():
            frames = view.selection.k or arguments.frames
            measured = measure_in_turn(
                {
                    "products": bare_products(trained.model, arguments.batch_size, frames),
                    "model": functools.partial(predict_one, predict, random_batch(arguments.batch_size, frames)),
                },
                arguments.repetitions,
            )
            rows.append(product_row(f"{name}, {precision}", measured))
    print(f"\nOne batch of {arguments.batch_size}: the model, and bare matrix products of the same shapes")
    print_table(("", "products, videos/s", "model, videos/s", "model to products"), rows)


def product_row(name: str, measured: Mapping[str, Measured]) -> tuple[str, ...]:
    products, model = measured["products"], measured["model"]
    return name, f"{products.rate:,.0f}", f"{model.rate:,.0f}", f"{rate_ratio(model, products):.2f}"


def random_batch(batch_size: int, frames: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "frames": random.integers(0, 256, (batch_size, frames, 1152), np.uint8),
        "num_frames": np.full(batch_size, frames, np.int32),
    }


def predict_one(predict: Callable, batch: Mapping[str, np.ndarray]) -> int:
    return len(predict(batch))


def products_of(model: NeXtVLAD, batch: int, frames: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], str]]:
    """Shapes of both factors and the type of every product of a forward pass.

    Where the shapes have three dimensions the first factor is to be transposed.
    """
    for pooling in model.poolings:
        for layer in (pooling.expand, pooling.attention, pooling.assignment):
            yield (batch * frames, layer.kernel.shape[0]), tuple(layer.kernel.shape), layer.compute_dtype
        groups = batch, frames * pooling.groups
        yield (*groups, pooling.group_size), (*groups, pooling.clusters), pooling.compute_dtype
    for layer in (model.hidden, model.gating.squeeze, model.gating.excite, model.classifier.dense):
        yield (batch, layer.kernel.shape[0]), tuple(layer.kernel.shape), layer.compute_dtype


def bare_products(model: NeXtVLAD, batch: int, frames: int) -> Callable[[], int]:
    """A function that computes all products once, of factors that are there; it returns the batch size."""
    random = np.random.default_rng(0)
    pairs = [
        [tf.cast(random.standard_normal(shape, np.float32), dtype) for shape in shapes]
        for *shapes, dtype in products_of(model, batch, frames)
    ]

    def products() -> int:
        for first, second in pairs:
            tf.matmul(first, second, transpose_a=first.shape.rank == 3)
        return batch

    return products


if __name__ == "__main__":
    main()
