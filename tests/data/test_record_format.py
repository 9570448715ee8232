"""The table of rules: each is broken by a record that keeps all rules before it, whichever way the record is read."""

import dataclasses

import pytest

from tests.helpers import rated_video, sequence_example, video_level
from yt8m_distill.config.dataset import SEGMENT, VIDEO, DatasetSpec
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.data.record_format import RULES, problem_of, thin_frames_of
from yt8m_distill.data.sequence_example import parsed_record, regular_record

FRAMES = DatasetSpec("x", "id", ("rgb", "audio"), (6, 2), 10, 12)
SEGMENTS = dataclasses.replace(FRAMES, level=SEGMENT)
MEANS = DatasetSpec("x", "id", ("mean_rgb", "mean_audio"), (3, 2), 10, 1, level=VIDEO)
THIN = dataclasses.replace(FRAMES, thin_frames=3)
BREAKS = [
    (sequence_example(id_key="name"), FRAMES, "no video id"),
    (sequence_example(labels=(10,)), FRAMES, "label 10 is outside"),
    (sequence_example(labels=(1,)), THIN, "its shard is not thin"),
    (rated_video([(0, 99, 1.0)]), SEGMENTS, "segment label 99 is outside"),
    (sequence_example(labels=(1,), sizes={"rgb": 6, "audio": 3}), FRAMES, "frame 0 of 'audio' has 3 bytes, not 2"),
    (video_level({"mean_rgb": [1, 2, 3], "mean_audio": [1, 2, 3]}), MEANS, "'mean_audio' has 3 numbers, not 2"),
]


@pytest.mark.parametrize(("number", "broken"), enumerate(BREAKS))
def test_each_rule_is_broken_by_a_record(number, broken):
    example, spec, message = broken
    data = example if isinstance(example, bytes) else example.SerializeToString()
    for record in (regular_record(data), parsed_record(data)):
        assert message in problem_of(record, spec)
        problems = [rule.problem(record, spec) if spec.level in rule.levels else None for rule in RULES]
        assert problems[:number] == [None] * number
        assert message in problems[number]


def test_every_rule_is_tested():
    assert len(BREAKS) == len(RULES)


def test_the_shards_that_hold_the_frames_of_a_selection():
    assert thin_frames_of(FrameSelection(5)) == 5
    assert thin_frames_of(FrameSelection(5, sampling="first")) == 0
    assert thin_frames_of(FrameSelection(stride=5)) == thin_frames_of(ALL_FRAMES) == 0
