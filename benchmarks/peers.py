"""Is NeXtVLAD here as fast as the same network by what else a user could pick on this machine?

    python -m venv .venv-peers && .venv-peers/bin/pip install -r requirements-peers.txt
    python benchmarks/peers.py --torch_python=.venv-peers/bin/python        # about 7 minutes, 14 GB of memory
    python benchmarks/peers.py --torch_python=.venv-peers/bin/python --quick                       # a small model

The networks have the papers' settings and the same random weights, and predict and train on the same random bytes, in
memory, 1152 a frame. Ours is what `inference.py` and `train.py` compile. Peers: plain PyTorch (`peer_torch.py`), our
export in ONNX Runtime, which is `inference.py --engine=onnxruntime`, and TensorFlow 2.15 (`peer_tensorflow.py`), where
--tensorflow215_python names an environment that has it, such as that of requirements-addons.txt. Every turn measures
all of them one after the other, and numpy's product of two float32 matrices as the rate of the machine. A training is a
teacher's on the most frames, and a student's on labels on fewer.

Before anything is measured, predictions must differ by less than 1e-4, and so must the losses of three steps of a small
model without dropout, relatively.
"""

import argparse
import contextlib
import functools
import math
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from measuring import Measured, measure_in_turn, nextvlad_args, print_machine, print_table, rate_ratio, run_config
from peer_process import Peer
from training_step import compiled_step, training_step

from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.run import RunConfig
from yt8m_distill.deployment import int8, onnx, runners
from yt8m_distill.deployment.exported_model import Network
from yt8m_distill.models import building
from yt8m_distill.prediction.predict import prediction_function

PARTS = ("inference", "onnxruntime", "int8", "training")
OURS, ONNX, INT8, MATRIX = "ours", "ONNX Runtime", "ours, int8", "matrix products"
QUICK = {
    "model_args": "clusters=8,groups=2,hidden_size=64",
    "frames": "10,3",
    "train_frames": "10,3",
    "batches": "1,4",
    "train_batch": 4,
    "matrix_size": 256,
    "seconds": 0.02,
}
SMALL = "clusters=8,groups=2,hidden_size=64,dropout=0"
MOST_DIFFERENCE = 1e-4

Batch = Mapping[str, np.ndarray]
Peers = Mapping[str, Peer]


def main(argv: Sequence[str] | None = None):
    arguments = parse_arguments(argv)
    print_machine()
    busy = os.getloadavg()[0]
    if busy > 0.5:
        print(f"Other processes are running ({busy:.1f} of them); frameworks bear that differently, PyTorch badly.")
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        peers = {peer.version: peer for peer in map(stack.enter_context, started(arguments, folder))}
        print(f"Ours with TensorFlow {tf.__version__}, Keras {keras.__version__}; {', '.join(peers) or 'no peers'}")
        if set(arguments.parts) - {"training"}:
            report_inference(arguments, folder, peers)
        if "training" in arguments.parts:
            report_training(arguments, peers)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch_python", help="the Python of an environment with PyTorch")
    parser.add_argument("--tensorflow215_python", help="the Python, 3.11, of an environment with TensorFlow 2.15")
    parser.add_argument(
        "--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}; the middle two are columns of the first"
    )
    parser.add_argument("--frames", default="300,30,10,6", help="of videos to predict")
    parser.add_argument("--batches", default="1,128", help="videos in a call")
    parser.add_argument("--train_frames", default="300,30", help="of videos to train on")
    parser.add_argument("--train_batch", type=int, default=80, help="videos in a step")
    parser.add_argument("--repetitions", type=int, default=5, help="turns")
    parser.add_argument("--seconds", type=float, default=0.5, help="least length of each measurement in a turn")
    parser.add_argument("--matrix_size", type=int, default=3072, help="rows and columns of the matrices")
    parser.add_argument("--model_args", default="", help="as of train.py, for a smaller model")
    parser.add_argument("--quick", action="store_true", help="sizes with which it takes seconds, and means nothing")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        parser.set_defaults(**QUICK)
        arguments = parser.parse_args(argv)
    for name in ("frames", "batches", "train_frames"):
        setattr(arguments, name, [int(number) for number in getattr(arguments, name).split(",")])
    arguments.parts = arguments.parts.split(",")
    if not set(arguments.parts) <= set(PARTS):
        parser.error(f"--parts takes some of {', '.join(PARTS)}")
    return arguments


def started(arguments: argparse.Namespace, folder: pathlib.Path) -> Iterator[Peer]:
    """The processes of the frameworks that have an environment."""
    scripts = {
        "peer_torch.py": ("PyTorch", "torch_python"),
        "peer_tensorflow.py": ("TensorFlow 2.15", "tensorflow215_python"),
    }
    for script, (name, argument) in scripts.items():
        python = getattr(arguments, argument)
        if python:
            yield Peer(python, script, folder)
        else:
            print(f"{name} is left out: --{argument} names the Python of its environment.")


