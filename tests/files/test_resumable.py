"""Files that grow over hours: they appear when complete, are resumed after a stop, and errors name the file."""

import contextlib
import gzip
import json
import pathlib

import pytest

from yt8m_distill.errors import UserError
from yt8m_distill.files.resumable import ResumableFiles


class Killed(Exception):
    pass


def names(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_files_appear_only_when_complete(tmp_path):
    path = tmp_path / "new" / "folder" / "x.csv"
    with ResumableFiles([path], work=None) as files:
        files.write("text\n")
        assert names(path.parent) == {"x.csv.partial", ".x.csv.lock"}
        files.finish()
    assert path.read_text() == "text\n"
    assert names(path.parent) == {"x.csv"}


def start(folder: pathlib.Path, work: str = "work"):
    """Writes two files, of which "a" and b"1" are saved, and is stopped."""
    with contextlib.suppress(Killed), ResumableFiles([folder / "x.csv", folder / "y.bin"], work) as files:
        files.write("a")
        files.write(b"1", file=1)
        files.save({"rows": 1})
        files.write("lost")
        files.write(b"lost", file=1)
        raise Killed


def test_writing_resumes_at_the_last_save(tmp_path):
    start(tmp_path)
    assert names(tmp_path) == {"x.csv.partial", "y.bin.partial", "x.csv.partial.json"}
    with ResumableFiles([tmp_path / "x.csv", tmp_path / "y.bin"], "work") as files:
        assert (files.state, files.other_work) == ({"rows": 1}, False)
        files.write("b")
        files.write(b"2", file=1)
        files.finish()
    assert (tmp_path / "x.csv").read_text() == "ab"
    assert (tmp_path / "y.bin").read_bytes() == b"12"
    assert names(tmp_path) == {"x.csv", "y.bin"}


def test_other_work_starts_from_the_beginning(tmp_path):
    start(tmp_path)
    with ResumableFiles([tmp_path / "x.csv", tmp_path / "y.bin"], "other") as files:
        assert (files.state, files.other_work) == (None, True)
        files.write("b")
        files.finish()
    assert (tmp_path / "x.csv").read_text() == "b"


@pytest.mark.parametrize("note", ["{", "[]", '{"work": "work", "sizes": [1]}', '{"work": "work", "sizes": ["x", 1]}'])
def test_a_damaged_note_is_not_resumed(tmp_path, note):
    start(tmp_path)
    (tmp_path / "x.csv.partial.json").write_text(note)
    with ResumableFiles([tmp_path / "x.csv", tmp_path / "y.bin"], "work") as files:
        assert files.state is None
        files.finish()
    assert (tmp_path / "x.csv").read_text() == ""


def test_without_a_save_an_error_leaves_nothing(tmp_path):
    (tmp_path / "x.csv").write_text("older")
    with contextlib.suppress(Killed), ResumableFiles([tmp_path / "x.csv"], work=None) as files:
        files.write("text")
        raise Killed
    assert (tmp_path / "x.csv").read_text() == "older"
    assert names(tmp_path) == {"x.csv"}


def test_gz_is_compressed_and_the_same_every_time(tmp_path):
    for name in ("a.csv.gz", "b.csv.gz"):
        with ResumableFiles([tmp_path / name], work=None) as files:
            files.write("text\n" * 1000)
            files.finish()
    content = (tmp_path / "a.csv.gz").read_bytes()
    assert gzip.decompress(content) == b"text\n" * 1000
    assert content == (tmp_path / "b.csv.gz").read_bytes()
    assert content[4:8] == bytes(4)  # the time in the header


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file/x.csv", "file. cannot be created: "),
        (".", "is not a regular file"),
        ("/dev/null", "/dev/null is not a regular file"),
    ],
)
def test_places_that_cannot_be_written(tmp_path, name, message):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=message), ResumableFiles([tmp_path / name], work=None):
        pass


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_a_full_disk_is_reported(tmp_path, name):
    (tmp_path / f"{name}.partial").symlink_to("/dev/full")
    refused = pytest.raises(UserError, match="cannot be written: No space left")
    with refused, ResumableFiles([tmp_path / name], work=None) as files:
        files.write("text")
        files.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_flipped_bit_is_not_resumed(tmp_path):
    path = tmp_path / "x.csv"

    def stop():
        with ResumableFiles([path], work="w") as files:
            if files.state is None:
                files.write("a,0.25\n")
                files.save({"rows": 1})
            return files.state

    stop()
    assert stop() == {"rows": 1}
    for file in (tmp_path / "x.csv.partial", tmp_path / "x.csv.partial.json"):
        content = file.read_bytes()
        for place in range(8 * len(content)):
            flipped = bytearray(content)
            flipped[place // 8] ^= 1 << place % 8
            file.write_bytes(flipped)
            state = stop()
            assert state is None or (state == {"rows": 1} and file.suffix == ".json")  # a bit that says the same
            stop()


def test_a_note_of_an_earlier_version_is_resumed(tmp_path):
    (tmp_path / "x.csv.partial").write_text("a\nb\n")
    note = {"work": "w", "sizes": [2], "state": 7}
    (tmp_path / "x.csv.partial.json").write_text(json.dumps(note))
    with ResumableFiles([tmp_path / "x.csv"], work="w") as files:
        assert files.state == 7
        files.write("c\n")
        files.save(8)
    with ResumableFiles([tmp_path / "x.csv"], work="w") as files:
        assert files.state == 8
        files.finish()
    assert (tmp_path / "x.csv").read_text() == "a\nc\n"
