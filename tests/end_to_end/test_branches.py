"""--branch: one branch of a trained MixNeXtVLAD, evaluated, applied and packed by itself."""

import csv
import pathlib

import numpy as np
import pytest

from tests.helpers import TINY_FLAGS, learnable_videos, write_records
from yt8m_distill.eval import main as eval_main
from yt8m_distill.files.untrusted import read_json
from yt8m_distill.inference import main as inference_main
from yt8m_distill.models import MixNeXtVLAD, NeXtVLAD
from yt8m_distill.runs import loading, packing
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.train import main as train_main

pytestmark = pytest.mark.slow

SIZES = "branches=2,clusters=4,groups=2,hidden_size=8,gating_reduction=2"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pathlib.Path:
    """A folder with videos and, in "run", a student and its teacher."""
    folder = tmp_path_factory.mktemp("branches")
    path = write_records(folder / "a.tfrecord", learnable_videos(24))
    options = [
        "--model=MixNeXtVLAD",
        f"--model_args={SIZES}",
        "--training_mode=parallel",
        "--num_classes=10",
        *TINY_FLAGS,
    ]
    options += [
        "--batch_size=8",
        "--num_epochs=2",
        "--base_learning_rate=0.01",
        "--student_frames=3",
        "--optimizer=SGD",
    ]
    data = [f"--train_data_pattern={path}", f"--eval_data_pattern={path}"]
    assert train_main(["train.py", *options, *data, f"--train_dir={folder / 'run'}"]) == 0
    return folder


def _predictions(path: pathlib.Path) -> dict[str, dict[int, float]]:
    with open(path, newline="") as file:
        rows = list(csv.reader(file))[1:]
    numbers = {video: [float(number) for number in pairs.split()] for video, pairs in rows}
    return {video: dict(zip(map(int, pairs[::2]), pairs[1::2], strict=True)) for video, pairs in numbers.items()}


def test_a_branch_is_loaded_as_a_model_of_its_own(run):
    mixture, branch = (loading.load(str(run / "run"), "teacher", branch=index) for index in (None, 1))
    inputs = {"frames": np.random.default_rng(0).integers(0, 256, (3, 5, 8), np.uint8), "num_frames": [5, 3, 1]}
    inputs["num_frames"] = np.array(inputs["num_frames"], np.int32)

    expected = mixture.model(inputs)["branch_logits"][:, 1]

    assert type(mixture.model) is MixNeXtVLAD
    assert type(branch.model) is NeXtVLAD
    assert branch.config.model == "NeXtVLAD"
    np.testing.assert_allclose(branch.model(inputs)["logits"], expected, rtol=1e-5, atol=1e-6)


def test_evaluation_of_the_mixture_and_of_each_branch(run):
    for arguments, place in (
        ((), "eval"),
        (("--branch=0",), "eval/branch_0"),
        (("--branch=1",), "eval/branch_1"),
        (("--branch=1", "--which=teacher"), "eval/teacher/branch_1"),
    ):
        assert eval_main(["eval.py", f"--train_dir={run / 'run'}", *arguments]) == 0
        metrics = read_json(run / "run" / place / "metrics.json")
        assert metrics["examples"] == 24
        assert metrics.get("branch") == (int(place[-1]) if "branch" in place else None)
        assert (run / "run" / "logs" / place.replace("/", "_")).is_dir()


def test_a_packed_branch_predicts_the_same_by_itself(run, tmp_path):
    packed, first, again = tmp_path / "model.tgz", tmp_path / "first.csv", tmp_path / "again.csv"
    options = [f"--input_data_pattern={run}/a.tfrecord", "--top_k=10"]
    own = [f"--train_dir={run / 'run'}", "--branch=1", f"--output_file={first}", f"--output_model_tgz={packed}"]
    assert inference_main(["inference.py", *own, *options]) == 0
    assert inference_main(["inference.py", f"--input_model_tgz={packed}", f"--output_file={again}", *options]) == 0
    whole = [f"--train_dir={run / 'run'}", f"--output_file={tmp_path / 'whole.csv'}"]
    assert inference_main(["inference.py", *whole, *options]) == 0

    assert first.read_text() == again.read_text()
    assert _predictions(first).keys() == _predictions(tmp_path / "whole.csv").keys()
    assert _predictions(first) != _predictions(tmp_path / "whole.csv")
    (tmp_path / "unpacked").mkdir()
    packing.unpack(str(packed), str(tmp_path / "unpacked"))
    assert RunDir(tmp_path / "unpacked").read_config().model == "NeXtVLAD"


@pytest.mark.parametrize(
    ("branch", "message"),
    [("2", "branch=2: the model has the branches 0 to 1"), ("-1", "--branch must be at least 0")],
)
def test_other_branches_are_refused(run, capsys, branch, message):
    assert eval_main(["eval.py", f"--train_dir={run / 'run'}", f"--branch={branch}"]) == 2
    assert message in capsys.readouterr().err


def test_a_model_without_branches_is_refused(run, tmp_path, capsys):
    options = [
        "--model=FrameLevelLogistic",
        "--training_mode=teacher",
        "--num_classes=10",
        "--num_epochs=1",
        *TINY_FLAGS,
    ]
    data = [f"--train_data_pattern={run}/a.tfrecord", f"--train_dir={tmp_path}"]
    assert train_main(["train.py", *options, *data]) == 0

    assert eval_main(["eval.py", f"--train_dir={tmp_path}", "--branch=0", f"--eval_data_pattern={run}/a.tfrecord"]) == 2
    assert "branch=0: FrameLevelLogistic has no branches" in capsys.readouterr().err
