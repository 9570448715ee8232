"""The run directory: every path in it, and writing that a kill or a full disk cannot spoil."""

import contextlib
import errno
import json
import math
import os
import pathlib
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from yt8m_distill import checked_files
from yt8m_distill import config as configuration
from yt8m_distill.errors import UserError

_PARTIAL = ".partial"
SPACE_FACTOR = 1.02  # of a file of arrays to the arrays
_CHECKPOINT_NAME = re.compile(r"step-([0-9]{8,18})")


@dataclass(frozen=True)
class RunDir:
    """Paths of one run."""

    path: pathlib.Path

    def __init__(self, path: str | os.PathLike):
        object.__setattr__(self, "path", pathlib.Path(path))

    @property
    def config_file(self) -> pathlib.Path:
        return self.path / "config.json"

    @property
    def report_file(self) -> pathlib.Path:
        """Written when the training has finished: its table."""
        return self.path / "report.json"

    @property
    def checkpoints(self) -> pathlib.Path:
        return self.path / "checkpoints"

    @property
    def best(self) -> pathlib.Path:
        """Weights of the best epoch (without validation data: of the last), `student.weights.h5` and so on."""
        return self.path / "best"

    @property
    def logs(self) -> pathlib.Path:
        return self.path / "logs"

    @property
    def teacher(self) -> "RunDir":
        """Run directory of a teacher that is trained on the way."""
        return RunDir(self.path / "teacher")

    @property
    def finished_stages(self) -> pathlib.Path:
        """Weights at the end of each stage that another one followed: `1/student.weights.h5`."""
        return self.path / "stages"

    def metrics_file(self, *, of_teacher: bool = False, branch: int | None = None) -> pathlib.Path:
        """`eval/metrics.json`; in `eval/teacher/` of a student's teacher, in `branch_0/` there of a branch."""
        folder = self.path / "eval" / ("teacher" if of_teacher else "") / ("" if branch is None else f"branch_{branch}")
        return folder / "metrics.json"

    def check(self):
        """Makes sure that what is written into the run directory, which may be from elsewhere, stays in it.

        Raises:
            UserError: a link in it leads out of it, or something in it is neither a file nor a folder.
        """
        checked_files.check_folder(self.path)

    def read_config(self) -> configuration.TrainConfig:
        """The stored configuration.

        Raises:
            UserError: no run is there, its `config.json` cannot be read, or a link in it leads out of it.
        """
        if not self.config_file.is_file():
            raise UserError(f"'{self.path}' is no run directory of train.py: it has no config.json.")
        self.check()
        text = checked_files.read_text(self.config_file)
        config = configuration.from_json(text, str(self.config_file))
        if config.data is None:
            raise UserError(f"{self.config_file}: data is missing, the format of the records.")
        if config.training_mode is None:
            raise UserError(f"{self.config_file}: training_mode is missing.")
        return config


def weights_file(folder: pathlib.Path, role: str) -> pathlib.Path:
    """Weights of the "student" or "teacher" in `folder`."""
    return folder / f"{role}.weights.h5"


def make_directory(path: pathlib.Path):
    """Creates `path` and its parents.

    Raises:
        UserError: it cannot be created or not be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder '{path}' cannot be created: {error.strerror}.") from error
    if not os.access(path, os.W_OK):
        raise UserError(f"the folder '{path}' cannot be written to.")


@contextlib.contextmanager
def file_written_beside(path: pathlib.Path, *, binary: bool = False) -> Iterator[IO]:
    """An open file that takes the place of `path` when all went well, so that `path` never holds half of it.

    Until then its name begins with a dot, so that a pattern which matches `path` does not match it.
    """
    make_directory(path.parent)
    partial = path.with_name(f".{path.name}{_PARTIAL}")
    try:
        with (
            _full_disk_named(path),
            open(partial, "wb" if binary else "w", encoding=None if binary else "utf-8") as file,
        ):
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str):
    """Writes a whole file beside its place and renames it."""
    with file_written_beside(path) as file:
        file.write(text)


def write_json(path: pathlib.Path, values: Mapping[str, Any]):
    """`write_text` of JSON."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        UserError: it holds none.
    """
    text = checked_files.read_text(path)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"'{path}' is no JSON ({error}).") from error
    if not isinstance(values, dict):
        raise UserError(f"'{path}' does not hold a JSON object.")
    return values


@contextlib.contextmanager
def directory_written_beside(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder to fill; when all went well it takes the place of `path`, whose old content then goes."""
    # Hidden, as whatever is left under these names is removed: NAME.old may be somebody's copy of NAME.
    partial, old = path.with_name(f".{path.name}{_PARTIAL}"), path.with_name(f".{path.name}.old")
    if old.exists() and not path.exists():  # killed between the two renames below
        os.rename(old, path)
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    make_directory(partial)
    try:
        with _full_disk_named(path):
            yield partial
            _sync_files(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if path.exists():
        os.rename(path, old)
    os.rename(partial, path)
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _full_disk_named(path: pathlib.Path):
    try:
        yield
    except Exception as error:
        numbers = errno.ENOSPC, errno.EDQUOT
        # TensorFlow's and HDF5's errors have the words, not the number.
        if getattr(error, "errno", None) not in numbers and not any(os.strerror(n) in str(error) for n in numbers):
            raise
        raise UserError(f"no space left on the disk for '{path}'; what was written before is intact.") from error


def _sync_files(folder: pathlib.Path):
    for file in filter(pathlib.Path.is_file, folder.rglob("*")):
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())


