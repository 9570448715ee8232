"""What does the service answer, how fast, and what under more load than it can bear?

    python benchmarks/serving.py                                        # a student of 30 frames at the paper's size
    python benchmarks/serving.py --model_dir=exports/mine --file=model.onnx

Starts `python -m yt8m_distill.serve` on this machine, and sends it requests over some connections at the same time
("4x1": 4 connections), each with some videos ("x1": one) as an .npz file of the frames that the model sees. A
connection sends its next request as soon as the former is answered; the clients take their share of the processors. The
last row is more than the service lets wait: to expect are answers with 200 and 503 and no others, else the exit code is
1.
"""

import argparse
import contextlib
import http.client
import io
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from measuring import print_machine, print_table

from yt8m_distill.deployment.manifest import read_manifest

LOADS = "1x1,4x1,16x1,16x8,64x32"
COLUMNS = ("", "requests/s", "videos/s", "p50, ms", "p99, ms", "200", "503", "others")


@dataclass
class Answers:
    """What the clients of one load have got.

    Attributes:
        statuses: of each request; 0: no answer.
        seconds: of each answer with status 200.
        elapsed: seconds until the last answer, in all repetitions.
    """

    statuses: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    elapsed: float = 0.0

    @property
    def others(self) -> int:
        return sum(status not in (200, 503) for status in self.statuses)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    print_machine()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(arguments.model_dir or exported(arguments, pathlib.Path(name)))
        manifest = read_manifest(folder)
        answers = {load: Answers() for load in arguments.loads.split(",")}
        with service(arguments, folder) as port:
            for load in list(answers) * arguments.repetitions:
                connections, videos = map(int, load.split("x"))
                body = request_body(videos, manifest.frames or 30, manifest.data.frame_size)
                send(port, body, connections, arguments.seconds, answers[load])
    print_table(COLUMNS, [row(load, each) for load, each in answers.items()])
    return 1 if any(each.others for each in answers.values()) else 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_dir", help="an export, instead of random weights")
    parser.add_argument("--file", help="which of its files")
    parser.add_argument("--loads", default=LOADS, help="connections x videos of a request")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load in a repetition")
    parser.add_argument("--max_waiting", type=int, default=256, help="as of the service")
    parser.add_argument("--student_frames", type=int, default=30, help="k of the model with random weights")
    parser.add_argument("--model_args", default="", help="as of train.py, for a smaller model")
    parser.add_argument("--format", default="saved_model", help="of the model with random weights")
    parser.add_argument("--repetitions", type=int, default=3, help="of all loads in turn")
    return parser.parse_args(argv)


def exported(arguments: argparse.Namespace, folder: pathlib.Path) -> pathlib.Path:
    """An export of a NeXtVLAD with random weights."""
    from measuring import nextvlad_args, run_config, write_run

    from yt8m_distill.config.deployment import ExportConfig
    from yt8m_distill.config.frames import FrameSelection
    from yt8m_distill.deployment.export import run_export

    model_args = nextvlad_args(arguments.model_args)
    write_run(folder / "run", run_config(model_args, 300, FrameSelection(arguments.student_frames)))
    with contextlib.redirect_stdout(io.StringIO()):
        run_export(ExportConfig(str(folder / "run"), str(folder / "export"), (arguments.format,), eval_videos=0))
    return folder / "export"


@contextlib.contextmanager
def service(arguments: argparse.Namespace, folder: pathlib.Path) -> Iterator[int]:
    """The port of a running service."""
    port = free_port()
    command = [sys.executable, "-m", "yt8m_distill.serve", f"--model_dir={folder}", f"--port={port}", "--noaccess_log"]
    command += [f"--max_waiting={arguments.max_waiting}", *([f"--file={arguments.file}"] if arguments.file else [])]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_for_health(process, port)
            yield port
        finally:
            process.terminate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_health(process: subprocess.Popen, port: int):
    """Until the service answers."""
    while not answers_health(port):
        if process.poll() is not None:
            raise SystemExit("the service has ended")
        time.sleep(0.1)


def answers_health(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def request_body(videos: int, frames: int, size: int) -> bytes:
    file = io.BytesIO()
    np.savez(file, frames=np.random.default_rng(0).integers(0, 256, (videos, frames, size), np.uint8))
    return file.getvalue()


def send(port: int, body: bytes, connections: int, seconds: float, answers: Answers):
    """Sends requests over so many connections for so long, and waits for the last answers."""
    start = time.perf_counter()
    end = start + seconds
    clients = [threading.Thread(target=client, args=(port, body, end, answers)) for _ in range(connections)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    answers.elapsed += time.perf_counter() - start


def client(port: int, body: bytes, end: float, answers: Answers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while (start := time.perf_counter()) < end:
        try:
            connection.request("POST", "/predict", body, {"Content-Type": "application/x-npz"})
            response = connection.getresponse()
            response.read()
            status = response.status
        except (OSError, http.client.HTTPException):
            connection.close()
            status = 0
        answers.statuses.append(status)
        if status == 200:
            answers.seconds.append(time.perf_counter() - start)
        else:
            time.sleep(0.05)  # as a client that is told to come later
    connection.close()


def row(load: str, answers: Answers) -> tuple[str, ...]:
    good, videos = answers.statuses.count(200), int(load.partition("x")[2])
    p50, p99 = np.percentile(answers.seconds, (50, 99)) * 1000 if answers.seconds else (np.nan, np.nan)
    rates = (f"{good / answers.elapsed:,.1f}", f"{good * videos / answers.elapsed:,.1f}", f"{p50:.1f}", f"{p99:.1f}")
    return load, *rates, f"{good}", f"{answers.statuses.count(503)}", f"{answers.others}"


if __name__ == "__main__":
    sys.exit(main())
