"""The selection that stands for all frames."""

import dataclasses
import json
import pickle

import numpy as np
import pytest

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.config.json import from_json, from_values, to_json, to_values
from yt8m_distill.config.run import RunConfig
from yt8m_distill.data.frame_selection import selected_indices

DATA = DatasetSpec("AudioSet", "video_id", ("audio_embedding",), (128,), 527, 10)


def test_all_frames_are_all_frames():
    assert [ALL_FRAMES.frames(longest) for longest in (0, 1, 300)] == [0, 1, 300]
    indices, counts = selected_indices(ALL_FRAMES, np.array([0, 2, 4]), [b"a", b"b", b"c"], seed=0)
    assert counts.tolist() == [0, 2, 4]
    assert indices.tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 2, 3]]


def test_all_frames_are_one_selection():
    assert ALL_FRAMES.for_evaluation() == ALL_FRAMES
    assert pickle.loads(pickle.dumps(ALL_FRAMES)) == ALL_FRAMES
    assert ALL_FRAMES.describe() == "all"
    assert FrameSelection(stride=1) != ALL_FRAMES  # a student's, which config.json has to tell from a teacher's


def test_json_of_a_teacher_has_null():
    teacher = RunConfig("NetVLAD", training_mode="teacher", data=DATA)
    assert teacher.selection == ALL_FRAMES
    assert json.loads(to_json(teacher))["selection"] is None
    assert from_json(to_json(teacher), "x").selection == ALL_FRAMES


def test_json_of_a_stride_of_one_is_no_null():
    baseline = RunConfig("NetVLAD", training_mode="baseline", selection=FrameSelection(stride=1), data=DATA)
    assert json.loads(to_json(baseline))["selection"]["stride"] == 1
    assert from_json(to_json(baseline), "x") == baseline


@dataclasses.dataclass(frozen=True)
class Holder:
    of_model: FrameSelection
    asked: FrameSelection | None


@pytest.mark.parametrize("selection", [ALL_FRAMES, FrameSelection(5)])
def test_where_none_means_not_asked_it_stays_none(selection):
    values = to_values(Holder(selection, None))
    assert values["asked"] is None
    assert from_values(Holder, json.loads(json.dumps(values)), "x") == Holder(selection, None)
