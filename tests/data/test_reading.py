"""Readers: against the original reader's output, every edition, and every wrong record."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import load_case, sequence_example, shared_path, video_level
from yt8m_distill.config.dataset import AUDIOSET, YOUTUBE_8M_2017, YOUTUBE_8M_2018, DatasetSpec, SpecOverrides
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.data import batches, format_detection, reading
from yt8m_distill.data.frame_selection import frame_indices
from yt8m_distill.data.record_format import PREDICTION
from yt8m_distill.data.tfrecord import DamagedRecord
from yt8m_distill.errors import UserError
from yt8m_distill.models.building import build_model
from yt8m_distill.quantization import dequantize

SMALL = DatasetSpec("YouTube-8M 2018", "id", ("rgb", "audio"), (16, 4), 50, 300)
TINY = DatasetSpec("YouTube-8M 2018", "id", ("rgb", "audio"), (6, 2), 50, 300)


def read(serialized: bytes, spec: DatasetSpec) -> dict[str, np.ndarray]:
    """One record as a batch of one."""
    batch = batches.all_frames([reading.read_video(serialized, spec)], spec)
    return {name: value[0] for name, value in batch.items()}


def video_matrix(video: dict[str, np.ndarray], max_frames: int) -> np.ndarray:
    """The original reader's output: dequantized, zero-padded to `max_frames`."""
    frames = np.asarray(dequantize(video["frames"]))
    return np.pad(frames, [(0, max_frames - len(frames)), (0, 0)])


def without_repeated_labels(record: bytes) -> bytes:
    """The case "long" has a label twice, which the original reader does not notice and this one refuses."""
    example = tf.train.SequenceExample.FromString(record)
    labels = example.context.feature["labels"].int64_list.value
    labels[:] = dict.fromkeys(labels)
    return example.SerializeToString(deterministic=True)


@pytest.mark.parametrize("name", ["short", "one", "full", "long", "nolabel"])
@pytest.mark.parametrize(("max_frames", "key"), [(300, ""), (20, "max20_")])
def test_agrees_with_the_original_reader(name, max_frames, key):
    case = load_case("a_frame_reader")
    spec = DatasetSpec("YouTube-8M 2018", "id", ("rgb", "audio"), (16, 4), 50, max_frames)
    video = read(without_repeated_labels(case[f"ex_{name}"].tobytes()), spec)
    assert video["num_frames"] == case[f"out_{name}_{key}num_frames"][0]
    assert video["video_id"] == case[f"out_{name}_id"][0]
    np.testing.assert_array_equal(video["labels"], case[f"out_{name}_labels"])
    expected = case[f"out_{name}_{key}video_matrix"]
    np.testing.assert_allclose(video_matrix(video, max_frames), expected, atol=3e-7)


def test_one_feature_alone():
    case = load_case("a_frame_reader")
    spec = DatasetSpec("YouTube-8M 2018", "id", ("rgb",), (16,), 50, 300)
    video = read(case["ex_short"].tobytes(), spec)
    np.testing.assert_allclose(video_matrix(video, 300), case["out_short_rgbonly_video_matrix"], atol=3e-7)


def test_features_of_different_length_take_the_smaller_count():
    case = load_case("a_frame_reader")
    video = read(case["ex_mismatch"].tobytes(), SMALL)
    assert video["num_frames"] == 5
    expected = case["out_mismatch_max20_video_matrix"][:5]
    np.testing.assert_allclose(video_matrix(video, 5), expected, atol=3e-7)


def test_full_size_record_and_the_models_input():
    case = load_case("a_frame_reader_1152")
    spec = format_detection.detect_spec(case["ex"].tobytes(), "x", SpecOverrides())
    assert (spec.feature_sizes, spec.num_classes, spec.max_frames) == ((1024, 128), 3862, 300)
    video = read(case["ex"].tobytes(), spec)
    np.testing.assert_allclose(video_matrix(video, 300), case["video_matrix"][0], atol=3e-7)
    np.testing.assert_array_equal(np.flatnonzero(video["labels"]), np.sort(case["labels_nonzero"]))
    model = build_model("HierarchicalRNN", feature_sizes=(1024, 128), num_classes=3, cells=2, layers=1)
    mask = np.arange(len(video["frames"]))[None] < video["num_frames"]
    prepared = np.asarray(model.prepare_frames(tf.constant(video["frames"][None]), tf.constant(mask)))
    np.testing.assert_allclose(prepared, case["model_input_l2"][:, : prepared.shape[1]], atol=1e-6)


