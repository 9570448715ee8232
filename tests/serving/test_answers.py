"""Answers as JSON, in pieces."""

import json

import numpy as np
import pytest

from yt8m_distill.serving.answers import PIECE_BYTES, Labels


@pytest.mark.parametrize("names", [None, tuple(f"name \u20ac {i}" for i in range(1000))])
@pytest.mark.parametrize(("videos", "classes"), [(1, 1), (3, 2), (7, 1000)])
def test_pieces_are_the_json_and_never_large(videos, classes, names):
    rng = np.random.default_rng(0)
    indices = np.stack([rng.permutation(1000)[:classes] for _ in range(videos)])
    scores = rng.random((videos, classes), np.float32)
    ids = [f'"{row}\n' for row in range(videos)]
    pieces = list(Labels(ids, np.arange(videos, dtype=np.int32), indices, scores, names).pieces())
    assert max(map(len, pieces)) < 2 * PIECE_BYTES
    assert len(pieces) == 1 or classes == 1000
    answered = json.loads(b"".join(pieces))["videos"]
    assert [video["id"] for video in answered] == ids
    assert [video["frames"] for video in answered] == list(range(videos))
    assert [[label["index"] for label in video["labels"]] for video in answered] == indices.tolist()
    assert [[label["score"] for label in video["labels"]] for video in answered] == scores.tolist()
    if names:
        assert answered[0]["labels"][0]["name"] == names[indices[0, 0]]
