"""Figure 2 out of event files as training writes them."""

import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from yt8m_distill.config.experiment import ExperimentConfig
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.training import Distillation, TrainConfig
from yt8m_distill.experiments import figures
from yt8m_distill.experiments.plan import plan
from yt8m_distill.experiments.results import Result
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.training.report import Row


def write_curve(result: Result, name: str, values: list[float]):
    """As a run that an earlier version, with other tags, has trained for one epoch."""
    writer = tf.summary.create_file_writer(str(RunDir(result.config.train_dir).logs / name))
    for epoch, value in enumerate(values, 1):
        with writer.as_default(step=10 * epoch):
            tf.summary.scalar("GAP@20" if epoch == 1 else "metrics/GAP@20", value)
            tf.summary.scalar("loss/ce", 1.0)
    writer.close()


@pytest.fixture
def results(tmp_path) -> list[Result]:
    """Two epochs of every run of figure 2, of two seeds."""
    base = TrainConfig(
        "NetVLAD", selection=FrameSelection(3), distillation=Distillation(), validation_data_pattern="v*"
    )
    config = ExperimentConfig("figure2", str(tmp_path), base, frames=(3,), seeds=(0, 1))
    row = Row("x", 3, 1, 1, {"GAP@20": 0.5, "mAP": 0.4})
    found = [Result(run, run.k, row, 1.0) for run in plan(config)]
    for result in found:
        start = {"teacher": 0.5, "serial": 0.3, "parallel": 0.1}[result.config.training_mode] + 0.2 * result.run.seed
        write_curve(result, "validation", [start, start + 0.1])
        if result.config.training_mode == "parallel":
            write_curve(result, "validation_teacher", [start + 0.05, start + 0.25])
    return found


def test_curves_are_means_over_seeds_by_losses(results):
    panels = figures._panels(results)
    assert list(panels) == ["rep", "rep, CE", "rep, pred, CE"]
    for curves in panels.values():
        assert curves["serial teacher"] == pytest.approx([0.6, 0.7])
        assert curves["serial student"] == pytest.approx([0.4, 0.5])
        assert curves["parallel teacher"] == pytest.approx([0.25, 0.45])
        assert curves["parallel student"] == pytest.approx([0.2, 0.3])


def test_figure_2_is_drawn(results, tmp_path):
    pytest.importorskip("matplotlib")
    assert [path.name for path in figures._draw_epochs(results, tmp_path)] == ["gap_by_epoch_3.png"]
    assert tf.io.decode_png((tmp_path / "gap_by_epoch_3.png").read_bytes()).shape[1] > 1000


def test_no_figure_2_without_parallel_students_or_curves(results, tmp_path):
    pytest.importorskip("matplotlib")
    serial = [each for each in results if each.config.training_mode != "parallel"]
    assert list(figures._draw_epochs(serial, tmp_path)) == []
    elsewhere = [moved(each, tmp_path / "elsewhere") for each in results]
    assert list(figures._draw_epochs(elsewhere, tmp_path)) == []


def moved(result: Result, folder: pathlib.Path) -> Result:
    config = dataclasses.replace(result.config, train_dir=str(folder))
    return dataclasses.replace(result, run=dataclasses.replace(result.run, config=config))


def test_classes_have_the_names_of_the_runs_own_vocabulary(results, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    student = next(result for result in results if result.config.training_mode == "serial" and result.run.seed == 0)
    run, names = pathlib.Path(student.config.train_dir), []
    run.mkdir(parents=True, exist_ok=True)
    (run / "vocabulary.csv").write_text("Index,Name\n1,cat\n")

    def collect(_, given):
        names.append(dict(given))
        return figures.representations.Representations(np.zeros((2, 2)), ["teacher", "student"], ["cat"] * 2, ["v"] * 2)

    monkeypatch.setattr(figures.representations, "collect", collect)
    monkeypatch.setattr(figures.representations, "in_a_plane", lambda values, seed: values)
    config = ExperimentConfig("figure3", str(tmp_path), student.config, seeds=(0,))
    (path,) = figures._draw_representations(config, [student], tmp_path)
    assert path.exists()
    assert names == [{1: "cat"}]
