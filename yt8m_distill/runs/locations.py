"""Where the paths in a run's `config.json` lead: given relative to one working directory, read from any other."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable

from yt8m_distill.config.run import RunConfig
from yt8m_distill.files.patterns import in_folder, is_any_file

_PATTERNS = ("train_data_pattern", "validation_data_pattern", "eval_data_pattern")


def with_working_directory(config: RunConfig) -> RunConfig:
    """A configuration that says which folder its relative paths are from; as it is where it has none."""
    if _changed(config, lambda path: os.path.join(os.sep, path), lambda pattern: in_folder(pattern, os.sep)) == config:
        return config
    return dataclasses.replace(config, working_directory=os.getcwd())


def absolute(config: RunConfig) -> RunConfig:
    """A configuration with the absolute paths of those that are relative to the working directory, for comparisons."""
    return _changed(config, os.path.abspath, lambda pattern: in_folder(pattern, os.getcwd()))


def located(config: RunConfig, folder: pathlib.Path) -> RunConfig:
    """A configuration whose relative paths lead to what they led to when it was written.

    They are looked for beside the run, which may have been moved with what is around it, and then in the working
    directory of the training. What is there seen from the working directory of now, too, or nowhere, stays as it is.

    Args:
        config: as it is stored.
        folder: the run directory.
    """
    folders = [*_moved_from(config.train_dir, folder), *filter(None, [config.working_directory])]

    def moved(path: str, join: Callable[[str, str], str], exists: Callable[[str], bool]) -> str:
        here = join(os.getcwd(), path)
        if here == join(os.sep, path):  # absolute
            return path
        found = next(filter(exists, (join(place, path) for place in folders)), path)
        return path if found == here else found

    return _changed(
        config,
        lambda path: moved(path, lambda place, path: os.path.normpath(os.path.join(place, path)), os.path.exists),
        lambda pattern: moved(pattern, lambda place, pattern: in_folder(pattern, place), is_any_file),
    )


def _moved_from(train_dir: str | None, folder: pathlib.Path) -> Iterable[str]:
    """What was the working directory, if the run was moved with everything around it."""
    path, ending = os.path.abspath(folder), os.sep + os.path.normpath(train_dir or os.sep)
    return [path.removesuffix(ending) or os.sep] if path.endswith(ending) else []


def _changed(config: RunConfig, path: Callable[[str], str], pattern: Callable[[str], str]) -> RunConfig:
    """A configuration with other paths and patterns, where it has any."""
    changes = {name: pattern(value) for name in _PATTERNS if (value := getattr(config, name))}
    if config.teacher_dirs:
        changes["teacher_dir"] = tuple(map(path, config.teacher_dirs))
    changes |= {name: path(value) for name in ("eigenvalues", "init_from") if (value := getattr(config, name))}
    return dataclasses.replace(config, **changes)