def report_inference(arguments: argparse.Namespace, folder: pathlib.Path, peers: Peers):
    """Predictions of batches in memory, by frames and videos in a call."""
    config = run_config(nextvlad_args(arguments.model_args), max(arguments.frames))
    model = random_model(config)
    load(peers, config, model)
    measured, shares = {}, []
    for frames in arguments.frames:
        network = Network(model, config.data, FrameSelection(frames))
        predicts = {OURS: prediction_function(model, small_batches=True), **exported(network, folder, arguments.parts)}
        for videos in arguments.batches:
            batch = random_batch(config, videos, frames)
            check_predictions(predicts, peers, batch)
            tasks = inference_tasks(arguments, predicts, peers, batch) | matrix_task(arguments)
            case = measure_in_turn(tasks, arguments.repetitions)
            print_progress(f"{frames} frames, batch {videos}", case)
            measured[f"{frames} frames, batch {videos}"] = case
            operations = 2 * sum(model.multiply_accumulates(frames).values())
            shares.append(f"{100 * operations * rate_ratio(case[OURS], case[MATRIX]):.0f} %")
    print_rates("Inference", measured)
    print_ratios(measured, {"ours, share of the matrix rate": shares})


def exported(network: Network, folder: pathlib.Path, parts: Sequence[str]) -> dict[str, Callable[[Batch], np.ndarray]]:
    """Predictions by the exports that are in `parts`, as `inference.py --engine=onnxruntime` has them."""
    source, target = folder / "float32.onnx", folder / "int8.onnx"
    if "onnxruntime" in parts or "int8" in parts:
        onnx.write(network, source)
    if "int8" in parts:
        int8.write(source, target, int8.find_layers(network, source))
    files = {"onnxruntime": (ONNX, source), "int8": (INT8, target)}
    chosen = [files[part] for part in files if part in parts]
    return {name: functools.partial(predict_frames, runners.load(path)) for name, path in chosen}


def predict_frames(predict: runners.Predict, batch: Batch) -> np.ndarray:
    return predict(batch["frames"], batch["num_frames"])


def inference_tasks(
    arguments: argparse.Namespace, predicts: Mapping[str, Callable], peers: Peers, batch: Batch
) -> dict[str, Callable[[], int]]:
    """For `measure_in_turn`: as many calls, each, as take the least length."""

    def call(predict: Callable, calls: int):
        for _ in range(calls):
            predict(batch)

    calls = {name: functools.partial(call, predict) for name, predict in predicts.items()}
    calls |= {name: peer.run_inference for name, peer in peers.items()}
    videos = len(batch["frames"])
    return {name: repeated(run, videos, arguments.seconds) for name, run in calls.items()}


def repeated(run: Callable[[int], None], videos: int, seconds: float) -> Callable[[], int]:
    """A task of so many calls that it takes about so long, at least one; graphs are compiled already."""
    start = time.perf_counter()
    run(1)
    calls = math.ceil(seconds / (time.perf_counter() - start))

    def task() -> int:
        run(calls)
        return calls * videos

    return task


def report_training(arguments: argparse.Namespace, peers: Peers):
    """Steps on a batch in memory: a teacher on the most frames, a student on labels on fewer."""
    check_losses(peers)
    measured, most = {}, max(arguments.train_frames)
    for frames in arguments.train_frames:
        selection = {} if frames == most else {"selection": FrameSelection(frames)}
        args = nextvlad_args(arguments.model_args)
        config = run_config(args, most, batch_size=arguments.train_batch, **selection)
        model = random_model(config)
        load(peers, config, model)
        batch = random_batch(config, arguments.train_batch, frames)
        tasks = {OURS: training_step(config, {config.main_role: model}, batch)}
        tasks |= {name: functools.partial(train_peer, peer, len(batch["labels"])) for name, peer in peers.items()}
        for peer in peers.values():
            peer.take(batch)
        case = f"{frames} frames, batch {arguments.train_batch}"
        measured[case] = measure_in_turn(tasks | matrix_task(arguments), arguments.repetitions)
        print_progress(case, measured[case])
    print_rates("Training step", measured)
    print_ratios(measured)


def train_peer(peer: Peer, videos: int) -> int:
    peer.train(1)
    return videos


def matrix_task(arguments: argparse.Namespace) -> dict[str, Callable[[], int]]:
    """A product of two float32 matrices by numpy, which neither side computes with; the amount is in operations."""
    size = arguments.matrix_size
    first, second = np.random.default_rng(0).standard_normal((2, size, size), np.float32)

    def product() -> int:
        first @ second
        return 2 * size**3

    return {MATRIX: product}


