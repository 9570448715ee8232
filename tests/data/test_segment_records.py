"""Segments: against the original reader's output, and every wrong rating."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import load_case, rated_video, sequence_example, write_records
from yt8m_distill.config.dataset import DatasetSpec, SpecOverrides
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.data import batches as readers
from yt8m_distill.data import format_detection, reading
from yt8m_distill.data.batches import View
from yt8m_distill.data.reading_order import position_after
from yt8m_distill.data.record_format import MOST_RATINGS
from yt8m_distill.data.tfrecord import DamagedRecord
from yt8m_distill.data.video import all_segments, rated_segments
from yt8m_distill.data.video_files import check_segments, open_videos
from yt8m_distill.errors import UserError
from yt8m_distill.quantization import dequantize

OVERRIDES = SpecOverrides(("rgb", "audio"), (6, 2), 10, level="segment")
CASE_SPEC = DatasetSpec("YouTube-8M 2018", "id", ("rgb", "audio"), (16, 4), 50, 300, level="segment")
SPEC = dataclasses.replace(CASE_SPEC, feature_sizes=(6, 2), num_classes=10)


def segment_batch(serialized: bytes, spec: DatasetSpec) -> dict[str, np.ndarray]:
    return readers.all_frames(rated_segments(reading.read_video(serialized, spec)), spec)


@pytest.mark.parametrize("parser", ["ours", "protobuf"])
def test_agrees_with_the_original_reader(parser, monkeypatch):
    if parser == "protobuf":
        monkeypatch.setattr("yt8m_distill.data.sequence_example.regular_record", lambda data: None)
    case = load_case("a_segment_reader")
    batch = segment_batch(case["ex"].tobytes(), CASE_SPEC)
    assert batch["video_id"].tolist() == case["out_video_ids"].tolist()
    assert batch["segment_start"].tolist() == [20, 5, 40, 58]
    np.testing.assert_array_equal(batch["labels"], case["out_labels"])
    np.testing.assert_array_equal(batch["label_weights"], case["out_label_weights"])
    real = np.arange(5)[np.newaxis] < batch["num_frames"][:, np.newaxis]
    frames = np.where(real[..., np.newaxis], np.asarray(dequantize(batch["frames"])), 0)
    np.testing.assert_allclose(frames, case["out_video_matrix"], atol=3e-7)
    # The original says 5 for all; the last one begins 2 seconds before the video's end.
    assert batch["num_frames"].tolist() == [5, 5, 5, 2]


def test_of_a_pair_that_is_there_twice_the_last_score_counts():
    case = load_case("a_segment_reader")
    batch = segment_batch(case["ex_dup"].tobytes(), CASE_SPEC)
    np.testing.assert_array_equal(batch["labels"], case["out_dup_labels"])
    np.testing.assert_array_equal(batch["label_weights"], case["out_dup_label_weights"])


def test_all_segments_are_those_of_the_original():
    case = load_case("d_get_segments")
    frames, counts = case["video_batch"], case["num_frames"]
    spec = DatasetSpec("x", "id", ("a",), (3,), 5, 15)
    videos = [reading.Video(b"%d" % row, (), (frames[row],), int(n)) for row, n in enumerate(counts)]
    segments = [segment for video in videos for segment in all_segments(video)]
    found = [[int(segment.video_id), segment.start] for segment in segments]
    assert found == case["out_video_segment_ids"].tolist()
    assert [segment.num_frames for segment in segments] == case["out_segment_num_frames"].tolist()
    for segment, expected in zip(segments, case["out_segment_frames"], strict=True):
        np.testing.assert_array_equal(segment.features[0], expected[: segment.num_frames])
    assert spec.longest_example == 15


def test_a_segment_beyond_the_end_has_no_frames():
    batch = segment_batch(rated_video([(7, 1, 1.0), (8, 1, 1.0), (2**62, 2, 0.0), (3, 4, 0.0)], num_frames=8), SPEC)
    assert batch["num_frames"].tolist() == [1, 0, 0, 5]
    assert not batch["frames"][1:3].any()
    assert batch["label_weights"].sum() == 4


def test_a_video_without_ratings_has_no_segments():
    without = sequence_example().SerializeToString()
    assert rated_segments(reading.read_video(without, SPEC)) == []
    assert rated_segments(reading.read_video(rated_video([]), SPEC)) == []


def rated_with(**lists) -> bytes:
    """Ratings of any form: ints, or floats."""
    example = tf.train.SequenceExample.FromString(rated_video([(0, 1, 1.0)]))
    for name, values in lists.items():
        feature = example.context.feature[f"segment_{name}"]
        feature.Clear()
        kind = feature.float_list if any(isinstance(value, float) for value in values) else feature.int64_list
        kind.value.extend(values)
    return example.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (rated_with(labels=[1, 2]), "have 1, 2 and 1 values"),
        (rated_with(scores=[0.5, 1.0]), "have 1, 1 and 2 values"),
        (rated_with(start_times=[-5]), "a segment starts at -5 seconds"),
        (rated_with(labels=[10]), r"segment label 10 is outside \[0, 10\)"),
        (rated_with(labels=[-1]), "segment label -1 is outside"),
        (rated_with(scores=[1.5]), "segment score 1.5 is outside"),
        (rated_with(scores=[float("nan")]), "segment score nan is outside"),
        (rated_with(scores=[1]), "'segment_scores' must be float"),
        (rated_with(labels=[1.0]), "'segment_labels' must be int64"),
        (rated_video([(i, 1, 1.0) for i in range(MOST_RATINGS + 1)]), "at most 4096"),
    ],
)
def test_bad_ratings_are_explained(record, message):
    with pytest.raises(DamagedRecord, match=message):
        reading.read_video(record, SPEC)
    reading.read_video(record, dataclasses.replace(SPEC, level="frame"))  # where nobody asks for them


def test_detection():
    record = rated_video([(0, 1, 1.0)])
    overrides = OVERRIDES
    assert format_detection.detect_spec(record, "x", overrides) == SPEC
    thin = tf.train.SequenceExample.FromString(record)
    for key in ("thin_frames", "thin_max_frames"):
        thin.context.feature[key].int64_list.value.append(3)
    with pytest.raises(UserError, match="original shards"):
        format_detection.detect_spec(thin.SerializeToString(), "x", overrides)


@pytest.fixture
def videos(tmp_path):
    """Two files of 12 videos each, with 0 to 3 rated segments."""
    for file in range(2):
        records = [
            rated_video([(start, 1, 1.0) for start in range(i % 4)], f"f{file}_{i}", num_frames=12, seed=i)
            for i in range(12)
        ]
        write_records(tmp_path / f"{file}.tfrecord", records)
    return open_videos(str(tmp_path), "train_data_pattern", OVERRIDES)


def keys(batches) -> list[tuple[bytes, int]]:
    return [pair for batch in batches for pair in zip(batch["video_id"], batch["segment_start"].tolist(), strict=True)]


def test_batches_take_whole_records(videos):
    batches = list(videos.ordered_batches(View(), 7))
    expected = [(f"f{f}_{i}".encode(), start) for f in range(2) for i in range(12) for start in range(i % 4)]
    assert keys(batches) == expected
    ids = [set(batch["video_id"]) for batch in batches]
    assert all(not a & b for i, a in enumerate(ids) for b in ids[:i])
    # The records have 1, 2, 3, 1, 2, 3, ... segments: 1+2+3+1, then 2+3+1 each time, as 2 more would be 8.
    assert [len(batch["video_id"]) for batch in batches] == [7, 6, 6, 6, 6, 5]
    assert videos.estimated_videos() == len(expected)
    assert [len(batch["video_id"]) for batch in videos.ordered_batches(View(), 1)][:3] == [1, 2, 3]


def test_files_without_any_segments_are_refused(tmp_path, videos):
    check_segments(videos, "x")
    path = write_records(tmp_path / "none.tfrecord", [sequence_example()])
    with pytest.raises(UserError, match="--x: none of the first videos has rated segments"):
        check_segments(open_videos(path, "x", OVERRIDES), "x")


def test_an_epoch_is_resumed_after_any_batch(videos):
    batches = list(videos.training_batches(View(), 4, seed=3, epoch=2))
    for done in range(len(batches)):
        rest = videos.training_batches(View(), 4, seed=3, epoch=2, start=position_after(batches[done]))
        assert keys(rest) == keys(batches[done + 1 :])


def test_all_segments_of_videos_as_batches(videos):
    whole = dataclasses.replace(videos, spec=dataclasses.replace(videos.spec, level="frame"))
    batch = next(whole.ordered_batches(View(in_segments=True), 6))
    assert keys([batch]) == [(f"f0_{i}".encode(), start) for i in range(2) for start in (0, 5, 10)]
    assert batch["num_frames"].tolist() == [5, 5, 2] * 2
    every = next(whole.ordered_batches(View(), 2))
    np.testing.assert_array_equal(batch["frames"][4], every["frames"][1][5:10])


def test_a_student_sees_some_frames_of_each_segment(videos):
    selection = FrameSelection(2, sampling="random")
    few = next(videos.ordered_batches(View(selection), 100))
    both = next(videos.ordered_batches(View(selection, with_all_frames=True), 100))
    assert both["student_indices"].shape == (36, 2)
    assert both["student_indices"].max() == 4
    for row in range(36):
        chosen = both["frames"][row][both["student_indices"][row]]
        np.testing.assert_array_equal(few["frames"][row], chosen)
    assert len({tuple(row) for row in both["student_indices"][3:6]}) > 1  # of one video
