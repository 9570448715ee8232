"""A run that is trained longer ends as one that was longer from the start, byte for byte."""

import pathlib

import pytest

from tests.end_to_end.commands import kill_after, stop_after, train
from tests.end_to_end.test_resuming import assert_same_end
from yt8m_distill.files.untrusted import read_json
from yt8m_distill.runs.directory import RunDir

pytestmark = pytest.mark.slow

BASELINE = ["--training_mode=baseline"]
AVERAGES = ["--ema_momentum=0.9"]
# Four steps an epoch. The settings of all starts, and how long each is: the last one as from the start.
CASES = {
    "epochs": (BASELINE, ["--num_epochs=1"], ["--num_epochs=3"]),
    "steps, in the middle of epochs": (
        [*BASELINE, *AVERAGES],
        ["--max_steps=6"],
        ["--max_steps=7"],
        ["--max_steps=10"],
    ),
    "steps to epochs": (BASELINE, ["--max_steps=2"], ["--num_epochs=2"]),
    "steps at the end of an epoch": (BASELINE, ["--max_steps=4"], ["--num_epochs=2"]),
    "teacher and student together": (["--training_mode=parallel"], ["--max_steps=3"], ["--num_epochs=2"]),
    "a teacher of its own, fine-tuning": (["--student_losses=rep"], ["--num_epochs=1"], ["--num_epochs=2"]),
    "fine-tuning alone": (
        ["--student_losses=rep", "--num_epochs=1"],
        ["--finetune_epochs=1"],
        ["--finetune_epochs=3"],
    ),
}
QUICKER = ("steps, in the middle of epochs", "a teacher of its own, fine-tuning")


def options(data: pathlib.Path, *others: str) -> list[str]:
    """Flags of all trainings here."""
    common = ["--student_frames=3", "--num_epochs=4", "--deterministic", "--checkpoint_every_steps=3"]
    return [*common, f"--validation_data_pattern={data}/validate*", *others]


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=name, marks=[] if name in QUICKER else pytest.mark.long) for name, case in CASES.items()],
)
def test_a_longer_run_ends_as_one_that_was_longer_from_the_start(data, tmp_path, case):
    settings, *lengths = case
    assert train(data, tmp_path / "whole", *options(data, *settings), *lengths[-1]) == 0
    for length in lengths:
        assert train(data, tmp_path / "run", *options(data, *settings), *length) == 0
    assert_same_end(tmp_path / "run", tmp_path / "whole")


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory) -> tuple[pathlib.Path, list[str]]:
    """A run of two stages with a teacher that was there, and its flags without its length."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    of_teacher = [flag for flag in options(data, "--training_mode=teacher", "--num_epochs=1") if "student" not in flag]
    assert train(data, folder / "teacher", *of_teacher) == 0
    arguments = options(data, "--student_losses=rep", f"--teacher_dir={folder / 'teacher'}", *AVERAGES)
    assert train(data, folder / "whole", *arguments, "--num_epochs=2", "--finetune_epochs=1") == 0
    return folder / "whole", arguments


@pytest.mark.parametrize("interrupt", [pytest.param(stop_after, marks=pytest.mark.long), kill_after])
def test_a_run_that_was_interrupted(data, tmp_path, uninterrupted, interrupt):
    """In its second stage, and again while it is trained longer in its first."""
    whole, arguments = uninterrupted
    for epochs, step in ((1, 7), (2, 5)):
        with pytest.MonkeyPatch.context() as patch:
            interrupt(patch, step)
            assert train(data, tmp_path / "run", *arguments, f"--num_epochs={epochs}", "--finetune_epochs=1") == 1
    assert train(data, tmp_path / "run", *arguments, "--num_epochs=2", "--finetune_epochs=1") == 0
    assert_same_end(tmp_path / "run", whole)


@pytest.mark.long
def test_with_a_teacher_cache(data, tmp_path):
    """A longer teacher makes another student; the former one is kept beside it, and the cache is written again."""
    for name, lengths in (("whole", [2]), ("run", [1, 2])):
        arguments = options(data, "--student_losses=pred", f"--teacher_cache={tmp_path / name}_cache")
        for epochs in lengths:
            assert train(data, tmp_path / name, *arguments, f"--num_epochs={epochs}") == 0
    predictions = [(tmp_path / f"{name}_cache" / "predictions.bin").read_bytes() for name in ("whole", "run")]
    assert predictions[0] == predictions[1]
    files = RunDir(tmp_path / "run"), RunDir(tmp_path / "whole")
    assert files[0].best.joinpath("student.weights.h5").read_bytes() == (
        files[1].best.joinpath("student.weights.h5").read_bytes()
    )
    former = RunDir(tmp_path / "run.old-1")
    assert former.read_config().learning.num_epochs == 1
    assert (former.best / "student.weights.h5").exists()


def test_refusals(data, tmp_path, capsys):
    arguments = options(data, *BASELINE, "--checkpoint_every_steps=2")
    run = RunDir(tmp_path / "run")
    assert train(data, run.path, *arguments, "--num_epochs=2") == 0
    report = read_json(run.report_file)
    for shorter in ("--num_epochs=1", "--max_steps=7"):
        assert train(data, run.path, *arguments, "--num_epochs=2", shorter) == 2
        assert "already been trained for 2 epochs (8 steps)." in capsys.readouterr().err
    assert train(data, run.path, *arguments, "--num_epochs=3", "--seed=1") == 2
    message = capsys.readouterr().err
    assert "learning.seed: 0 in the run, 1 now" in message
    assert "num_epochs" not in message
    assert run.read_config().learning.num_epochs == 2
    assert read_json(run.report_file) == report
