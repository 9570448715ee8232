"""Checkpoints of which a part is missing, damaged or crafted."""

import subprocess

import numpy as np
import pytest

from tests.tf1.test_conversion import write_checkpoint
from yt8m_distill.convert_checkpoint import main as convert_main
from yt8m_distill.data.tfrecord import masked_crc32c
from yt8m_distill.errors import UserError
from yt8m_distill.tf1 import checkpoint, reader_process
from yt8m_distill.tf1.checkpoint import read_checkpoint

NAME = "model.ckpt-75088"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["index", "meta"], f"the file {NAME}.data-00000-of-00001 (or several) is missing, which holds the weights"),
        (["data-00000-of-00001", "meta"], f"the file {NAME}.index is missing; there is only {NAME}.data-00000-of-"),
        (["meta"], f"the file {NAME}.index is missing; there is only {NAME}.meta"),
        (
            ["index", "data-00000-of-00003", "data-00002-of-00003"],
            f"1 of 3 files with weights are missing, the first is {NAME}.data-00001-of-00003",
        ),
        (["other"], "there is no checkpoint of this name"),
    ],
)
def test_the_missing_file_is_named(tmp_path, capsys, files, message):
    for ending in files:
        (tmp_path / f"{NAME}.{ending}").write_bytes(b"content")
    assert convert_main(["convert", f"--from={tmp_path}/{NAME}", f"--train_dir={tmp_path}/run"]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_says_what_it_has(tmp_path, capsys):
    (tmp_path / f"{NAME}.meta").touch()
    assert convert_main(["convert", f"--from={tmp_path}", f"--train_dir={tmp_path}/run"]) == 2
    assert f"(no file that ends in .index); there is only {NAME}.meta" in capsys.readouterr().err


def crafted(index: bytes, place: int, value: int) -> bytes:
    """An index with another byte in its first block, and the checksum of that."""
    ends = range(1, len(index) - 4)
    end = next(end for end in ends if index[end : end + 4] == masked_crc32c(index[:end]).to_bytes(4, "little"))
    block = bytearray(index[:end])
    block[place] = value
    return bytes(block) + masked_crc32c(bytes(block)).to_bytes(4, "little") + index[end + 4 :]


@pytest.mark.slow
def test_an_index_at_which_tensorflow_aborts_is_an_error(tmp_path):
    write_checkpoint(tmp_path, {"a.weights": np.ones((3, 4), np.float32)})
    index = tmp_path / "model.ckpt-120.index"
    assert list(read_checkpoint(str(tmp_path)).values) == ["tower/a/weights"]
    index.write_bytes(crafted(index.read_bytes(), place=25, value=255))
    with pytest.raises(UserError, match=r"model\.ckpt-120' is damaged: TensorFlow cannot read it") as error:
        read_checkpoint(str(tmp_path))
    assert error.value.__cause__.returncode == -6  # SIGABRT: it would have ended this process


def test_reading_without_an_end_is_an_error(tmp_path, monkeypatch):
    def endless(*_):
        raise subprocess.TimeoutExpired("reader", 120)

    monkeypatch.setattr(checkpoint, "_read_in_process", endless)
    (tmp_path / NAME).write_bytes(b"a checkpoint of the first version")
    with pytest.raises(UserError, match="TensorFlow cannot read it"):
        read_checkpoint(str(tmp_path / NAME))


def test_a_file_of_another_kind_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_read_in_process", reader_process.write_contents)
    (tmp_path / NAME).write_bytes(b"text")
    with pytest.raises(UserError, match=f"{NAME}' is not a TensorFlow 1 checkpoint: .*too short"):
        read_checkpoint(str(tmp_path / NAME))
