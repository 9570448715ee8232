"""Settings of a made-up configuration: checks, values as users give them, and messages."""

from collections.abc import Mapping
from dataclasses import InitVar, dataclass
from typing import Any, Literal

import pytest

from yt8m_distill.cli.flags import parse
from yt8m_distill.config.settings import REQUIRED, SettingError, Settings, group, setting, settings_of
from yt8m_distill.errors import UserError
from yt8m_distill.plugins.registry import Registry

SHAPES = Registry("shape", {"square": "x", "circle": "x"})


@dataclass(frozen=True)
class Paint(Settings):
    color: Literal["red", "blue"] = setting("red", "Color of the paint.", flag="paint_color")
    layers: int = setting(1, "Number of layers.", at_least=1, at_most=9)

    def __post_init__(self):
        self.check_settings()
        if self.color == "blue" and self.layers > 3:
            raise self.error("{color}=blue goes with {layers} up to 3, not {}.", self.layers)


@dataclass(frozen=True)
class Lacquer(Settings):
    name: str = setting(REQUIRED, "Name of the lacquer.", flag="lacquer")
    thickness: float = setting(0.5, "Thickness in mm.", flag="lacquer_thickness", above=0, below=1)


@dataclass(frozen=True)
class Order(Settings):
    title: str = setting(REQUIRED, "Title of the order.")
    shapes: tuple[str, ...] = setting(("square",), "Shapes to paint.", choices=SHAPES)
    sizes: tuple[int, ...] | None = setting(None, "Sizes in cm.", at_least=1)
    prices: Mapping[str, float] = setting({}, "Price of each shape.", at_least=0)
    notes: Mapping[str, Any] = setting({}, "Notes by name.")
    paint: Paint = group(Paint, ("layers",), paint_color={"flag_default": "blue"})
    lacquer: Lacquer | None = group()
    twice: InitVar[bool | None] = setting(None, "Whether to order each shape twice.")
    stored: str = ""

    def __post_init__(self, twice: bool | None):
        self.check_settings(twice=twice)
        if twice:
            object.__setattr__(self, "title", f"2 x {self.title}")


def order(*arguments: str) -> Order:
    return parse(Order, ["order", "--title=t", *arguments])


def test_what_users_can_give():
    assert list(settings_of(Order)) == [
        *("title", "shapes", "sizes", "prices", "notes", "paint_color", "lacquer", "lacquer_thickness", "twice"),
    ]


def test_defaults():
    config = order()
    assert config == Order("t", paint=Paint("blue"))
    assert (config.shapes, config.sizes, config.prices, config.lacquer) == (("square",), None, {}, None)


def test_values_by_flags():
    config = order(
        "--shapes=circle,square",
        "--sizes=3,4",
        "--prices=circle=2,square=0.5",
        "--notes=a=1",
        "--paint_color=red",
        "--lacquer=x",
        "--twice",
    )
    assert config == Order(
        "2 x t", ("circle", "square"), (3, 4), {"circle": 2.0, "square": 0.5}, {"a": "1"}, Paint(), Lacquer("x")
    )


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("title", 3, "3"),
        ("sizes", 3, (3,)),
        ("sizes", "3, 4", (3, 4)),
        ("sizes", [3, "4"], (3, 4)),
        ("sizes", "", ()),
        ("prices", {"circle": 1}, {"circle": 1.0}),
        ("prices", "circle=1,square=2.5", {"circle": 1.0, "square": 2.5}),
        ("notes", {"a": 1, "b": True}, {"a": 1, "b": True}),
        ("lacquer_thickness", 1, 1.0),
        ("lacquer_thickness", "0.25", 0.25),
        ("twice", "true", True),
        ("twice", False, False),
    ],
)
def test_values_of_files(name, value, read):
    result = settings_of(Order)[name].read(value)
    assert result == read
    assert type(result) is type(read)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("sizes", [1.5], "sizes must be a whole number, not 1.5"),
        ("sizes", True, "sizes must be a whole number, not True"),
        ("sizes", [[1]], "sizes must be a text, a number, true or false, or a list of them"),
        ("prices", "circle", "prices must be name=value"),
        ("prices", "circle=1,circle=2", "each name once"),
        ("lacquer_thickness", "thick", "thickness must be a number, not 'thick'"),
        ("twice", "perhaps", "twice must be true or false, not 'perhaps'"),
    ],
)
def test_values_of_another_type(name, value, message):
    with pytest.raises(SettingError, match=message):
        settings_of(Order)[name].read(value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Paint("green"), "color must be one of red, blue, not green"),
        (lambda: Paint(layers=0), "layers must be at least 1 and at most 9, not 0"),
        (lambda: Lacquer("x", 1.0), "thickness must be above 0 and below 1, not 1.0"),
        (lambda: Lacquer("x", float("nan")), "not nan"),
        (lambda: Order("t", shapes=("square", "star")), "shapes must be one of square, circle, not star"),
        (lambda: Order("t", shapes=()), "shapes must be one or more of square, circle, each once, not nothing"),
        (lambda: Order("t", shapes=("square", "square")), "each once, not square,square"),
        (lambda: Order("t", sizes=(3, 0)), "sizes must be at least 1, not 0"),
        (lambda: Order("t", prices={"square": float("inf")}), "prices must be at least 0, not inf"),
    ],
)
def test_values_out_of_range_name_the_argument(make, message):
    with pytest.raises(SettingError, match=message) as caught:
        make()
    assert "--" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes=0"], "--sizes must be at least 1, not 0"),
        (["--sizes=a"], "--sizes must be a whole number, not 'a'"),
        (["--lacquer_thickness=0.1"], r"--lacquer_thickness does nothing without --lacquer \(Name of the lacquer\)"),
        (["--lacquer=x", "--lacquer_thickness=2"], "--lacquer_thickness must be above 0"),
        (["--paint_color=green"], "paint_color"),
        (["--layers=2"], "Unknown command line flag 'layers'"),
    ],
)
def test_the_command_line_names_the_flag(arguments, message):
    with pytest.raises(UserError, match=message):
        order(*arguments)


def test_a_message_about_a_setting_that_is_no_flag_has_its_plain_name():
    assert str(Paint.error("{color} and {layers} of {}", "{color}")) == "color and layers of {color}"
    with pytest.raises(UserError, match="--paint_color=blue goes with --layers up to 3, not 5"):
        parse(Paint, ["paint", "--paint_color=blue", "--layers=5"])


def test_names_that_users_register_are_choices(monkeypatch):
    monkeypatch.setattr(SHAPES, "_entries", {"star": object})
    assert order("--shapes=star").shapes == ("star",)
