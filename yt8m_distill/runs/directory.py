"""A run directory: all paths in it, and its configuration."""

import os
import pathlib
from dataclasses import dataclass

from yt8m_distill.config.frames import ALL_FRAMES
from yt8m_distill.config.inputs import CONFIG_FILE, REPORT_FILE
from yt8m_distill.config.json import from_json
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import TrainConfig
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic, untrusted
from yt8m_distill.files.lock import lock_directory
from yt8m_distill.runs.locations import located


@dataclass(frozen=True)
class RunDir:
    """The paths of one run.

    Example:
        >>> run = RunDir("runs/student")
        >>> str(run.best), str(run.teacher.metrics_file())
        ('runs/student/best', 'runs/student/teacher/eval/metrics.json')
    """

    path: pathlib.Path

    def __init__(self, path: str | os.PathLike):
        object.__setattr__(self, "path", pathlib.Path(path))

    @property
    def config_file(self) -> pathlib.Path:
        return self.path / CONFIG_FILE

    @property
    def report_file(self) -> pathlib.Path:
        """The table of the run; it is written when the training has finished."""
        return self.path / REPORT_FILE

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
        """The run directory of a teacher that is trained for this run."""
        return RunDir(self.path / "teacher")

    @property
    def finished_stages(self) -> pathlib.Path:
        """Weights at the end of each stage that was followed by another one: `1/student.weights.h5`."""
        return self.path / "stages"

    @property
    def stage_ends(self) -> pathlib.Path:
        """Training states from which a longer training goes on: `1/state.npz`, with the best weights until then."""
        return self.path / "ends"

    @property
    def evaluations(self) -> pathlib.Path:
        return self.path / "eval"

    @property
    def exports(self) -> pathlib.Path:
        """Exports that inference.py predicts with, a folder each: `student_int8_0123456789abcdef/`."""
        return self.path / "exports"

    def metrics_file(self, *, of_teacher: bool = False, branch: int | None = None) -> pathlib.Path:
        """`eval/metrics.json`; in `eval/teacher/` for the teacher of a student, in `branch_0/` there for a branch."""
        folder = self.evaluations / ("teacher" if of_teacher else "") / ("" if branch is None else f"branch_{branch}")
        return folder / "metrics.json"

    def clear_leftovers(self):
        """Removes what a killed training has left half written; nobody else may be writing into the run directory."""
        for path in (self.config_file, self.report_file, self.best):
            atomic.clear_leftovers(path)
        metrics = (self.metrics_file(of_teacher=of_teacher).parent for of_teacher in (False, True))
        for folder in (self.checkpoints, self.finished_stages, self.stage_ends, *metrics):
            atomic.clear_all_leftovers(folder)

    def check(self):
        """Checks that files written into the run directory, which may be from elsewhere, stay in it.

        Raises:
            UserError: a link in it leads out of it, or something in it is neither a file nor a folder.
        """
        untrusted.check_folder(self.path)

    def read_config(self) -> RunConfig:
        """Reads `config.json`; its relative paths lead to the same places from any working directory.

        Raises:
            UserError: there is no run, its `config.json` cannot be read, or a link in it leads out of it.
        """
        if not self.config_file.is_file():
            raise UserError(f"'{self.path}' is not a run directory of train.py: it has no config.json.")
        self.check()
        return located(from_json(untrusted.read_text(self.config_file), str(self.config_file)), self.path)


def move_aside(run: RunDir) -> pathlib.Path | None:
    """Renames a run directory to the first free `<name>.old-N`, and returns that path; None where there is no run.

    Raises:
        UserError: another command writes there.
    """
    if not run.path.exists():
        return None
    with lock_directory(run.path):
        target = free_name(run)
        os.rename(run.path, target)
    return target


def free_name(run: RunDir) -> pathlib.Path:
    """The first free `<name>.old-N` beside a run directory."""
    number = 1
    while (target := run.path.with_name(f"{run.path.name}.old-{number}")).exists():
        number += 1
    return target


def default_train_dir(asked: TrainConfig) -> str:
    """`runs/<model>_<training_mode>_<k>`."""
    frames = [] if asked.selection == ALL_FRAMES else [asked.selection.describe()]
    return "runs/" + "_".join([asked.model, asked.training_mode, *frames])
