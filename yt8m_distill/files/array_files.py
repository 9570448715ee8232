"""Arrays from elsewhere: by their headers, no array may take more memory than its file has bytes."""

import math
import os
import pathlib
import zipfile
import zlib
from typing import BinaryIO

import numpy as np

from yt8m_distill.errors import UserError
from yt8m_distill.files.untrusted import in_short

PLAIN_KINDS = "biuf"  # of dtypes: booleans, integers and floating-point numbers


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
    if dtype.kind not in PLAIN_KINDS:
        raise UserError(f"{name} does not hold numbers, but '{dtype}'.")
    indexable = all(0 <= size <= np.iinfo(np.intp).max for size in shape)
    if not indexable or math.prod(shape) * dtype.itemsize != num_bytes - stream.tell():
        raise UserError(f"{name} does not hold as many numbers as its header says.")
