"""`results.md` and `results.csv` out of results that are made up here."""

import csv
import dataclasses
import io
import pathlib

import pytest

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.experiment import ExperimentConfig
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.json import to_json
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import Distillation, Learning, TrainConfig
from yt8m_distill.experiments import published
from yt8m_distill.experiments.plan import plan
from yt8m_distill.experiments.results import Result, csv_text, references, speed_key
from yt8m_distill.experiments.tables import markdown
from yt8m_distill.training.report import Row

SPEC = DatasetSpec("AudioSet", "video_id", ("audio_embedding",), (128,), 527, 10)
GAP = {"teacher": 0.9, "baseline": 0.5, "serial": 0.7, "parallel": 0.6}


def experiment(tmp_path, name: str, **options) -> ExperimentConfig:
    base = TrainConfig(
        options.pop("model", "HierarchicalRNN"),
        selection=FrameSelection(30),
        distillation=Distillation(),
        train_data_pattern="train*",
        eval_data_pattern="test*",
        learning=Learning(batch_size=8, num_epochs=3, base_learning_rate=0.1),
    )
    return ExperimentConfig(name, str(tmp_path), base, **options)


def made_up(config: ExperimentConfig) -> list[Result]:
    """GAP as in the table above, .1 more for each seed; mAP half of it."""
    results = []
    for run in plan(config):
        gap = GAP[run.config.training_mode] + 0.1 * (run.seed - 1)
        for selection in run.evaluated_with():
            k = selection.k
            row = Row("x", k or 300, 7, 1000 * (k or 300), {"GAP@20": gap, "mAP": gap / 2, "Hit@1": 0.1})
            results.append(Result(run, k, row, 5.0))
    first = results[0].config
    folder = pathlib.Path(first.train_dir)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(to_json(RunConfig.of(first, data=SPEC)))
    return results


def lines_of(text: str) -> dict[str, list[list[str]]]:
    """The cells of all table lines by their first cell."""
    lines = {}
    for line in text.splitlines():
        if line.startswith("| "):
            first, *rest = (cell.strip() for cell in line.strip("|").split("|"))
            lines.setdefault(first, []).append(rest)
    return lines


def test_table1_in_the_papers_form(tmp_path):
    config = experiment(tmp_path, "table1", frames=(3, 30), seeds=(0, 1, 2))
    results = made_up(config)
    text = markdown(config, results, 100, {speed_key(results[0]): 1234.5})
    assert "87 of 100 runs have finished." in text
    assert "- Teacher-Skyline: .900 ± .100 / .450 ± .050 (the paper: .811 / .414)" in text
    lines = lines_of(text)
    head = lines[""][0]
    assert head == ["k = 3", "k = 30", *(f"paper, k = {k}" for k in (6, 10, 15, 20, 30))]
    measured, closed = lines["Serial pred"]
    assert measured[:2] == [".700 ± .100 / .350 ± .050"] * 2
    assert measured[-1] == ".798 / .390"
    assert closed == ["50 % / 50 %"] * 2
    assert lines["Parallel rep"][1] == ["25 % / 25 %"] * 2
    assert len(lines["Uniform-k"]) == 1  # closes no gap
    assert lines["all"] == [["300", "7", "300,000", "1,234", "5.058"]]
    assert "they were not measured here" in text


def test_table2_has_columns_by_share(tmp_path):
    config = experiment(tmp_path, "table2")
    lines = lines_of(markdown(config, made_up(config), 9, {}))
    assert lines[""][0] == ["10 %", "25 %", "50 %", *(f"paper, {s} %, k = 30" for s in (10, 25, 50))]
    assert lines["Uniform-k"][0][3:] == [".718 / .220", ".756 / .301", ".776 / .349"]
    assert lines["Serial rep, pred, CE"][1] == ["50 % / 50 %"] * 3
    assert lines["Teacher-Skyline"][0][:3] == [".800 / .400"] * 3


def test_table4_has_columns_by_matching(tmp_path):
    config = experiment(tmp_path, "table4", frames=(3, 5))
    text = markdown(config, made_up(config), 13, {})
    assert "- Uniform-k, k = 5: .400 / .200" in text
    head = lines_of(text)[""][0]
    assert head[:2] == ["intermediate, k = 3", "intermediate, k = 5"]
    assert lines_of(text)["Serial rep"][0][-2:] == [".804 / .395", ".802 / .394"]


