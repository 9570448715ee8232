"""The benchmarks of speed run through and print their tables; at tiny sizes, so the numbers mean nothing."""

import importlib
import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import TINY_FLAGS, learnable_videos, write_records
from yt8m_distill.files.untrusted import read_json
from yt8m_distill.train import main as train_main
from yt8m_distill.training import report

pytestmark = pytest.mark.slow

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"
TINY_MODEL = "--model_args=clusters=4,groups=2,hidden_size=16"


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a benchmark by name and returns its tables, each as the numbers of its rows by their first cell."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def run(name: str, *arguments: str) -> list[dict[str, list[float]]]:
        importlib.import_module(name).main(["--repetitions=1", *arguments])
        return tables(capsys.readouterr().out)

    return run


def tables(text: str) -> list[dict[str, list[float]]]:
    found = []
    for line in text.splitlines():
        first, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        if line.startswith("|--"):
            found.append({})
        elif line.startswith("| ") and first:
            found[-1][first] = [float(cell.replace(",", "").rstrip(" %") or "nan") for cell in cells]
    return found


def test_input_pipeline(run):
    (rows,) = run("input_pipeline", "--videos=6", "--frames=40", "--times=2", "--batch_size=4")
    for name in ("in order, all frames", "shuffled, k = 30", "thinning to k = 30", "thin shards in order, k = 30"):
        assert min(rows[name]) > 0, name
    assert rows["bare parsing, from memory"][1] == 1.0


def test_inference_time(run):
    sizes = ["--videos=6", "--frames=20", "--batch_size=4", "--students=3", TINY_MODEL]
    whole, engines, products = run("inference_time", *sizes)
    assert engines["k = 3, Keras"][1] == engines["k = 3, ONNX float32"][2] == 1.0
    assert min(engines["k = 3, ONNX int8"][:3]) > 0
    assert set(whole) == set(products) >= {"20 frames, float32", "k = 3, float32"}
    assert whole["20 frames, float32"][1] == 1.0
    for _, _, *shares in whole.values():
        assert sum(shares) == pytest.approx(100, abs=2)
    for bare, model, ratio in products.values():
        assert ratio == pytest.approx(model / bare, abs=0.01 + 0.6 / bare)


@pytest.mark.long
def test_training_step(run):
    times, ratios = run("training_step", "--batch_size=3", "--frames=8", "--student_frames=3", TINY_MODEL)
    assert len(times) == 6
    assert all(videos > 0 for _, videos in times.values())
    assert len(ratios) == 3


@pytest.mark.long
def test_peers(run):
    """The networks written in plain frameworks are the same ones, or it ends; that in TensorFlow runs here, too."""
    pythons = [f"--tensorflow215_python={sys.executable}"]
    if importlib.util.find_spec("torch"):
        pythons.append(f"--torch_python={sys.executable}")
    sizes = ["--parts=inference,onnxruntime,training", "--frames=3", "--batches=2", "--train_frames=3"]
    inference, ratios, steps, _ = run("peers", "--quick", *sizes, *pythons)
    assert min(inference["3 frames, batch 2"]) > 0
    assert min(steps["3 frames, batch 4"]) > 0
    *to_peers, to_best, _ = ratios["3 frames, batch 2"]
    assert to_best == min(to_peers)


