"""The run directory: every path in it."""

import os
import pathlib
from dataclasses import dataclass

from yt8m_distill.config.json import from_json
from yt8m_distill.config.run import RunConfig
from yt8m_distill.errors import UserError
from yt8m_distill.files import untrusted


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
        untrusted.check_folder(self.path)

    def read_config(self) -> RunConfig:
        """The stored configuration.

        Raises:
            UserError: no run is there, its `config.json` cannot be read, or a link in it leads out of it.
        """
        if not self.config_file.is_file():
            raise UserError(f"'{self.path}' is no run directory of train.py: it has no config.json.")
        self.check()
        text = untrusted.read_text(self.config_file)
        return from_json(text, str(self.config_file))


def move_aside(run: RunDir) -> pathlib.Path | None:
    """Renames an existing run directory to the first free `<name>.old-N`; None where there is none."""
    if not run.path.exists():
        return None
    number = 1
    while (target := run.path.with_name(f"{run.path.name}.old-{number}")).exists():
        number += 1
    os.rename(run.path, target)
    return target