def test_labels_out_of_order():
    video = read(sequence_example(labels=(7, 3, 0)).SerializeToString(), TINY)
    assert np.flatnonzero(video["labels"]).tolist() == [0, 3, 7]


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ((7, 3, 7), "label 7 is repeated"),
        ((0, 1, 0, 0, 1), "its 5 labels are all 0 or 1: a multi-hot vector"),
        ((0,) * 50, "its 50 labels are all 0 or 1: a multi-hot vector"),
    ],
)
def test_labels_that_are_no_list_of_classes(labels, problem):
    record = sequence_example(labels=labels).SerializeToString()
    with pytest.raises(DamagedRecord, match=problem):
        reading.read_video(record, TINY)
    assert reading.read_video(record, TINY, use=PREDICTION).labels == ()


@pytest.mark.parametrize("num_frames", [0, 1, 2, 9])
def test_selected_frames_are_those_of_the_indices(num_frames):
    serialized = sequence_example(num_frames=num_frames).SerializeToString()
    selection = FrameSelection(4)
    videos = [reading.read_video(serialized, TINY)]
    every = batches.all_frames(videos, TINY)["frames"][0]
    few = batches.selected_frames(videos, TINY, selection, 0)
    both = batches.frames_and_selection(videos, TINY, selection, 0)
    np.testing.assert_array_equal(few["frames"][0], every[frame_indices(num_frames, k=4)])
    np.testing.assert_array_equal(both["frames"][0][both["student_indices"][0]], few["frames"][0])
    assert few["num_frames"][0] == both["student_num_frames"][0] == min(4, num_frames)


def test_random_frames_depend_on_seed_and_video_only():
    serialized = [sequence_example(name, num_frames=40).SerializeToString() for name in "ab"]
    selection = FrameSelection(5, sampling="random")

    def indices(record: bytes, seed: int) -> list[int]:
        video = batches.frames_and_selection([reading.read_video(record, TINY)], TINY, selection, seed)
        return video["student_indices"][0].tolist()

    assert indices(serialized[0], 1) == indices(serialized[0], 1)
    assert indices(serialized[0], 1) != indices(serialized[0], 2)
    assert indices(serialized[0], 1) != indices(serialized[1], 1)


@pytest.mark.parametrize(
    ("id_key", "sizes", "edition"),
    [
        ("id", {"rgb": 1024, "audio": 128}, YOUTUBE_8M_2018),
        ("video_id", {"rgb": 1024, "audio": 128}, YOUTUBE_8M_2017),
        ("video_id", {"audio_embedding": 128}, AUDIOSET),
    ],
)
def test_editions_are_detected(id_key, sizes, edition):
    serialized = sequence_example(sizes=sizes, id_key=id_key).SerializeToString()
    spec = format_detection.detect_spec(serialized, "x", SpecOverrides())
    expected = DatasetSpec(
        edition.name, id_key, tuple(sizes), tuple(sizes.values()), edition.num_classes, edition.max_frames
    )
    assert spec == expected


def test_a_record_without_audio_has_one_stream():
    serialized = sequence_example(sizes={"rgb": 1024}).SerializeToString()
    spec = format_detection.detect_spec(serialized, "x", SpecOverrides())
    assert (spec.feature_names, spec.feature_sizes) == (("rgb",), (1024,))


def test_features_of_ones_own_by_flags():
    serialized = sequence_example(sizes={"clip": 12, "rgb": 8}).SerializeToString()
    overrides = SpecOverrides(("clip",), (12,), 7, 0)
    spec = format_detection.detect_spec(serialized, "x", overrides)
    assert spec == DatasetSpec("own features", "id", ("clip",), (12,), 7, 0)


@pytest.mark.parametrize(
    ("record", "overrides", "message"),
    [
        (b"\xff" * 9, SpecOverrides(), "not a tf.train.SequenceExample"),
        (sequence_example(sizes={"clip": 12}), SpecOverrides(), "unknown edition, with the feature lists clip"),
        (sequence_example(sizes={"clip": 12}), SpecOverrides(("clip",)), "--num_classes"),
        (sequence_example(sizes={"clip": 12}), SpecOverrides(("clip",), (9,), 5), "12 bytes a frame, not 9"),
        (sequence_example(), SpecOverrides(("rgb", "flow"), (6, 2)), "no feature list 'flow'"),
        (sequence_example(id_key="name"), SpecOverrides(), "no video id"),
    ],
)
def test_unreadable_first_records(record, overrides, message):
    serialized = record if isinstance(record, bytes) else record.SerializeToString()
    with pytest.raises(UserError, match=message) as caught:
        format_detection.detect_spec(serialized, "x.tfrecord, record 1", overrides)
    assert "x.tfrecord, record 1" in str(caught.value)


