"""The first line of a training on the sample data."""

import logging

import pytest

from yt8m_distill.cli.flags import parse
from yt8m_distill.config.training import TrainConfig
from yt8m_distill.training.outlook import QUICK_START_SECONDS, announce

QUICK_START = f"This takes about {QUICK_START_SECONDS} s of processor time"


TEACHER = "a teacher (NeXtVLAD) that sees all frames"
A_FEW_MINUTES = "a model takes a few minutes"


@pytest.mark.parametrize(
    ("arguments", "models", "duration"),
    [
        (["--model=NeXtVLAD", "--student_frames=30"], f"{TEACHER}, then a student that sees 30 frames", QUICK_START),
        (["--student_frames=10,30,6"], f"{TEACHER}, then a student that sees 6, 10 or 30 frames", QUICK_START),
        (["--frame_sampling=learned"], f"{TEACHER}, then a student that sees 30 frames", A_FEW_MINUTES),
        (["--student_losses=rep"], f"{TEACHER}, then a student that sees 30 frames", A_FEW_MINUTES),
        (["--seed=3"], f"{TEACHER}, then a student that sees 30 frames", QUICK_START),
        (
            ["--training_mode=parallel", "--student_stride=10"],
            f"{TEACHER}, and with it a student that sees one frame of every 10",
            A_FEW_MINUTES,
        ),
        (["--training_mode=teacher", "--num_epochs=3"], TEACHER, A_FEW_MINUTES),
        (["--training_mode=baseline"], "a model (NeXtVLAD) that sees 30 frames, without a teacher", A_FEW_MINUTES),
        (["--teacher_dir=t"], "a student (NeXtVLAD) that sees 30 frames, of the teacher in t", A_FEW_MINUTES),
    ],
)
def test_new_trainings_on_the_sample_data_say_what_comes(tmp_path, monkeypatch, caplog, arguments, models, duration):
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO)
    announce(parse(TrainConfig, ["train.py", *arguments]))
    epochs = 3 if "--num_epochs=3" in arguments else 8
    (line,) = caplog.messages
    assert line.startswith(f"Training {models}: on the sample data set, 1,000 videos, {epochs} epochs each. ")
    assert duration in line


def test_others_do_not(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    announce(parse(TrainConfig, ["train.py", "--train_data_pattern=x"]))
    announce(parse(TrainConfig, ["train.py", f"--train_dir={tmp_path}"]))  # it is there already
    assert caplog.messages == []
