"""Longer trainings with more helps: the cosine schedule, mixup, shares of losses, other starts, other teachers."""

import pathlib
import shutil

import numpy as np
import pytest

from tests.end_to_end.commands import evaluate, kill_after, scalars, stop_after, train
from tests.end_to_end.test_resuming import assert_same_end, train_with_interruptions
from yt8m_distill.files.untrusted import read_json
from yt8m_distill.losses.shares import MEASURED_STEPS
from yt8m_distill.runs import loading
from yt8m_distill.runs.checkpoints import checkpoints
from yt8m_distill.runs.directory import RunDir

pytestmark = pytest.mark.slow

MANY_K = ["--student_frames=1,2,3", "--frame_sampling=jittered"]
HELPS = [*MANY_K, "--mixup=0.4", "--learning_rate_schedule=cosine", "--ema_momentum=0.9", "--deterministic"]
SHARES = ["--student_losses=rep,dist,ce", "--loss_shares=rep=.4,dist=.3,ce=.3", "--temperature=2"]


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory) -> pathlib.Path:
    """A folder with "any_k", trained on labels with all helps, and "student", of that model, from its weights."""
    folder = tmp_path_factory.mktemp("runs")
    assert train(data, folder / "any_k", "--training_mode=baseline", "--num_epochs=3", *HELPS) == 0
    arguments = [f"--teacher_dir={folder / 'any_k'}", "--student_init=teacher", *SHARES, *HELPS]
    assert train(data, folder / "student", "--num_epochs=7", "--checkpoint_every_steps=5", *arguments) == 0
    return folder


def weights_of(run: pathlib.Path, which: str | None = None) -> list[np.ndarray]:
    return loading.load(run, which).model.get_weights()


def test_a_stopped_run_ends_as_one_never_stopped(data, runs, tmp_path):
    arguments = [f"--teacher_dir={runs / 'any_k'}", "--student_init=teacher", *SHARES, *HELPS]
    arguments += ["--num_epochs=7", "--checkpoint_every_steps=5"]
    # While the shares are measured, and when they are fixed.
    interruptions = [(stop_after, 9), (kill_after, MEASURED_STEPS + 4)]
    train_with_interruptions(data, tmp_path / "stopped", arguments, interruptions)
    assert_same_end(tmp_path / "stopped", runs / "student")


def test_rate_and_weights_are_logged(runs):
    curves = scalars(runs / "student" / "logs" / "train")
    rates = [value for _, value in curves["train/learning_rate"]]
    assert [step for step, _ in curves["train/learning_rate"]] == [10, 20]
    cosine = [0.01 * 0.5 * (1 + np.cos(np.pi * (step - 1) / 27)) for step in (10, 20)]
    np.testing.assert_allclose(rates, cosine, rtol=1e-5)  # of 28 steps, one of them the warm-up
    for name in ("rep", "dist", "ce"):
        assert len({value for _, value in curves[f"loss_weights/{name}"]}) == 2  # changed until step 20
    stored = checkpoints(RunDir(runs / "student"))[-1].arrays("shares.")
    assert stored["shares.0001"] == MEASURED_STEPS
    assert all(stored["shares.0000"] > 0)


def test_an_any_k_model_teaches_on_all_frames(data, runs, tmp_path):
    teacher = loading.load(runs / "student", "teacher")
    assert (teacher.role, teacher.selection.describe(), teacher.config.training_mode) == ("teacher", "all", "teacher")
    for own, other in zip(teacher.model.get_weights(), weights_of(runs / "any_k"), strict=True):
        np.testing.assert_array_equal(own, other)
    row = read_json(runs / "student" / "report.json")["rows"][0]
    assert (row["role"], row["frames"]) == ("teacher", 12)
    flags = [f"--train_dir={runs / 'any_k'}", "--student_frames=12", f"--output_file={tmp_path / 'm.json'}"]
    assert evaluate(*flags) == 0
    assert read_json(tmp_path / "m.json")["GAP@20"] == pytest.approx(row["metrics"]["GAP@20"], abs=1e-6)
    assert evaluate(f"--train_dir={runs / 'student'}", "--which=teacher", f"--output_file={tmp_path / 't.json'}") == 0
    assert read_json(tmp_path / "t.json")["GAP@20"] == pytest.approx(row["metrics"]["GAP@20"], abs=1e-6)


