"""Runs all trainings of an experiment one after another, and keeps its tables up to date: `run_experiment`."""

import dataclasses
import gc
import logging
import pathlib
import statistics
import time
from collections.abc import Sequence

import keras

from yt8m_distill.config.experiment import COMPARISONS, ExperimentConfig
from yt8m_distill.config.training import TrainConfig
from yt8m_distill.errors import UserError
from yt8m_distill.experiments import comparisons, figures, film_seconds, results, speed, tables
from yt8m_distill.experiments.plan import Run, plan, runs_folder
from yt8m_distill.experiments.results import Result
from yt8m_distill.files import atomic
from yt8m_distill.files.lock import lock_directory
from yt8m_distill.runs import directory
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.training.matching import check_buildable
from yt8m_distill.training.opening import changed_settings, has_trained
from yt8m_distill.training.resolve import resolve
from yt8m_distill.training.run import run_training
from yt8m_distill.video.packages import check_packages

log = logging.getLogger(__name__)

_SPEEDS, _FILMS = "speed.json", "film_seconds.json"


def run_experiment(config: ExperimentConfig) -> pathlib.Path:
    """Trains and evaluates what is missing of an experiment; writes `results.csv`, `results.md` and figures.

    Returns:
        `output_dir`.

    Raises:
        UserError: wrong settings or input, or runs in the same directory with other settings.
        Interrupted: a training was stopped; the same command continues it.
        TooManyBadRecords: at the end of a training, more of the input than allowed was skipped.
    """
    runs = plan(config)
    folder = pathlib.Path(config.output_dir)
    if config.experiment in figures.EXPERIMENTS:
        figures.check_installed()
    if config.start_new_model:
        _move_aside(config, folder)
    with lock_directory(folder):
        _check_runs(runs)
        if config.films:
            _check_films(config.films, runs[0])
        _run_all(config, runs, folder)
        measured = _measured(runs, config.full_map)
        speeds = speed.measure(measured, folder / _SPEEDS) if config.measure_speed else {}
        films = _measure_films(measured, config.films, folder / _FILMS) if config.films else None
        _write(config, runs, folder)
        figures.draw(config, measured, speeds, folder / "figures", films)
    return folder


def _move_aside(config: ExperimentConfig, folder: pathlib.Path):
    for path in dict.fromkeys((folder, runs_folder(config))):
        if moved := directory.move_aside(RunDir(path)):
            log.info("The earlier content of %s is now in %s", path, moved)


def _check_runs(runs: Sequence[Run]):
    """Finds what would stop a run later: other settings than those it began with, models that cannot be built."""
    log.info("Checking %d runs", len(runs))
    level = log.parent.level
    log.parent.setLevel(logging.ERROR)  # each of them will say on its own what it reads
    try:
        checked = set()
        for run in runs:
            started = RunDir(run.config.train_dir).config_file.exists()
            if started or run.row not in checked:
                _check_run(run, started)
                checked.add(run.row)
    finally:
        log.parent.setLevel(level)


def _check_films(pattern: str, run: Run):
    check_packages()
    from yt8m_distill.experiments import film_timing  # needs these packages

    film_timing.check(pattern, resolve(run.config)[0])


def _measure_films(measured: Sequence[Result], pattern: str, path: pathlib.Path) -> film_seconds.FilmSeconds:
    from yt8m_distill.experiments import film_timing

    return film_timing.measure(measured, pattern, path)


def _check_run(run: Run, started: bool):
    try:
        config, _ = resolve(run.config)
        if started:
            _refuse_changed(run, config)
        else:  # with the teacher, which may not have been trained yet
            check_buildable(dataclasses.replace(config, teacher_dir=None, teacher_role="teacher"))
    except UserError as error:
        raise UserError(f"{run.name}: {error}") from error


def _refuse_changed(run: Run, resolved: TrainConfig):
    started = RunDir(run.config.train_dir)
    if not has_trained(started):
        return
    if changed := changed_settings(started.read_config(), resolved):
        raise UserError(
            f"it was started with other settings ({'; '.join(changed)}). "
            "Give another --output_dir, or --start_new_model to move what is there aside."
        )


def _run_all(config: ExperimentConfig, runs: Sequence[Run], folder: pathlib.Path):
    """Trains and evaluates every run that is not finished yet; tables are written after each."""
    missing = [run for run in runs if not results.is_measured(run, config.full_map)]
    clock = _Clock(runs, missing)
    log.info("%d runs, %d of them finished", len(runs), len(runs) - len(missing))
    _write(config, runs, folder)
    for run in missing:
        log.info("\n%s", clock.describe(run))
        _train_and_measure(run, config.full_map)
        clock.done(run)
        _write(config, runs, folder)
        keras.utils.clear_session()
        gc.collect()  # models and their graphs refer to themselves


def _train_and_measure(run: Run, full_map: bool):
    """Evaluation is left to `results.measure`, which knows of all metrics and numbers of frames."""
    if not RunDir(run.config.train_dir).report_file.exists():
        start = time.monotonic()
        try:
            run_training(dataclasses.replace(run.config, eval_data_pattern=None))
        finally:
            if RunDir(run.config.train_dir).path.is_dir():
                results.add_seconds(run, time.monotonic() - start)
    with lock_directory(run.config.train_dir):
        results.measure(run, full_map)


class _Clock:
    """Which run it is, and how long the others may take.

    Args:
        runs: all of them.
        missing: those that are still to be done.
    """

    def __init__(self, runs: Sequence[Run], missing: Sequence[Run]):
        self._runs = list(runs)
        self._missing = list(missing)
        self._start = time.monotonic()

    def describe(self, run: Run) -> str:
        """One line before a run begins."""
        text = f"Run {self._runs.index(run) + 1} of {len(self._runs)}: {run.name}"
        seconds = self._remaining()
        remaining = f", about {_duration(seconds)} remaining" if seconds is not None else ""
        return f"{text} ({_duration(time.monotonic() - self._start)} elapsed{remaining})"

    def done(self, run: Run):
        """A run has ended."""
        self._missing.remove(run)

    def _remaining(self) -> float | None:
        """Each missing run is taken to last as long as the finished ones of its training mode, else as all of them."""
        by_mode: dict[str, list[float]] = {}
        for run in self._runs:
            seconds = results.read(run).training_seconds
            if run not in self._missing and seconds > 0:
                by_mode.setdefault(run.config.training_mode, []).append(seconds)
        durations = [seconds for mode in by_mode.values() for seconds in mode]
        if not durations:
            return None
        return sum(statistics.mean(by_mode.get(run.config.training_mode, durations)) for run in self._missing)


def _duration(seconds: float) -> str:
    """ "2 h 5 min" or "40 s"."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _measured(runs: Sequence[Run], full_map: bool) -> list[Result]:
    """The results of all finished runs, in the order of the plan."""
    return [result for run in runs if results.is_measured(run, full_map) for result in results.results_of(run)]


def _write(config: ExperimentConfig, runs: Sequence[Run], folder: pathlib.Path):
    measured = _measured(runs, config.full_map)
    speeds, films = speed.read(folder / _SPEEDS), film_seconds.read(folder / _FILMS)
    atomic.write_text(folder / "results.csv", results.csv_text(measured, speeds))
    atomic.write_text(folder / "results.md", tables.markdown(config, measured, len(runs), speeds, films))
    if config.experiment in COMPARISONS and measured:
        values = comparisons.to_json(measured, tables.metrics_of(config, measured), speeds, films)
        atomic.write_json(folder / "results.json", values)