MEANS = DatasetSpec("YouTube-8M 2018", "id", ("mean_rgb", "mean_audio"), (16, 4), 50, 1, level="video")


@pytest.mark.parametrize("parser", ["ours", "protobuf"])
def test_agrees_with_the_original_video_level_reader(parser, monkeypatch):
    if parser == "protobuf":
        monkeypatch.setattr("yt8m_distill.data.sequence_example.regular_record", lambda data: None)
    case = load_case("a_video_reader")
    serialized = [case[f"ex_{i}"].tobytes() for i in range(3)]
    sizes = SpecOverrides(("mean_rgb", "mean_audio"), (16, 4), 50)
    assert format_detection.detect_spec(serialized[0], "x", sizes) == MEANS
    videos = [reading.read_video(record, MEANS) for record in serialized]
    batch = batches.all_frames(videos, MEANS)
    assert batch["video_id"].tolist() == case["out_video_ids"].tolist()
    assert (batch["num_frames"].tolist(), batch["frames"].dtype) == ([1, 1, 1], np.float32)
    np.testing.assert_array_equal(batch["labels"], case["out_labels"])
    np.testing.assert_allclose(batch["frames"][:, 0], case["out_model_input_l2"], atol=1e-6)
    raw = batches.all_frames(videos, dataclasses.replace(MEANS, normalized=False))
    np.testing.assert_array_equal(raw["frames"][:, 0], case["out_video_matrix"])


def test_a_vector_whose_squares_overflow_is_normalized():
    spec = dataclasses.replace(MEANS, feature_names=("mean_rgb",), feature_sizes=(2,))
    batch = batches.all_frames([reading.read_video(video_level({"mean_rgb": [3e38, 3e38]}), spec)], spec)
    np.testing.assert_allclose(batch["frames"][0, 0], [0.5**0.5] * 2, rtol=1e-6)
    zeros = batches.all_frames([reading.read_video(video_level({"mean_rgb": [0.0, 0.0]}), spec)], spec)
    assert not zeros["frames"].any()


@pytest.mark.parametrize(
    ("id_key", "names", "edition"),
    [
        ("id", ("mean_rgb", "mean_audio"), YOUTUBE_8M_2018),
        ("video_id", ("mean_rgb", "mean_audio"), YOUTUBE_8M_2017),
        ("id", ("mean_rgb",), YOUTUBE_8M_2018),
    ],
)
def test_video_level_editions_are_detected(id_key, names, edition):
    sizes = {"mean_rgb": 1024, "mean_audio": 128}
    record = video_level({name: [0.5] * sizes[name] for name in names}, id_key=id_key)
    spec = format_detection.detect_spec(record, "x", SpecOverrides())
    shape = tuple(sizes[name] for name in names)
    assert spec == DatasetSpec(edition.name, id_key, names, shape, edition.num_classes, 1, level="video")


@pytest.mark.parametrize(
    ("record", "overrides", "message"),
    [
        (video_level({"mean_rgb": [1.0]}), SpecOverrides(level="frame"), "video-level records .*frame-level ones are"),
        (
            sequence_example().SerializeToString(deterministic=True),
            SpecOverrides(level="video"),
            "frame-level records .*video-level",
        ),
        (video_level({"mean_rgb": [1.0]}), SpecOverrides(max_frames=30), "--max_frames does nothing"),
        (video_level({"clip": [1.0]}), SpecOverrides(), "unknown edition, with the features clip"),
        (video_level({"clip": [1.0]}), SpecOverrides(("clip", "x"), None, 9), "no feature 'x'"),
        (video_level({"clip": [1.0]}), SpecOverrides(("clip",), (2,), 9), "has 1 numbers, not 2"),
        (video_level({}), SpecOverrides(), "neither a frame-level record"),
        (video_level({"mean_rgb": [1.0]}, id_key="name"), SpecOverrides(), "no video id"),
    ],
)
def test_unreadable_first_video_level_records(record, overrides, message):
    with pytest.raises(UserError, match=message):
        format_detection.detect_spec(record, "x", overrides)


