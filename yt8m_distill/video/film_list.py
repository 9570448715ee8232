"""Which films: folders, globs and files, or a CSV file with a path a row, each film with an id and its labels."""

import glob
import hashlib
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from yt8m_distill.errors import UserError
from yt8m_distill.files.delimited import read_rows
from yt8m_distill.files.patterns import files_here, find_files

FILM_SUFFIXES = frozenset(
    (
        *(".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"),
        *(".mxf", ".ogm", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
    )
)
LABEL_SEPARATORS = r"[;|]"
_PATH_COLUMNS = ("path", "video", "videoid", "file", "filename", "film", "id", "url", "name")
_ID_COLUMNS = ("id", "videoid")
_LABEL_COLUMNS = ("labels", "label", "class", "classes")
_NOT_IN_IDS = re.compile(r'[,"\r\n]')  # an id is a cell of predictions in CSV


@dataclass(frozen=True)
class Film:
    """A film of a list.

    Attributes:
        path: of the file.
        video_id: unique in the list; by default the path in the folder that was given.
        labels: names or numbers of its classes, as written; None: nothing was said of it.
    """

    path: str
    video_id: str
    labels: tuple[str, ...] | None = field(default=None)


def read_films(
    videos: str,
    labels: str | None = None,
    flag: str = "videos",
    matching: Callable[[str], Iterable[str]] = files_here,
) -> list[Film]:
    """The films that a pattern or a CSV file names.

    Args:
        videos: folders (with all in them), globs and files, separated by commas; or a CSV file with a path a row, and
            labels and an id where it has such columns. Paths in it begin in its folder, or where the command runs.
        labels: CSV file with the labels of each film; see `with_labels`.
        flag: where `videos` is from, for errors.
        matching: the files that a glob names; may know of other file systems.

    Raises:
        UserError: there are no films, two have the same id, or a file cannot be read.
    """
    if os.path.isfile(videos) and videos.lower().endswith((".csv", ".tsv", ".csv.gz", ".txt")):
        films = list(_films_of_rows(videos))
        if not films:
            raise UserError(f"--{flag}: '{videos}' names no films.")
    else:
        films = [Film(path, _as_id(name)) for path, name in _found(videos, flag, matching)]
    _check_ids(films, flag)
    return films if labels is None else with_labels(films, labels)


def in_mixed_order(films: Iterable[Film]) -> list[Film]:
    """Films in an order in which those of one folder or class do not follow each other.

    It depends on their ids alone, so that a film that is added later changes nothing of the order of the others.
    """
    return sorted(films, key=lambda film: hashlib.blake2b(film.video_id.encode(), digest_size=8).digest())


def with_labels(films: Sequence[Film], path: str) -> list[Film]:
    """Films with the labels that a CSV file gives them.

    A row is a film and its labels: in cells of their own, or in one, separated by `;` or `|`; the rows of one film add
    up. A film is named by its id, its path, or its file's name, with or without suffix. A header is not needed.

    Raises:
        UserError: the file cannot be read, or none of its rows names one of the films, or a name fits several of them.
    """
    rows = list(read_rows(path, "list of labels", lambda cells: len(cells) > 1))
    columns = _Columns.of_header(rows.pop(0)[1] if rows and _is_header(rows[0][1]) else [])
    names = _names(films)
    labels: dict[str, list[str]] = {}
    unused = None
    for line, cells in rows:
        name = columns.cell(cells, columns.path)
        of_row = (name, os.path.normpath(name), columns.cell(cells, columns.video_id))
        matches = next((names[each] for each in of_row if each in names), set())
        if len(matches) > 1:
            raise UserError(f"{path}, line {line}: '{name}' fits several films ({', '.join(sorted(matches)[:3])}).")
        unused = unused or (None if matches else (line, name))
        for video_id in matches:
            labels.setdefault(video_id, []).extend(_labels_in(columns.of_labels(cells)))
    if not labels:
        line, name = unused or (1, "")
        raise UserError(f"{path}: no row names one of the films (line {line}: '{name}'; films: {films[0].video_id}).")
    return [
        replace(film, labels=tuple(dict.fromkeys(labels[film.video_id]))) if film.video_id in labels else film
        for film in films
    ]


def _found(pattern: str, flag: str, matching: Callable[[str], Iterable[str]]) -> Iterator[tuple[str, str]]:
    """Path of each film, and its name in the folder that was given."""
    seen = set()
    for path, name in _matches(pattern, flag, matching):
        if (real := os.path.realpath(path)) not in seen:
            seen.add(real)
            yield path, name


def _matches(pattern: str, flag: str, matching: Callable[[str], Iterable[str]]) -> Iterator[tuple[str, str]]:
    parts = [pattern] if os.path.exists(pattern) else [part.strip() for part in _split(pattern) if part.strip()]
    if not parts:
        raise UserError(f"--{flag} is empty; give folders, globs and files, separated by commas, or a CSV file.")
    for part in parts:
        if os.path.isdir(part):
            files = sorted(str(path) for path in pathlib.Path(part).rglob("*") if _is_film(path))
            if not files:
                raise UserError(
                    f"--{flag}: there are no films in '{part}' (names that end in {', '.join(sorted(FILM_SUFFIXES))}); "
                    f"'{os.path.join(part, '*')}' takes any file."
                )
            yield from ((path, os.path.relpath(path, part)) for path in files)
        else:
            folder = _fixed_folder(part)
            yield from ((path, os.path.relpath(path, folder or ".")) for path in find_files(part, flag, matching))


def _split(pattern: str) -> list[str]:
    """The parts between commas outside of braces."""
    return re.split(r",(?![^{]*\})", pattern)


def _is_film(path: pathlib.Path) -> bool:
    return path.suffix.lower() in FILM_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _fixed_folder(pattern: str) -> str:
    """The folders at the beginning of a glob that are no pattern."""
    folder = os.path.dirname(pattern)
    while folder and not os.path.isdir(folder) and (glob.has_magic(folder) or "{" in folder):
        folder = os.path.dirname(folder)
    return folder


def _films_of_rows(path: str) -> Iterator[Film]:
    rows = list(read_rows(path, "list of films", lambda cells: len(cells) > 1))
    columns = _Columns.of_header(rows.pop(0)[1] if rows and _is_header(rows[0][1]) else [])
    if columns.labels is None and all(len(cells) == 1 for _, cells in rows):
        columns = replace(columns, labels=())
    for line, cells in rows:
        name = columns.cell(cells, columns.path)
        if not name:
            raise UserError(f"{path}, line {line}: it names no film.")
        labels = tuple(_labels_in(columns.of_labels(cells)))
        video_id = _as_id(columns.cell(cells, columns.video_id) or name)
        yield Film(_path_beside(name, path), video_id, None if columns.labels == () else labels)


@dataclass(frozen=True)
class _Columns:
    """Where a list of films has what; without a header the path is first, and labels follow.

    Attributes:
        path, video_id: places of the columns; the same where there are no ids.
        labels: places of the columns with labels; empty: none; None: all after the first.
    """

    path: int = 0
    video_id: int = 0
    labels: tuple[int, ...] | None = None

    @classmethod
    def of_header(cls, header: Sequence[str]) -> "_Columns":
        if not header:
            return cls()
        names = [_plain(cell) for cell in header]
        path = next((names.index(name) for name in _PATH_COLUMNS if name in names), 0)
        video_id = next((names.index(name) for name in _ID_COLUMNS if name in names), path)
        return cls(path, video_id, tuple(place for place, name in enumerate(names) if name in _LABEL_COLUMNS))

    def cell(self, cells: Sequence[str], place: int) -> str:
        """Empty where a row is too short."""
        return cells[place] if place < len(cells) else ""

    def of_labels(self, cells: Sequence[str]) -> list[str]:
        """The cells with labels."""
        return [self.cell(cells, place) for place in (range(1, len(cells)) if self.labels is None else self.labels)]


def _path_beside(name: str, list_path: str) -> str:
    beside = os.path.join(os.path.dirname(list_path), name)
    return beside if os.path.exists(beside) or not os.path.exists(name) else name


def _is_header(cells: Sequence[str]) -> bool:
    """Whether cells are names of columns: the first one, or two of them, and none ends as a file does."""
    known = [_plain(cell) in (*_PATH_COLUMNS, *_LABEL_COLUMNS) for cell in cells]
    return (known[0] or sum(known) > 1) and not any(os.path.splitext(cell)[1] for cell in cells)


def _plain(cell: str) -> str:
    return cell.lower().replace("_", "").replace(" ", "")


def _labels_in(cells: Iterable[str]) -> list[str]:
    labels = (" ".join(label.split()) for cell in cells for label in re.split(LABEL_SEPARATORS, cell))
    return list(dict.fromkeys(label for label in labels if label))


def _names(films: Sequence[Film]) -> dict[str, set[str]]:
    """Ids of the films by all names that a list of labels may give them; an id itself is never ambiguous."""
    names: dict[str, set[str]] = {}
    for film in films:
        base = os.path.basename(film.path)
        for name in {film.path, os.path.normpath(film.path), base, os.path.splitext(base)[0], _stem(film.video_id)}:
            names.setdefault(name, set()).add(film.video_id)
    return names | {film.video_id: {film.video_id} for film in films}


def _stem(video_id: str) -> str:
    return os.path.splitext(video_id)[0]


def _as_id(name: str) -> str:
    text = os.fsencode(name).decode(errors="replace")
    return _NOT_IN_IDS.sub("_", pathlib.PurePath(text).as_posix()).strip()


def _check_ids(films: Sequence[Film], flag: str):
    seen: dict[str, str] = {}
    for film in films:
        if film.video_id in seen:
            raise UserError(
                f"--{flag}: '{seen[film.video_id]}' and '{film.path}' have the same id, '{film.video_id}'; give the "
                "folder that holds both, or a CSV file with the columns path and id."
            )
        seen[film.video_id] = film.path
