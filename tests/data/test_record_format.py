"""The table of rules: each is broken by a record that keeps all rules before it, whichever way the record is read."""

import dataclasses

import pytest
import tensorflow as tf

from tests.helpers import rated_video, sequence_example, video_level
from yt8m_distill.config.dataset import SEGMENT, VIDEO, DatasetSpec
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.data.record_format import LEARNING, PREDICTION, RULES, VERIFICATION, problem_of, thin_frames_of
from yt8m_distill.data.sequence_example import parsed_record, regular_record


def uneven(rgb: int, audio: int) -> tf.train.SequenceExample:
    """A record whose features have these numbers of frames."""
    example, longer = sequence_example(num_frames=rgb), sequence_example(num_frames=audio)
    example.feature_lists.feature_list["audio"].CopyFrom(longer.feature_lists.feature_list["audio"])
    return example


FRAMES = DatasetSpec("x", "id", ("rgb", "audio"), (6, 2), 10, 12)
SEGMENTS = dataclasses.replace(FRAMES, level=SEGMENT)
MEANS = DatasetSpec("x", "id", ("mean_rgb", "mean_audio"), (3, 2), 10, 1, level=VIDEO)
THIN = dataclasses.replace(FRAMES, thin_frames=3)
BREAKS = [
    (
        sequence_example(id_key="name"),
        FRAMES,
        "no video id in 'id' (one text or whole number); its keys: labels",
    ),
    (sequence_example("a,b"), FRAMES, "a comma, a quote or a line break"),
    (rated_video([(0, 1, 1.0)], "a b"), SEGMENTS, "has a space, which a list of segments"),
    (sequence_example(labels=(10,)), FRAMES, "label 10 is outside"),
    (sequence_example(labels=(1,)), THIN, "its shard is not thin"),
    (rated_video([(0, 99, 1.0)]), SEGMENTS, "segment label 99 is outside"),
    (sequence_example(labels=(1,), sizes={"rgb": 6, "audio": 3}), FRAMES, "frame 0 of 'audio' has 3 bytes, not 2"),
    (uneven(5, 3), FRAMES, "it has 5 of 'rgb' and 3 of 'audio' frames, so that 2 would be dropped"),
    (video_level({"mean_rgb": [1, 2, 3], "mean_audio": [1, 2, 3]}), MEANS, "'mean_audio' has 3 numbers, not 2"),
]


@pytest.mark.parametrize(("number", "broken"), list(enumerate(BREAKS)))
def test_each_rule_is_broken_by_a_record(number, broken):
    example, spec, message = broken
    data = example if isinstance(example, bytes) else example.SerializeToString()
    for record in (regular_record(data), parsed_record(data)):
        assert message in problem_of(record, spec, VERIFICATION)
        rules = [rule for rule in RULES[: number + 1] if spec.level in rule.levels]
        *before, problem = [rule.problem(record, spec) for rule in rules]
        assert before == [None] * len(before)
        assert message in problem


def test_every_rule_is_tested():
    assert len(BREAKS) == len(RULES)


def test_the_shards_that_hold_the_frames_of_a_selection():
    assert thin_frames_of(FrameSelection(5)) == 5
    assert thin_frames_of(FrameSelection(5, sampling="first")) == 0
    assert thin_frames_of(FrameSelection(stride=5)) == thin_frames_of(ALL_FRAMES) == 0


@pytest.mark.parametrize(
    ("counts", "fits"),
    [
        *(
            ((4, 4), True),
            ((4, 5), True),
            ((5, 4), True),
            ((0, 0), True),
            ((0, 1), True),
            ((13, 40), True),
            ((11, 13), True),
        ),
        *(((4, 6), False), ((3, 0), False), ((10, 40), False)),
    ],
)
def test_features_may_be_a_frame_apart_as_far_as_they_are_read(counts, fits):
    problem = problem_of(parsed_record(uneven(*counts).SerializeToString()), FRAMES)
    assert (problem is None) == fits


def test_what_is_read_for_predictions_may_have_any_labels():
    record = parsed_record(sequence_example("a,b", labels=(99,)).SerializeToString())
    assert "label 99" in problem_of(record, FRAMES, LEARNING)
    assert "comma" in problem_of(record, FRAMES, PREDICTION)
    good = parsed_record(sequence_example("a", labels=(99, -1, 99)).SerializeToString())
    assert problem_of(good, FRAMES, PREDICTION) is None
