"""Files from elsewhere: what they are and how large is checked before memory, disk or a decoder is given to them.

Trained models come as run directories or packed archives that anybody may have made.
"""

import gzip
import json
import math
import os
import pathlib
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO

import h5py
import numpy as np

from yt8m_distill.errors import UserError

MOST_TEXT_BYTES = 1 << 24  # a configuration has some 2 kB
MOST_UNPACKED_BYTES = 1 << 33
# Weights hardly compress; what grows more than this while it is unpacked is made to fill a disk.
MOST_GROWTH = 20
GROWTH_FROM_BYTES = 1 << 26
_MOST_HEADER_BYTES = 1 << 20
_PLAIN_KINDS = "biuf"  # of dtypes: truth values, whole and floating-point numbers


def read_text(path: pathlib.Path) -> str:
    """The text of a small file.

    Raises:
        UserError: it is not there, no ordinary file, too large or not in UTF-8.
    """
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise UserError(f"'{path}' is no ordinary file.")
        if found.st_size > MOST_TEXT_BYTES:
            raise UserError(f"'{path}' has {found.st_size:,} bytes; more than {MOST_TEXT_BYTES:,} are not read.")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"'{path}' is no text in UTF-8: {error}.") from error


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        UserError: it holds none.
    """
    text = read_text(path)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"'{path}' is no JSON ({error}).") from error
    if not isinstance(values, dict):
        raise UserError(f"'{path}' does not hold a JSON object.")
    return values


def check_folder(folder: pathlib.Path):
    """Makes sure that what is written to paths in a folder stays in it, and that reading them ends.

    Raises:
        UserError: a link in it leads out of it, or something in it is neither a file nor a folder.
    """
    root = os.path.realpath(folder)
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(place, name)
            try:
                mode = os.lstat(path).st_mode
            except FileNotFoundError:  # a training that is running has removed it
                continue
            if stat.S_ISLNK(mode):
                if os.path.commonpath((root, os.path.realpath(path))) != root:
                    raise UserError(
                        f"'{path}' is a link that leads out of '{folder}'; put what it leads to in its place."
                    )
            elif not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise UserError(f"'{path}' is neither a file nor a folder; remove it.")


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
    """Looks at the headers of what `numpy.savez` wrote: its arrays take no more memory than it has bytes.

    Args:
        file: opened.
        num_bytes: its size.
        name: for errors.

    Raises:
        UserError: it is no such file, is compressed, or has arrays of something other than numbers.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > num_bytes:
                raise UserError(f"{name} is not as numpy.savez writes it: unpacked, it is larger.")
            for member in members:
                if member.compress_type != zipfile.ZIP_STORED:
                    raise UserError(f"{name} is not as numpy.savez writes it: '{member.filename}' is compressed.")
                with archive.open(member) as stream:
                    _check_array(stream, member.file_size, f"'{member.filename}' in {name}")
    except UserError:
        raise
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{name} cannot be read: {in_short(error)}.") from error


def _check_array(stream: BinaryIO, num_bytes: int, name: str):
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise UserError(f"{name} is no array that this package writes: version {version}.")
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
    """Looks at the headers of a `.weights.h5` file: plain arrays in it, which take no more memory than it has bytes.

    Raises:
        UserError: it is no such file, leads to other files, is compressed, or has arrays of something other than
            numbers.
    """
    if not path.is_file():
        raise UserError(f"there are no weights in '{path}'.")
    try:
        with h5py.File(path, "r") as file:
            num_bytes = sum(map(_array_bytes, _members(file)))
    except UserError as error:
        raise UserError(f"'{path}' is no file of weights: {error}.") from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, OverflowError) as error:
        raise UserError(f"'{path}' is no file of weights, or damaged: {in_short(error)}.") from error
    if num_bytes > os.path.getsize(path):
        raise UserError(f"'{path}' is no file of weights: its arrays are larger than itself.")


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
    """What an array would take in memory; 0 for a group."""
    if isinstance(member, h5py.Group):
        return 0
    if not isinstance(member, h5py.Dataset) or member.dtype.kind not in _PLAIN_KINDS:
        raise UserError(f"'{member.name}' does not hold numbers")
    if member.external or member.is_virtual or member.chunks:
        raise UserError(f"'{member.name}' is compressed or in another file")
    return math.prod(member.shape) * member.dtype.itemsize


def unpack(path: str | os.PathLike, folder: str | os.PathLike, names: Collection[str]):
    """Extracts a `.tar.gz` archive of plain files, some of `names` and each once, into an empty folder.

    Raises:
        UserError: no such archive, anything else in it, or more in it than is taken.
    """
    limit = min(MOST_UNPACKED_BYTES, max(GROWTH_FROM_BYTES, MOST_GROWTH * _size(path)))
    try:
        with gzip.open(path) as stream:
            reads = _BoundedReads(stream)
            with tarfile.open(fileobj=reads, mode="r:") as archive:
                _extract(archive, reads, pathlib.Path(folder), set(names), limit)
    except UserError as error:
        raise UserError(f"'{path}' is no packed model: {error}.") from error
    except (OSError, EOFError, ValueError, RecursionError, zlib.error, tarfile.TarError) as error:
        raise UserError(f"'{path}' is no model packed by --output_model_tgz: {in_short(error)}.") from error


def _size(path: str | os.PathLike) -> int:
    try:
        return os.path.getsize(path)
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}.") from error


class _BoundedReads:
    """A stream for `tarfile`, which takes headers into memory, however long they are.

    Args:
        stream: to read from.

    Attributes:
        left: bytes that may be read; to be set anew for every member.
    """

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell
        self.left = _MOST_HEADER_BYTES

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.left:
            raise tarfile.ReadError("a header is too long")
        self.left -= size
        return self._stream.read(size)


def _extract(archive: tarfile.TarFile, reads: _BoundedReads, folder: pathlib.Path, names: set[str], limit: int):
    """Each of `names` at most once, and nothing else; at most `limit` bytes."""
    while (member := archive.next()) is not None:
        if member.name not in names or not member.isfile() or member.issparse() or member.size < 0:
            raise UserError(f"it holds '{member.name}', not as a plain file or not once")
        limit -= member.size
        if limit < 0 or member.size > shutil.disk_usage(folder).free:
            raise UserError(f"'{member.name}' in it would take {member.size:,} bytes")
        names.remove(member.name)
        reads.left = member.size
        target = folder / member.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.extractfile(member) as source, open(target, "xb") as file:
            shutil.copyfileobj(source, file)
        reads.left = _MOST_HEADER_BYTES


def in_short(error: Exception) -> str:
    """An error's message in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
