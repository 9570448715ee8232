"""Windows of small records, sound ones among others: read at once they are what they are one by one."""

import tempfile
from unittest import mock

import numpy as np
from hypothesis import strategies as st

from tests.fuzz.records import CHANGES, ODDITIES, SPEC, THIN_SPEC, mutated, record
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.data import small_records
from yt8m_distill.data.bad_records import BadRecords
from yt8m_distill.data.reading import RecordReader
from yt8m_distill.data.record_format import LEARNING, PREDICTION
from yt8m_distill.data.tfrecord import framed
from yt8m_distill.data.video import Video

_SEEDS = st.integers(0, 2**63)
_RECORDS = st.builds(
    lambda seed, oddity, changes: mutated(record(seed, oddity), changes), _SEEDS, st.sampled_from(ODDITIES), CHANGES
)
# The seed of a sound record, whether the window begins with it, so that the layout is its, and the others: changes of
# it, or records of their own.
WINDOWS = st.tuples(_SEEDS, st.booleans(), st.lists(st.one_of(CHANGES, _RECORDS), min_size=1, max_size=12))


def check_window(window: tuple[int, bool, list[list[tuple] | bytes]]):
    """The same videos, positions and bad records, in any format and for any use."""
    seed, begins_sound, others = window
    sound = record(seed, 0.0)
    records = [other if isinstance(other, bytes) else mutated(sound, other) for other in others]
    data = [framed(each) for each in [sound] * begins_sound + records]
    ends = np.cumsum([len(each) for each in data])
    places = np.array([(0, i + 1, ends[i] - len(each), len(each), 0, 0, i + 1) for i, each in enumerate(data)])
    with tempfile.NamedTemporaryFile(suffix=".tfrecord") as written:
        written.write(b"".join(data))
        written.flush()
        for spec in (SPEC, THIN_SPEC):
            for use in (LEARNING, PREDICTION):
                _check(written.name, places, spec, use)


def _check(path: str, places: np.ndarray, spec: DatasetSpec, use: str):
    at_once, one_by_one = (RecordReader([path], spec, BadRecords(skip=True), use) for _ in range(2))
    positions, videos = one_by_one.read(places, np.empty(places[:, 3].sum(), np.uint8))
    with mock.patch.object(small_records, "FEWEST_RECORDS", 1):
        ((positions_at_once, videos_at_once),) = small_records.SmallRecords(at_once).batches([places])
    np.testing.assert_array_equal(positions_at_once, positions)
    assert list(map(_content, videos_at_once)) == list(map(_content, videos))
    assert at_once.bad_records.as_json() == one_by_one.bad_records.as_json()


def _content(video: Video) -> tuple:
    features = [(feature.shape, feature.tobytes()) for feature in video.features]
    return video.video_id, video.labels, features, video.num_frames, video.ratings
