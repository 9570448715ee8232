"""docs/python_api.md: the page's code runs, block after block; and what `import yt8m_distill` gives."""

import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import yt8m_distill
from tests.helpers import learnable_videos, write_records, write_run
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.distillation import Distillation
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.run import RunConfig
from yt8m_distill.models import FrameLevelLogistic

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "python_api.md"
DATA = DatasetSpec("own features", "id", ("rgb", "audio"), (6, 2), 4, 12)


def distilled_run(folder: pathlib.Path):
    """A student, and the run of its teacher in the same directory."""
    student = {"selection": FrameSelection(3), "distillation": Distillation()}
    write_run(folder, RunConfig("FrameLevelLogistic", "serial", **student, data=DATA, recipe="paper"))
    write_run(folder / "teacher", RunConfig("FrameLevelLogistic", "teacher", data=DATA, recipe="paper"))


@pytest.mark.slow
def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("train", "test"):
        write_records(tmp_path / "data" / f"{name}0.tfrecord", learnable_videos(64))
    distilled_run(tmp_path / "runs" / "student")
    FrameLevelLogistic((6, 2), 4).save(tmp_path / "student.keras")
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names = {}
    tf.config.run_functions_eagerly(True)  # compiling takes longer than all steps
    try:
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)
    finally:
        tf.config.run_functions_eagerly(False)
    assert names["probabilities"].shape == names["short"].shape == (2, 4)
    np.testing.assert_array_equal(names["short"][0], names["probabilities"][0])
    assert names["teacher"].num_classes == 4
    assert names["results"].keys() == {"loss", "GAP@20", "mAP"}
    assert {"rep", "pred", "ce", "val_GAP@20"} <= names["history"].history.keys()


def test_names_of_the_package():
    assert yt8m_distill.models.NeXtVLAD is keras.saving.get_custom_objects()["yt8m_distill>NeXtVLAD"]
    assert all(hasattr(yt8m_distill, name) for name in yt8m_distill.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'loda'"):
        yt8m_distill.loda  # noqa: B018
