"""Checkpoints: the stored training states of a run."""

import json
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
from yt8m_distill.files.atomic import check_space, directory_written_beside, make_directory
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
    def state_file(self) -> pathlib.Path:
        """The file with the arrays."""
        return self.path / "state.npz"

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
    check_space(run.checkpoints, sum(array.nbytes for array in arrays.values()), "a checkpoint")
    with directory_written_beside(run.checkpoints / f"step-{step:08d}") as folder:
        np.savez(Checkpoint(folder, step).state_file, **arrays)
        for name, values in (("progress", progress), ("logs", log_sizes)):
            (folder / f"{name}.json").write_text(json.dumps(values), encoding="utf-8")
        checksums.write_checksums(folder, leave_out=["logs.json"])  # its names of event files differ from run to run
    for old in checkpoints(run)[:-keep]:
        shutil.rmtree(old.path, ignore_errors=True)


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
