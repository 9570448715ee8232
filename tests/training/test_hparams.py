"""Settings of a run as TensorBoard shows them."""

import dataclasses
import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import Distillation, Learning
from yt8m_distill.errors import UserError
from yt8m_distill.training.hparams import write_settings

CONFIG = RunConfig(
    "NeXtVLAD",
    "serial",
    model_args={"clusters": 8},
    selection=FrameSelection(3),
    distillation=Distillation(losses=("rep", "ce")),
    learning=Learning(batch_size=32),
    train_data_pattern="a|b`c",
    train_dir="runs/x",
    data=DatasetSpec("mine", "id", ("rgb",), (4,), num_classes=3, max_frames=50),
)


def test_a_run_that_is_resumed_has_its_settings_once(tmp_path):
    write_settings(dataclasses.replace(CONFIG, learning=Learning(batch_size=16)), tmp_path)
    write_settings(CONFIG, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    events = EventAccumulator(str(tmp_path))
    events.Reload()

    content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    found = dict(metadata.parse_session_start_info_plugin_data(content).hparams.items())
    assert (found["model"].string_value, found["model_args.clusters"].number_value) == ("NeXtVLAD", 8)
    assert (found["selection.k"].number_value, found["learning.batch_size"].number_value) == (3, 32)
    assert json.loads(found["distillation.losses"].string_value) == ["rep", "ce"]
    assert found["learning.deterministic"].bool_value is False
    assert not {"train_dir", "data.num_classes", "learning.max_steps"} & found.keys()

    (text,) = events.Tensors("settings")[0].tensor_proto.string_val
    rows = text.decode().splitlines()
    assert rows[:2] == ["| setting | value |", "|---|---|"]
    assert {"| data.num_classes | `3` |", "| learning.max_steps | `null` |", "| train_dir | `runs/x` |"} <= set(rows)
    assert "| train_data_pattern | `a\\|b'c` |" in rows


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(UserError, match=r"the curves in '.*logs' cannot be written"):
        write_settings(CONFIG, tmp_path / "logs")
