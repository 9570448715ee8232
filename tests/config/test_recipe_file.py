"""TOML files of flags for train.py, the recipes of the repository, and the settings of the teacher in them."""

import dataclasses
import pathlib
import tomllib

import pytest

from tests.experiments.test_tables import SPEC
from yt8m_distill.cli.flags import parse
from yt8m_distill.config.frames import ALL_FRAMES
from yt8m_distill.config.json import from_json, to_json
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.settings import as_text
from yt8m_distill.config.training import TrainCommand, TrainConfig
from yt8m_distill.errors import UserError
from yt8m_distill.runs.teachers import teacher_config

RECIPES = sorted((pathlib.Path(__file__).parents[2] / "yt8m_distill/recipes").glob("*.toml"))
GOOD = """
model = "NetVLAD"
model_args = {clusters = 4}
student_frames = [1, 3]
student_losses = ["rep", "pred"]
num_epochs = 15
ema_momentum = 0.99
[teacher_settings]
num_epochs = 10
ema_momentum = "none"
"""


def training(tmp_path: pathlib.Path, text: str, *arguments: str) -> TrainConfig:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return parse(TrainCommand, ["train.py", f"--recipe_file={path}", *arguments]).training


def test_a_file_gives_flags_and_the_command_line_wins(tmp_path):
    config = training(tmp_path, GOOD, "--num_epochs=2", "--train_dir=there")
    assert (config.model, config.model_args, config.train_dir) == ("NetVLAD", {"clusters": 4}, "there")
    assert (config.selection.drawn_from, config.distillation.losses) == ((1, 3), ("rep", "pred"))
    assert (config.learning.num_epochs, config.learning.ema_momentum) == (2, 0.99)
    same = ["--model=NetVLAD", "--model_args=clusters=4", "--student_frames=1,3", "--student_losses=rep,pred"]
    same += ["--num_epochs=2", "--ema_momentum=0.99", "--train_dir=there"]
    same += ["--teacher_settings=num_epochs=10,ema_momentum=none"]
    written = parse(TrainCommand, ["train.py", *same]).training
    assert dataclasses.replace(written, model_args={"clusters": 4}) == config


def test_settings_that_another_mode_makes_useless_are_dropped(tmp_path):
    config = training(tmp_path, GOOD, "--training_mode=baseline")
    assert (config.training_mode, config.distillation, config.teacher_settings) == ("baseline", None, {})
    with pytest.raises(UserError, match="--student_losses does nothing with --training_mode=baseline"):
        training(tmp_path, 'training_mode = "baseline"\nstudent_losses = ["ce"]', "--num_epochs=1")


