"""The main of experiments on small fake records: run, stop, resume, share runs; tables and figures."""

import csv
import pathlib

import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.plugins.projector import ProjectorConfig

from tests.helpers import TINY_FLAGS, learnable_videos, write_records
from yt8m_distill.eval import main as eval_main
from yt8m_distill.experiment import main as experiment_main
from yt8m_distill.experiments import figures, speed
from yt8m_distill.files.untrusted import read_json
from yt8m_distill.runs.checkpoints import checkpoints
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.training import loop

pytestmark = pytest.mark.slow

DRAWS = not figures._missing()


@pytest.fixture(scope="module", autouse=True)
def short_measurements():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "SECONDS", 0.01)
        patch.setattr(speed, "REPETITIONS", 2)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("data")
    for index, (part, count) in enumerate([("train0", 30), ("train1", 18), ("validate0", 16), ("test0", 40)]):
        write_records(folder / f"{part}.tfrecord", learnable_videos(count, seed=100 * index))
    return folder


def run(data: pathlib.Path, output: pathlib.Path, *arguments: str) -> int:
    return experiment_main(
        [
            "experiment",
            "--model=NetVLAD",
            "--model_args=clusters=4,hidden_size=4",
            f"--train_data_pattern={data}/train*",
            f"--validation_data_pattern={data}/validate*",
            f"--eval_data_pattern={data}/test*",
            f"--output_dir={output}",
            "--num_classes=10",
            *TINY_FLAGS,
            "--batch_size=16",
            "--base_learning_rate=0.01",
            "--optimizer=SGD",  # compiles sooner than Adam
            "--num_epochs=1",
            *arguments,
        ]
    )


def lines_of(output: pathlib.Path) -> list[dict[str, str]]:
    return list(csv.DictReader((output / "results.csv").open()))


