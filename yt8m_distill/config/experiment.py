"""Experiment settings."""

from dataclasses import dataclass

from yt8m_distill.config.settings import joined
from yt8m_distill.config.training import TrainConfig
from yt8m_distill.errors import UserError

EXPERIMENTS = ("table1", "table2", "table4", "table5", "table6", "figure2", "figure3")


@dataclass(frozen=True)
class NamedRun:
    """A training that a file of runs names.

    Attributes:
        row: its name, the row of the table.
        config: its settings; directories and seed are filled in by the plan.
    """

    row: str
    config: TrainConfig


@dataclass(frozen=True)
class ExperimentConfig:
    """One experiment: many trainings, their table and figures.

    Attributes:
        experiment: one of `EXPERIMENTS`, or the path of a file of runs.
        output_dir: where tables and figures go.
        base: settings that all runs of a named experiment share, as those of a serial student; None: a file of runs.
        named_runs: of a file of runs.
        runs_dir: where the run directories are; experiments that share it share runs. None: `<output_dir>/runs`.
        frames: every k of the students and baselines; empty: the paper's.
        seeds: all runs are repeated with each of them.
        own_rows: also this project's own students.
        full_map: also the mean average precision over all scores.
        measure_speed: also videos per second, at the end.
        vocabulary: CSV of class names, for figures.
        start_new_model: move earlier runs and results aside.
    """

    experiment: str
    output_dir: str
    base: TrainConfig | None = None
    named_runs: tuple[NamedRun, ...] = ()
    runs_dir: str | None = None
    frames: tuple[int, ...] = ()
    seeds: tuple[int, ...] = (0,)
    own_rows: bool = False
    full_map: bool = False
    measure_speed: bool = True
    vocabulary: str | None = None
    start_new_model: bool = False

    def __post_init__(self):
        if (self.base is None) == (not self.named_runs):
            raise UserError(f"--experiment={self.experiment} needs either shared settings or runs.")
        for flag, numbers, least in (("frames", self.frames, 1), ("seeds", self.seeds, 0)):
            if any(number < least for number in numbers) or len(set(numbers)) < len(numbers):
                raise UserError(f"--{flag}={joined(numbers)} must be different numbers of at least {least}.")
        if not self.seeds:
            raise UserError("--seeds is empty; give how many, or a list.")
        if self.own_rows and self.experiment not in ("table1", "table5", "table6"):
            raise UserError(f"--own_rows goes with table1, table5 and table6, not {self.experiment}.")
        given = self.settings  # without any data, the sample data set is used, which has validation videos
        if self.experiment == "figure2" and given.train_data_pattern and not given.validation_data_pattern:
            raise UserError("--experiment=figure2 shows GAP by epoch and needs --validation_data_pattern.")

    @property
    def settings(self) -> TrainConfig:
        """Of the first run: what all runs have in common is the same in every one."""
        return self.base or self.named_runs[0].config
