"""Weights files from elsewhere: by their headers, their arrays take no more memory than the file has bytes."""

import math
import os
import pathlib
from collections.abc import Iterator

import h5py

from yt8m_distill.errors import UserError
from yt8m_distill.files.array_files import PLAIN_KINDS
from yt8m_distill.files.untrusted import in_short


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
    if not isinstance(member, h5py.Dataset) or member.dtype.kind not in PLAIN_KINDS:
        raise UserError(f"'{member.name}' does not hold numbers")
    if member.external or member.is_virtual or member.chunks:
        raise UserError(f"'{member.name}' is compressed or in another file")
    return math.prod(member.shape) * member.dtype.itemsize
