"""Weights in files of PyTorch, read without PyTorch and without running anything that a file says."""

import collections
import math
import os
import pathlib
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from yt8m_distill.errors import UserError
from yt8m_distill.files.untrusted import in_short

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
}


def read_torch_weights(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors in a file that `torch.save` wrote before PyTorch 1.6, or with the old format since.

    A pickle can name any function to call. Here it can name ordered dictionaries, tensors and their storages only.

    Args:
        path: of the file, which must hold a dictionary of tensors (a state dict).

    Returns:
        Arrays by name.

    Raises:
        UserError: it cannot be read, is damaged, of another format, or names anything else.
    """
    try:
        with open(path, "rb") as file:
            return _read(file, os.path.getsize(path))
    except UserError as error:
        raise UserError(f"'{path}' is not a file of PyTorch weights in the format before 1.6: {error}.") from error
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {in_short(error)}.") from error
    except Exception as error:  # a crafted pickle raises errors of many kinds
        raise UserError(f"'{path}' is not a file of PyTorch weights, or damaged: {in_short(error)}.") from error


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, storages: Mapping[str, np.ndarray]) -> np.ndarray:
        values = storages[self.storage.key]
        whole = len(self.shape) == len(self.strides) and all(
            type(number) is int and number >= 0 for number in (self.offset, *self.shape, *self.strides)
        )
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=False))
        if not whole or (math.prod(self.shape) and last >= len(values)) or math.prod(self.shape) > len(values):
            raise UserError("a tensor is larger than what is stored of it")
        steps = [step * values.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, steps).copy()


class _Unpickler(pickle._Unpickler):
    """Knows the few names of a state dict. The one in Python: that in C reserves memory for any number in a file."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise UserError(f"it names '{module}.{name}', which weights do not need and which is not run")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, *_ = pid
        if kind != "storage" or dtype not in _STORAGES.values():
            raise UserError("a tensor is stored in a way that is not known")
        return _Storage(str(key), dtype)


def _rebuilt(
    storage: _Storage, offset: int, shape: Sequence[int], strides: Sequence[int], *_: Any
) -> _Tensor:  # the rest is what training needs
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _read(file: BinaryIO, num_bytes: int) -> dict[str, np.ndarray]:
    if file.read(2) == b"PK":
        raise UserError("it is of the newer format; torch.save(..., _use_new_zipfile_serialization=False) writes this")
    file.seek(0)
    head = [_Unpickler(file).load() for _ in range(3)]
    if head[:2] != [_MAGIC, _PROTOCOL] or head[2].get("little_endian") is not True:
        raise UserError("its beginning is that of another file")
    state, keys = _Unpickler(file).load(), _Unpickler(file).load()
    tensors = {str(name): value for name, value in state.items() if isinstance(value, _Tensor)}
    if not tensors:
        raise UserError("it holds no dictionary of tensors")
    dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in tensors.values()}
    storages = {key: _read_storage(file, np.dtype(dtypes[key]), num_bytes) for key in keys}
    return {name: tensor.array(storages) for name, tensor in tensors.items()}


def _read_storage(file: BinaryIO, dtype: np.dtype, num_bytes: int) -> np.ndarray:
    head = file.read(8)
    length = int.from_bytes(head, "little", signed=True)
    if len(head) < 8 or not 0 <= length * dtype.itemsize <= num_bytes - file.tell():
        raise UserError("it ends within the values of a tensor")
    return np.frombuffer(file.read(length * dtype.itemsize), dtype)
