"""Small records read many at once: the same batches, errors and positions as one by one."""

import dataclasses
import itertools
import random
import shutil
from unittest import mock

import numpy as np
import pytest

from tests.helpers import TINY_FEATURES, sequence_example, shared_path, write_records
from yt8m_distill.config.dataset import DatasetSpec, SpecOverrides
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.shard import Shard
from yt8m_distill.data import small_records
from yt8m_distill.data.bad_records import BadRecords
from yt8m_distill.data.batches import View
from yt8m_distill.data.reading_order import position_after
from yt8m_distill.data.record_format import LEARNING, PREDICTION
from yt8m_distill.data.record_layout import PADDING, Layout, places_of_records
from yt8m_distill.data.sequence_example import parse_record
from yt8m_distill.data.tfrecord import framed
from yt8m_distill.data.video_files import VideoFiles, open_videos
from yt8m_distill.errors import UserError
from yt8m_distill.thin import main as thin

SPEC = DatasetSpec("x", "id", ("rgb", "audio"), (6, 2), 10, 300)
VIEWS = {
    "all": View(),
    "uniform": View(FrameSelection(3)),
    "random": View(FrameSelection(3, sampling="random")),
    "medoid": View(FrameSelection(3, sampling="medoid")),
    "both": View(FrameSelection(3), with_all_frames=True),
    "stride": View(FrameSelection(stride=4)),
    "mixed": View(FrameSelection(k=4, drawn_from=(2, 4)), mixup=0.4),
}


def read_to_the_end(batches) -> tuple[list[dict], str | None]:
    """All batches, and the error that ends them."""
    read = []
    try:
        for batch in batches:
            read.append(batch)
    except UserError as error:
        return read, str(error)
    return read, None


def assert_same(first: list[dict], second: list[dict]):
    for one, other in itertools.zip_longest(first, second, fillvalue={}):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert np.asarray(value).dtype == np.asarray(other[name]).dtype, name
            np.testing.assert_array_equal(value, other[name], name)


def assert_same_both_ways(videos: VideoFiles, view: View, batch_size: int = 50, **options) -> list[dict]:
    """In order and shuffled, at once and one by one; the batches in order."""
    reads = []
    for most_bytes in (small_records.SMALL_BYTES, 0):
        fresh = dataclasses.replace(videos, bad_records=BadRecords(videos.bad_records.skip))
        with mock.patch.object(small_records, "SMALL_BYTES", most_bytes):
            ordered = read_to_the_end(fresh.ordered_batches(view, batch_size, seed=3))
            shuffled = read_to_the_end(fresh.training_batches(view, batch_size, seed=3, epoch=1, **options))
        reads.append((ordered, shuffled, fresh.bad_records.as_json()))
    (ordered, shuffled, bad), (ordered_before, shuffled_before, bad_before) = reads
    for (batches, error), (batches_before, error_before) in ((ordered, ordered_before), (shuffled, shuffled_before)):
        assert_same(batches, batches_before)
        assert error == error_before
    assert bad == bad_before
    return ordered[0]


def nothing(records, places, prefetch=False):
    return places[:0, 4:], []


def table_rows(videos: VideoFiles) -> int:
    """Records that are read at once, of those in order."""
    reads_nothing = mock.patch.object(small_records.SmallRecords, "_one_by_one", nothing)
    with reads_nothing, mock.patch.object(small_records, "FEWEST_RECORDS", 1):
        return sum(len(batch["num_frames"]) for batch in videos.ordered_batches(View(), 50))


@pytest.fixture(scope="module")
def audioset() -> VideoFiles:
    pattern = ",".join(str(shared_path(f"data/audioset/{name}00.tfrecord")) for name in ("train", "validate"))
    return open_videos(pattern, "pattern", SpecOverrides())


@pytest.mark.parametrize("name", VIEWS)
def test_batches_of_audioset_are_the_same(audioset, name):
    batches = assert_same_both_ways(audioset, VIEWS[name], batch_size=129)
    assert len(batches) > 30


def test_every_record_of_audioset_is_regular(audioset):
    assert table_rows(audioset) == audioset.count_examples() > 5000


@pytest.mark.parametrize("options", [{"use": PREDICTION}, {"fraction": 0.6}, {"fraction": 0.1, "rest": True}])
def test_other_ways_to_read_audioset(audioset, options):
    assert_same_both_ways(dataclasses.replace(audioset, **options), View(FrameSelection(3)))


@pytest.mark.parametrize("skip", [False, True])
def test_a_shard_of_audioset(audioset, skip):
    videos = dataclasses.replace(audioset, bad_records=BadRecords(skip))
    assert_same_both_ways(videos, View(), shard=Shard(1, 3))


def test_reading_resumes_in_the_middle_of_a_window(audioset):
    batches = list(audioset.training_batches(View(FrameSelection(3)), 70, seed=1, epoch=2))
    for number in (1, 17, 30):
        start = position_after(batches[number - 1])
        rest = list(audioset.training_batches(View(FrameSelection(3)), 70, seed=1, epoch=2, start=start))
        assert_same(rest, batches[number:])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("skip", [False, True])
