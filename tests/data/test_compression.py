"""Compressed shards are read as if they were not, whatever their names; damage in them is counted."""

import errno
import gzip
import io
import zlib

import pytest

from tests.helpers import TINY_FEATURES, TINY_FLAGS, learnable_videos
from yt8m_distill.data import compression, record_files
from yt8m_distill.data.batches import View
from yt8m_distill.data.compression import compression_of
from yt8m_distill.data.record_files import frames_of_file, open_records, records_of_any
from yt8m_distill.data.tfrecord import framed
from yt8m_distill.data.video_files import open_videos
from yt8m_distill.errors import UserError
from yt8m_distill.thin import main as thin_main
from yt8m_distill.verify import main as verify_main

RECORDS = [framed(video.SerializeToString()) for video in learnable_videos(30)]
FILE = b"".join(RECORDS)
FORMS = {
    "gzip": gzip.compress(FILE),
    "zlib": zlib.compress(FILE),
    "zlib, stored": zlib.compress(FILE, 0),
    "members": gzip.compress(b"".join(RECORDS[:9])) + gzip.compress(b"".join(RECORDS[9:])),
    "padded": gzip.compress(FILE) + bytes(512),
}


def ids(path, **options) -> list[bytes]:
    videos = open_videos(str(path), "x", TINY_FEATURES, **options)
    return [video_id for batch in videos.ordered_batches(View(), 7) for video_id in batch["video_id"]]


@pytest.mark.parametrize("name", ["a.tfrecord", "a.tfrecord.gz"])
@pytest.mark.parametrize("form", FORMS)
def test_every_reader_finds_the_same_records(tmp_path, form, name):
    (tmp_path / "plain.tfrecord").write_bytes(FILE)
    path = tmp_path / name
    path.write_bytes(FORMS[form])
    assert list(frames_of_file(path)) == list(frames_of_file(tmp_path / "plain.tfrecord"))
    assert ids(path) == ids(tmp_path / "plain.tfrecord")
    streamed = list(records_of_any(io.BytesIO(FORMS[form]), name))
    assert b"".join(framed(record.data) for record in streamed) == FILE


def test_commands_say_that_they_unpack(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(record_files.log, "info", lambda text, *values: said.append(text % values))
    (tmp_path / "a.tfrecord.gz").write_bytes(FORMS["gzip"])
    (tmp_path / "b.tfrecord").write_bytes(FILE)
    assert verify_main(["verify", str(tmp_path), *TINY_FLAGS, f"--output_file={tmp_path}/bad.txt"]) == 0
    assert said == [
        "1 of 2 files are compressed (gzip): each is unpacked whole into a temporary file before it is read."
    ]
    out = tmp_path / "out"
    assert thin_main(["thin", "--frames=2", *TINY_FLAGS, str(tmp_path), str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["a.tfrecord", "b.tfrecord"]
    assert (out / "a.tfrecord").read_bytes() == (out / "b.tfrecord").read_bytes()
    assert thin_main(["thin", "--frames=2", *TINY_FLAGS, str(tmp_path), str(out)]) == 0  # they exist


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (FORMS["gzip"][:-1000], "the compressed file is cut short"),
        (FORMS["zlib, stored"][:-1000], "the compressed file is cut short"),
        (FORMS["gzip"][:-5] + b"#####", "the compressed data is damaged"),
        (FORMS["gzip"] + b"rest", "something else follows the compressed data"),
        (FORMS["zlib"] + b"rest", "something else follows the compressed data"),
    ],
)
def test_damage_in_compressed_files_is_never_silent(tmp_path, content, problem):
    path = tmp_path / "a.tfrecord.gz"
    path.write_bytes(content)
    *_, last = frames_of_file(path)
    assert problem in last.problem
    with pytest.raises(UserError, match="--on_bad_record=skip"):
        ids(path)
    found = ids(path, skip_bad_records=True)
    assert found == [video.context.feature["id"].bytes_list.value[0] for video in learnable_videos(30)][: len(found)]
    streamed = list(records_of_any(io.BytesIO(content), "a"))
    assert [record.num_bytes for record in streamed] == [frame.num_bytes for frame in frames_of_file(path)]


def test_a_file_is_unpacked_once_and_again_when_it_changed(tmp_path, monkeypatch):
    path, unpacked = tmp_path / "a.tfrecord", []
    path.write_bytes(FORMS["gzip"])

    def unpack(stream, kind, name):
        unpacked.append(name)
        return compression.unpack(stream, kind, name)

    monkeypatch.setattr(record_files, "unpack", unpack)
    for _ in range(3):
        assert len(ids(path)) == 30
    assert len(unpacked) == 1
    path.write_bytes(gzip.compress(b"".join(RECORDS[:5])))
    assert len(ids(path)) == 5
    assert len(unpacked) == 2


def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(gzip.compress(FILE + b"#"))
    monkeypatch.setattr(compression, "_free_bytes", lambda: 10)
    with pytest.raises(UserError, match=r"too little space .* Set TMPDIR"), open_records(path):
        pass
    monkeypatch.undo()

    def full(file, piece):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(compression, "_write", full)
    with pytest.raises(OSError, match="Input/output error"), open_records(path):
        pass


def test_records_that_look_compressed_are_none():
    """A length may begin with the bytes of gzip or zlib; its checksum tells."""
    for length in (0x088B1F, 0x9C78, 0x0178):
        assert compression_of(framed(bytes(length))[:100]) is None
    for content in (b"", b"\x1f\x8b", b"\x78\x9c", b"\x78\x9cno zlib at all", zlib.compress(b"text" * 99)):
        assert compression_of(content) is None
