"""Files and folders: nothing half-written ever replaces something whole."""

import errno
import os
import pathlib
import shutil
import stat

import pytest
import tensorflow as tf

from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic, untrusted
from yt8m_distill.files.lock import lock_files


def test_a_failure_while_writing_leaves_the_old_content(tmp_path):
    target = tmp_path / "best"
    with atomic.directory_written_beside(target) as folder:
        (folder / "weights").write_text("old")
    with pytest.raises(FileNotFoundError), atomic.directory_written_beside(target) as folder:
        (folder / "no such folder" / "weights").write_text("new")
    assert (target / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
    with atomic.directory_written_beside(target) as folder:
        (folder / "weights").write_text("new")
    assert (target / "weights").read_text() == "new"


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path):
    target = tmp_path / "best"
    (tmp_path / ".best.old").mkdir()
    (tmp_path / ".best.old" / "weights").write_text("old")
    with pytest.raises(FileNotFoundError), atomic.directory_written_beside(target) as folder:
        (folder / "no such folder" / "weights").write_text("new")
    assert (target / "weights").read_text() == "old"


def test_what_a_kill_left_is_cleared(tmp_path):
    for name in ("step-1", ".step-1.old", ".step-2.partial", ".step-3.old", "of others"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(name)
    (tmp_path / ".report.json.partial").write_text("{")
    (tmp_path / ".hidden").touch()
    atomic.clear_all_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "of others", "step-1", "step-3"]
    assert [(tmp_path / name / "weights").read_text() for name in ("step-1", "step-3")] == ["step-1", ".step-3.old"]


def test_a_full_disk_is_a_sentence_and_leaves_the_old_content(tmp_path):
    target = tmp_path / "best"
    with atomic.directory_written_beside(target) as folder:
        (folder / "weights").write_text("old")
    of_tensorflow = tf.errors.ResourceExhaustedError(None, None, "variables.data; No space left on device")
    for error in (OSError(errno.ENOSPC, "No space left on device"), of_tensorflow):
        with pytest.raises(UserError, match="no space left"), atomic.directory_written_beside(target):
            raise error
    assert (target / "weights").read_text() == "old"


def test_text_files_appear_whole(tmp_path):
    path = tmp_path / "folder" / "metrics.json"
    atomic.write_json(path, {"GAP@20": 0.5})
    assert untrusted.read_json(path) == {"GAP@20": 0.5}
    assert [each.name for each in path.parent.iterdir()] == ["metrics.json"]


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be created"):
        atomic.make_directory(tmp_path / "file" / "run")


def test_space_is_checked_before_writing(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda path: usage._replace(free=10_000_000))
    atomic.check_space(tmp_path, 9_000_000, "the cache")
    with pytest.raises(
        UserError, match=r"the cache in '.*' would take at least 9\.9 MB, and 10\.0 MB are free; go away"
    ):
        atomic.check_space(tmp_path, 9_900_000, "the cache", "go away")


def test_a_folder_of_another_machine_is_not_made_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("gs://bucket/run", "s3://b"):
        with pytest.raises(UserError, match="is not on this machine"):
            atomic.make_directory(pathlib.Path(name))
    (tmp_path / "odd:").mkdir()
    atomic.make_directory(pathlib.Path("odd:/run"))
    assert [path.name for path in tmp_path.iterdir()] == ["odd:"]


def test_only_a_file_is_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        for write in (lambda: atomic.write_text(path, "x"), lambda: lock_files(path).__enter__()):  # noqa: B023
            if path != tmp_path or write.__code__.co_names[0] != "lock_files":  # a folder may be replaced whole
                with pytest.raises(UserError, match="is not a regular file: the name of a file is needed"):
                    write()
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
