"""Text, JSON and folders from elsewhere: kinds and sizes are checked first."""

import gzip
import os

import pytest

from yt8m_distill.errors import UserError
from yt8m_distill.files import untrusted


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1]", "does not hold a JSON object"),
        (b"{", "is not valid JSON"),
        (b"", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"\xff\xfe{}", "is not UTF-8 text"),
    ],
)
def test_files_without_a_json_object(tmp_path, content, message):
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"report\.json' {message}"):
        untrusted.read_json(path)


def test_only_small_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 1 << 40)
    for name, message in {"pipe": "regular file", "large": "are not read", ".": "regular", "none": "cannot be"}.items():
        with pytest.raises(UserError, match=message):
            untrusted.read_text(tmp_path / name)


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_lines(tmp_path, monkeypatch, name):
    content = b"a\r\n\nbcd\n\xffe"
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert list(untrusted.read_lines(tmp_path / name)) == [b"a\r\n", b"\n", b"bcd\n", b"\xffe"]
    monkeypatch.setattr(untrusted, "MOST_LINE_BYTES", 3)
    with pytest.raises(UserError, match="line 3: it is longer than 3 bytes"):
        list(untrusted.read_lines(tmp_path / name))


def test_lines_that_cannot_be_read(tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"lines\n" * 1000)[:-12])
    (tmp_path / "y.gz").write_bytes(b"lines\n")
    for name in ("x.gz", "y.gz", "none", "."):
        with pytest.raises(UserError, match="cannot be read"):
            list(untrusted.read_lines(tmp_path / name))


def test_folders(tmp_path):
    folder = tmp_path / "run"
    (folder / "best").mkdir(parents=True)
    (folder / "best" / "within").symlink_to("..")
    untrusted.check_folder(folder)
    (folder / "best" / "out").symlink_to("../../run2")
    with pytest.raises(UserError, match="best/out' is a link that leads out of"):
        untrusted.check_folder(folder)
    (folder / "best" / "out").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(UserError, match="pipe' is neither a file nor a folder"):
        untrusted.check_folder(folder)
