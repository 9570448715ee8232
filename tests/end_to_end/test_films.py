"""From films to labels: extraction, training, and prediction of films, with the real decoder and image network."""

import csv
import importlib.util
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.end_to_end.commands import ROOT, predict
from tests.serving.services import ask, running
from tests.video.made_films import write_film
from yt8m_distill.config.dataset import SpecOverrides
from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.config.inference import InferenceConfig
from yt8m_distill.data.video_files import open_videos
from yt8m_distill.eval import main as eval_main
from yt8m_distill.experiment import main as experiment_main
from yt8m_distill.experiments import speed
from yt8m_distill.export import main as export_main
from yt8m_distill.extract_features import main as extract_main
from yt8m_distill.files.processes import module_environment
from yt8m_distill.prediction import run as prediction_run
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.inputs import evaluation_videos
from yt8m_distill.serving import server
from yt8m_distill.serving.app import create_app
from yt8m_distill.train import main as train_main
from yt8m_distill.video.prediction import run_film_inference

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve films of two classes, of which one has no sound, and one that is none; a run on their features."""
    folder = tmp_path_factory.mktemp("films")
    (folder / "films").mkdir()
    for number in range(12):
        sound = None if number == 7 else "aac"
        kind = {"frames": 40 + 10 * number, "rate": 10, "sound": sound, "frequency": 300.0 * (1 + number % 2)}
        write_film(folder / "films", name=f"{number}.mp4", **kind)
    (folder / "films/none.mp4").write_bytes(b"no film")
    rows = [f"{number},{'high' if number % 2 else 'low'}" for number in range(12)]
    (folder / "labels.csv").write_text("\n".join(rows))
    assert extract(folder, "features") == 0
    assert train(folder, "run") == 0
    return folder


def extract(folder, output, *arguments):
    videos, labels = f"--videos={folder}/films", f"--labels={folder}/labels.csv"
    return extract_main(["extract_features", videos, labels, f"--output_dir={folder / output}", *arguments])


def train(folder, output, *arguments):
    return train_main(
        [
            "train.py",
            f"--train_data_pattern={folder}/features",
            f"--train_dir={folder / output}",
            "--model=NetVLAD",
            "--model_args=clusters=2,hidden_size=4",
            "--batch_size=4",
            "--num_epochs=1",
            "--student_frames=3",
            *arguments,
        ]
    )


def records(folder):
    videos = open_videos(str(folder), "IN", SpecOverrides())
    return {video.video_id.decode(): video for video in videos.videos()}


def predicted(path):
    with open(path, encoding="utf-8") as file:
        return {row["VideoId"]: row["LabelConfidencePairs"] for row in csv.DictReader(file)}


def assert_same_predictions(first, second):
    """But for the last digit: what a sum is rounded to may depend on how busy the processors are."""
    pairs = [
        {name: np.array(cell.split(), float) for name, cell in predicted(path).items()} for path in (first, second)
    ]
    assert pairs[0].keys() == pairs[1].keys()
    for name, values in pairs[0].items():
        np.testing.assert_allclose(values, pairs[1][name], atol=2e-6, err_msg=name)


def test_records_of_films(folder):
    videos = records(folder / "features")
    assert len(videos) == 12
    assert {name: video.num_frames for name, video in videos.items()} == {f"{n}.mp4": 4 + n for n in range(12)}
    images, sound = videos["7.mp4"].features
    assert (images.shape, sound.shape) == ((11, 1280), (11, 128))
    assert np.ptp(sound) == 0
    report = (folder / "features/report.csv").read_text()
    assert "none.mp4" in report


def test_k_frames_are_bit_identical(folder):
    assert extract(folder, "k3", "--student_frames=3", f"--features={folder}/features") == 0
    whole = records(folder / "features")
    for name, video in records(folder / "k3").items():
        n = whole[name].num_frames
        for feature, all_frames in zip(video.features, whole[name].features, strict=True):
            np.testing.assert_array_equal(feature, all_frames[[n // 6, 3 * n // 6, 5 * n // 6]])


@pytest.mark.parametrize(
    "model", [(), ("--which=teacher", "--engine=onnxruntime"), ("--frame_sampling=medoid", "--student_frames=2")]
)
def test_predictions_of_films_are_those_of_their_features(folder, tmp_path, model, capsys):
    run, output = f"--train_dir={folder}/run", tmp_path / "films.csv"
    assert predict(run, f"--input_videos={folder}/films", f"--output_file={output}", *model) == 0
    text = capsys.readouterr().out
    assert "12 films of" in text
    assert "1 films could not be decoded" in text
    assert predict(run, f"--input_data_pattern={folder}/features", f"--output_file={tmp_path}/records.csv", *model) == 0
    assert_same_predictions(output, tmp_path / "records.csv")
    assert "low" in (tmp_path / "films.csv.txt").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {
        *("films.csv", "films.csv.txt", "films.csv.report.csv", "records.csv")
    }


@pytest.mark.long
def test_cost_in_seconds_of_a_film(folder, capsys, monkeypatch):
    monkeypatch.setattr(speed, "SECONDS", 0.01)
    data = [f"--train_data_pattern={folder}/features", "--validation_fraction=.4"]
    given = ["--experiment=cost", "--model=NetVLAD", "--model_args=clusters=2,hidden_size=4", "--frames=3", *data]
    given += ["--batch_size=4", "--num_epochs=1"]
    given.append(f"--output_dir={folder}/cost")
    assert experiment_main(["experiment", *given, f"--films={folder}/films/1*.mp4"]) == 0
    seconds = {row["k"]: row["film_to_labels_seconds"] for row in results_of(folder / "cost")}
    assert 0 < seconds[3] < seconds[None]
    text = (folder / "cost/results.md").read_text()
    assert "film to labels, s" in text
    assert "evaluated on the 40 % of them that it was not trained on, by which" in text
    if importlib.util.find_spec("matplotlib"):
        assert (folder / "cost/figures/accuracy_by_film_seconds.png").exists()
    capsys.readouterr()
    assert experiment_main(["experiment", *given, f"--films={folder}/nothing"]) == 2
    assert experiment_main(["experiment", *given, "--films=films", "--nomeasure_speed"]) == 2
    assert "--films goes with --experiment=cost and --measure_speed" in capsys.readouterr().err


def results_of(folder):
    return json.loads((folder / "results.json").read_text())["rows"]


def test_a_part_of_one_folder_is_held_out(folder, capsys):
    assert train(folder, "held_out", "--validation_fraction=.4") == 0
    output = capsys.readouterr()
    assert "Validating the student" in output.err
    config = json.loads((folder / "held_out/config.json").read_text())
    assert (config["train_fraction"], config["validation_fraction"]) == (0.6, 0.4)
    assert train(folder, "x", "--validation_fraction=.4", "--validation_data_pattern=x") == 2
    assert eval_main(["eval.py", f"--train_dir={folder}/held_out"]) == 0
    metrics = json.loads((folder / "held_out/eval/metrics.json").read_text())
    kept = records(folder / "features")
    videos = evaluation_videos(None, RunDir(folder / "held_out").read_config(), "eval_data_pattern")
    assert metrics["examples"] == sum(1 for _ in videos.videos()) < len(kept)
    capsys.readouterr()
    exported = ["export", f"--train_dir={folder}/held_out", f"--output_dir={folder}/held_out_export"]
    assert export_main(exported) == 0
    manifest = json.loads((folder / "held_out_export/export.json").read_text())
    assert (manifest["gap_videos"], manifest["gap"]) == (7, pytest.approx(metrics["GAP@20"], abs=1e-4))
    seen_all = f"--teacher_dir={folder}/run"
    assert train(folder, "leak", "--validation_fraction=.4", seen_all, "--teacher_role=student") == 2
    assert "was trained on videos that --validation_fraction=0.4 holds out" in capsys.readouterr().err


def test_an_export_serves_films(folder, tmp_path):
    run, film = f"--train_dir={folder}/run", folder / "films/9.mp4"
    assert export_main(["export", run, f"--output_dir={tmp_path}/export", "--eval_videos=0"]) == 0
    assert predict(run, f"--input_videos={film}", f"--output_file={tmp_path}/a.csv") == 0
    config = ServeConfig(f"{tmp_path}/export")
    manifest, model = server.load(config)
    app = create_app(manifest, model, config, features=server.film_features(manifest, config))
    with running(app, config) as port:
        status, text, _ = ask(port, film.read_bytes(), "video/mp4", "/predict_film")
        refused = ask(port, b"no film", "video/mp4", "/predict_film")
        described = json.loads(ask(port, None, path="/openapi.json")[1])
        metrics = ask(port, None, path="/metrics")[1]
    answer = json.loads(text)
    assert (status, refused[0]) == (200, 400)
    assert "/predict_film" in described["paths"]
    assert "yt8m_label_score_count 2.0" in metrics
    expected = predicted(tmp_path / "a.csv")["9.mp4"].split()
    labels = answer["videos"][0]["labels"]
    assert [str(label["index"]) for label in labels] == expected[::2]
    np.testing.assert_allclose([label["score"] for label in labels], list(map(float, expected[1::2])), atol=1e-4)
    assert {label["name"] for label in labels} == {"high", "low"}
    assert answer["film"] == {
        "seconds": 13.0,
        "all_frames": 13,
        "times": [2.0, 6.0, 10.0],
        "has_sound": True,
        "problems": [],
    }
    assert answer["milliseconds"]["all"] > 0


def test_a_packed_model_knows_how_its_features_are_made(folder, tmp_path):
    packed = tmp_path / "model.tgz"
    run, output = f"--train_dir={folder}/run", tmp_path / "a.csv"
    film = f"--input_videos={folder}/films/3.mp4"
    assert predict(run, film, f"--output_file={output}", f"--output_model_tgz={packed}") == 0
    assert predict(f"--input_model_tgz={packed}", film, f"--output_file={tmp_path / 'b.csv'}") == 0
    assert predicted(tmp_path / "b.csv") == predicted(output)
    again = tmp_path / "again.tgz"
    assert predict(f"--input_model_tgz={packed}", film, f"--output_file={output}", f"--output_model_tgz={again}") == 0
    assert again.read_bytes() == packed.read_bytes()


@pytest.mark.long
def test_a_film_that_changes_is_decoded_again_after_a_stop(folder, tmp_path, capsys):
    (tmp_path / "films").mkdir()
    film, run, output = tmp_path / "films/a.mp4", f"--train_dir={folder}/run", tmp_path / "a.csv"
    film.write_bytes((folder / "films/3.mp4").read_bytes())
    films = f"--input_videos={tmp_path}/films"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prediction_run, "_predict", stop)
        with pytest.raises(KeyboardInterrupt):
            run_film_inference(InferenceConfig.from_settings(settings_of_films(folder, tmp_path / "films", output)))
    assert (tmp_path / "a.csv.features/features.json").exists()
    film.write_bytes((folder / "films/8.mp4").read_bytes())
    assert predict(run, films, f"--output_file={output}") == 0
    expected = tmp_path / "expected.csv"
    assert predict(run, f"--input_videos={folder}/films/8.mp4", f"--output_file={expected}") == 0
    assert predicted(output)["a.mp4"] == predicted(expected)["8.mp4"]
    mine = tmp_path / "b.csv.features/mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    capsys.readouterr()
    assert predict(run, films, f"--output_file={tmp_path}/b.csv") == 2
    assert "mine.txt' is in the way" in capsys.readouterr().err
    assert predict(run, films, f"--output_file={tmp_path}/c.csv", "--vocabulary=nothing.csv") == 2
    assert not (tmp_path / "c.csv.features").exists()
    assert predict(run, films, f"--output_file={tmp_path}/c.csv", "--which=teacher", "--frame_positions=keyframes") == 2
    assert "--frame_positions=keyframes is for models that look at k frames" in capsys.readouterr().err


def stop(*_):
    raise KeyboardInterrupt


def settings_of_films(folder, films, output):
    return {"train_dir": f"{folder}/run", "input_videos": str(films), "output_file": str(output)}


def test_a_run_on_other_features_cannot_predict_films(folder, tmp_path, capsys):
    description = folder / "features/features.json"
    text = description.read_text()
    try:
        description.write_text(text[: text.index('"extraction"')].rstrip().rstrip(",") + "}")
        assert train(folder, "other", "--max_steps=1") == 0
    finally:
        description.write_text(text)
    assert predict(f"--train_dir={folder}/other", f"--input_videos={folder}/films", f"--output_file={tmp_path}/a") == 2
    assert "features that were not made of films here" in capsys.readouterr().err


def test_killed_and_started_again(folder):
    """Each film is there once, and the files are those of an extraction that was not stopped."""
    arguments = [f"--videos={folder}/films", f"--labels={folder}/labels.csv", f"--output_dir={folder}/killed"]
    arguments += [f"--features={folder}/features", "--videos_per_file=4", "--workers=1"]
    command = [sys.executable, "-m", "yt8m_distill.extract_features", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, env=module_environment(), stderr=subprocess.DEVNULL)
    note = folder / "killed/films-00001.tfrecord.partial.json"
    while not note.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    subprocess.run(command, cwd=ROOT, env=module_environment(), check=True, capture_output=True)
    assert extract(folder, "whole", f"--features={folder}/features", "--videos_per_file=4") == 0
    for path in (folder / "whole").iterdir():
        assert (folder / "killed" / path.name).read_bytes() == path.read_bytes(), path.name
