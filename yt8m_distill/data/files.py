"""File patterns: globs, files and folders."""

import glob
import os
from collections.abc import Callable, Iterable

from yt8m_distill.config.dataset import RANGES_FILE
from yt8m_distill.errors import UserError


def files_here(pattern: str) -> list[str]:
    """The files of this machine that a glob names."""
    return [path for path in glob.glob(pattern) if os.path.isfile(path)]


def find_files(pattern: str, flag: str, matching: Callable[[str], Iterable[str]] = files_here) -> list[str]:
    """The files that `pattern` names, each once: in the order of its parts, sorted within each.

    Args:
        pattern: globs, files and folders, separated by commas; of a folder, its files with "tfrecord" in the name.
        flag: where the pattern comes from, for errors; in capitals where it is an argument and no flag.
        matching: the files that a glob names; may know of other file systems.

    Raises:
        UserError: nothing matches one of the parts.
    """
    files: dict[str, str] = {}
    name = flag if flag.isupper() else f"--{flag}"
    for part in filter(None, (part.strip() for part in pattern.split(","))):
        single = os.path.join(part, "*tfrecord*") if os.path.isdir(part) else part
        paths = [part] if os.path.isfile(part) else matching(single)
        if not paths:
            raise UserError(f"{name}: no file matches '{single}'.")
        for path in sorted(path for path in paths if path == part or os.path.basename(path) != RANGES_FILE):
            files.setdefault(os.path.realpath(path), path)
    if not files:
        raise UserError(f"{name} is empty; give files, globs or directories, separated by commas.")
    return list(files.values())
