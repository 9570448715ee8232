"""The film in the body of a request: the whole body, or a file in a form (`multipart/form-data`)."""

import email.message
import os
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from yt8m_distill.serving.film_exchange import BadFilmError

MULTIPART = "multipart/form-data"
FILM_TYPES = (MULTIPART, "application/octet-stream", "video/mp4", "video/webm", "video/quicktime", "video/x-matroska")
_MOST_HEAD_BYTES = 8192  # of a part of a form
_MOST_PARTS = 20
_MOST_LETTERS = 200  # of a name
_LINE = b"\r\n"


class FilmPart(NamedTuple):
    """Where the film is in a body.

    Attributes:
        name: of its file; empty: unknown.
        start, end: places in the body.
    """

    name: str
    start: int
    end: int


def film_part(content_type: str, body: bytes) -> FilmPart:
    """The film in a body.

    Args:
        content_type: header of the request.
        body: bytes, or what is read like bytes: a `mmap.mmap`.

    Raises:
        BadFilmError: the form is damaged, or has no file, or several.
    """
    if not content_type.lower().startswith(MULTIPART):
        return FilmPart("", 0, len(body))
    boundary = _parameter("content-type", content_type, email.message.Message.get_boundary)
    if not boundary:
        raise BadFilmError("the form has no boundary in its Content-Type")
    parts = [part for part in _parts(body, boundary.encode()) if part.name]
    if len(parts) != 1:
        raise BadFilmError(f"send one film as a file of the form, not {len(parts)}")
    return parts[0]


def _parts(body: bytes, boundary: bytes) -> Iterator[FilmPart]:
    """The parts of a form; those that are no files have no name."""
    delimiter = b"--" + boundary
    place = body.find(delimiter, 0, _MOST_HEAD_BYTES)
    for _ in range(_MOST_PARTS):
        place += len(delimiter)
        if place < len(delimiter) or body[place : place + 2] == b"--":
            return
        head_end = body.find(2 * _LINE, place, place + _MOST_HEAD_BYTES)
        following = body.find(_LINE + delimiter, max(head_end, 0))
        if head_end < 0 or following < 0:
            raise BadFilmError("the form is damaged: a part of it has no head or no end")
        yield FilmPart(_file_name(body[place:head_end]), head_end + 2 * len(_LINE), following)
        place = following + len(_LINE)
    raise BadFilmError(f"the form has more than {_MOST_PARTS} parts")


def _file_name(head: bytes) -> str:
    for line in head.decode(errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() == "content-disposition":
            name = _parameter("content-disposition", value.strip(), email.message.Message.get_filename)
            return clean_name(name) if name is not None else ""
    return ""


def clean_name(name: str) -> str:
    """The last part of a path, printable, of bounded length; "film" where nothing is left."""
    return re.sub(r"[^\w .()+-]", "_", os.path.basename(name))[:_MOST_LETTERS] or "film"


def _parameter(header: str, value: str, get: Callable[[email.message.Message], str | None]) -> str | None:
    """What `get` takes of a header, in which any encoding may be named."""
    message = email.message.Message()
    message[header] = value.replace("\r", " ").replace("\n", " ")
    try:
        text = get(message)
        if text is not None:
            text.encode()
    except (ValueError, LookupError) as error:  # ValueError: also of texts that are no Unicode
        raise BadFilmError(f"the form's {header} cannot be read") from error
    return text
