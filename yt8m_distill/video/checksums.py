"""Identities of networks and projections: features that were made by the same can be used together."""

import hashlib
import pathlib
from collections.abc import Iterable

import numpy as np

_DIGITS = 16


def checksum_of_arrays(description: str, arrays: Iterable[np.ndarray]) -> str:
    """The identity of what is made of arrays.

    Args:
        description: of everything else that its results depend on: architecture, preprocessing.
        arrays: its weights, in a fixed order.

    Returns:
        The first 16 hexadecimal digits of a SHA-256.
    """
    digest = hashlib.sha256(description.encode())
    for array in arrays:
        digest.update(repr((array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:_DIGITS]


def checksum_of_files(description: str, path: pathlib.Path) -> str:
    """The identity of what is one file, or all files of a folder.

    Args:
        description: as for `checksum_of_arrays`.
        path: of the file or folder.

    Returns:
        The first 16 hexadecimal digits of a SHA-256.
    """
    digest = hashlib.sha256(description.encode())
    for file in sorted(filter(pathlib.Path.is_file, path.rglob("*"))) if path.is_dir() else [path]:
        digest.update(file.relative_to(path).as_posix().encode())
        with open(file, "rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:_DIGITS]
