"""Which frames of the videos the stages of a training read."""

import pytest

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.distillation import Distillation
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import Learning
from yt8m_distill.training.stages import stages

DATA = DatasetSpec("AudioSet", "video_id", ("audio_embedding",), (128,), 527, 10)


@pytest.mark.parametrize(
    ("mode", "losses", "mixup", "expected"),
    [
        ("serial", ("pred", "ce"), 0.0, True),
        ("serial", ("ce",), 0.0, False),  # nothing reads the others
        ("serial", ("ce",), 0.4, True),
        ("parallel", ("ce",), 0.0, True),
    ],
)
def test_all_frames_are_read_where_something_needs_them(mode, losses, mixup, expected):
    config = RunConfig(
        "NetVLAD",
        mode,
        selection=FrameSelection(2),
        distillation=Distillation(losses),
        data=DATA,
        learning=Learning(num_epochs=1, mixup=mixup),
    )
    (stage,) = stages(config, {})
    assert stage.view.with_all_frames == expected
    assert stage.view.selection == FrameSelection(2)
