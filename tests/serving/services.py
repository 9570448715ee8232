"""A service in a thread of the test, and clients of it."""

import contextlib
import http.client
import io
import pathlib
import threading
import time
from collections.abc import Iterator

import numpy as np

from tests.deployment.exports import CLASSES, FRAME_SIZE, MAX_FRAMES, K
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.deployment.manifest import ExportedFile, Manifest
from yt8m_distill.serving.app import create_app
from yt8m_distill.serving.connections import create_server

TFRECORD, JSON, NPZ = "application/x-tfrecord", "application/json", "application/x-npz"
MANIFEST = Manifest(
    model="NeXtVLAD",
    which="student",
    branch=None,
    data=DatasetSpec("YouTube-8M 2018", "id", ("rgb", "audio"), (FRAME_SIZE - 2, 2), CLASSES, MAX_FRAMES),
    selection=FrameSelection(K),
    frames=K,
    top_k=2,
    class_names=tuple("abcde"),
    files=(),
)
FILE = ExportedFile("model_int8.onnx", "onnx", "int8", None, 1, 0.0, 0.0, 0.0)


def mean_bytes(frames: np.ndarray, num_frames: np.ndarray) -> np.ndarray:
    """A model: the mean of the first bytes of the real frames, divided by 255."""
    rows = [each[:count, :CLASSES].sum(axis=0) / max(count, 1) for each, count in zip(frames, num_frames, strict=True)]
    return np.array(rows, np.float32) / 255


@contextlib.contextmanager
def serving(predict=mean_bytes, **limits) -> Iterator[int]:
    """The port of a service in a thread."""
    config = ServeConfig("", **limits)
    with running(create_app(MANIFEST, predict, config, "0123", file=FILE), config) as port:
        yield port


@contextlib.contextmanager
def running(app, config: ServeConfig) -> Iterator[int]:
    """The port of an application in a thread."""
    server = create_server(app, config)
    server.config.port = 0
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def ask(port: int, body: bytes | None, content_type: str = "", path: str = "/predict") -> tuple[int, str, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Content-Type": content_type} if content_type else {}
    connection.request("GET" if body is None else "POST", path, body, headers)
    response = connection.getresponse()
    result = response.status, response.read().decode(), dict(response.getheaders())
    connection.close()
    return result


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def one_video(value: int) -> bytes:
    return npz(frames=np.full((1, 2, FRAME_SIZE), value, np.uint8))


def wait_for(port: int, line: str):
    """Until the metrics have it."""
    end = time.monotonic() + 30
    while f"yt8m_{line}\n" not in (told := ask(port, None, path="/metrics")[1]):
        assert time.monotonic() < end, told
        time.sleep(0.01)


def begun(port: int, body: bytes, sent: int) -> http.client.HTTPConnection:
    """A connection on which so many bytes of a request have been sent."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Type", NPZ)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:sent])
    return connection


def parsers(process: int | str = "self") -> list[int]:
    """The processes that parse requests for a service, by that of the service."""
    children = []
    for task in pathlib.Path(f"/proc/{process}/task").iterdir():
        with contextlib.suppress(OSError):  # the thread has ended
            children += map(int, (task / "children").read_text().split())
    return list(filter(is_parser, children))


def is_parser(process: int) -> bool:
    """Whether a process runs, and parses requests."""
    try:
        return "parser_process" in pathlib.Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return False