def random_model(config: RunConfig) -> keras.Model:
    """A model whose batch normalization does something, too."""
    model = building.build_models(config)[config.main_role]
    random = np.random.default_rng(0)
    for variable in model.weights:
        if len(variable.shape) == 1:
            low, high = (0.5, 1.5) if variable.name in ("gamma", "moving_variance") else (-0.1, 0.1)
            variable.assign(random.uniform(low, high, variable.shape).astype(np.float32))
    return model


def random_batch(config: RunConfig, videos: int, frames: int) -> dict[str, np.ndarray]:
    random, classes = np.random.default_rng(0), config.data.num_classes
    return {
        "frames": random.integers(0, 256, (videos, frames, config.data.frame_size), np.uint8),
        "num_frames": np.full(videos, frames, np.int32),
        "labels": (random.random((videos, classes)) < 3.4 / classes).astype(np.uint8),
    }


def load(peers: Peers, config: RunConfig, model: keras.Model):
    """Gives the peers the model's weights, and what they need for its training."""
    weights = {variable.path.partition("/")[2]: variable.numpy() for variable in model.weights}
    learning = {
        "learning_rate": config.learning.base_learning_rate,
        "dropout": model.model_args["dropout"],
        "l2": config.learning.regularization_penalty * model.classifier.l2_penalty,
        "clip_norm": config.learning.clip_gradient_norm,
    }
    for peer in peers.values():
        peer.load(weights, learning)


def check_predictions(predicts: Mapping[str, Callable], peers: Peers, batch: Batch):
    """Leaves the batch with the peers; refuses other predictions than ours."""
    expected = predicts[OURS](batch)
    others = {ONNX: predicts[ONNX](batch)} if ONNX in predicts else {}
    for name, peer in peers.items():
        peer.take(batch)
        others[name] = peer.predict()
    for name, predictions in others.items():
        check_difference(name, np.abs(predictions - expected).max(), "predictions")


def check_losses(peers: Peers):
    """Three steps on one batch of a small model without dropout: the losses are about those of ours, or it ends."""
    config = run_config(nextvlad_args(SMALL), 5, batch_size=8)
    model, batch = random_model(config), random_batch(config, 8, 5)
    load(peers, config, model)
    step = compiled_step(config, {config.main_role: model})
    expected = [float(step(batch).loss) for _ in range(3)][-1]  # the mean of all
    for name, peer in peers.items():
        peer.take(batch)
        losses = [peer.train(1) for _ in range(3)]
        check_difference(name, abs(np.mean(losses) / expected - 1), "losses")


def check_difference(name: str, difference: float, what: str):
    if not difference < MOST_DIFFERENCE:
        raise SystemExit(f"{name} computes another network: its {what} differ from ours by {difference:.1e}.")


def print_progress(case: str, measured: Mapping[str, Measured]):
    """A line by itself, as tables come at the end."""
    rates = (f"{name} {each.rate:.1f}" for name, each in measured.items() if name != MATRIX)
    print(f"{case}, videos/s: {', '.join(rates)}", file=sys.stderr, flush=True)


def print_rates(title: str, measured: Mapping[str, Mapping[str, Measured]]):
    names = [name for name in next(iter(measured.values())) if name != MATRIX]
    rows = [
        (case, *(f"{each[name].rate:,.1f}" for name in names), f"{each[MATRIX].rate / 1e9:,.1f}")
        for case, each in measured.items()
    ]
    print(f"\n{title}, videos/s")
    print_table(("", *names, "matrix products, GFLOP/s"), rows)


def print_ratios(measured: Mapping[str, Mapping[str, Measured]], more: Mapping[str, Sequence[str]] | None = None):
    """Ours, and int8 where it was measured, to each peer and to the fastest one; `more` are columns."""
    more = more or {}
    own = [name for name in (OURS, INT8) if name in next(iter(measured.values()))]
    peers = [name for name in next(iter(measured.values())) if name not in (*own, MATRIX)]
    rows = []
    for case, each in measured.items():
        best = max(peers, key=lambda name: each[name].rate) if peers else OURS
        pairs = [(OURS, peer) for peer in (*peers, best)]
        pairs += [(INT8, OURS), (INT8, best)] if INT8 in own else []
        ratios = (f"{rate_ratio(each[first], each[second]):.2f}" for first, second in pairs)
        rows.append((case, *ratios, *(cells[len(rows)] for cells in more.values())))
    columns = [f"{OURS} / {peer}" for peer in (*peers, "fastest peer")]
    columns += [f"{INT8} / {other}" for other in (OURS, "fastest peer")] if INT8 in own else []
    print("\nRatios")
    print_table(("", *columns, *more), rows)


if __name__ == "__main__":
    main()
