"""What clients of the service send: TFRecord files, JSON and .npz files, near valid ones and far from them."""

import io

import numpy as np
from hypothesis import strategies as st

from tests.fuzz.attempts import attempt
from tests.fuzz.records import CHANGES, SPEC, mutated, record
from tests.fuzz.texts import json_texts
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.data.tfrecord import framed
from yt8m_distill.deployment.manifest import Manifest
from yt8m_distill.serving.requests import PARSERS, BadBodyError, parse

K, MOST_VIDEOS = 3, 4
MANIFEST = Manifest("NeXtVLAD", "student", None, SPEC, FrameSelection(K), K, 20, None, ())
TFRECORD, JSON, NPZ = PARSERS

_FRAMES = np.arange(2 * 4 * SPEC.frame_size, dtype=np.uint8).reshape(2, 4, SPEC.frame_size)


def _npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


_RECORDS = st.lists(st.builds(record, st.integers(0, 2**63), st.just(0.0)), max_size=MOST_VIDEOS + 1)
_TFRECORDS = st.builds(lambda records: b"".join(map(framed, records)), _RECORDS)
_NPZ = st.just(_npz(frames=_FRAMES, num_frames=np.array([4, 2])))
REQUESTS = st.one_of(
    st.tuples(st.just(TFRECORD), st.builds(mutated, _TFRECORDS, CHANGES)),
    st.tuples(st.just(JSON), json_texts({"videos": [{"id": "v", "frames": _FRAMES[0].tolist()}]})),
    st.tuples(st.just(NPZ), st.builds(mutated, _NPZ, CHANGES)),
    st.tuples(st.sampled_from(tuple(PARSERS)), st.binary(max_size=40)),
)


def check_request(request: tuple[str, bytes]):
    """Videos as the model takes them, or a sentence."""
    videos, _ = attempt(lambda: parse(*request, MANIFEST, MOST_VIDEOS), BadBodyError)
    if videos is None:
        return
    assert 1 <= len(videos) <= MOST_VIDEOS
    assert videos.frames.dtype == np.uint8
    assert videos.frames.shape[::2] == (len(videos), SPEC.frame_size)
    assert videos.num_frames.shape == (len(videos),)
    assert 0 <= videos.num_frames.min() <= videos.num_frames.max() == videos.frames.shape[1] <= K
    assert all(each.encode() is not None for each in videos.ids)  # can be sent back
