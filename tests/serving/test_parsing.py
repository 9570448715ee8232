"""Bodies that are costly to read: refused within bounds of memory and time, by processes that are replaced."""

import asyncio
import dataclasses
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from tests.deployment.exports import FRAME_SIZE
from tests.serving.services import JSON, MANIFEST, NPZ, TFRECORD, ask, one_video, parsers, serving
from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.config.json import to_values
from yt8m_distill.data.tfrecord import framed
from yt8m_distill.serving import exchange, parser_pool
from yt8m_distill.serving.requests import BadBodyError, CostlyBodyError, Videos

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"
MB = 1_000_000


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as port:
        yield port


@pytest.fixture
def hostile(monkeypatch):
    """The requests of benchmarks/reliability.py."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import hostile_requests

    return hostile_requests


def resident_mb(process: int) -> float:
    return int(pathlib.Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MB


class Watch:
    """Asks for `/health` all the time, and keeps the longest seconds to its answer."""

    def __init__(self, port: int):
        self.longest, self._port, self._over = 0.0, port, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._over.wait(0.02):
            start = time.monotonic()
            assert ask(self._port, None, path="/health")[0] == 200
            self.longest = max(self.longest, time.monotonic() - start)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()


BODIES = {
    "100,000 files": (NPZ, lambda hostile: hostile._many_files(100_000, False), "more than 100 arrays"),
    "220,000 arrays": (NPZ, lambda hostile: hostile._many_files(220_000, True), "more than 100 arrays"),
    "bomb": (NPZ, lambda hostile: hostile._zip_bomb(100 * MB), "unpacked, it is larger"),
    "lists": (JSON, lambda hostile: hostile.LARGE_JSON["lists"](), "more lists, objects or texts"),
    "objects": (JSON, lambda hostile: hostile.LARGE_JSON["objects"](), "more lists, objects or texts"),
    "numbers": (JSON, lambda hostile: hostile.LARGE_JSON["numbers"](), ""),
    "text": (JSON, lambda hostile: hostile.LARGE_JSON["text"](), "must have the form"),
    "features": (TFRECORD, lambda hostile: hostile._empty_features(20 * MB), "more memory or time"),
}


@pytest.mark.parametrize("name", BODIES)
def test_costly_bodies_are_refused_and_health_is_answered_meanwhile(port, hostile, name):
    content_type, make, text = BODIES[name]
    body = make(hostile)
    with Watch(port) as watch:
        status, answer, _ = ask(port, body, content_type)
    assert status == (413 if name == "features" else 400) or (name == "numbers" and status == 413), answer
    assert text in json.loads(answer)["detail"]
    assert watch.longest < 1
    assert ask(port, one_video(1), NPZ)[0] == 200
    assert max(map(resident_mb, parsers())) < 100


def test_a_process_that_is_killed_costs_one_request():
    earlier = parsers()
    with serving(parsers=1) as port:
        (process,) = set(parsers()) - set(earlier)
        os.kill(process, signal.SIGSTOP)
        answers = []
        thread = threading.Thread(target=lambda: answers.append(ask(port, one_video(1), NPZ)))
        thread.start()
        time.sleep(0.3)
        os.kill(process, signal.SIGKILL)
        thread.join()
        assert answers[0][0] == 413
        assert ask(port, one_video(1), NPZ)[0] == 200
        (process,) = set(parsers()) - set(earlier)
        os.kill(process, signal.SIGKILL)
        time.sleep(0.2)
        assert ask(port, one_video(1), NPZ)[0] == 200
    assert set(parsers()) <= set(earlier)


def test_processor_time_is_bounded():
    code = """
from yt8m_distill.serving import limits
limits._FIXED_SECONDS = 0.5
limits.ParsingLimits(1000).start_clock(1000)
while True:
    pass
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == -signal.SIGXCPU


def test_memory_is_bounded():
    code = """
from yt8m_distill.serving.limits import ParsingLimits
ParsingLimits(1000).apply()
assert len(bytes(200_000_000))
try:
    bytes(300_000_000)
except MemoryError:
    print("refused")
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"refused\n"


def test_processes_import_neither_tensorflow_nor_a_server():
    """Not even for a record that is not regular."""
    code = """
import json, sys
from yt8m_distill.config.json import from_values
from yt8m_distill.serving.parser_process import BadBodyError, Manifest, parse
manifest = from_values(Manifest, json.loads(sys.argv[1]), "")
try:
    parse("application/x-tfrecord", bytes.fromhex(sys.argv[2]), manifest, 8)
except BadBodyError as error:
    print(error)
print([name for name in ("tensorflow", "keras", "fastapi", "uvicorn") if name in sys.modules])
"""
    arguments = [json.dumps(to_values(MANIFEST)), framed(b"\xff\xff").hex()]
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=True)
    assert result.stdout == b"record 1: it is not a tf.train.SequenceExample\n[]\n"


def test_long_ids_are_refused(port):
    def status(length: int) -> int:
        return ask(port, json.dumps({"videos": [{"id": "i" * length, "frames": []}]}).encode(), JSON)[0]

    assert [status(1000), status(1001)] == [200, 400]


def test_small_bodies_do_not_wait_for_large_ones(monkeypatch):
    class Process:
        is_running = True

        def __init__(self, _: str):
            pass

        async def parse(self, content_type: str, body: io.BufferedIOBase, seconds: float) -> str:
            await released.wait() if content_type == "large" else None
            return content_type

    async def run():
        pool = parser_pool.ParserPool(MANIFEST, ServeConfig("", parsers=2))
        with exchange.memory_file() as large, exchange.memory_file() as small:
            large.write(bytes(parser_pool.LARGE_BODY_BYTES + 1))
            large.flush()
            waiting = [asyncio.create_task(pool.parse("large", large)) for _ in range(3)]
            await asyncio.sleep(0)
            assert await asyncio.wait_for(pool.parse("small", small), 5) == "small"
            released.set()
            assert await asyncio.gather(*waiting) == ["large"] * 3

    released = asyncio.Event()
    monkeypatch.setattr(parser_pool, "ParsingProcess", Process)
    asyncio.run(run())


def test_videos_and_refusals_pass_as_bytes():
    rng = np.random.default_rng(0)
    videos = Videos(["a", "\u20ac\n"], rng.integers(0, 256, (2, 3, FRAME_SIZE), np.uint8), np.array([3, 1], np.int32))
    with exchange.memory_file() as file:
        exchange.write_videos(file, videos)
        read = exchange.read_videos(file)
    assert (read.ids, read.all_frames, read.positions) == (list(videos.ids), None, None)
    np.testing.assert_array_equal(read.frames, videos.frames)
    np.testing.assert_array_equal(read.num_frames, videos.num_frames)
    places = np.array([9, 1], np.int32), np.array([[1, 4, 7], [0, 0, 0]], np.int32)
    with exchange.memory_file() as file:
        exchange.write_videos(file, dataclasses.replace(videos, all_frames=places[0], positions=places[1]))
        read = exchange.read_videos(file)
    np.testing.assert_array_equal(read.frames, videos.frames)
    np.testing.assert_array_equal(read.num_frames, videos.num_frames)
    np.testing.assert_array_equal(read.all_frames, places[0])
    np.testing.assert_array_equal(read.positions, places[1])
    for error in (BadBodyError("bad"), CostlyBodyError()):
        with exchange.memory_file() as file:
            file.write(bytes(1000))
            exchange.write_refusal(file, error)
            with pytest.raises(type(error), match=str(error)):
                exchange.read_videos(file)