@pytest.mark.parametrize(("experiment_name", "model"), [("table5", "NetVLAD"), ("table6", "NeXtVLAD")])
def test_tables_of_vlads_list_rows_beside_the_paper(tmp_path, experiment_name, model):
    config = experiment(tmp_path, experiment_name, model=model, frames=(3, 30))
    text = markdown(config, made_up(config), 5, {})
    head, *_ = lines_of(text)[""]
    assert head[:4] == ["k", "mAP", "GAP@20", "gap closed"]
    by_k = {line[0]: line for line in lines_of(text)["Serial rep, pred, CE"]}
    assert by_k["3"][-3:] == ["", "", ""]
    expected = {"NetVLAD": [".436", ".812", ""], "NeXtVLAD": [".439", ".818", ".134"]}
    assert by_k["30"][-3:] == expected[model]
    assert ("k = 10: .364 / .773" in text) == (model == "NetVLAD")


def test_nothing_of_the_paper_beside_a_model_that_it_does_not_have(tmp_path):
    config = experiment(tmp_path, "table1", model="NeXtVLAD", frames=(3,))
    lines = lines_of(markdown(config, made_up(config), 15, {}))
    assert lines["Uniform-k"][0][1:] == [".812 / .424"]  # of table 6
    assert lines["Random-k"][0][1:] == [""]


@pytest.mark.parametrize(
    ("edition", "title"),
    [
        ("YouTube-8M 2017", "Table 6: Teacher, uniform baseline and student, NetVLAD on YouTube-8M 2017"),
        ("AudioSet", "Teacher, uniform baseline and student, NetVLAD on AudioSet, in the form of the paper's table 6"),
    ],
)
def test_a_table_of_the_paper_is_one_on_its_data_only(tmp_path, edition, title):
    config = experiment(tmp_path, "table6", model="NetVLAD", frames=(3,))
    results = made_up(config)
    of_edition = RunConfig.of(results[0].config, data=dataclasses.replace(SPEC, edition=edition))
    (pathlib.Path(results[0].config.train_dir) / "config.json").write_text(to_json(of_edition))
    assert markdown(config, results, 3, {}).partition("\n")[0] == f"# {title}"
    assert markdown(config, [], 3, {}).partition("\n")[0] == "# Teacher, uniform baseline and student"


def test_before_the_first_run_has_finished(tmp_path):
    assert "0 of 15 runs" in markdown(experiment(tmp_path, "table1"), [], 15, {})
    assert csv_text([], {}).startswith("run,row,seed,k,frames,")


def test_students_are_compared_with_teacher_and_uniform_of_their_k_and_data(tmp_path):
    results = made_up(experiment(tmp_path, "table2", frames=(3, 5), seeds=(0, 1)))
    student = next(each for each in results if each.config.training_mode == "serial" and each.k == 5)
    teachers, uniform = references(student, results)
    assert {each.config.train_fraction for each in [*teachers, *uniform]} == {student.config.train_fraction}
    assert {each.k for each in uniform} == {5}
    assert len(teachers) == len(uniform) == 2
    assert references(uniform[0], results) == ([], [])


def test_csv_has_the_settings_that_vary(tmp_path):
    results = made_up(experiment(tmp_path, "table2", seeds=(0, 1)))
    lines = list(csv.DictReader(io.StringIO(csv_text(results, {speed_key(results[0]): 10.0}))))
    assert len(lines) == 18
    first = lines[0]
    assert list(first)[5:7] == ["train_fraction", "training_mode"]
    assert (first["run"], first["seed"], first["k"], first["frames"]) == ("seed0/teacher_10percent", "0", "", "300")
    assert first["train_fraction"] == "0.1"
    assert float(first["GAP@20"]) == pytest.approx(0.8)
    assert (first["videos_per_second"], first["training_seconds"]) == ("10.0", "5.0")
    assert lines[-1]["videos_per_second"] == ""


def test_the_papers_figures_are_complete():
    counts = {}
    for figure in published.figures():
        counts[figure.experiment] = counts.get(figure.experiment, 0) + 1
        assert 0 < float(figure.map) < float(figure.gap) < 1
    assert counts == {"table1": 71, "table2": 6, "table4": 12, "table5": 5, "table6": 3}
