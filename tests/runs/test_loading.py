"""Packed models: only plain files of a run come out of an archive, and only into its folder."""

import io
import tarfile

import pytest

from yt8m_distill.errors import UserError
from yt8m_distill.runs.loading import load
from yt8m_distill.runs.packing import unpack


def archive(path, member: tarfile.TarInfo, content: bytes = b"x") -> str:
    member.size = len(content) if member.isfile() else 0
    with tarfile.open(path, "w:gz") as file:
        file.addfile(member, io.BytesIO(content))
    return str(path)


def link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


@pytest.mark.parametrize(
    "member",
    [
        tarfile.TarInfo("../config.json"),
        tarfile.TarInfo("/tmp/config.json"),
        tarfile.TarInfo("best/run.py"),
        tarfile.TarInfo("best/model.pkl"),
        link("config.json", "/etc/passwd"),
    ],
    ids=lambda member: member.name,
)
def test_hostile_archives_are_refused_and_write_nothing(tmp_path, member):
    folder = tmp_path / "inside" / "folder"
    folder.mkdir(parents=True)
    with pytest.raises(UserError, match="no packed model"):
        unpack(archive(tmp_path / "model.tgz", member), str(folder))
    assert list(folder.iterdir()) == []
    assert [path.name for path in folder.parent.iterdir()] == ["folder"]


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_files_that_are_no_archives(tmp_path, content):
    (tmp_path / "model.tgz").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.tgz"):
        unpack(str(tmp_path / "model.tgz"), str(tmp_path / "folder"))


def test_a_run_without_a_model_yet(tmp_path):
    with pytest.raises(UserError, match="no run directory"):
        load(str(tmp_path))