def test_a_student_teaches_where_it_is_asked_to(data, runs, tmp_path):
    arguments = ["--max_steps=1", *MANY_K, "--student_losses=rep,pred", f"--teacher_dir={runs / 'student'}"]
    assert train(data, tmp_path / "of_teacher", *arguments) == 0
    assert train(data, tmp_path / "of_student", *arguments, "--teacher_role=student") == 0
    for run, source in (("of_teacher", runs / "any_k"), ("of_student", runs / "student")):
        for own, other in zip(weights_of(tmp_path / run, "teacher"), weights_of(source), strict=True):
            np.testing.assert_array_equal(own, other)


def test_of_several_teachers_of_the_own_family_the_first_is_matched(data, runs, tmp_path):
    nothing = ["--max_steps=1", "--base_learning_rate=1e-30", "--recipe=paper", *MANY_K]
    assert train(data, tmp_path / "other", *nothing, "--training_mode=baseline", "--seed=5") == 0
    for first, second in ((tmp_path / "other", runs / "any_k"), (runs / "any_k", tmp_path / "other")):
        run = tmp_path / f"of_{first.name}"
        arguments = [f"--teacher_dir={first},{second}", "--student_init=teacher", "--student_losses=rep,pred"]
        assert train(data, run, *nothing, *arguments) == 0
        student, teacher = loading.load(run).model, loading.load(first).model
        for own, other in zip(student.trainable_variables, teacher.trainable_variables, strict=True):
            np.testing.assert_allclose(own, other, atol=1e-6)


@pytest.mark.parametrize("mode", ["teacher", "baseline", "serial"])
def test_the_weights_of_another_run_are_the_start(data, runs, tmp_path, mode):
    arguments = [f"--training_mode={mode}", "--max_steps=1", "--base_learning_rate=1e-30"]
    arguments += [] if mode == "teacher" else MANY_K
    assert train(data, tmp_path / "run", *arguments, f"--init_from={runs / 'any_k'}") == 0
    model, start = loading.load(tmp_path / "run").model, loading.load(runs / "any_k").model
    for own, other in zip(model.trainable_variables, start.trainable_variables, strict=True):
        np.testing.assert_allclose(own, other, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--init_from=nowhere"], "nowhere"),
        (["--init_from={runs}/any_k", "--model_args=clusters=4,hidden_size=9"], "init_from needs models with the same"),
        (["--init_from={run}"], "is not a run directory of train.py: it has no config.json"),
        (["--init_from={runs}/any_k", "--num_classes=12"], "the model in '"),
        (["--learning_rate_schedule=cosine", "--warmup_steps=8"], "warmup_steps=8 must be less than all 8 steps"),
    ],
)
def test_refused(data, runs, tmp_path, capsys, arguments, message):
    arguments = [argument.format(runs=runs, run=tmp_path / "run") for argument in arguments]
    assert train(data, tmp_path / "run", "--training_mode=baseline", "--num_epochs=2", *MANY_K, *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_run_does_not_start_from_itself(data, runs, tmp_path, capsys):
    shutil.copytree(runs / "any_k", tmp_path / "run")
    arguments = ["--training_mode=baseline", *MANY_K, "--start_new_model", f"--init_from={tmp_path / 'run'}"]
    assert train(data, tmp_path / "run", *arguments) == 2
    assert "is the run that is to be trained" in capsys.readouterr().err
    assert loading.load(tmp_path / "run").role == "student"  # it is still there


@pytest.mark.parametrize("longer", ["--num_epochs=8", "--max_steps=40", "--num_epochs=6"])
def test_a_cosine_run_is_not_made_longer_or_shorter(data, runs, capsys, longer):
    arguments = [f"--teacher_dir={runs / 'any_k'}", "--student_init=teacher", *SHARES, *HELPS]
    assert train(data, runs / "student", "--num_epochs=7", "--checkpoint_every_steps=5", *arguments, longer) == 2
    assert "--learning_rate_schedule=cosine, whose learning rates follow from" in capsys.readouterr().err


def test_labels_alone_with_the_start_and_the_helps_of_a_student(data, runs, tmp_path):
    """Two ways to say it, which differ in where the frames are mixed: all of a video, or those that are seen."""
    helps = ["--num_epochs=1", *(help for help in HELPS if "mixup" not in help)]
    arguments = ["--student_losses=ce", "--student_init=teacher", f"--teacher_dir={runs / 'any_k'}"]
    assert train(data, tmp_path / "run", *helps, *arguments) == 0
    arguments = ["--training_mode=baseline", f"--init_from={runs / 'any_k'}"]
    assert train(data, tmp_path / "same", *helps, *arguments) == 0
    for own, other in zip(weights_of(tmp_path / "run"), weights_of(tmp_path / "same"), strict=True):
        np.testing.assert_allclose(own, other, atol=1e-5)
