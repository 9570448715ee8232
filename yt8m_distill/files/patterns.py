"""File patterns: globs, files and folders."""

import glob
import itertools
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from yt8m_distill.errors import UserError
from yt8m_distill.files.remote import is_remote

log = logging.getLogger(__name__)

RANGES_FILE = "features.json"  # beside files of features with other ranges; a pattern that fits it does not mean it
_UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".download", ".aria2", "_.gstmp")


def files_here(pattern: str) -> list[str]:
    """The files of this machine that a glob names.

    Raises:
        UserError: they are not on this machine.
    """
    if is_remote(pattern) and not _existing_folder(pattern):
        raise UserError(
            f"'{pattern}' is not on this machine. Copy the files here, or mount the bucket as a folder (gcsfuse, "
            "s3fs); python -m yt8m_distill.beam_inference predicts them where they are."
        )
    return [path for path in glob.glob(pattern) if os.path.isfile(path)]


def find_files(pattern: str, flag: str, matching: Callable[[str], Iterable[str]] = files_here) -> list[str]:
    """The files that `pattern` names, each once: in the order of its parts, sorted within each.

    What exists under a name that looks like a pattern is taken as that name.

    Args:
        pattern: globs with *, ?, [ab] and {a,b}, files and folders, separated by commas; of a folder, its files with
            "tfrecord" in the name. Unfinished downloads are left out unless they are named.
        flag: where the pattern comes from, for errors; in capitals where it is an argument and no flag.
        matching: the files that a glob names; may know of other file systems.

    Raises:
        UserError: nothing matches one of the parts.
    """
    files: dict[str, str] = {}
    name = flag if flag.isupper() else f"--{flag}"
    for part in _parts(pattern):
        paths = [part] if os.path.isfile(part) else _matching(part, name, matching)
        for path in sorted(paths):
            files.setdefault(os.path.realpath(path), path)
    if not files:
        raise UserError(_empty_text(name))
    return list(files.values())


def _empty_text(name: str) -> str:
    return f"{name} is empty; give files, globs or directories, separated by commas."


def check_pattern(pattern: str, name: str):
    """Checks that each part of a pattern names a file, without a look into any.

    Args:
        pattern: as of `find_files`.
        name: of the setting, for errors.

    Raises:
        UserError: nothing matches one of the parts.
    """
    parts = list(_parts(pattern))
    if not parts:
        raise UserError(_empty_text(name))
    for part in parts:
        if not os.path.isfile(part):
            _candidates(part, name, files_here)


def in_folder(pattern: str, folder: str) -> str:
    """A pattern whose relative parts begin in a folder.

    Example:
        >>> in_folder("a*.tfrecord,/data/b", "/home/me")
        '/home/me/a*.tfrecord,/data/b'
    """
    if set(folder) & set(",{}"):  # that would be taken for parts of the pattern
        return pattern
    whole = os.path.join(folder, pattern)
    if os.path.exists(whole):
        return os.path.normpath(whole)
    parts = (part.strip() for part in _split(pattern))
    return ",".join(part if is_remote(part) else os.path.normpath(os.path.join(folder, part)) for part in parts)


def is_any_file(pattern: str) -> bool:
    """Whether anything has the name that a pattern, or a part of it, gives."""
    return any(os.path.exists(part) or any(glob.iglob(_with_existing_folder(part))) for part in _parts(pattern))


def _matching(part: str, name: str, matching: Callable[[str], Iterable[str]]) -> list[str]:
    """The files that one part of a pattern names, which is not a file itself."""
    paths = _candidates(part, name, matching)
    unfinished = _unfinished(paths, part)
    if unfinished:
        log.warning("%s: %d unfinished downloads are left out (first: %s).", name, len(unfinished), unfinished[0])
    return [path for path in paths if path not in unfinished]


def _candidates(part: str, name: str, matching: Callable[[str], Iterable[str]]) -> list[str]:
    """The same with unfinished downloads, which are some of them at most."""
    is_folder = os.path.isdir(part)
    single = os.path.join(glob.escape(part), "*tfrecord*") if is_folder else _with_existing_folder(part)
    try:
        paths = [path for path in matching(single) if os.path.basename(path) != RANGES_FILE]
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    if not paths:
        raise UserError(f"{name}: {_nothing_text(part, single, is_folder)}")
    if len(_unfinished(paths, part)) == len(paths):
        raise UserError(f"{name}: all {len(paths)} files of '{part}' are unfinished downloads (first: {paths[0]}).")
    return paths


def _unfinished(paths: Sequence[str], part: str) -> list[str]:
    return [path for path in paths if path.endswith(_UNFINISHED) and not part.endswith(_UNFINISHED)]


def _nothing_text(part: str, single: str, is_folder: bool) -> str:
    if os.path.exists(part) and not is_folder:
        return f"'{part}' is neither a file nor a folder."
    text = f"no file matches '{os.path.join(part, '*tfrecord*') if is_folder else single}'"
    others = sorted(entry.name for entry in os.scandir(part) if entry.is_file()) if is_folder else []
    if others:
        return f"{text}; the folder has other files (first: {others[0]}), which '{os.path.join(part, '*')}' would name."
    return f"{text}."


def _parts(pattern: str) -> Iterator[str]:
    """The parts between commas, with braces expanded."""
    if os.path.exists(pattern):  # a name may have commas and braces itself
        yield pattern
        return
    for part in filter(None, map(str.strip, _split(pattern))):
        folder = _existing_folder(part)
        yield from [part] if os.path.exists(part) else (folder + rest for rest in _expanded(part[len(folder) :]))


def _split(pattern: str) -> Sequence[str]:
    """The pieces between commas that are not in braces."""
    depth, pieces, begin = 0, [], 0
    for place, letter in enumerate(pattern):
        depth = max(depth + (letter == "{") - (letter == "}"), 0)
        if letter == "," and not depth:
            pieces.append(pattern[begin:place])
            begin = place + 1
    pieces.append(pattern[begin:])
    return pattern.split(",") if depth else pieces  # a brace that is never closed is a letter like others


def _expanded(part: str) -> list[str]:
    """All choices of braces, as in a shell: "a{b,c}" is "ab" and "ac"."""
    for match in re.finditer(r"\{", part):
        end = _closing(part, match.start())
        choices = _split(part[match.end() : end]) if end else ()
        if len(choices) > 1:
            whole = (part[: match.start()] + choice + part[end + 1 :] for choice in choices)
            return list(dict.fromkeys(itertools.chain.from_iterable(map(_expanded, whole))))
    return [part]


def _closing(part: str, begin: int) -> int | None:
    """Where the brace that opens at a place is closed."""
    depth = 0
    for place in range(begin, len(part)):
        depth += (part[place] == "{") - (part[place] == "}")
        if not depth:
            return place
    return None


def _with_existing_folder(part: str) -> str:
    """A pattern in which the longest folder that exists is no pattern, whatever its name."""
    folder = _existing_folder(part)
    return glob.escape(folder) + part[len(folder) :]


def _existing_folder(part: str) -> str:
    """The longest folder at the beginning of a pattern that exists; empty where none does."""
    folder = os.path.dirname(part)
    while folder and folder != os.path.dirname(folder) and not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder if os.path.isdir(folder) else ""