def test_damaged_audioset(tmp_path, seed, skip):
    chance = random.Random(seed)
    content = bytearray(shared_path("data/audioset/train01.tfrecord").read_bytes()[:400_000])
    for _ in range(chance.choice((1, 5, 40))):
        place = chance.randrange(len(content))
        change = chance.choice(("flip", "remove", "insert"))
        if change == "flip":
            content[place] ^= 1 << chance.randrange(8)
        elif change == "remove":
            del content[place : place + chance.randrange(1, 3000)]
        else:
            content[place:place] = chance.randbytes(chance.randrange(1, 3000))
    path = tmp_path / "a.tfrecord"
    path.write_bytes(content)
    spec = open_videos(str(shared_path("data/audioset/train01.tfrecord")), "x", SpecOverrides()).spec
    assert_same_both_ways(VideoFiles((str(path),), spec, BadRecords(skip)), View(), 20)


ODD = {
    "a label twice": sequence_example(labels=(3, 1, 3)),
    "labels out of range": sequence_example(labels=(1, 10)),
    "a negative label": sequence_example(labels=(-1,)),
    "no frames": sequence_example(num_frames=0),
    "another key": sequence_example(id_key="video_id"),
    "an id with a comma": sequence_example("a,b"),
    "an id with an umlaut": sequence_example("ä"),
    "other sizes": sequence_example(sizes={"rgb": 5, "audio": 2}),
    "a feature less": sequence_example(sizes={"rgb": 6}),
    "a feature more": sequence_example(sizes={"rgb": 6, "audio": 2, "flow": 3}),
    "no labels": sequence_example(labels=()),
    "other bytes": b"abc",
    "nothing": b"",
}


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("use", [LEARNING, PREDICTION])
@pytest.mark.parametrize("name", ODD)
def test_odd_records_among_others(tmp_path, name, use, skip):
    records = [sequence_example(f"v{i}", num_frames=1 + i % 5, labels=(i % 10,), seed=i) for i in range(40)]
    serialized = [record.SerializeToString(deterministic=True) for record in records]
    odd = ODD[name] if isinstance(ODD[name], bytes) else ODD[name].SerializeToString(deterministic=True)
    for place in (7, 30, 31):
        serialized[place] = odd
    path = tmp_path / "a.tfrecord"
    path.write_bytes(b"".join(map(framed, serialized)))
    videos = VideoFiles((str(path),), SPEC, BadRecords(skip), use=use)
    assert_same_both_ways(videos, View(FrameSelection(3)), 8)
    if skip:
        assert table_rows(videos) >= 37


def test_thin_shards_are_read_at_once(tmp_path):
    records = [sequence_example(f"v{i}", num_frames=9, labels=(i % 10,), seed=i) for i in range(60)]
    (tmp_path / "whole").mkdir()
    write_records(tmp_path / "whole" / "a.tfrecord", records)
    features = ["--feature_names=rgb,audio", "--feature_sizes=6,2", "--num_classes=10"]
    assert thin(["thin", "--frames=4", *features, str(tmp_path / "whole"), str(tmp_path / "thin")]) in (0, None)
    videos = open_videos(str(tmp_path / "thin"), "x", TINY_FEATURES)
    assert videos.spec.thin_frames == 4
    assert_same_both_ways(videos, View(FrameSelection(4)))
    assert table_rows(videos) == 60
    shutil.copy(tmp_path / "whole" / "a.tfrecord", tmp_path / "thin" / "b.tfrecord")
    both = dataclasses.replace(videos, files=(*videos.files, str(tmp_path / "thin" / "b.tfrecord")), stamps={})
    assert_same_both_ways(both, View(FrameSelection(4)))
    assert table_rows(both) == 60


def test_a_file_that_changes_is_an_error(tmp_path):
    records = [sequence_example(f"v{i}", seed=i) for i in range(200)]
    write_records(tmp_path / "a.tfrecord", records)
    videos = open_videos(str(tmp_path), "x", TINY_FEATURES)
    batches = videos.ordered_batches(View(), 20)
    next(batches)
    (tmp_path / "a.tfrecord").write_bytes(b"")
    with pytest.raises(UserError, match="was replaced or written to"):
        list(batches)


def test_a_table_is_a_sequence_of_videos(audioset):
    reader = audioset._records
    places = next(audioset._windows_in_order())[:40]
    _, expected = reader.read(places, np.empty(places[:, 3].sum(), np.uint8))
    positions, table = next(small_records.SmallRecords(reader).batches([places]))
    np.testing.assert_array_equal(positions, places[:, 4:])
    for video, other in zip(table, expected, strict=True):
        assert (video.video_id, video.labels, video.num_frames) == (other.video_id, other.labels, other.num_frames)
        np.testing.assert_array_equal(video.features[0], other.features[0])
    assert [video.video_id for video in table[5:9]] == table.video_ids[5:9] == table.rows(np.arange(5, 9)).video_ids
    assert table[-1].video_id == table.video_ids[39]


def test_places_are_those_of_the_contents():
    serialized = sequence_example("abc", labels=(300, 2), num_frames=2).SerializeToString()
    content = np.frombuffer(serialized + bytes(PADDING), np.uint8)
    layout = Layout.of(parse_record(serialized))
    assert layout.sizes == {"rgb": 6, "audio": 2}
    places = places_of_records(content, np.array([0]), np.array([len(serialized)]), layout)
    assert places.regular.tolist() == [True]
    begins, ends, found = places.texts["id"]
    assert (serialized[begins[0] : ends[0]], found.tolist()) == (b"abc", [True])
    assert (places.numbers["labels"].values.tolist(), places.numbers["labels"].counts.tolist()) == ([300, 2], [2])
    cut = places_of_records(content, np.array([0]), np.array([len(serialized) - 1]), layout)
    assert not cut.regular.any()