def test_other_networks_are_no_peers(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    peers = importlib.import_module("peers")
    peers.check_difference("PyTorch", 9e-5, "losses")
    for difference in (1.1e-4, float("nan")):
        with pytest.raises(SystemExit, match="PyTorch computes another network: its losses differ"):
            peers.check_difference("PyTorch", difference, "losses")


@pytest.mark.long
def test_teacher_cache(run):
    sizes = ["--videos=6", "--frames=20", "--student_frames=3", "--batch_size=3", TINY_MODEL]
    (rows,) = run("teacher_cache", *sizes)
    assert rows["without a cache"][1:] == [1.0, 0.0]
    assert rows["dense"][2] == 8 + 2 * (16 + 3862) + 4
    assert rows["top 20"][2] == 8 + 2 * 16 + 20 * (4 + 2) + 2 + 4


def test_decoding(run):
    pytest.importorskip("av")
    (rows,) = run("decoding", "--seconds=12", "--sizes=320x180", "--keyframes=50", "--students=2")
    assert rows["all, plain PyAV"][1:] == [1.0, 100.0]
    assert rows["k = 2, keyframes"][2] == pytest.approx(100 * 2 / 300, abs=0.1)
    assert rows["k = 2"][2] == pytest.approx(100 * 2 * 26 / 300, abs=3)
    assert rows["all"][2] == pytest.approx(52, abs=2)  # every other whole second is at a keyframe


def test_film_to_label(run):
    pytest.importorskip("av")
    model = "--model_args=clusters=2,groups=2,hidden_size=16"
    films, overlap = run(
        "film_to_label", "--seconds=12", "--sizes=320x180", "--keyframes=50", "--students=2", "--repetitions=1", model
    )
    assert films["all frames"][1] == 1.0
    assert films["k = 2, keyframes"][1] > 1
    decoder, network, extraction, _, possible = overlap["whole extraction"]
    assert extraction > 0.5 * max(decoder, network)
    assert 0 < possible <= 1


def test_deployed(run):
    (rows,) = run("deployed", "--frames=6", "--students=3", "--formats=onnx", "--calls=2", TINY_MODEL)
    teacher, student = rows["6 frames, model.onnx"], rows["k = 3, model.onnx"]
    assert teacher[0] == pytest.approx(student[0], rel=0.1)  # the same weights
    assert rows["k = 3, model_int8.onnx"][0] < 0.5 * student[0]
    for name, (size, time, _, difference) in rows.items():
        assert min(size, time) >= 0, name
        assert difference <= (0.05 if "int8" in name else 1e-5), name


def test_serving(run):
    options = ["--student_frames=3", "--format=onnx", "--seconds=0.5", "--loads=1x1,6x8", "--max_waiting=8"]
    (rows,) = run("serving", *options, TINY_MODEL)
    for load in ("1x1", "6x8"):
        *_, p50, p99, good, _, others = rows[load]
        assert good > 0, load
        assert 0 < p50 <= p99, load
        assert others == 0, load


@pytest.mark.long
def test_distribution(run):
    (rows,) = run("distribution", "--processes=1", "--frames=5", "--batch_size=2", TINY_MODEL)
    seconds, videos, processor = rows["1 process"]
    assert seconds > 0
    assert processor > 0
    assert videos == pytest.approx(2 / seconds, rel=0.5)


def test_damaged_shards(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    shards = importlib.import_module("reliability_shards")
    outcomes = [shards.trial((0, number)) for number in range(60)]
    assert not [outcome.note for outcome in outcomes if outcome.note]
    assert sum(outcome.damaged for outcome in outcomes) > 60
    assert sum(outcome.lost_whole for outcome in outcomes) <= 3


@pytest.mark.long
def test_reliability_of_the_service(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    service = importlib.import_module("reliability_service")
    monkeypatch.setattr(service, "HONEST_REQUESTS", 30)
    monkeypatch.setattr(service, "SECONDS_TO_REST", 0.1)
    monkeypatch.setattr(service, "BODY_TIMEOUT", 2.0)
    importlib.import_module("reliability").main(["--parts=service", "--requests=30", "--connections=8", "--clients=1"])
    lines = capsys.readouterr().out.splitlines()
    assert "| hostile requests | 30 | 0 | answers but 200, 4xx, 503 | 0 |" in lines
    assert any(line.startswith("| `/health` meanwhile |") for line in lines)


@pytest.mark.long
def test_reliability_of_restarts(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    kills = importlib.import_module("reliability_kills")
    code = "import reliability_kills as kills; print(kills.job_of_trials((0, 0, 'baseline', 2)))"
    command = [sys.executable, "-c", code]  # of its own, as it forks before TensorFlow has run
    environment = {**os.environ, "PYTHONPATH": f"{BENCHMARKS}:{BENCHMARKS.parent}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert re.search(r"kills=2, trials=\d+, differing=\(\)", done.stdout)
    for name, text in (("one", "same"), ("other", "same"), ("other", "more")):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / text).write_text(text)
    assert kills.differences(tmp_path / "one", tmp_path / "other") == ["more"]
    (tmp_path / "one" / "same").write_text("other")
    assert kills.differences(tmp_path / "one", tmp_path / "other") == ["more", "same"]


@pytest.fixture
def full_data_set(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("full_data_set")


def test_cost_of_the_full_data_set(full_data_set, capsys):
    """Hours are the sum of epochs times videos over rates, in plain arithmetic."""
    recipe = "recipes/youtube8m_nextvlad.toml"
    rates = ["--all_frames=100", "--few_frames=400", "--teacher=300", "--devices=4", "--videos=1000000"]
    full_data_set.main([f"--recipe_file={recipe}", *rates])
    (rows,) = tables(capsys.readouterr().out)
    expected = [5e6 / 100 / 4 / 3600, 1e6 / 300 / 3600, 5e6 / 400 / 4 / 3600]
    hours = [cells[3] for cells in rows.values()]
    assert hours == pytest.approx([*expected, sum(expected)], abs=0.05)
    assert [cells[1] for cells in rows.values()] == [5 * 12_500, 0, 5 * 12_500, 10 * 12_500]


@pytest.mark.long
def test_a_recipe_is_rehearsed(full_data_set, tmp_path, capsys, monkeypatch):
    """The recipe for YouTube-8M on a few simulated videos: the same epochs and decays, fewer steps in each."""
    monkeypatch.setattr(report, "SECONDS", 0.01)
    count, recipe = 48, "recipes/youtube8m_nextvlad.toml"
    full_data_set.main([f"--recipe_file={recipe}", f"--rehearse={count}"])
    flags = capsys.readouterr().out.split()
    for name, videos in (("train", count), ("validate", 16)):
        write_records(tmp_path / f"{name}.tfrecord", learnable_videos(videos))
    patterns = [f"--{name}_data_pattern={tmp_path}/validate*" for name in ("validation", "eval")]
    arguments = [f"--recipe_file={recipe}", f"--train_data_pattern={tmp_path}/train*", *patterns, *flags]
    arguments += ["--model_args=clusters=4,groups=2,hidden_size=8", "--num_classes=10", "--batch_size=16", *TINY_FLAGS]
    arguments += [f"--teacher_cache={tmp_path}/cache", f"--train_dir={tmp_path}/run"]
    assert train_main(["train.py", *arguments]) == 0
    for run, rate in ((tmp_path / "run", 0.0004), (tmp_path / "run" / "teacher", 0.0002)):
        learning = read_json(run / "config.json")["learning"]
        steps = read_json(max(run.glob("checkpoints/*/progress.json")))["step"]
        assert (learning["num_epochs"], steps) == (5, 5 * count / 16)
        assert learning["base_learning_rate"] == rate
        share = learning["learning_rate_decay_examples"] / 2_000_000
        assert share == pytest.approx(count / full_data_set.VIDEOS, rel=0.02)
        assert learning["ema_momentum"] == pytest.approx(0.9999 ** (full_data_set.VIDEOS / count), rel=1e-3)


def test_early_exits_of_clear_videos(monkeypatch):
    """Half of the videos are as clear at the first step as at the last; the others are noise until then."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    early_exit = importlib.import_module("early_exit")
    random = np.random.default_rng(0)
    labels = np.eye(30, dtype=bool)[random.integers(0, 30, 400)]
    last = np.where(labels, 0.9, 0.1)
    clear = (np.arange(400) // 2 % 2).astype(bool)
    first = np.where(clear[:, np.newaxis], last, random.uniform(0.1, 0.6, last.shape))
    videos = early_exit.Predicted({2: first, 6: last}, labels)
    rows = {(kind, share): rest for kind, share, *rest in early_exit.compare(videos, (2, 6))}
    frames, exits, by_chance, fixed, gain = rows["confidence", 0.5]
    assert frames == pytest.approx(4, abs=0.1)
    assert exits == pytest.approx(videos.half(1).gap(videos.half(1).by_frames[6]), abs=0.01)
    assert exits > max(by_chance, fixed) + 0.05
    assert gain == exits - fixed
    assert rows["change", 0.5][0] == 6  # nothing has changed before the first step, so none stops
