"""`--callbacks`: the forms that are read."""

import pytest

from yt8m_distill.cli.flags import parse
from yt8m_distill.config.callbacks import callback_source
from yt8m_distill.config.training import TrainCommand
from yt8m_distill.errors import UserError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b:C", ("a.b", "C", {})),
        ("a:C()", ("a", "C", {})),
        ("a:C(x=1, y=-2.5e-3,z=true)", ("a", "C", {"x": 1, "y": -2.5e-3, "z": True})),
        ("a:C(x=val_GAP@20,y=[1,2],z=none)", ("a", "C", {"x": "val_GAP@20", "y": [1, 2], "z": None})),
        ("a:C(x='two words')", ("a", "C", {"x": "two words"})),
        ("a:C(path={train_dir}/log.csv)", ("a", "C", {"path": "{train_dir}/log.csv"})),
        ("a:C(url=http://h/?q=1)", ("a", "C", {"url": "http://h/?q=1"})),
    ],
)
def test_forms(text, expected):
    source = callback_source(text)
    assert (source.module, source.name, source.arguments) == expected


@pytest.mark.parametrize("text", ["a", "a:", ":C", "a:C(", "a:C(1)", "a:C(x)", "a:C(x=1)y", "a:C(x-y=1)"])
def test_other_forms_are_refused(text):
    with pytest.raises(UserError, match="must have the form module:Class"):
        callback_source(text)


def test_an_argument_is_given_once():
    with pytest.raises(UserError, match="gives an argument twice"):
        callback_source("a:C(x=1,x=2)")


def test_several_on_the_command_line():
    config = parse(TrainCommand, ["train.py", "--callbacks=a:A(x=1,y=2),b:B,c:C(z=[1,2])"])
    assert config.callbacks == ("a:A(x=1,y=2)", "b:B", "c:C(z=[1,2])")
    with pytest.raises(UserError, match=r"--callbacks: 'b' must have the form"):
        parse(TrainCommand, ["train.py", "--callbacks=a:A(x=1,y=2),b"])


def test_a_recipe_file_names_no_code(tmp_path):
    (tmp_path / "recipe.toml").write_text('callbacks = "a:A"\n')
    with pytest.raises(UserError, match="callbacks are named on the command line"):
        parse(TrainCommand, ["train.py", f"--recipe_file={tmp_path}/recipe.toml"])
