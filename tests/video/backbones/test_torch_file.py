"""PyTorch's files, read without PyTorch."""

import os
import pickle

import numpy as np
import pytest

from tests.video.backbones import torch_files
from yt8m_distill.errors import UserError
from yt8m_distill.video.backbones.torch_file import _Storage, _Tensor, read_torch_weights

ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "count": np.array(7),
    "empty": np.zeros((0, 3), np.float32),
}


def test_arrays_are_read(tmp_path, monkeypatch):
    torch_files.write(tmp_path / "w.pth", ARRAYS, monkeypatch)
    arrays = read_torch_weights(tmp_path / "w.pth")
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
    assert arrays["conv.weight"].dtype == np.float32


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_that_a_file_names_is_run(tmp_path, monkeypatch):
    torch_files.write(tmp_path / "w.pth", ARRAYS, monkeypatch, extra=Harmful(tmp_path / "made"))
    with pytest.raises(UserError, match=r"it names 'posix.mkdir', which weights do not need and which is not run"):
        read_torch_weights(tmp_path / "w.pth")
    assert not (tmp_path / "made").exists()


def test_a_file_that_ends_early_is_an_error(tmp_path, monkeypatch):
    torch_files.write(tmp_path / "w.pth", ARRAYS, monkeypatch)
    content = (tmp_path / "w.pth").read_bytes()
    for length in range(0, len(content), 7):
        (tmp_path / "cut.pth").write_bytes(content[:length])
        with pytest.raises(UserError, match=r"cut\.pth' is not a file of PyTorch weights"):
            read_torch_weights(tmp_path / "cut.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04rest", "it is of the newer format"),
        (b"a text", "is not a file of PyTorch weights"),
        (pickle.dumps(3, 2) * 5, "is not a file of PyTorch weights"),
    ],
)
def test_other_files_are_errors(tmp_path, content, message):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_torch_weights(tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"cannot be read: .*No such file"):
        read_torch_weights(tmp_path / "none.pth")


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (5,), (1,)), (2, (3,), (1,)), (0, (2, 3), (1, 1)), (0, (1 << 40,), (0,)), (-1, (2,), (1,)), (0, (2,), (-1,))],
)
def test_a_tensor_outside_of_its_storage_is_an_error(offset, shape, strides):
    storages = {"a": np.arange(4.0)}
    assert _Tensor(_Storage("a", "<f8"), 1, (3,), (1,)).array(storages).tolist() == [1, 2, 3]
    with pytest.raises(UserError, match="larger than what is stored"):
        _Tensor(_Storage("a", "<f8"), offset, shape, strides).array(storages)


def test_damage_is_an_error_or_other_numbers(tmp_path, monkeypatch):
    torch_files.write(tmp_path / "w.pth", ARRAYS, monkeypatch)
    content, rng = (tmp_path / "w.pth").read_bytes(), np.random.default_rng(0)
    errors = 0
    for _ in range(500):
        damaged = np.frombuffer(content, np.uint8).copy()
        damaged[rng.integers(len(content), size=2)] = rng.integers(256, size=2)
        (tmp_path / "damaged.pth").write_bytes(damaged.tobytes())
        try:
            arrays = read_torch_weights(tmp_path / "damaged.pth")
            assert sum(array.nbytes for array in arrays.values()) <= len(content)
        except UserError:
            errors += 1
    assert 100 < errors < 500
