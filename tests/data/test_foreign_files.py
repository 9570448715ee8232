"""Files that are not TFRecord files are named for what they are."""

import bz2
import io
import json
import lzma
import tarfile
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import sequence_example, video_level
from yt8m_distill.data.foreign_files import kind_of_file
from yt8m_distill.verify import main as verify_main


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.tfrecord", b"content")
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.tfrecord"))
    return file.getvalue()


def saved() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


FILES = {
    "a single tf.train.SequenceExample without the framing": sequence_example().SerializeToString(),
    "a zip archive": zipped(),
    "a tar archive": tarred(),
    "a file of numpy's": saved(),
    "compressed by bzip2": bz2.compress(b"text" * 99),
    "compressed by xz": lzma.compress(b"text" * 99),
    "a text file": b"id,labels\nabc,3\n" * 9,
    "a JSON file": json.dumps({"a": 1, "b": [2] * 20}).encode(),
    "an error page of a web server": b"<html><body>404 Not Found</body></html>",
    "the pointer of a file in Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "nothing but zeros": bytes(5000),
}


@pytest.mark.parametrize("kind", FILES)
def test_kinds(tmp_path, capsys, kind):
    assert kind_of_file(FILES[kind]).startswith(f"the file is not a TFRecord file but {kind}")
    (tmp_path / "a.tfrecord").write_bytes(FILES[kind])
    assert verify_main(["verify", str(tmp_path), f"--output_file={tmp_path}/bad.txt"]) == 1
    captured = capsys.readouterr()
    assert f"record 1: the file is not a TFRecord file but {kind}" in captured.out
    assert "(None)" not in captured.err


def test_what_is_not_known_is_only_refused():
    noise = np.random.default_rng(0).bytes(1000)
    assert kind_of_file(noise) == "the file is not a TFRecord file"
    assert "SequenceExample" not in kind_of_file(b"\x0a\x00")  # parses, and holds nothing


def test_forms_of_bare_records():
    parsed_only = tf.train.SequenceExample()
    parsed_only.feature_lists.feature_list["x"].feature.add().float_list.value.extend([1.0, 2.0])
    for record in (parsed_only.SerializeToString(), video_level({"mean_rgb": [1.0]})):
        assert "without the framing" in kind_of_file(record)
