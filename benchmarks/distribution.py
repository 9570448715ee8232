"""What does it cost to train in two processes instead of one?

    python benchmarks/distribution.py                                    # some minutes
    python benchmarks/distribution.py --model_args= --batch_size=16      # at the paper's size, 6 GB of memory

NeXtVLAD on random videos, the training steps that `train.py` compiles. Each process computes on one core, the processes
exchange gradients over the loopback address, and every one has `--batch_size` videos a step, as more machines would be
used: so twice the videos a second would be no loss at all. Processor time by video says what the exchange costs where
other work on the machine disturbs the clock; what a real network costs has to be added (docs/scaling.md).
Measured with --frames=100 --repetitions=6 (2 cores of a virtual machine with AVX-512; TensorFlow 2.21):

| 100 frames, 32 videos a step of each process | s a step | videos/s, all | processor s a step, each |
|----------------------------------------------|----------|---------------|--------------------------|
| 1 process                                    | 0.487    | 65.7          | 0.489                    |
| 2 processes, gradients of 56 MB              | 0.758    | 84.4          | 0.692                    |
"""

import argparse
import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import keras
import numpy as np
from measuring import nextvlad_args, print_machine, print_table, run_config

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.run import RunConfig
from yt8m_distill.data.batches import Batch
from yt8m_distill.devices import cluster
from yt8m_distill.devices.cluster import Devices
from yt8m_distill.models import building
from yt8m_distill.training import stages
from yt8m_distill.training import step as training

SMALL = "clusters=32,groups=4,hidden_size=512"


def main(argv: Sequence[str] | None = None):
    arguments = parse_arguments(argv)
    if arguments.worker:
        work(arguments)
        return
    print_machine()
    measured = {number: run_workers(arguments, number) for number in arguments.processes}
    report(arguments, measured)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch_size", type=int, default=32, help="videos a step of each process")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--repetitions", type=int, default=8, help="steps")
    parser.add_argument("--model_args", default=SMALL, help="as of train.py")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def run_workers(arguments: argparse.Namespace, number: int) -> dict[str, float]:
    """What the processes have measured: the first one's clock, and the mean of their processor times."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(number)]
    command = [sys.executable, __file__, "--worker"]
    for name in ("batch_size", "frames", "repetitions", "model_args"):
        command.append(f"--{name}={getattr(arguments, name)}")
    workers = []
    for index in range(number):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(config), "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment |= {"TF_NUM_INTRAOP_THREADS": "1", "PYTHONPATH": str(pathlib.Path(__file__).parents[1])}
        workers.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    results = [json.loads(worker.communicate()[0].splitlines()[-1]) for worker in workers]
    return {**results[0], "processor": float(np.mean([result["processor"] for result in results]))}


def free_ports(number: int) -> list[int]:
    """Held all at once, so that they differ."""
    with contextlib.ExitStack() as held:
        servers = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [server.getsockname()[1] for server in servers]


def work(arguments: argparse.Namespace):
    """One process: prints what it has measured as JSON."""
    devices = cluster.open_devices("multiworker")
    args = nextvlad_args(arguments.model_args)
    config = run_config(args, arguments.frames, batch_size=arguments.batch_size * devices.replicas)
    keras.utils.set_random_seed(0)
    with devices.scope():
        models = building.build_models(config)
    step = training_step(config, models, devices)
    batch = random_part(arguments, config.data, devices.replicas)
    float(step(batch).loss)  # compiles
    clock, processor = time.perf_counter(), time.process_time()
    for _ in range(arguments.repetitions):
        float(step(batch).loss)
    parameters = sum(int(np.prod(variable.shape)) for variable in models["teacher"].trainable_variables)
    print(
        json.dumps(
            {
                "seconds": (time.perf_counter() - clock) / arguments.repetitions,
                "processor": (time.process_time() - processor) / arguments.repetitions,
                "megabytes": 4e-6 * parameters,
            }
        )
    )
    devices.wait()


def training_step(
    config: RunConfig, models: dict[str, keras.Model], devices: Devices
) -> Callable[[Batch], training.StepResult]:
    """The step of a teacher's training."""
    stage = stages.stages(config, models)[0]
    step_model = stages.step_model_of(stage, config, devices)
    if devices.replicas == 1:
        return training.compiled_step(step_model, stage.view, config.data)
    step = training.compiled_step_on_all(step_model, stage.view, config.data, devices)
    return lambda batch: step(batch, False)[0]


def random_part(arguments: argparse.Namespace, spec: DatasetSpec, processes: int) -> Batch:
    """This process's videos of a batch."""
    random, videos = np.random.default_rng(0), arguments.batch_size
    return {
        "frames": random.integers(0, 256, (videos, arguments.frames, spec.frame_size), np.uint8),
        "num_frames": np.full(videos, arguments.frames, np.int32),
        "labels": (random.random((videos, spec.num_classes)) < 3.4 / spec.num_classes).astype(np.uint8),
        "videos_of_all": videos * processes,
    }


def report(arguments: argparse.Namespace, measured: dict[int, dict[str, float]]):
    sizes = f"{arguments.frames} frames, {arguments.batch_size} videos a step of each process"
    print(f"\n{sizes}; gradients of {next(iter(measured.values()))['megabytes']:.0f} MB")
    rows = []
    for number, result in measured.items():
        videos = arguments.batch_size * number / result["seconds"]
        rows.append(
            (
                f"{number} process" + "es" * (number > 1),
                f"{result['seconds']:.3f}",
                f"{videos:.1f}",
                f"{result['processor']:.3f}",
            )
        )
    print_table(("", "s a step", "videos/s", "processor s a step, each"), rows)


if __name__ == "__main__":
    main()
