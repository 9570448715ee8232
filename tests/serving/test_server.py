"""The service as a command: its answers, its log, and its end."""

import contextlib
import hashlib
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.deployment.exports import K, export, frames_of, videos, write_run
from tests.serving.services import NPZ, ask, is_parser, npz, parsers
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.serving.limits import allow_open_files
from yt8m_distill.serving.server import file_checksum


def test_checksums_are_those_of_sha256sum(tmp_path):
    contents = {"saved_model.pb": b"graph", "variables/variables.index": b"", "assets/a": bytes(1000)}
    for name, content in contents.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        assert file_checksum(path) == hashlib.sha256(content).hexdigest()
    listing = subprocess.run(["sha256sum", *sorted(contents)], cwd=tmp_path, capture_output=True, check=True).stdout
    assert file_checksum(tmp_path) == hashlib.sha256(listing).hexdigest()


def test_more_files_may_be_open_if_the_system_lets_it(monkeypatch):
    limits = {resource.RLIMIT_NOFILE: (100, 500)}
    monkeypatch.setattr(resource, "getrlimit", limits.get)
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)
    for asked, expected in ((50, 100), (200, 200), (1000, 500)):
        allow_open_files(asked)
        assert limits[resource.RLIMIT_NOFILE] == (expected, 500)


@contextlib.contextmanager
def service(folder: pathlib.Path, log: pathlib.Path, *flags: str) -> Iterator[tuple[subprocess.Popen, int]]:
    """A process that serves, and its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "yt8m_distill.serve", f"--model_dir={folder}", f"--port={port}", *flags]
    with log.open("w") as stderr, subprocess.Popen(command, stderr=stderr, stdout=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 120
            while True:
                with contextlib.suppress(OSError):
                    ask(port, None, path="/health")
                    break
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end
                time.sleep(0.1)
            yield process, port
        finally:
            process.kill()


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> pathlib.Path:
    """An export with an ONNX file."""
    folder = tmp_path_factory.mktemp("exported")
    write_run(folder / "run", "FrameLevelLogistic", {}, selection=FrameSelection(K))
    assert export(folder / "run", folder / "export", "--formats=onnx", "--eval_videos=0") == 0
    return folder / "export"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_service_answers_logs_and_ends_with_its_processes(exported, tmp_path, number):
    with service(exported, tmp_path / "log", "--parsers=3") as (process, port):
        health = json.loads(ask(port, None, path="/health")[1])
        assert health["sha256"] == hashlib.sha256((exported / "model.onnx").read_bytes()).hexdigest()
        status, text, _ = ask(port, npz(frames=frames_of(videos()[4])[None]), NPZ, "/predict?top_k=2")
        assert (status, len(json.loads(text)["videos"][0]["labels"])) == (200, 2)
        assert ask(port, b"PK", NPZ)[0] == 400
        processes = parsers(process.pid)
        assert len(processes) == 3
        while " 400 " not in (tmp_path / "log").read_text():
            time.sleep(0.1)
        os.kill(process.pid, number)
        process.wait(30)
    end = time.monotonic() + 10
    while any(map(is_parser, processes)):
        assert time.monotonic() < end
        time.sleep(0.1)
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines() if line.startswith("127.0.0.1 POST")]
    assert [line[:4] for line in lines] == [
        ["127.0.0.1", "POST", "/predict?top_k=2", "200"],
        ["127.0.0.1", "POST", "/predict", "400"],
    ]