@pytest.mark.parametrize(
    ("features", "options", "message"),
    [
        ({"mean_rgb": [1.0] * 16}, {}, "no feature 'mean_audio'"),
        ({"mean_rgb": [1.0] * 15, "mean_audio": [1.0] * 4}, {}, "'mean_rgb' has 15 numbers, not 16"),
        ({"mean_rgb": [1.0] * 16, "mean_audio": []}, {}, "'mean_audio' has 0 numbers, not 4"),
        ({"mean_rgb": [1.0] * 16, "mean_audio": [1.0, float("nan"), 1.0, 1.0]}, {}, "'mean_audio' holds a number that"),
        ({"mean_rgb": [float("inf")] * 16, "mean_audio": [1.0] * 4}, {}, "'mean_rgb' holds a number that"),
        ({"mean_rgb": [1.0] * 16, "mean_audio": [1.0] * 4}, {"labels": (50,)}, "label 50 is outside"),
        ({"mean_rgb": [1.0] * 16, "mean_audio": [1.0] * 4}, {"id_key": "name"}, "no video id in 'id'"),
    ],
)
def test_bad_video_level_records_are_explained(features, options, message):
    with pytest.raises(DamagedRecord, match=message):
        reading.read_video(video_level(features, **options), MEANS)
    with pytest.raises(DamagedRecord, match=r"no feature 'mean_rgb'|no video id|label"):
        reading.read_video(sequence_example().SerializeToString(), MEANS)


def test_a_video_level_record_without_labels():
    record = tf.train.Example.FromString(video_level({"mean_rgb": [1.0] * 16, "mean_audio": [1.0] * 4}))
    del record.features.feature["labels"]
    assert reading.read_video(record.SerializeToString(), MEANS).labels == ()


def test_real_video_level_records():
    path = shared_path("data/yt8m_video/train00.tfrecord")
    serialized = [record.numpy() for record in tf.data.TFRecordDataset(str(path)).take(50)]
    spec = format_detection.detect_spec(serialized[0], "x", SpecOverrides())
    assert (spec.level, spec.feature_sizes, spec.num_classes) == ("video", (1024, 128), 3862)
    batch = batches.all_frames([reading.read_video(each, spec) for each in serialized], spec)
    for row, labels, data in zip(batch["frames"], batch["labels"], serialized, strict=True):
        features = tf.train.Example.FromString(data).features.feature
        means = np.concatenate([features[name].float_list.value for name in ("mean_rgb", "mean_audio")])
        np.testing.assert_allclose(row[0], means / np.linalg.norm(means), atol=1e-6)
        assert np.flatnonzero(labels).tolist() == sorted(features["labels"].int64_list.value)


def without_audio(example: tf.train.SequenceExample) -> tf.train.SequenceExample:
    del example.feature_lists.feature_list["audio"]
    return example


def with_short_frame(example: tf.train.SequenceExample) -> tf.train.SequenceExample:
    example.feature_lists.feature_list["rgb"].feature[2].bytes_list.value[0] = b"123"
    return example


def with_float_labels(example: tf.train.SequenceExample) -> tf.train.SequenceExample:
    example.context.feature["labels"].float_list.value.append(1.0)
    return example


BAD_RECORDS = {
    "'labels' must be int64": with_float_labels(sequence_example()),
    "label 50 is outside": sequence_example(labels=(1, 50)),
    "label -1 is outside": sequence_example(labels=(-1,)),
    "frame 2 of 'rgb' has 3 bytes, not 6": with_short_frame(sequence_example()),
    "no feature list 'audio'": without_audio(sequence_example()),
    "no video id in 'id'": sequence_example(id_key="name"),
}


def test_a_length_of_more_bytes_than_protobuf_takes():
    """Five are taken by every version of it, though one would do; more than ten by none."""
    record = sequence_example("abcd").SerializeToString()
    place = record.index(b"\x06\n\x04abcd")  # the length of the id's bytes list
    context = record[1]
    for more in (1, 4, 10):
        # All lengths around it, of a byte each, grow by as much.
        longer = bytearray(record[:place] + b"\x86" + b"\x80" * (more - 1) + b"\0" + record[place + 1 :])
        entry = record.rindex(b"\x02id", 0, place) - 2
        for length in (1, entry, place - 2):
            longer[length] += more
        assert context + more == longer[1]
        if more < 10:
            assert reading.read_video(bytes(longer), TINY).video_id == b"abcd"
        else:
            with pytest.raises(DamagedRecord, match=r"not a tf\.train\.SequenceExample"):
                reading.read_video(bytes(longer), TINY)


@pytest.mark.parametrize(("message", "example"), BAD_RECORDS.items())
def test_bad_records_fail_and_are_explained(message, example):
    with pytest.raises(DamagedRecord, match=message):
        reading.read_video(example.SerializeToString(), TINY)


def test_the_real_youtube_8m_video():
    path = shared_path("data/yt8m_frame/SjJ3.tfrecord")
    serialized = next(iter(tf.data.TFRecordDataset(str(path)))).numpy()
    spec = format_detection.detect_spec(serialized, "x", SpecOverrides())
    video = read(serialized, spec)
    assert spec.edition == "YouTube-8M 2018"
    assert video["frames"].shape == (170, 1152)
    assert np.flatnonzero(video["labels"]).tolist() == [11]
