"""Weights and arrays from elsewhere: no array takes more memory than its file has bytes, and none is anything else."""

import io
import pathlib
import zipfile

import h5py
import numpy as np
import pytest

from yt8m_distill.errors import UserError
from yt8m_distill.files.array_files import check_arrays
from yt8m_distill.files.weights_files import check_weights

NAME = "classifier/dense/vars/0"


def _external_array(file: h5py.File, name: str):
    file.create_dataset(name, (8, 10), np.float32, external=[("/etc/passwd", 0, 320)])


def _virtual_array(file: h5py.File, name: str):
    layout = h5py.VirtualLayout((8, 10), np.float32)
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (8, 10))
    file.create_virtual_dataset(name, layout)


def _link(target):
    return lambda file, name: file.__setitem__(name, target)


def _array(*shape: int, **options):
    return lambda file, name: file.create_dataset(name, shape, **{"dtype": np.float32, **options})


HOSTILE_WEIGHTS = {
    "a link within": (_link(h5py.SoftLink("/classifier")), "is a link"),
    "a link to another file": (_link(h5py.ExternalLink("/etc/passwd", "/x")), "is a link"),
    "an array in another file": (_external_array, "in another file"),
    "an array made of another file": (_virtual_array, "in another file"),
    "a shape without content": (_array(1 << 20, 1 << 20), "larger than the file"),
    "a compressed array": (_array(1 << 14, 1 << 14, chunks=(1 << 10, 1 << 10), compression="gzip"), "is compressed"),
    "texts": (lambda file, name: file.create_dataset(name, data=["x"] * 80), "does not hold numbers"),
    "references": (lambda file, name: file.create_dataset(name, (8, 10), h5py.ref_dtype), "does not hold numbers"),
}


@pytest.mark.parametrize(("write", "message"), HOSTILE_WEIGHTS.values(), ids=HOSTILE_WEIGHTS)
def test_hostile_weights(tmp_path, write, message):
    path = tmp_path / "student.weights.h5"
    with h5py.File(path, "w") as file:
        write(file, NAME)
    with pytest.raises(UserError, match=rf"student\.weights\.h5' is not a weights file: .*{message}"):
        check_weights(path)


def test_groups_in_a_circle_are_visited_once(tmp_path):
    path = tmp_path / "student.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(NAME, data=np.zeros(1000))
        file["classifier/circle"] = file["/"]
    check_weights(path)


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"\x89HDF\r\n\x1a\n" + bytes(2000)])
def test_weights_of_another_format(tmp_path, content):
    (tmp_path / "x.weights.h5").write_bytes(content)
    with pytest.raises(UserError, match="is not a weights file, or damaged"):
        check_weights(tmp_path / "x.weights.h5")
    with pytest.raises(UserError, match="there are no weights in"):
        check_weights(tmp_path / "y.weights.h5")


def _add_array(name: str, header: dict | bytes, content: bytes, path: pathlib.Path, **options):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, header)
    with zipfile.ZipFile(path, "a", **options) as archive:
        archive.writestr(f"{name}.npy", stream.getvalue() + content)


@pytest.fixture
def state(tmp_path) -> pathlib.Path:
    """A file of arrays that is accepted."""
    np.savez(tmp_path / "state.npz", step=np.int64(7), weights=np.zeros((3, 4), np.float32))
    check_arrays(tmp_path / "state.npz")
    return tmp_path / "state.npz"


def test_arrays_that_are_larger_than_their_file(state):
    _add_array("x", {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)}, bytes(64), state)
    with pytest.raises(UserError, match="as many numbers as its header says"):
        check_arrays(state)


def test_compressed_arrays(state):
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 16,)}
    _add_array("x", header, bytes(1 << 18), state, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="unpacked, it is larger"):
        check_arrays(state)
    np.savez_compressed(state, x=np.random.default_rng(0).random(10))
    with pytest.raises(UserError, match="is compressed"):
        check_arrays(state)


def test_objects(state):
    np.savez(state, x=np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(UserError, match="does not hold numbers"):
        check_arrays(state)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x93NUMPY\1\0"])
def test_arrays_of_another_format(state, content):
    state.write_bytes(content)
    with pytest.raises(UserError, match=r"state\.npz' cannot be read"):
        check_arrays(state)