def test_settings_that_others_make_useless_are_dropped(tmp_path):
    assert training(tmp_path, GOOD, "--teacher_dir=there").teacher_settings == {}
    text = "learning_rate_decay = 0.5\nlearning_rate_decay_examples = 10"
    learning = training(tmp_path, text, "--learning_rate_schedule=cosine").learning
    assert (learning.learning_rate_decay, learning.learning_rate_decay_examples) == (None, None)
    text = 'learning_rate_schedule = "cosine"\nwarmup_steps = 3'
    assert training(tmp_path, text, "--learning_rate_schedule=decay").learning.warmup_steps is None
    assert training(tmp_path, text).learning.warmup_steps == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warmup_steps": 3}, "teacher_settings: warmup_steps does nothing without"),
        ({"mixup": 1, "label_loss": "HingeLoss"}, "teacher_settings: mixup gives labels between 0 and 1"),
    ],
)
def test_settings_of_a_teacher_that_make_no_sense_are_said_to_be_its_own(tmp_path, settings, message):
    config = dataclasses.replace(training(tmp_path, GOOD), teacher_settings=settings)
    with pytest.raises(UserError, match=message):
        teacher_config(config, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_epoch = 3", "unknown setting 'num_epoch'; did you mean num_epochs"),
        ("num_epochs = 'x'", "must be a whole number, not 'x'"),
        ("num_epochs = 0", "--num_epochs must be at least 1, not 0"),
        ("num_epochs = ", "recipe.toml is not valid TOML"),
        ('plugins = ["a"]', "plugins are named on the command line"),
        ("start_new_model = true", "unknown setting 'start_new_model'"),
        ("[learning]\nnum_epochs = 3", "unknown setting 'learning'"),
        ("[teacher_settings]\nnum_epoch = 3", "--teacher_settings: 'num_epoch' is not a setting of a training"),
        ("[teacher_settings]\nnum_epochs = 'x'", "num_epochs must be a whole number"),
        ("[teacher_settings]\ntrain_dir = 'x'", "'train_dir' is the same for teacher and student"),
        ("[teacher_settings]\nteacher_settings = {loss_weights = {rep = 1}}", "tables go no deeper"),
        (
            "training_mode = 'baseline'\n[teacher_settings]\nnum_epochs = 3",
            "does nothing with --training_mode=baseline",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        training(tmp_path, text)


def test_recipes_of_the_package_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ["train.py", "--recipe_file=recipes/audioset_student.toml"]
    assert parse(TrainCommand, asked).training.selection.drawn_from == (1, 2, 3, 5)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "audioset_student.toml").write_text(GOOD)
    assert parse(TrainCommand, asked).training.selection.drawn_from == (1, 3)  # the user's own comes first
    with pytest.raises(UserError, match=r"--recipe_file=recipes/mine\.toml is not a file"):
        parse(TrainCommand, ["train.py", "--recipe_file=recipes/mine.toml"])


def test_a_file_that_is_not_there():
    with pytest.raises(UserError, match=r"--recipe_file=nowhere\.toml is not a file; recipes/audioset_student"):
        parse(TrainCommand, ["train.py", "--recipe_file=nowhere.toml"])


def test_the_teachers_settings(tmp_path):
    config = training(tmp_path, GOOD)
    assert config.teacher_settings == {"num_epochs": 10, "ema_momentum": "none"}
    teacher = teacher_config(config, "there")
    assert (teacher.training_mode, teacher.selection, teacher.train_dir) == ("teacher", ALL_FRAMES, "there")
    assert teacher.learning == dataclasses.replace(config.learning, num_epochs=10, ema_momentum=None)
    run = RunConfig.of(config, data=SPEC)
    assert from_json(to_json(run), "config.json") == run
    assert teacher_config(run, None).learning.num_epochs == 10
    plain = dataclasses.replace(run, teacher_settings={})
    assert "teacher_settings" not in to_json(plain)
    assert "teacher_role" not in to_json(plain)


def test_a_teacher_for_every_k(tmp_path):
    arguments = "training_mode=baseline,student_frames=1,3,10,frame_sampling=jittered,num_epochs=4"
    config = training(tmp_path, 'model = "NetVLAD"', "--student_frames=3", f"--teacher_settings={arguments}")
    teacher = teacher_config(config, None)
    assert (teacher.training_mode, teacher.distillation) == ("baseline", None)
    assert (teacher.selection.drawn_from, teacher.selection.sampling) == ((1, 3, 10), "jittered")
    assert teacher.learning.num_epochs == 4
    wrong = dataclasses.replace(config, teacher_settings={"student_losses": "ce"})
    with pytest.raises(UserError, match="student_losses does nothing with training_mode=teacher"):
        teacher_config(wrong, None)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_of_the_repository(path):
    student = parse(TrainCommand, ["train.py", f"--recipe_file={path}"]).training
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    of_teacher = values["teacher_settings"]
    teacher = teacher_config(student, None)
    assert student.training_mode == "serial"
    assert teacher.training_mode == of_teacher.get("training_mode", "teacher")
    for config, own in ((student, values), (teacher, of_teacher)):
        assert config.learning.num_epochs == own["num_epochs"]
        assert list(config.selection.drawn_from) == own.get("student_frames", [])
        assert config.selection.sampling == own.get("frame_sampling", "uniform")


def test_text_of_tables_and_lists():
    assert as_text({"a": [1, 2], "b": True}) == "a=1,2,b=True"
    with pytest.raises(UserError, match="'a' is a table within a table"):
        as_text({"a": {"b": 1}})
