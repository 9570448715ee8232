"""Flags to configurations: defaults, and combinations that make no sense."""

import pathlib
import subprocess
import sys

import pytest

from yt8m_distill.cli import flags as cli
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]


def train_config(*arguments: str):
    values = cli.train_flags()
    assert cli.parse(values, ["train.py", *arguments])
    return cli.train_config_from_flags(values)


def test_the_main_command():
    config = train_config("--model=NeXtVLAD", "--student_frames=30")
    assert config.training_mode == "serial"
    assert config.selection == FrameSelection(30)
    assert config.distillation.losses == ("rep", "pred", "ce")
    assert config.learning.batch_size is None


def test_all_kinds_of_values():
    config = train_config(
        "--model_args=clusters=64,hidden_size=512",
        "--student_model_args=clusters=32",
        "--student_losses=ce,rep",
        "--loss_weights=rep=10",
        "--feature_names=rgb,audio",
        "--feature_sizes=6,2",
        "--num_classes=7",
        "--nodeterministic",
        "--train_fraction=0.25",
    )
    assert config.model_args == {"clusters": "64", "hidden_size": "512"}
    assert config.student_model_args == {"clusters": "32"}
    assert config.distillation.loss_weights == {"rep": 10.0, "ce": 1.0}
    assert config.overrides.feature_sizes == (6, 2)
    assert config.train_fraction == 0.25


def test_modes_without_a_student_or_a_teacher():
    assert train_config("--training_mode=teacher").selection == ALL_FRAMES
    baseline = train_config("--training_mode=baseline", "--student_stride=10")
    assert baseline.selection == FrameSelection(None, 10)
    assert baseline.distillation is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--student_frames=3", "--student_stride=2"], "not both"),
        (["--student_frames=0"], "at least 1"),
        (["--student_frames=many"], "student_frames"),
        (["--frame_sampling=best"], "frame_sampling"),
        (["--student_stride=2", "--frame_sampling=random"], "uniform only"),
        (["--modell=NeXtVLAD"], "model"),
        (["NeXtVLAD"], "unexpected argument 'NeXtVLAD'"),
        (["--model_args=clusters"], "name=value"),
        (["--model_args=clusters=1,clusters=2"], "each name once"),
        (["--loss_weights=rep=heavy"], "'heavy' is no number"),
        (["--loss_weights=kd=1"], "not in --student_losses"),
        (["--student_losses=kd"], "one or more of rep, pred, ce"),
        (["--training_mode=teacher", "--student_frames=3"], "--student_frames does nothing"),
        (["--training_mode=teacher", "--student_losses=ce"], "--student_losses does nothing"),
        (["--training_mode=baseline", "--teacher_dir=x"], "--teacher_dir does nothing"),
        (["--training_mode=parallel", "--teacher_dir=x"], "--teacher_dir does nothing"),
        (["--training_mode=baseline", "--student_model_args=clusters=2"], "--student_model_args does nothing"),
        (["--finetune_epochs=2"], "--student_losses=rep"),
        (["--student_losses=ce", "--prediction_distance=squared"], "without pred"),
        (["--student_losses=ce", "--representation_matching=intermediate"], "without rep"),
        (["--train_fraction=0"], "above 0 and at most 1"),
        (["--train_fraction=1.5"], "above 0 and at most 1"),
        (["--train_fraction=nan"], "above 0 and at most 1"),
    ],
)
def test_senseless_command_lines(arguments, message):
    with pytest.raises(UserError, match=message):
        train_config(*arguments)


def eval_config(*arguments: str):
    values = cli.eval_flags()
    cli.parse(values, ["eval.py", *arguments])
    return cli.eval_config_from_flags(values)


def test_eval_flags():
    config = eval_config("--train_dir=run", "--student_frames=5", "--run_once")
    assert config.selection == FrameSelection(5)
    assert not config.follow
    assert eval_config("--train_dir=run", "--norun_once").follow
    assert eval_config("--train_dir=run").selection is None
    with pytest.raises(UserError, match="--frame_sampling needs --student_frames"):
        eval_config("--train_dir=run", "--frame_sampling=random")
    with pytest.raises(UserError, match="--train_dir is needed"):
        eval_config()
    with pytest.raises(UserError, match="opposites"):
        eval_config("--train_dir=run", "--run_once", "--follow")


def test_inference_flags():
    values = cli.inference_flags()
    cli.parse(values, ["inference.py", "--train_dir=run"])
    with pytest.raises(UserError, match="--output_file is needed"):
        cli.inference_config_from_flags(values)


HELP_OF_A_SCRIPT = """
import runpy, sys
sys.argv = [{script!r}, "--help"]
try:
    runpy.run_path({script!r}, run_name="__main__")
except SystemExit as end:
    assert end.code == 0
assert "tensorflow" not in sys.modules and "keras" not in sys.modules
"""


@pytest.mark.parametrize("script", ["train.py", "eval.py", "inference.py"])
def test_help_lists_the_flags_without_tensorflow(script):
    code = HELP_OF_A_SCRIPT.format(script=str(ROOT / script))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--train_dir" in done.stdout


def test_without_a_word_about_students_the_model_decides():
    config = train_config("--model=Logistic")
    assert (config.training_mode, config.selection, config.distillation) == (None, ALL_FRAMES, None)
    for given in ("--student_losses=ce", "--frame_sampling=random", "--teacher_dir=x", "--student_init=teacher"):
        assert train_config(given).training_mode == "serial"


def test_levels_by_flags():
    flags = ([], ["--frame_features"], ["--noframe_features"])
    assert [train_config(*each).overrides.level for each in flags] == [None, "frame", "video"]
