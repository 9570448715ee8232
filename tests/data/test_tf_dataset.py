"""`data.dataset`: what `fit` and `evaluate` are given."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import learnable_videos, rated_video, write_records
from yt8m_distill import data
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.data.batches import View
from yt8m_distill.data.tf_dataset import SpecOverrides
from yt8m_distill.data.video_files import open_videos
from yt8m_distill.distiller import Distiller, LabelTrainer
from yt8m_distill.errors import UserError
from yt8m_distill.metrics import GlobalAveragePrecision
from yt8m_distill.models import FrameLevelLogistic

TINY = {"feature_names": ("rgb", "audio"), "feature_sizes": (6, 2), "num_classes": 4}


@pytest.fixture(scope="module")
def pattern(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("videos")
    for part in range(2):
        write_records(folder / f"train{part}.tfrecord", learnable_videos(25, seed=part))
    return f"{folder}/train*"


def arrays(dataset):
    return [[{**inputs}, *targets] for inputs, *targets in dataset.as_numpy_iterator()]


def test_batches_are_those_of_the_commands(pattern):
    dataset = data.dataset(pattern, student_frames=3, batch_size=8, seed=5, **TINY)
    assert dataset.cardinality() == 7
    videos = open_videos(pattern, "x", SpecOverrides(**TINY))
    view = View(FrameSelection(3), with_all_frames=True)
    for epoch in range(2):  # each has an order of its own
        expected = list(videos.training_batches(view, 8, seed=5, epoch=epoch))
        for (inputs, labels), batch in zip(arrays(dataset), expected, strict=True):
            assert inputs.keys() == {"frames", "num_frames", "student_indices", "student_num_frames"}
            for name, value in inputs.items():
                np.testing.assert_array_equal(value, batch[name])
            np.testing.assert_array_equal(labels, batch["labels"])
    ordered = data.dataset(pattern, student_frames=3, batch_size=8, shuffle=False, **TINY)
    (whole,) = videos.ordered_batches(View(), 50)
    for _ in range(2):
        np.testing.assert_array_equal(np.concatenate([labels for _, labels in arrays(ordered)]), whole["labels"])


@pytest.mark.parametrize(
    ("options", "names", "longest"),
    [
        ({}, {"frames", "num_frames"}, 12),
        ({"teacher_frames": 5}, {"frames", "num_frames"}, 5),
        ({"teacher_frames": None, "student_frames": (2, 3)}, {"frames", "num_frames"}, 3),
        ({"student_stride": 4}, {"frames", "num_frames", "student_indices", "student_num_frames"}, 12),
        ({"student_frames": 2, "frame_sampling": "learned"}, {"frames", "num_frames", "choices"}, 12),
    ],
)
def test_frames_of_teacher_and_student(pattern, options, names, longest):
    dataset = data.dataset(pattern, batch_size=50, **options, **TINY)
    ((inputs, labels),) = arrays(dataset)
    assert inputs.keys() == names
    assert inputs["frames"].shape == (50, longest, 8)
    assert dataset.element_spec[0].keys() == names
    assert labels.sum() == 50


def test_a_student_is_distilled_and_measured(pattern):
    spec = data.detect(pattern, **TINY)
    teacher, student = (FrameLevelLogistic(spec.feature_sizes, spec.num_classes) for _ in range(2))
    teaching = LabelTrainer(teacher)
    teaching.compile(optimizer=keras.optimizers.Adam(0.1), run_eagerly=True)
    teaching.fit(data.dataset(pattern, batch_size=10, **TINY), epochs=1, verbose=0)
    distiller = Distiller(teacher, student, losses=("pred", "ce"))
    distiller.compile(keras.optimizers.Adam(0.1), metrics=[GlobalAveragePrecision()], run_eagerly=True)
    few = data.dataset(pattern, teacher_frames=None, student_frames=2, shuffle=False, **TINY)
    before = distiller.evaluate(few, verbose=0, return_dict=True)
    distiller.fit(data.dataset(pattern, student_frames=2, batch_size=10, **TINY), epochs=2, verbose=0)
    after = distiller.evaluate(few, verbose=0, return_dict=True)
    assert after["GAP@20"] > max(0.9, before["GAP@20"])
    assert after["loss"] < before["loss"]


def test_rated_segments_have_weights(tmp_path):
    pattern = write_records(tmp_path / "rated.tfrecord", [rated_video([(0, 1, 1.0), (5, 2, 0.0)])])
    ((inputs, labels, weights),) = arrays(data.dataset(pattern, level="segment", shuffle=False, **TINY))
    assert inputs["frames"].shape == (2, 5, 8)
    np.testing.assert_array_equal(labels, [[0, 1, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(weights, [[0, 1, 0, 0], [0, 0, 1, 0]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher_frames": None}, "teacher_frames or student_frames must be given"),
        ({"teacher_frames": "every"}, "must be 'all', None, or, instead"),
        ({"teacher_frames": 5, "max_frames": 6}, "instead of max_frames"),
        ({"teacher_frames": 0}, "max_frames, at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"frame_sampling": "last"}, "does nothing without student_frames"),
        ({"student_frames": 0}, "^student_frames must be at least 1"),
        ({"student_frames": "3"}, "^student_frames must be a whole number, not '3'"),
        ({"student_frames": 2, "frame_sampling": "some"}, "must be one of uniform"),
        ({"level": "segment"}, "^pattern: none of the first videos has rated segments"),
    ],
)
def test_wrong_arguments(pattern, options, message):
    with pytest.raises(UserError, match=message):
        data.dataset(pattern, **options, **TINY)


def test_no_files_are_named_by_the_argument(tmp_path):
    with pytest.raises(UserError, match=r"^pattern: no file matches"):
        data.detect(f"{tmp_path}/none*")


def test_sizes_that_are_missing_are_named_by_the_argument(pattern):
    with pytest.raises(UserError, match="of your own size needs feature_names and feature_sizes"):
        data.detect(pattern)


def test_a_name_alone_is_not_taken_for_its_letters(pattern):
    with pytest.raises(UserError, match=r"^feature_names must be a tuple, such as \('rgb',\), not 'rgb'"):
        data.detect(pattern, feature_names="rgb")


def test_what_is_found_on_the_way_is_named_by_the_argument(pattern):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"; num_classes sets .* skip_bad_records=True leaves"):
        list(data.dataset(pattern, **{**TINY, "num_classes": 2}))
