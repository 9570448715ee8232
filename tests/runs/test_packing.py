"""Packed models."""

from tests.helpers import write_run
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.run import RunConfig
from yt8m_distill.runs.loading import load
from yt8m_distill.runs.packing import pack


def test_the_same_model_gives_the_same_bytes(tmp_path):
    data = DatasetSpec("own", "id", ("rgb",), (4,), num_classes=3, max_frames=9)
    config = RunConfig("FrameLevelLogistic", "baseline", selection=FrameSelection(2), data=data)
    run, packed = write_run(tmp_path / "run", config), [tmp_path / "first.tgz", tmp_path / "second.tgz"]
    for path in packed:
        pack(load(run), str(path))
    assert packed[0].read_bytes() == packed[1].read_bytes()
