"""One command at a time writes a directory or a file; what a killed one has left is taken over."""

import dataclasses
import errno
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from yt8m_distill.errors import UserError
from yt8m_distill.files import lock
from yt8m_distill.files.lock import Owner, lock_directory, lock_files
from yt8m_distill.files.resumable import ResumableFiles

HOLDER = """
import sys, time
from yt8m_distill.files.lock import lock_directory
with lock_directory(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other_process(tmp_path):
    """Another process that holds the lock of `tmp_path`."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def no_flock(monkeypatch):
    def unsupported(file, operation):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)


def leave(folder: pathlib.Path, **changes):
    """A lock file of this process, with other values, that nobody holds."""
    owner = dataclasses.replace(Owner.here(), **changes)
    (folder / ".lock").write_text(json.dumps(dataclasses.asdict(owner)))


def test_only_one_at_a_time_and_nothing_is_left(tmp_path):
    folder, file = tmp_path / "run", tmp_path / "p.csv"
    with lock_directory(folder), lock_files(file, None):
        with pytest.raises(UserError, match=rf"run' is being written by process {os.getpid()} on this machine"):
            lock_directory(folder).__enter__()
        with pytest.raises(UserError, match=r"p\.csv' is being written by"), ResumableFiles([file], None):
            pass
        assert [path.name for path in folder.iterdir()] == [".lock"]
    assert list(tmp_path.iterdir()) == []  # the folder was new, and nothing was written
    with lock_directory(folder):
        (folder / "config.json").touch()
    assert [path.name for path in folder.iterdir()] == ["config.json"]


@pytest.mark.parametrize("flock", [True, False])
def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, other_process, monkeypatch, flock):
    if not flock:
        no_flock(monkeypatch)
    with pytest.raises(
        UserError, match=f"process {other_process.pid} on this machine since .*: wait until it has ended"
    ):
        lock_directory(tmp_path).__enter__()
    other_process.send_signal(signal.SIGKILL)
    other_process.wait()
    assert (tmp_path / ".lock").exists()
    with lock_directory(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flock", [True, False])
def test_whose_lock_is_taken_over(tmp_path, monkeypatch, flock):
    if not flock:
        no_flock(monkeypatch)
    parent = os.getppid()
    for changes in (
        {"pid": 2**22 + 1},  # there are no such processes
        {"pid": parent, "started": lock._start_of(parent) - 1},  # another one has its number now
        {"pid": parent, "started": lock._start_of(parent), "boot": "an earlier one"},
    ):
        leave(tmp_path, **changes)
        with lock_directory(tmp_path):
            pass
    leave(tmp_path, pid=parent, started=lock._start_of(parent))
    with pytest.raises(UserError, match=f"process {parent} on this machine .* wait until it has ended"):
        lock_directory(tmp_path).__enter__()
    leave(tmp_path, pid=7, host="worker-7", boot="another")
    with pytest.raises(UserError, match=r"process 7 on the host 'worker-7' .*if it is gone, delete '.*\.lock' and"):
        lock_directory(tmp_path).__enter__()


def test_a_lock_file_of_anything(tmp_path, monkeypatch):
    for content in (b"", b"\x80{", b"[]", b'{"pid": 1}', b"[" * 4000, json.dumps({"pid": "1"}).encode()):
        (tmp_path / ".lock").write_bytes(content)
        with lock_directory(tmp_path):
            pass
        assert list(tmp_path.iterdir()) == []
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(UserError, match="cannot be locked"):
        lock_directory(tmp_path).__enter__()
    (tmp_path / ".lock").unlink()
    (tmp_path / "target").write_text("kept")
    (tmp_path / ".lock").symlink_to(tmp_path / "target")
    with pytest.raises(UserError, match="cannot be locked"):
        lock_directory(tmp_path).__enter__()
    assert (tmp_path / "target").read_text() == "kept"
    (tmp_path / ".lock").unlink()
    no_flock(monkeypatch)  # then it may be of a process that is about to write it
    (tmp_path / ".lock").touch()
    with pytest.raises(UserError, match=r"by another command: .*delete '.*\.lock' and start again"):
        lock_directory(tmp_path).__enter__()


@pytest.mark.parametrize("flock", [True, False])
def test_of_many_that_take_over_at_once_one_wins(tmp_path, monkeypatch, flock):
    if not flock:
        no_flock(monkeypatch)
    for _ in range(5):
        leave(tmp_path, pid=2**22 + 1)
        start, tried, winners = threading.Barrier(8), threading.Barrier(8), []

        def compete(start=start, tried=tried, winners=winners):
            start.wait()
            try:
                with lock_directory(tmp_path):
                    winners.append(1)
                    tried.wait()  # nobody leaves before all have tried
            except UserError:
                tried.wait()

        threads = [threading.Thread(target=compete) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert winners == [1]
        assert list(tmp_path.iterdir()) == []


def test_the_directory_may_be_renamed(tmp_path):
    (tmp_path / "run").mkdir()
    with lock_directory(tmp_path / "run"):
        os.rename(tmp_path / "run", tmp_path / "old")
    assert list((tmp_path / "old").iterdir()) == []


def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(UserError, match="no space left"):
        lock_directory(tmp_path).__enter__()
    assert list(tmp_path.iterdir()) == []