@dataclass(frozen=True)
class Checkpoint:
    """One stored training state.

    Attributes:
        path: its folder.
        step: steps done.
    """

    path: pathlib.Path
    step: int

    def progress(self) -> dict[str, Any]:
        """The position in the training, as given to `save_checkpoint`."""
        return read_json(self.path / "progress.json")

    def log_sizes(self) -> dict[str, int]:
        """Sizes of the event files when it was stored."""
        sizes = read_json(self.path / "logs.json")
        if not all(type(size) is int and size >= 0 for size in sizes.values()):
            raise UserError(f"'{self.path / 'logs.json'}' must hold the sizes of files.")
        return sizes

    @property
    def state_file(self) -> pathlib.Path:
        """The arrays."""
        return self.path / "state.npz"

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays whose names begin with `prefix`, in the order in which they were stored."""
        checked_files.check_arrays(self.state_file)
        try:
            with np.load(self.state_file, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files if name.startswith(prefix)}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(f"the checkpoint '{self.path}' cannot be read: {error}.") from error


def save_checkpoint(
    run: RunDir,
    step: int,
    arrays: Mapping[str, np.ndarray],
    keep: int,
    *,
    progress: Mapping[str, Any],
    log_sizes: Mapping[str, int],
):
    """Stores a training state and removes all but the last `keep`.

    Args:
        run: where.
        step: steps done.
        arrays: variables by name.
        keep: how many checkpoints.
        progress: the position in the training, JSON.
        log_sizes: of the event files at this step.

    Raises:
        UserError: the disk has not enough space; nothing has changed then.
    """
    make_directory(run.checkpoints)
    _check_space(run.checkpoints, sum(array.nbytes for array in arrays.values()), "a checkpoint")
    with directory_written_beside(run.checkpoints / f"step-{step:08d}") as folder:
        np.savez(Checkpoint(folder, step).state_file, **arrays)
        for name, values in (("progress", progress), ("logs", log_sizes)):
            (folder / f"{name}.json").write_text(json.dumps(values), encoding="utf-8")
    for old in checkpoints(run)[:-keep]:
        shutil.rmtree(old.path, ignore_errors=True)


def save_weights(model: Any, folder: pathlib.Path, role: str):
    """Writes a Keras model's weights.

    Raises:
        UserError: the disk has not enough space, which HDF5 would not survive.
    """
    _check_space(folder, 4 * sum(math.prod(variable.shape) for variable in model.variables), "the model's weights")
    model.save_weights(weights_file(folder, role))


def _check_space(folder: pathlib.Path, num_bytes: int, what: str):
    free = shutil.disk_usage(folder).free
    if free < num_bytes * SPACE_FACTOR:
        raise UserError(
            f"{what} in '{folder}' would take {num_bytes / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are free; "
            "what was written before is intact. Make room, and the same command continues."
        )


def checkpoints(run: RunDir) -> list[Checkpoint]:
    """All finished checkpoints by step."""
    if not run.checkpoints.is_dir():
        return []
    named = ((_CHECKPOINT_NAME.fullmatch(path.name), path) for path in run.checkpoints.iterdir())
    return sorted((Checkpoint(path, int(match[1])) for match, path in named if match), key=lambda each: each.step)


def move_aside(run: RunDir) -> pathlib.Path | None:
    """Renames an existing run directory to the first free `<name>.old-N`; None where there is none."""
    if not run.path.exists():
        return None
    number = 1
    while (target := run.path.with_name(f"{run.path.name}.old-{number}")).exists():
        number += 1
    os.rename(run.path, target)
    return target
