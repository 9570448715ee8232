"""Weights and arrays from elsewhere: by their headers, no array may take more memory than its file has bytes."""

import math
import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import h5py
import numpy as np

from yt8m_distill.errors import UserError
from yt8m_distill.files.untrusted import in_short

_PLAIN_KINDS = "biuf"  # of dtypes: booleans, integers and floating-point numbers


def check_arrays(path: pathlib.Path):
    """`check_array_archive` of a file.

    Raises:
        UserError: as there.
    """
    try:
        with open(path, "rb") as file:
            check_array_archive(file, os.path.getsize(path), f"'{path}'")
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {in_short(error)}.") from error


def check_array_archive(file: BinaryIO, num_bytes: int, name: str):
    """Checks the headers of an archive that `numpy.savez` wrote: its arrays take no more memory than it has bytes.

    Args:
        file: opened.
        num_bytes: its size.
        name: for errors.

    Raises:
        UserError: it is not such an archive, is compressed, or has arrays of something other than numbers.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > num_bytes:
                raise UserError(f"{name} was not written by numpy.savez: unpacked, it is larger.")
            for member in members:
                if member.compress_type != zipfile.ZIP_STORED:
                    raise UserError(f"{name} was not written by numpy.savez: '{member.filename}' is compressed.")
                with archive.open(member) as stream:
                    _check_array(stream, member.file_size, f"'{member.filename}' in {name}")
    except UserError:
        raise
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{name} cannot be read: {in_short(error)}.") from error


def _check_array(stream: BinaryIO, num_bytes: int, name: str):
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise UserError(f"{name} is not an array that this package writes: version {version}.")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, _, dtype = read_header(stream)
    except Exception as error:  # numpy reads the header as a Python expression, whose errors are of many kinds
        raise UserError(f"{name} has a damaged header: {in_short(error)}.") from error
    if dtype.kind not in _PLAIN_KINDS:
        raise UserError(f"{name} does not hold numbers, but '{dtype}'.")
    indexable = all(0 <= size <= np.iinfo(np.intp).max for size in shape)
    if not indexable or math.prod(shape) * dtype.itemsize != num_bytes - stream.tell():
        raise UserError(f"{name} does not hold as many numbers as its header says.")


def check_weights(path: pathlib.Path):
    """Checks the headers of a `.weights.h5` file: plain arrays, which take no more memory than the file has bytes.

    Raises:
        UserError: it is not such a file, leads to other files, is compressed, or has arrays of something other than
            numbers.
    """
    if not path.is_file():
        raise UserError(f"there are no weights in '{path}'.")
    try:
        with h5py.File(path, "r") as file:
            num_bytes = sum(map(_array_bytes, _members(file)))
    except UserError as error:
        raise UserError(f"'{path}' is not a weights file: {error}.") from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, OverflowError) as error:
        raise UserError(f"'{path}' is not a weights file, or damaged: {in_short(error)}.") from error
    if num_bytes > os.path.getsize(path):
        raise UserError(f"'{path}' is not a weights file: its arrays are larger than the file.")


def _members(file: h5py.File) -> Iterator[h5py.HLObject]:
    """Everything in the groups of a file, each group once: they may form a circle."""
    groups, seen = [file], set()
    while groups:
        group = groups.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise UserError(f"'{name}' in '{group.name}' is a link")
            member = group[name]
            yield member
            address = h5py.h5o.get_info(member.id).addr
            if isinstance(member, h5py.Group) and address not in seen:
                seen.add(address)
                groups.append(member)


def _array_bytes(member: h5py.HLObject) -> int:
    """The memory that an array would take; 0 for a group."""
    if isinstance(member, h5py.Group):
        return 0
    if not isinstance(member, h5py.Dataset) or member.dtype.kind not in _PLAIN_KINDS:
        raise UserError(f"'{member.name}' does not hold numbers")
    if member.external or member.is_virtual or member.chunks:
        raise UserError(f"'{member.name}' is compressed or in another file")
    return math.prod(member.shape) * member.dtype.itemsize
