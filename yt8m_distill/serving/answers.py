"""The labels of videos as JSON, written piece by piece: neither memory nor the event loop is taken by a long answer."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import Response

from yt8m_distill.serving.requests import Videos

PIECE_BYTES = 1 << 16
_BEGIN = b'{"videos":['


@dataclass(frozen=True)
class Labels:
    """The labels of the videos of a request.

    Attributes:
        ids: of the videos.
        num_frames: of each, as the model saw it.
        classes: indices (videos, labels), best first.
        scores: of these, likewise.
        names: by class; None: classes have no names.
        details: whether `all_frames` and `positions` are told.
        all_frames, positions: see `requests.Videos`.
        milliseconds: that were needed, by what for; None: not told.
    """

    ids: Sequence[str]
    num_frames: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    names: Sequence[str] | None
    details: bool = False
    all_frames: np.ndarray | None = None
    positions: np.ndarray | None = None
    milliseconds: Mapping[str, float] | None = None

    def pieces(self) -> Iterator[bytes]:
        """The JSON, in pieces of one video at least and some `PIECE_BYTES`.

        Example:
            >>> labels = Labels(["a"], np.array([3]), np.array([[1]]), np.array([[0.5]]), None)
            >>> b"".join(labels.pieces())
            b'{"videos":[{"id":"a","frames":3,"labels":[{"index":1,"score":0.5}]}]}'
        """
        piece = bytearray(_BEGIN)
        for row in range(len(self.ids)):
            piece += (b"," if row else b"") + self._video(row)
            if len(piece) >= PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        times = {} if self.milliseconds is None else {"milliseconds": self.milliseconds}
        yield bytes(piece + b"]" + (b"," + _json(times)[1:] if times else b"}"))

    def _video(self, row: int) -> bytes:
        pairs = zip(self.classes[row].tolist(), self.scores[row].tolist(), strict=True)
        labels = [{"index": i, **self._name(i), "score": score} for i, score in pairs]
        video = {"id": self.ids[row], "frames": int(self.num_frames[row])}
        return _json({**video, **(self._places(row) if self.details else {}), "labels": labels})

    def _places(self, row: int) -> dict[str, Any]:
        if self.all_frames is None or self.positions is None:
            return {"all_frames": None, "positions": None}
        positions = self.positions[row, : self.num_frames[row]]
        return {"all_frames": int(self.all_frames[row]), "positions": positions.tolist()}

    def _name(self, index: int) -> dict[str, str]:
        return {} if self.names is None else {"name": self.names[index]}


def labels_of(videos: Videos, classes: np.ndarray, scores: np.ndarray, names: Any, *, details: bool) -> Labels:
    """The labels of the videos of a request, see `Labels`."""
    places = (videos.all_frames, videos.positions)
    return Labels(videos.ids, videos.num_frames, classes, scores, names, details, *places)


def in_milliseconds(seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds by what they were needed for, as answers tell them.

    Example:
        >>> in_milliseconds({"prediction": 0.01234})
        {'prediction': 12.3}
    """
    return {name: round(1000 * value, 1) for name, value in seconds.items()}


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


class LabelsResponse(Response):
    """Sends labels; the next piece is made when the client has taken the one before.

    Args:
        labels: of the videos.
    """

    media_type = "application/json"

    def __init__(self, labels: Labels):
        super().__init__()
        self._labels = labels

    async def __call__(self, scope: dict, receive: Callable, send: Callable):
        pieces = self._labels.pieces()
        piece, following = next(pieces), next(pieces, None)
        del self.headers["content-length"]
        if following is None:
            self.headers["content-length"] = str(len(piece))
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        while following is not None:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)  # others have their turn, even where nobody takes the answer
            piece, following = following, next(pieces, None)
        await send({"type": "http.response.body", "body": piece})
