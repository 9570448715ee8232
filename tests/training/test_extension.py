"""Where a run goes on that is trained longer."""

import dataclasses
import pathlib

import pytest

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.json import to_json
from yt8m_distill.config.recipes import with_recipe
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import Distillation, Learning
from yt8m_distill.errors import UserError
from yt8m_distill.runs import checkpoints
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.teachers import teacher_config
from yt8m_distill.training.checkpointing import Progress
from yt8m_distill.training.extension import Extension, Start, begin_again, extend, extension_of
from yt8m_distill.training.opening import open_run

DATA = DatasetSpec("own", "id", ("rgb",), (4,), num_classes=3, max_frames=9)
BASELINE = RunConfig("NetVLAD", "baseline", selection=FrameSelection(2), data=DATA, learning=Learning(num_epochs=3))
FINETUNED = dataclasses.replace(BASELINE, training_mode="serial", distillation=Distillation(("rep",)), teacher_dir="t")


def lasting(config: RunConfig, epochs: int, steps: int | None = None, finetuning: int | None = None) -> RunConfig:
    learning = Learning(num_epochs=epochs, max_steps=steps, finetune_epochs=finetuning)
    return dataclasses.replace(config, learning=learning)


def save(run: RunDir, progress: Progress):
    position = dataclasses.asdict(progress)
    checkpoints.save_checkpoint(run, progress.step, {}, keep=2, progress=position, log_sizes={})


def save_end(run: RunDir, progress: Progress):
    position = dataclasses.asdict(progress)
    checkpoints.save_stage_end(run, progress.stage, {}, progress=position, log_sizes={})


@pytest.fixture
def run(tmp_path) -> RunDir:
    """After two epochs of three, of five steps each, in the middle of the third."""
    run = RunDir(tmp_path / "run")
    save(run, Progress(epoch=2, batch=1, step=11, stage_start=0))
    return run


def test_a_run_without_a_state_is_free(tmp_path):
    assert extension_of(RunDir(tmp_path), BASELINE, lasting(BASELINE, 1)) == Extension(Start.AS_IT_IS)


@pytest.mark.parametrize(("epochs", "steps"), [(3, None), (5, None), (5, 100), (3, 12)])
def test_a_running_one_goes_on_at_its_checkpoint(run, epochs, steps):
    longer = extension_of(run, BASELINE, lasting(BASELINE, epochs, steps))
    assert longer.start in (Start.AS_IT_IS, Start.LAST_STATE)
    extend(run, longer)
    assert [state.step for state in checkpoints.states(run)] == [11]


@pytest.mark.parametrize(("epochs", "steps"), [(2, None), (5, 10)])
def test_less_than_was_trained_is_refused(run, epochs, steps):
    with pytest.raises(UserError, match=r"trained for 3 epochs \(11 steps\)"):
        extension_of(run, BASELINE, lasting(BASELINE, epochs, steps))


def test_an_epoch_that_was_cut_short_is_taken_back(tmp_path):
    run, cut = RunDir(tmp_path), lasting(BASELINE, 3, 7)
    save(run, Progress(epoch=1, step=5, stage_start=0))
    save_end(run, Progress(epoch=1, batch=2, step=7, stage_start=0))
    save(run, Progress(epoch=2, step=7, stage_start=0))
    assert not extension_of(run, cut, lasting(BASELINE, 5, 7)).trains
    longer = extension_of(run, cut, lasting(BASELINE, 3, 8))
    assert longer == Extension(Start.END_OF_STAGE, 0)
    run.report_file.touch()
    extend(run, longer)
    assert not run.report_file.exists()
    assert [(state.path.name, state.step) for state in checkpoints.states(run)] == [("step-00000005", 5), ("1", 7)]


def test_the_epochs_of_a_teacher_may_be_its_recipes(tmp_path):
    run = RunDir(tmp_path / "run")
    student = dataclasses.replace(
        BASELINE,
        training_mode="serial",
        distillation=Distillation(),
        teacher_settings={"num_epochs": "none"},
        recipe="paper",
        train_dir=str(run.path),
        model_args=BASELINE.model_class.argument_defaults(),
    )
    teacher = with_recipe(teacher_config(student, str(run.teacher.path)))
    assert (student.learning.num_epochs, teacher.learning.num_epochs) == (3, 5)
    save(run.teacher, Progress(epoch=5, step=25, stage_start=0))
    for directory, config in ((run, student), (run.teacher, teacher)):
        directory.config_file.write_text(to_json(config))
    with open_run(student, start_new_model=False):
        assert [state.step for state in checkpoints.states(run.teacher)] == [25]


def test_earlier_versions_did_not_keep_the_end_of_a_stage(tmp_path):
    run = RunDir(tmp_path / "run")
    save(run, Progress(epoch=1, step=5))
    save(run, Progress(epoch=2, step=7))
    run.config_file.write_text(to_json(BASELINE))
    longer = extension_of(run, lasting(BASELINE, 3, 7), lasting(BASELINE, 3))
    assert longer.start is Start.BEGINNING
    extend(run, longer)
    assert checkpoints.states(run) == []
    moved = RunDir(pathlib.Path(f"{run.path}.old-1"))
    assert moved.read_config() == BASELINE
    assert len(checkpoints.checkpoints(moved)) == 2


def test_stages_that_follow_a_longer_one_are_taken_back(tmp_path):
    run, old = RunDir(tmp_path), lasting(FINETUNED, 3, finetuning=2)
    save(run, Progress(epoch=3, step=15, stage_start=0))
    save_end(run, Progress(epoch=3, step=15, stage_start=0))
    save(run, Progress(stage=1, epoch=2, step=25, stage_start=15))
    assert extension_of(run, old, lasting(FINETUNED, 3, finetuning=4)) == Extension(Start.LAST_STATE)
    with pytest.raises(UserError, match=r"2 epochs \(10 steps\) of fine-tuning"):
        extension_of(run, old, lasting(FINETUNED, 3, finetuning=1))
    longer = extension_of(run, old, lasting(FINETUNED, 4, finetuning=2))
    assert longer == Extension(Start.END_OF_STAGE, 0)
    extend(run, longer)
    assert [(state.path.name, state.step) for state in checkpoints.states(run)] == [("1", 15), ("step-00000015", 15)]


def test_only_what_was_trained_is_moved_aside(tmp_path):
    run = RunDir(tmp_path / "run")
    for folder in (run.best, run.logs, run.teacher.best):
        folder.mkdir(parents=True)
    run.config_file.write_text(to_json(FINETUNED))
    begin_again(run, "of a reason")
    assert sorted(path.name for path in run.path.iterdir()) == ["config.json", "teacher"]
    begin_again(run, "of a reason")  # nothing is left to move
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.old-1"]
