"""Writes files as `torch.save` did before PyTorch 1.6, without PyTorch."""

import collections
import pathlib
import pickle
import sys
import types
from collections.abc import Mapping

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C


class _Storage:
    def __init__(self, key: str, kind: type, length: int):
        self.pid = ("storage", kind, key, "cpu", length, None)


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, _Storage) else None


class _Tensor:
    def __init__(self, rebuild, *arguments):
        self.reduced = (rebuild, arguments)

    def __reduce__(self):
        return self.reduced


def _function(*_):
    """Stands for PyTorch's, of which a pickle has the name only."""


def write(path: pathlib.Path, arrays: Mapping[str, np.ndarray], monkeypatch, extra: object = None):
    """Writes float32 and int64 arrays; `extra` becomes one more value of the dictionary."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    rebuild = types.FunctionType(_function.__code__, {}, "_rebuild_tensor_v2")
    rebuild.__module__ = "torch._utils"
    rebuild.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild
    state, stored = collections.OrderedDict(), {}
    for number, (name, array) in enumerate(arrays.items()):
        array = np.asarray(array)
        kind = torch.LongStorage if array.dtype.kind == "i" else torch.FloatStorage
        stored[str(number)] = np.asarray(array, "<i8" if array.dtype.kind == "i" else "<f4", order="C")
        storage = _Storage(str(number), kind, array.size)
        steps = tuple(step // stored[str(number)].itemsize for step in stored[str(number)].strides)
        state[name] = _Tensor(rebuild, storage, 0, array.shape, steps, False, collections.OrderedDict())
    if extra is not None:
        state["extra"] = extra
    head = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    with monkeypatch.context() as patch, open(path, "wb") as file:
        patch.setitem(sys.modules, "torch", torch)
        patch.setitem(sys.modules, "torch._utils", utils)
        for value in (MAGIC, 1001, head, state, sorted(stored)):
            _Pickler(file, protocol=2).dump(value)
        for key in sorted(stored):
            file.write(len(stored[key].ravel()).to_bytes(8, "little") + stored[key].tobytes())
