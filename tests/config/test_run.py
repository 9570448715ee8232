"""Run configurations: roles, what follows from them, and the model class."""

import dataclasses

import pytest

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.config.json import from_json, to_json, to_values
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import Distillation, TrainConfig
from yt8m_distill.errors import UserError

DATA = DatasetSpec("AudioSet", "video_id", ("audio_embedding",), (128,), 527, 10)
STUDENT = RunConfig(
    "NetVLAD",
    model_args={"clusters": 4, "dropout": 0.5},
    student_model_args={"clusters": 2},
    selection=FrameSelection(3),
    distillation=Distillation(),
    data=DATA,
)
TEACHER = RunConfig("NetVLAD", "teacher", model_args={"clusters": 4}, data=DATA)


def test_roles():
    assert (STUDENT.trained_roles, STUDENT.main_role) == (("student",), "student")
    assert (TEACHER.trained_roles, TEACHER.main_role) == (("teacher",), "teacher")
    parallel = RunConfig("NetVLAD", "parallel", selection=FrameSelection(3), distillation=Distillation(), data=DATA)
    assert (parallel.trained_roles, parallel.main_role) == (("teacher", "student"), "student")


def test_teacher_and_student_differ_in_arguments_and_frames():
    assert STUDENT.model_args_of("teacher") == {"clusters": 4, "dropout": 0.5}
    assert STUDENT.model_args_of("student") == {"clusters": 2, "dropout": 0.5}
    assert (STUDENT.selection_of("teacher"), STUDENT.frames_of("teacher")) == (ALL_FRAMES, 10)
    assert (STUDENT.selection_of("student"), STUDENT.frames_of("student")) == (FrameSelection(3), 3)


def test_unbounded_videos_count_as_the_longest_of_youtube_8m():
    unbounded = RunConfig.of(TEACHER, data=DatasetSpec("own features", "id", ("rgb",), (4,), 5, 0))
    assert unbounded.frames_of("teacher") == 300


def test_a_run_is_its_request_with_all_settings_resolved():
    asked = TrainConfig("NetVLAD", None, train_data_pattern="x*")
    run = RunConfig.of(asked, training_mode="teacher", data=DATA)
    assert (run.model, run.training_mode, run.train_data_pattern, run.data) == ("NetVLAD", "teacher", "x*", DATA)
    assert from_json(to_json(run), "x") == run


def test_the_model_class_is_looked_up_by_name():
    assert STUDENT.model_class.__name__ == "NetVLAD"
    with pytest.raises(UserError, match="Unknown model 'Net'"):
        _ = RunConfig.of(TEACHER, model="Net").model_class


def test_the_mode_of_a_run_is_checked():
    with pytest.raises(UserError, match="training_mode must be one of serial, parallel, teacher, baseline, not both"):
        RunConfig.of(STUDENT, training_mode="both")


def test_settings_that_are_newer_are_left_out_of_config_json():
    """So that a run of today, with the settings of before, has the file of before."""
    values = to_values(STUDENT)
    assert not {"init_from", "teacher_role"} & values.keys()
    assert not {"learning_rate_schedule", "warmup_steps", "mixup"} & values["learning"].keys()
    assert not {"temperature", "loss_shares"} & values["distillation"].keys()
    changed = dataclasses.replace(STUDENT, distillation=Distillation(loss_shares={"rep": 1, "pred": 2, "ce": 1}))
    assert from_json(to_json(changed), "x") == changed
