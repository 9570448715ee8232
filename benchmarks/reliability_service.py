"""How the service stands an attack: the part "service" of reliability.py.

Starts `python -m yt8m_distill.serve` on this machine with an export of a small model, and sends it hostile requests
over many connections at a time, as fast as they are answered; meanwhile another process asks for `/health`. Memory is
that of the service and its processes, without libraries: before the attack, after honest requests over as many
connections, and after it. The requests are in hostile_requests.py.
"""

import argparse
import contextlib
import functools
import http.client
import json
import multiprocessing
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import serving
from hostile_requests import Answers, Service, attack, honest_json, honest_npz, largest_answer, prepare, send
from measuring import print_table

from yt8m_distill.deployment.manifest import read_manifest

MODEL_ARGS = "clusters=8,groups=2,hidden_size=64"
IDLE_TIMEOUT, BODY_TIMEOUT = 4.0, 15.0  # seconds, as of the service
HONEST_REQUESTS = 3000
SECONDS_BETWEEN_PROBES = 0.05
SECONDS_TO_REST = 15.0  # before memory is measured: the service returns it every 10


def service(arguments: argparse.Namespace) -> list[tuple[str, int, float, str, float]]:
    """Rows of the table: trials, how often, what was measured, what that is, and what it must not exceed."""
    with tempfile.TemporaryDirectory() as name, _running_service(arguments, pathlib.Path(name)) as (process, target):
        with ThreadPoolExecutor(arguments.connections) as threads:  # what the service needs anyway
            list(threads.map(functools.partial(_honest_request, target), range(HONEST_REQUESTS)))
        time.sleep(SECONDS_TO_REST)
        before = _memory(process.pid)
        answers, seconds = _attacked(arguments, target)
        time.sleep(SECONDS_TO_REST)
        after = _memory(process.pid)
        _honest_request(target, 0)
    _print_answers(answers)
    print(f"memory: {before / 1e6:.0f} MB before, {after / 1e6:.0f} MB after")
    return [
        ("hostile requests", arguments.requests, answers.wrong(), "answers but 200, 4xx, 503", 0),
        ("`/health` meanwhile", len(seconds), float(np.percentile(seconds, 99)), "seconds, p99", 1),
        ("memory of the service", 1, after / before, "after / before", 1.1),
    ]


# --- the service ---


@contextlib.contextmanager
def _running_service(arguments: argparse.Namespace, folder: pathlib.Path) -> Iterator[tuple[subprocess.Popen, Service]]:
    """The process of a service, and how it is reached."""
    small = types.SimpleNamespace(model_args=MODEL_ARGS, student_frames=30, format="saved_model")
    export = pathlib.Path(arguments.model_dir or serving.exported(small, folder))
    data = read_manifest(export).data
    port = serving.free_port()
    command = [sys.executable, "-m", "yt8m_distill.serve", f"--model_dir={export}", f"--port={port}", "--noaccess_log"]
    command += [f"--idle_timeout={IDLE_TIMEOUT}", f"--body_timeout={BODY_TIMEOUT}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            serving.wait_for_health(process, port)
            yield process, Service(port, data.frame_size, data.num_classes, IDLE_TIMEOUT)
        finally:
            process.terminate()


def _honest_request(target: Service, number: int):
    make = (honest_npz, honest_json, largest_answer)[number % 3]
    status = send(target.port, make(random.Random(number), target), 0.0)
    if status not in (200, 503):
        raise SystemExit(f"an honest request was answered with {status or 'nothing'}")


def _memory(process: int) -> int:
    """Bytes that a process and its children have for themselves: not those of libraries."""
    return sum(map(_own_bytes, (process, *_children(process))))


def _children(process: int) -> list[int]:
    children = []
    for task in pathlib.Path(f"/proc/{process}/task").iterdir():
        with contextlib.suppress(OSError):  # the thread has ended
            children += map(int, (task / "children").read_text().split())
    return children


def _own_bytes(process: int) -> int:
    try:
        lines = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))


# --- the attack ---


def _attacked(arguments: argparse.Namespace, target: Service) -> tuple[Answers, list[float]]:
    """The answers, and the seconds that `/health` took meanwhile, asked in this process."""
    context = multiprocessing.get_context("spawn")
    over, seconds = threading.Event(), []
    prober = threading.Thread(target=_probe, args=(target.port, over, seconds))
    answers = Answers()
    with context.Pool(arguments.clients) as pool:
        prober.start()
        jobs = [(target, arguments, client) for client in range(arguments.clients)]
        for each in pool.imap_unordered(_client, jobs):
            answers.merge(each)
        over.set()
        prober.join()
    return answers, seconds


def _client(job: tuple[Service, argparse.Namespace, int]) -> Answers:
    """The requests of one process: every one whose turn it is."""
    target, arguments, client = job
    answers = Answers()
    prepare()
    with ThreadPoolExecutor(arguments.connections // arguments.clients) as threads:
        numbers = range(client, arguments.requests, arguments.clients)
        for kind, status in threads.map(lambda number: attack(target, arguments.seed, number), numbers):
            answers.add(kind, status)
    return answers


def _probe(port: int, over: threading.Event, seconds: list[float]):
    """Asks for `/health` until it is over; no answer counts as the longest time."""
    while not over.wait(SECONDS_BETWEEN_PROBES):
        start, good = time.perf_counter(), False
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/health")
            good = json.loads(connection.getresponse().read())["status"] == "ok"
        connection.close()
        seconds.append(time.perf_counter() - start if good else 60.0)


def _print_answers(answers: Answers):
    rows = []
    for kind, counts in sorted(answers.statuses.items()):
        shown = ", ".join(f"{status or 'closed'}: {count:,}" for status, count in sorted(counts.items()))
        rows.append((kind, f"{sum(counts.values()):,}", shown))
    print_table(("requests", "number", "answers"), rows)