def reports(folder: pathlib.Path) -> dict[str, int]:
    """When each run ended, by name."""
    return {str(path.parent.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("report.json")}


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> pathlib.Path:
    """Table 6 at k = 3 with all metrics."""
    output = tmp_path_factory.mktemp("experiment") / "out"
    assert run(data, output, "--experiment=table6", "--frames=3", "--full_map") == 0
    return output


def test_every_run_has_a_line_with_what_eval_measures(data, finished, tmp_path):
    lines = lines_of(finished)
    assert [line["run"] for line in lines] == ["seed0/teacher", "seed0/uniform3", "seed0/serial-rep-pred-ce_3"]
    assert [line["frames"] for line in lines] == ["12", "3", "3"]
    for line in lines:
        measured = tmp_path / "metrics.json"
        directory = finished / "runs" / line["run"]
        # eval.py finds the videos by itself
        assert eval_main(["eval.py", f"--train_dir={directory}", "--full_map", f"--output_file={measured}"]) == 0
        for name in ("GAP@20", "mAP", "mAP_full", "Hit@1", "PERR"):
            assert float(line[name]) == pytest.approx(read_json(measured)[name], abs=1e-6)
        assert read_json(directory / "eval" / "metrics.json")["mAP_full"] == float(line["mAP_full"])
        assert min(float(line["videos_per_second"]), float(line["training_seconds"])) > 0
    assert int(lines[0]["multiply_accumulates"]) > int(lines[1]["multiply_accumulates"]) > 0


def test_the_teacher_is_trained_once(finished):
    assert not list(finished.rglob("seed0/*/teacher"))
    config = read_json(finished / "runs/seed0/serial-rep-pred-ce_3/config.json")
    assert config["teacher_dir"] == str(finished / "runs/seed0/teacher")


def test_the_table_is_written(finished):
    text = (finished / "results.md").read_text()
    assert "3 of 3 runs have finished" in text
    assert "clusters 4" in text
    assert "| Serial rep, pred, CE | 3 |" in text


def test_more_k_train_only_what_is_new_and_other_settings_are_refused(data, finished, capsys):
    before = reports(finished)
    arguments = ["--experiment=table6", "--frames=1,3", "--full_map", "--nomeasure_speed"]
    assert run(data, finished, *arguments, "--base_learning_rate=0.02") == 2
    error = capsys.readouterr().err
    assert "seed0/teacher: it was started with other settings" in error
    assert "--output_dir" in error
    assert reports(finished) == before
    assert run(data, finished, *arguments) == 0
    after = reports(finished)
    assert after.keys() - before.keys() == {"runs/seed0/uniform1", "runs/seed0/serial-rep-pred-ce_1"}
    assert before.items() <= after.items()
    assert [line["k"] for line in lines_of(finished)] == ["", "1", "3", "1", "3"]


@pytest.mark.skipif(not DRAWS, reason="matplotlib and scikit-learn are not installed")
def test_figures_of_a_table(finished):
    names = {path.name for path in (finished / "figures").glob("*.png")}
    by = ("frames", "multiply_accumulates", "videos_per_second")
    assert names == {f"accuracy_by_{name}.png" for name in by}
    shape = tf.io.decode_png((finished / "figures" / "accuracy_by_frames.png").read_bytes()).shape
    assert shape[0] > 300
    assert shape[1] > 1000
    assert len(list((finished / "figures/tensorboard/accuracy_by_frames").glob("events*"))) == 1


@pytest.mark.skipif(not DRAWS, reason="matplotlib and scikit-learn are not installed")
def test_representations_of_runs_that_are_there(data, finished, tmp_path):
    vocabulary = tmp_path / "vocabulary.csv"
    vocabulary.write_text("Index,Name\n" + "".join(f"{i},kind {i}\n" for i in range(10)))
    before = reports(finished)
    output = tmp_path / "figure3"
    arguments = ["--experiment=figure3", "--frames=3", f"--runs_dir={finished}/runs", f"--vocabulary={vocabulary}"]
    assert run(data, output, *arguments, "--nomeasure_speed", "--full_map") == 0
    assert reports(finished) == before
    assert (output / "figures/representations_3.png").stat().st_size > 10_000
    folder = output / "figures/tensorboard/representations_3"
    rows = (folder / "representations.tsv").read_text().splitlines()
    header, *described = (folder / "metadata.tsv").read_text().splitlines()
    assert header == "model\tclass\tvideo"
    assert len(rows) == len(described) == 2 * 40
    assert {len(row.split("\t")) for row in rows} == {4}  # hidden_size
    assert [line.split("\t")[1:] for line in described[:40]] == [line.split("\t")[1:] for line in described[40:]]
    assert {line.split("\t")[1] for line in described} == {f"kind {i}" for i in range(4)}
    config = text_format.Parse((folder / "projector_config.pbtxt").read_text(), ProjectorConfig())
    assert (folder / config.embeddings[0].tensor_path).exists()
    assert (folder / config.embeddings[0].metadata_path).exists()
    assert len(list(folder.glob("events*"))) == 1  # the projector shows no folder without


def test_figures_need_the_extra(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figures, "NEEDED", {"no_such_module": "matplotlib"})
    assert run(data, tmp_path / "out", "--experiment=figure3", "--frames=3") == 2
    assert "figures need matplotlib: pip install 'yt8m_distill[plots]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


RUNS = """
[settings]
training_mode = "baseline"
student_frames = 2
[[runs]]
name = "One"
[[runs]]
name = "Two"
frame_sampling = "first"
[[runs]]
name = "Both"
training_mode = "serial"
student_frames = [1, 2]
"""


def test_a_stopped_experiment_is_resumed(data, tmp_path, monkeypatch, capsys):
    file = tmp_path / "runs.toml"
    file.write_text(RUNS)
    arguments = [f"--experiment={file}", "--nomeasure_speed", "--checkpoint_every_steps=1"]
    output = tmp_path / "out"
    count, steps = loop.TrainingLoop._count, []

    def stop_in_the_third_run(self, *given):
        count(self, *given)
        steps.append(self.run_dir.path.name)
        self.stop_requests.here = len(steps) == 8

    with monkeypatch.context() as patched:
        patched.setattr(loop.TrainingLoop, "_count", stop_in_the_third_run)
        assert run(data, output, *arguments) == 1
    assert steps == ["teacher"] * 3 + ["one_2"] * 3 + ["two_2"] * 2
    assert "The same command continues" in capsys.readouterr().err
    assert [line["row"] for line in lines_of(output)] == ["Teacher-Skyline", "One"]
    assert "2 of 4 runs have finished" in (output / "results.md").read_text()
    before = reports(output)
    assert run(data, output, *arguments) == 0
    assert before.items() <= reports(output).items()
    assert checkpoints(RunDir(output / "runs/seed0/two_2"))[-1].step == 3
    assert [(line["row"], line["k"]) for line in lines_of(output)] == [
        *(("Teacher-Skyline", ""), ("One", "2"), ("Two", "2"), ("Both", "1"), ("Both", "2")),
    ]


@pytest.mark.long
def test_start_new_model_moves_everything_aside(data, tmp_path):
    file = tmp_path / "runs.toml"
    file.write_text(RUNS[: RUNS.index('[[runs]]\nname = "Two"')])
    arguments = [f"--experiment={file}", "--nomeasure_speed", "--max_steps=1"]
    assert run(data, tmp_path / "out", *arguments) == 0
    assert run(data, tmp_path / "out", *arguments, "--start_new_model", "--base_learning_rate=0.1") == 0
    folders = tmp_path / "out.old-1", tmp_path / "out"
    rates = [read_json(each / "runs/seed0/one_2/config.json")["learning"]["base_learning_rate"] for each in folders]
    assert rates == [0.01, 0.1]
    assert all(len(lines_of(each)) == 1 for each in folders)


def test_an_evaluation_that_is_missing_is_made_up_for(data, finished):
    directory = finished / "runs/seed0/uniform3"
    stored = directory / "experiment.json"
    text, line = stored.read_text(), lines_of(finished)
    stored.unlink()
    ended = reports(finished)
    arguments = ["--experiment=table6", "--frames=1,3", "--full_map", "--nomeasure_speed"]
    assert run(data, finished, *arguments) == 0
    assert reports(finished) == ended  # not trained again
    stored.write_text(text)
    assert [each["GAP@20"] for each in lines_of(finished)] == [each["GAP@20"] for each in line]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--experiment is required: table1"),
        (["--experiment=table9"], "--experiment=table9 is not a file; known are table1, "),
        (["--experiment=table1", "--training_mode=serial"], "--training_mode is what table1 varies"),
        (["--experiment=table2", "--train_fraction=0.5"], "--train_fraction is what table2 varies"),
        (["--experiment=table1", "--eval_data_pattern=x", "--seeds=one"], "--seeds must be a whole number or a list"),
        (["--experiment=table1", "--seeds=0"], "--seeds must be how many"),
        (["--experiment=table1", "--seeds=-1"], "--seeds must be how many"),
        (["--experiment=table4", "--frames=3"], "needs a state for every frame; NetVLAD has none"),
        (["--experiment=table6", "--frames=3", "--model_args=cluster=2"], "seed0/teacher: "),
        (["--experiment=table6", "--frames=3", "--student_model_args=hidden_size=9"], "same classifier"),
    ],
)
def test_mistakes_are_found_before_anything_is_trained(data, tmp_path, capsys, arguments, message):
    assert run(data, tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.rglob("step-*"))
