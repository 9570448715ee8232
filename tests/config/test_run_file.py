"""Files that name runs: what they say as configurations, and what is wrong with them in one sentence."""

import pathlib

import pytest

from yt8m_distill.cli.flags import parse
from yt8m_distill.config.experiment import ExperimentConfig
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.errors import UserError

GOOD = """
frames = [1, 3]
seeds = [4]
[settings]
model = "NetVLAD"
model_args = {clusters = 4, hidden_size = 8}
train_data_pattern = "train*"
eval_data_pattern = "test*"
num_epochs = 2
student_init = "teacher"

[[runs]]
name = "Uniform"
training_mode = "baseline"

[[runs]]
name = "Few losses"
student_losses = ["rep", "ce"]
base_learning_rate = 0.5
student_init = "classifier"

[[runs]]
name = "Any k"
student_frames = [1, 3]
deterministic = true

[[runs]]
name = "Teacher"
training_mode = "teacher"
"""


def experiment(tmp_path: pathlib.Path, text: str, *arguments: str) -> ExperimentConfig:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return parse(ExperimentConfig, ["experiment", f"--experiment={path}", *arguments])


def test_runs_have_the_shared_settings_and_their_own(tmp_path):
    config = experiment(tmp_path, GOOD)
    assert [(run.row, run.config.selection.describe()) for run in config.named_runs] == [
        *(("Uniform", "1"), ("Uniform", "3"), ("Few losses", "1"), ("Few losses", "3")),
        *(("Any k", "1-3"), ("Teacher", "all")),
    ]
    uniform, _, few, _, any_k, teacher = (run.config for run in config.named_runs)
    assert uniform.training_mode == "baseline"
    assert uniform.distillation is None  # the shared student_init does not concern it
    assert few.distillation.losses == ("rep", "ce")
    assert few.distillation.student_init == "classifier"
    assert (few.learning.base_learning_rate, few.learning.num_epochs) == (0.5, 2)
    assert any_k.selection == FrameSelection(3, drawn_from=(1, 3))
    assert any_k.distillation.student_init == "teacher"
    assert any_k.learning.deterministic
    assert teacher.model_args == {"clusters": 4, "hidden_size": 8}
    assert (config.seeds, config.output_dir) == ((4,), "runs/mine_NetVLAD")


def test_the_command_line_overrules_what_is_shared(tmp_path):
    config = experiment(tmp_path, GOOD, "--num_epochs=9", "--base_learning_rate=7", "--seeds=2", "--frames=5")
    uniform, few, *_ = (run.config for run in config.named_runs)
    assert uniform.selection == FrameSelection(5)
    assert (uniform.learning.num_epochs, uniform.learning.base_learning_rate) == (9, 7)
    assert few.learning.base_learning_rate == 0.5
    assert config.seeds == (0, 1)


RUN = '[[runs]]\nname = "A"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frames = [1", "mine.toml is not valid TOML"),
        ("", r"at least one \[\[runs\]\]"),
        ("runs = 3", r"at least one \[\[runs\]\]"),
        ("[[runs]]\nmodel = 'NetVLAD'", "run 1: name"),
        ("frame = [1]\n" + RUN, "unknown setting 'frame'; did you mean frames"),
        (RUN + "modell = 'NetVLAD'", r"run 1 \('A'\): unknown setting 'modell'; did you mean model"),
        (RUN + "xyzzy = 1", "settings are the flags of train.py"),
        (RUN + "seed = 1", "seed is set by the experiment"),
        (RUN + "train_dir = 'x'", "train_dir is set by the experiment"),
        (RUN + "plugins = ['x']", "plugins are named on the command line"),
        (RUN + "batch_size = 'many'", r"run 1 \('A'\): batch_size must be a whole number, not 'many'"),
        (RUN + "batch_size = 0", "run 'A': batch_size must be at least 1"),
        (RUN + "batch_size = 2020-01-01", "batch_size must be a text, a number"),
        (RUN + "training_mode = 'teacher'\nstudent_frames = 3", "student_frames does nothing"),
        (RUN + "student_losses = ['kd']", "run 'A': student_losses must be one of rep, pred, dist, ce, not kd"),
        (RUN + "student_frames = 0", "run 'A': student_frames must be at least 1"),
        (RUN + "teacher_cache_top = 4", "run 'A': teacher_cache_top does nothing without teacher_cache"),
        ("frames = ['a']\n" + RUN, "frames must be a list of whole numbers"),
        ("settings = 1\n" + RUN, "settings must be a table"),
        ("[settings]\ntrain_data_pattern = 'x'\n" + RUN, "either eval_data_pattern or validation_fraction are"),
    ],
)
def test_wrong_files(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        experiment(tmp_path, text)


def test_a_file_that_is_not_there():
    with pytest.raises(UserError, match=r"--experiment=nowhere.toml is not a file"):
        parse(ExperimentConfig, ["experiment", "--experiment=nowhere.toml"])
