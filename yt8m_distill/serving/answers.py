"""The labels of videos as JSON, written piece by piece: neither memory nor the event loop is taken by a long answer."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from fastapi import Response

PIECE_BYTES = 1 << 16
_BEGIN, _END = b'{"videos":[', b"]}"


@dataclass(frozen=True)
class Labels:
    """The labels of the videos of a request.

    Attributes:
        ids: of the videos.
        num_frames: of each, as the model saw it.
        classes: indices (videos, labels), best first.
        scores: of these, likewise.
        names: by class; None: classes have no names.
    """

    ids: Sequence[str]
    num_frames: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    names: Sequence[str] | None

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
        yield bytes(piece + _END)

    def _video(self, row: int) -> bytes:
        pairs = zip(self.classes[row].tolist(), self.scores[row].tolist(), strict=True)
        labels = [{"index": i, **self._name(i), "score": score} for i, score in pairs]
        video = {"id": self.ids[row], "frames": int(self.num_frames[row]), "labels": labels}
        return json.dumps(video, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()

    def _name(self, index: int) -> dict[str, str]:
        return {} if self.names is None else {"name": self.names[index]}


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
