"""Checkpoints: the stored training states of a run."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from yt8m_distill.errors import UserError
from yt8m_distill.files import array_files, checksums
from yt8m_distill.files.atomic import check_space, directory_written_beside, make_directory, remove_directory
from yt8m_distill.files.untrusted import read_json
from yt8m_distill.runs.directory import RunDir

_CHECKPOINT_NAME = re.compile(r"step-([0-9]{8,18})")


@dataclass(frozen=True)
class Checkpoint:
    """One stored training state.

    Attributes:
        path: its folder.
        step: number of steps done.
    """

    path: pathlib.Path
    step: int

    def check(self):
        """Checks the files by their checksums, where these were stored.

        Raises:
            UserError: one is damaged.
        """
        for path in (self.state_file, self.path / "progress.json"):
            checksums.check_file(path, f"Remove the folder '{self.path}', and the checkpoint before it is used")

    def progress(self) -> dict[str, Any]:
        """The position in the training, as given to `save_checkpoint`."""
        return read_json(self.path / "progress.json")

    def log_sizes(self) -> dict[str, int]:
        """The sizes of the event files when it was stored."""
        sizes = read_json(self.path / "logs.json")
        if not all(type(size) is int and size >= 0 for size in sizes.values()):
            raise UserError(f"'{self.path / 'logs.json'}' must hold the sizes of files.")
        return sizes

    @property
    def best(self) -> pathlib.Path:
        """At the end of a stage: the weights of the best epoch until then."""
        return self.path / "best"

    @property
    def state_file(self) -> pathlib.Path:
        """The file with the arrays."""
        return self.path / "state.npz"

    def remove(self):
        """Removes the folder, which is never there in part."""
        remove_directory(self.path)

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """Reads the arrays whose names start with `prefix`, in the order in which they were stored.

        Raises:
            UserError: the file cannot be read.
        """
        array_files.check_arrays(self.state_file)
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
    """Writes a checkpoint, and removes all but the last ones.

    Args:
        run: run directory.
        step: number of steps done.
        arrays: values of variables by name.
        keep: number of checkpoints to keep.
        progress: the position in the training, for JSON.
        log_sizes: sizes of the event files at this step.

    Raises:
        UserError: the disk has not enough space; nothing has changed then.
    """
    make_directory(run.checkpoints)
    check_space(run.checkpoints, _num_bytes(arrays), "a checkpoint")
    with directory_written_beside(run.checkpoints / f"step-{step:08d}") as folder:
        _write(Checkpoint(folder, step), arrays, progress, log_sizes)
    prune(run, keep)


def prune(run: RunDir, keep: int):
    """Removes all but the last checkpoints.

    What a training leaves when it is stopped is not counted, and stays until the next one: a training that is never
    stopped does not have it.
    """
    stored = checkpoints(run)
    stopped = [checkpoint for checkpoint in stored if _is_of_a_stop(checkpoint)]
    regular = [checkpoint for checkpoint in stored if checkpoint not in stopped]
    for old in (*(checkpoint for checkpoint in stopped if checkpoint != stored[-1]), *regular[:-keep]):
        old.remove()


def save_stage_end(
    run: RunDir,
    stage: int,
    arrays: Mapping[str, np.ndarray],
    *,
    progress: Mapping[str, Any],
    log_sizes: Mapping[str, int],
):
    """Writes the state at the end of a stage, and the best weights until then, for a training that goes on there.

    Args:
        run: run directory.
        stage: index of the stage.
        arrays, progress, log_sizes: as for `save_checkpoint`.

    Raises:
        UserError: the disk has not enough space.
    """
    make_directory(run.stage_ends)
    check_space(run.stage_ends, _num_bytes(arrays), "the state at the end of a stage")
    with directory_written_beside(run.stage_ends / str(stage + 1)) as folder:
        end = Checkpoint(folder, progress["step"])
        _write(end, arrays, progress, log_sizes)
        if progress["best"] is not None:
            shutil.copytree(run.best, end.best, copy_function=_linked)


def stage_end(run: RunDir, stage: int) -> Checkpoint | None:
    """The stored end of a stage; None where there is none."""
    end = Checkpoint(run.stage_ends / str(stage + 1), 0)
    if not end.path.is_dir():
        return None
    step = end.progress().get("step")
    if type(step) is not int:
        raise UserError(f"'{end.path}' has no valid step.")
    return Checkpoint(end.path, step)


def take_back_best(run: RunDir, end: Checkpoint):
    """Makes the best weights of a run those that were the best at the end of a stage."""
    if end.best.is_dir():
        with directory_written_beside(run.best) as folder:
            shutil.copytree(end.best, folder, copy_function=_linked, dirs_exist_ok=True)
    elif run.best.exists():
        remove_directory(run.best)


def states(run: RunDir) -> list[Checkpoint]:
    """Everything that a training can go on from, by step; a checkpoint comes after the end of a stage at its step."""
    ends = run.stage_ends.iterdir() if run.stage_ends.is_dir() else ()
    stages = [int(path.name) - 1 for path in ends if re.fullmatch("[1-9]", path.name)]
    stored = [*(end for stage in stages if (end := stage_end(run, stage))), *checkpoints(run)]
    return sorted(stored, key=lambda checkpoint: checkpoint.step)


def _is_of_a_stop(checkpoint: Checkpoint) -> bool:
    with contextlib.suppress(UserError):  # a damaged one counts as any other
        return bool(checkpoint.progress().get("stopped"))
    return False


def _num_bytes(arrays: Mapping[str, np.ndarray]) -> int:
    return sum(array.nbytes for array in arrays.values())


def _write(
    checkpoint: Checkpoint,
    arrays: Mapping[str, np.ndarray],
    progress: Mapping[str, Any],
    log_sizes: Mapping[str, int],
):
    np.savez(checkpoint.state_file, **arrays)
    for name, values in (("progress", progress), ("logs", log_sizes)):
        (checkpoint.path / f"{name}.json").write_text(json.dumps(values), encoding="utf-8")
    # Names and sizes of event files differ from run to run.
    checksums.write_checksums(checkpoint.path, leave_out=["logs.json"])


def _linked(source: str, target: str):
    """A file under a second name, which takes no space; a copy where the disk has no such links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def describe_last(run: RunDir) -> str:
    """Where the last checkpoint is, as the beginning of a sentence."""
    stored = checkpoints(run)
    return f"The last good state is {stored[-1].path}" if stored else "No checkpoint was written before"


def checkpoints(run: RunDir) -> list[Checkpoint]:
    """All complete checkpoints of a run, by step."""
    if not run.checkpoints.is_dir():
        return []
    named = ((_CHECKPOINT_NAME.fullmatch(path.name), path) for path in run.checkpoints.iterdir())
    complete = (Checkpoint(path, int(match[1])) for match, path in named if match)
    return sorted(complete, key=lambda checkpoint: checkpoint.step)
