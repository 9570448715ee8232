"""Files that name the runs of an experiment, in TOML: shared settings, and runs with settings of their own.

frames = [1, 2, 3]        # every k of the runs that do not say student_frames; as --frames
seeds = [0, 1, 2]         # as --seeds

[settings]                # flags of train.py, for all runs
model = "NeXtVLAD"
model_args = {clusters = 32, hidden_size = 512}

[[runs]]
name = "Uniform"
training_mode = "baseline"

[[runs]]
name = "Student"          # serial training is the default; its teacher is trained once and shared
student_init = "teacher"

A file of flags of train.py, --recipe_file, has settings only, without a table around them.
"""

import difflib
import pathlib
import reprlib
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from yt8m_distill.config.settings import Setting
from yt8m_distill.errors import UserError

_RECIPES = pathlib.Path(__file__).parents[1] / "recipes"

KEYS = ("frames", "seeds", "settings", "runs")
SET_BY_EXPERIMENT = ("seed", "train_dir", "start_new_model", "distribution")


@dataclass(frozen=True)
class FileRun:
    """A run as the file has it.

    Attributes:
        name: the row of the table.
        settings: by the names of train.py's flags.
    """

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class RunFile:
    """The content of a file.

    Attributes:
        frames, seeds: None where the file does not say.
        settings: of all runs, as `FileRun.settings`.
        runs: at least one.
    """

    frames: tuple[int, ...] | None
    seeds: tuple[int, ...] | None
    settings: Mapping[str, Any]
    runs: tuple[FileRun, ...]


def read_run_file(path: str, rules: Mapping[str, Setting], named: str) -> RunFile:
    """The runs that a file names.

    Args:
        path: of the TOML file.
        rules: the settings that it may have, by name.
        named: what may be given in place of a file, for the message.

    Raises:
        UserError: naming the file and the place in it: not valid TOML, an unknown setting, a value of the wrong type.
    """
    values = _toml(path, "experiment", f"known are {named}")
    _check_keys(values, KEYS, path)
    shared = _settings_of_runs(values.get("settings", {}), rules, f"{path}, settings")
    runs = values.get("runs")
    if not isinstance(runs, list) or not runs:
        raise UserError(f"{path}: at least one [[runs]] is needed.")
    checked = tuple(_run(run, rules, f"{path}, run {number}") for number, run in enumerate(runs, 1))
    return RunFile(_numbers(values, "frames", path), _numbers(values, "seeds", path), shared, checked)


def shipped_or_own(path: str) -> str:
    """The path of a recipe: `recipes/NAME.toml` is one of this package, unless the user has such a file."""
    name = pathlib.PurePath(path)
    shipped = _RECIPES / name.name
    return (
        str(shipped)
        if str(name.parent) == "recipes" and not pathlib.Path(path).exists() and shipped.is_file()
        else path
    )


def read_settings_file(path: str, rules: Mapping[str, Setting], flag: str) -> dict[str, Any]:
    """The settings of a TOML file of flags, by name.

    Args:
        path: of the file.
        rules: the settings that it may have, by name.
        flag: that names the file.

    Raises:
        UserError: as `read_run_file`.
    """
    shipped = " and ".join(f"recipes/{file.name}" for file in sorted(_RECIPES.glob("*.toml")))
    return _settings(_toml(path, flag, f"{shipped} are part of the package"), rules, path)


def _toml(path: str, flag: str, others: str) -> dict[str, Any]:
    from yt8m_distill.files import untrusted  # imports numpy, which --help does not need

    if not pathlib.Path(path).is_file():
        raise UserError(f"--{flag}={path} is not a file; {others}.")
    try:
        return tomllib.loads(untrusted.read_text(pathlib.Path(path)))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not valid TOML ({error}).") from error


def _run(values: Any, rules: Mapping[str, Setting], place: str) -> FileRun:
    if not isinstance(values, dict) or not isinstance(values.get("name"), str) or not values["name"].strip():
        raise UserError(f'{place}: name = "..." is needed.')
    name = " ".join(values["name"].replace("|", "/").split())
    settings = {key: value for key, value in values.items() if key != "name"}
    return FileRun(name, _settings_of_runs(settings, rules, f"{place} ('{name}')"))


def _settings_of_runs(values: Any, rules: Mapping[str, Setting], place: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise UserError(f"{place} must be a table of settings.")
    if forbidden := next((name for name in SET_BY_EXPERIMENT if name in values), None):
        raise UserError(f"{place}: {forbidden} is set by the experiment; leave it out.")
    return _settings(values, rules, place)


def _settings(values: Mapping[str, Any], rules: Mapping[str, Setting], place: str) -> dict[str, Any]:
    for name in ("plugins", "callbacks"):  # whose code is run
        if name in values:
            raise UserError(f"{place}: {name} are named on the command line, by --{name}; leave them out.")
    _check_keys(values, rules, place)
    try:
        return {name: rules[name].read(value) for name, value in values.items()}
    except UserError as error:
        raise UserError(f"{place}: {error}") from error


def _check_keys(values: Mapping[str, Any], names: Collection[str], place: str):
    for name in values:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]}?" if near else "settings are the flags of train.py without the dashes."
            raise UserError(f"{place}: unknown setting '{name}'; {hint}")


def _numbers(values: Mapping[str, Any], key: str, path: str) -> tuple[int, ...] | None:
    """A list of whole numbers, or None."""
    numbers = values.get(key)
    if numbers is not None and not (isinstance(numbers, list) and all(type(number) is int for number in numbers)):
        raise UserError(f"{path}: {key} must be a list of whole numbers, not {reprlib.repr(numbers)}.")
    return None if numbers is None else tuple(numbers)
