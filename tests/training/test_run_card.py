"""A run directory has a model card when it is finished; one of the user's own stays."""

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import Distillation
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.training import run_card
from yt8m_distill.training.report import Report, Row

DATA = DatasetSpec("AudioSet", "video_id", ("audio_embedding",), (128,), 527, 10)
CONFIG = RunConfig("NetVLAD", "serial", selection=FrameSelection(2), data=DATA, distillation=Distillation())
TEACHER = Row("teacher", 10, 9_000, 20_000, {"GAP@20": 0.5}, videos_per_second=77.0)


def report(gap: float) -> Report:
    student = Row("student", 2, 8_000, 4_000, {"GAP@20": gap, "mAP": 0.25}, videos_per_second=99.0)
    return Report("run", None, (TEACHER, student))


def test_a_card_of_all_models_without_times(tmp_path):
    run_card.write(RunDir(tmp_path), CONFIG, report(0.4))
    text = (tmp_path / "README.md").read_text()
    assert text.startswith('---\nlicense: "cc-by-4.0"\n')
    assert '{"type": "GAP@20", "value": 0.4}' in text
    assert '"netvlad", "knowledge-distillation"]' in text
    assert "# NetVLAD, student, 2 frames" in text
    assert "| student | 2 | 0.4000 | 0.2500 | - | - | 8,000 | 4,000 |" in text
    assert "| teacher | 10 | 0.5000 |" in text
    assert "77" not in text
    assert "99" not in text


def test_the_card_of_a_longer_training_replaces_its_own_only(tmp_path):
    run, path = RunDir(tmp_path), tmp_path / "README.md"
    run_card.write(run, CONFIG, report(0.4))
    run_card.write(run, CONFIG, report(0.45))
    assert '"value": 0.45' in path.read_text()
    path.write_text("# Mine\n")
    run_card.write(run, CONFIG, report(0.5))
    assert path.read_text() == "# Mine\n"
    path.unlink()
    path.mkdir()
    run_card.write(run, CONFIG, report(0.5))
    assert path.is_dir()
