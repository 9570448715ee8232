"""Names of files on other machines, which only Beam can read."""

import os
import re

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def is_remote(path: str | os.PathLike) -> bool:
    """Whether a path or pattern begins with a scheme, of which pathlib makes the two slashes one.

    Example:
        >>> [is_remote(path) for path in ("gs://bucket/a", "gs:/bucket/a", "runs/a", "C:/a")]
        [True, True, False, False]
    """
    return bool(_SCHEME.match(os.fspath(path)))
