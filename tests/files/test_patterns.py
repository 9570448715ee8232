"""File patterns: globs, braces, folders with any name, and what is not on this machine."""

import pytest

from yt8m_distill.errors import UserError
from yt8m_distill.files.patterns import find_files


def names(pattern: str) -> list[str]:
    return [path.rpartition("/")[2] for path in find_files(pattern, "x")]


@pytest.fixture
def folder(tmp_path):
    for name in ("train0.tfrecord", "train1.tfrecord", "test0.tfrecord", "notes.txt"):
        (tmp_path / name).touch()
    return tmp_path


def test_braces_are_choices(folder):
    assert names(f"{folder}/{{train,test}}0*") == ["train0.tfrecord", "test0.tfrecord"]
    assert names(f"{folder}/t{{rain{{0,1}},est0}}.tfrecord") == ["train0.tfrecord", "train1.tfrecord", "test0.tfrecord"]
    assert names(f"{folder}/test0.tfrecord,{folder}/train{{1,0}}*") == [
        "test0.tfrecord",
        "train1.tfrecord",
        "train0.tfrecord",
    ]
    with pytest.raises(UserError, match=r"no file matches '.*/valid0"):
        names(f"{folder}/{{train,valid}}0*")


@pytest.mark.parametrize("name", ["[ab]", "a*b", "who?", "{a,b}", "one,two", "[0-9]{x", "a, b"])
def test_what_exists_is_no_pattern(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    for file in ("a.tfrecord", "b.tfrecord", f"{name}.tfrecord"):
        (folder / file).touch()
    assert sorted(names(str(folder))) == sorted(["a.tfrecord", "b.tfrecord", f"{name}.tfrecord"])
    assert names(f"{folder}/{name}.tfrecord") == [f"{name}.tfrecord"]
    if name not in ("[ab]", "one,two", "a, b"):
        assert names(f"{folder}/[ab].tfrecord") == ["a.tfrecord", "b.tfrecord"]
        assert names(f"{folder}/[ab].tfrecord,{folder}/{name}.tfrecord")[:2] == ["a.tfrecord", "b.tfrecord"]


@pytest.mark.parametrize("path", ["gs://bucket/train*", "s3://b/{a,b}", "hdfs://name/x", "https://host/x.tfrecord"])
def test_paths_of_other_machines_are_named(path):
    with pytest.raises(UserError, match=r"--x: '.*' is not on this machine\. Copy the files here.*beam_inference"):
        names(path)


def test_unfinished_downloads_are_left_out_unless_named(folder, caplog):
    (folder / "train2.tfrecord.part").touch()
    assert len(names(str(folder))) == 3
    assert "1 unfinished downloads are left out" in caplog.text
    assert "train2.tfrecord.part" in caplog.text
    assert names(f"{folder}/train2.tfrecord.part") == names(f"{folder}/*.part") == ["train2.tfrecord.part"]
    with pytest.raises(UserError, match=r"all 1 files of .* are unfinished downloads"):
        names(f"{folder}/train2*")


def test_a_folder_says_what_it_has_instead(tmp_path):
    (tmp_path / "part-r-00000").touch()
    with pytest.raises(UserError, match=r"the folder has other files \(first: part-r-00000\), which '.*/\*' would"):
        names(str(tmp_path))
    assert names(f"{tmp_path}/*") == ["part-r-00000"]


def test_a_device_is_no_file():
    with pytest.raises(UserError, match="'/dev/zero' is neither a file nor a folder"):
        names("/dev/zero")
