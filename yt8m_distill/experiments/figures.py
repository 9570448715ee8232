"""Figures of an experiment, from files that training writes; also as images for TensorBoard."""

import importlib.util
import logging
import pathlib
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence

import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from yt8m_distill.config.dataset import VOCABULARY_FILE
from yt8m_distill.config.experiment import ExperimentConfig
from yt8m_distill.errors import UserError
from yt8m_distill.experiments import representations
from yt8m_distill.experiments.film_seconds import FilmSeconds
from yt8m_distill.experiments.results import Result, by_cell, speed_key
from yt8m_distill.files import atomic
from yt8m_distill.prediction.vocabulary import load_vocabulary
from yt8m_distill.runs.directory import RunDir

log = logging.getLogger(__name__)

EXPERIMENTS = ("figure2", "figure3")
NEEDED = {"matplotlib": "matplotlib", "sklearn": "scikit-learn"}
GAP_TAGS = ("GAP@20", "metrics/GAP@20")  # of curves; the first that of versions before this one
LOSSES = {
    ("rep",): "rep",
    ("pred",): "pred",
    ("rep", "ce"): "rep, CE",
    ("pred", "ce"): "pred, CE",
    ("rep", "pred", "ce"): "rep, pred, CE",
}


def _missing() -> list[str]:
    return [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]


def check_installed():
    """Checks that the packages for figures are installed.

    Raises:
        UserError: some are not.
    """
    if missing := _missing():
        raise UserError(f"figures need {' and '.join(missing)}: pip install 'yt8m_distill[plots]'.")


def draw(
    config: ExperimentConfig,
    results: Sequence[Result],
    speeds: Mapping[tuple, float],
    folder: pathlib.Path,
    films: FilmSeconds | None = None,
) -> list[pathlib.Path]:
    """Draws each figure for which there are results; returns the PNG files.

    Args:
        config: the experiment.
        results: of all runs.
        speeds: videos per second by `speed_key`.
        folder: to write to.
        films: seconds from film to features; None if they were not measured.
    """
    if missing := _missing():
        log.warning("No figures: %s missing; pip install 'yt8m_distill[plots]'.", " and ".join(missing))
        return []
    atomic.make_directory(folder)
    paths = [*_draw_accuracy(results, speeds, films, folder), *_draw_epochs(results, folder)]
    if config.experiment == "figure3":
        paths += _draw_representations(config, results, folder)
    for path in paths:
        _write_image(path, folder / "tensorboard" / path.stem)
    log.info("Figures: %s", ", ".join(map(str, paths)))
    return paths


def _draw_accuracy(
    results: Sequence[Result], speeds: Mapping[tuple, float], films: FilmSeconds | None, folder: pathlib.Path
) -> Iterator[pathlib.Path]:
    """Accuracy by frames, by multiply-accumulates, and by videos/s and seconds of a film if these were measured."""
    from yt8m_distill.experiments.plots import draw_accuracy

    metrics = ["GAP@20", "mAP_full" if "mAP_full" in results[0].row.metrics else "mAP"]
    axes = {
        "frames": ("frames", lambda result: result.row.frames),
        "multiply_accumulates": ("multiply-accumulates per video", lambda result: result.row.multiply_accumulates or 0),
        "videos_per_second": ("videos/s", lambda result: speeds.get(speed_key(result), 0.0)),
        "film_seconds": ("seconds from film to labels", lambda result: (films and films.of(result, speeds)) or 0.0),
    }
    for name, (label, x) in axes.items():
        lines = _lines(results, metrics, x)
        if min(value for line in lines for value in line.x) > 0:
            path = folder / f"accuracy_by_{name}.png"
            draw_accuracy(path, lines, metrics, label)
            yield path


def _lines(results: Sequence[Result], metrics: Sequence[str], x: Callable[[Result], float]) -> list:
    """A line for each row, fraction and matching, with a point for each k."""
    from yt8m_distill.experiments.plots import Line

    rows: dict[tuple, list[list[Result]]] = {}
    for (row, _, *rest), group in by_cell(results).items():
        rows.setdefault((row, *rest), []).append(group)
    lines = []
    for (row, fraction, matching), groups in rows.items():
        groups = sorted(groups, key=lambda group: x(group[0]))
        values = {m: [[result.row.metrics[m] for result in group] for group in groups] for m in metrics}
        extra = [f"{100 * fraction:g} %"] * (fraction < 1) + [matching] * (matching == "intermediate")
        mode = groups[0][0].config.training_mode
        lines.append(
            Line(
                ", ".join([row, *extra]),
                mode if mode in ("teacher", "baseline") else "student",
                [x(group[0]) for group in groups],
                {metric: [statistics.mean(seeds) for seeds in values[metric]] for metric in metrics},
                {metric: [_deviation(seeds) for seeds in values[metric]] for metric in metrics},
            )
        )
    return lines


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _draw_epochs(results: Sequence[Result], folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """The paper's Figure 2 for each k with parallel students and validation curves."""
    from yt8m_distill.experiments.plots import draw_epochs

    for k in sorted({result.k for result in _of_mode(results, "parallel") if result.k}):
        panels = _panels([r for r in results if r.config.training_mode == "teacher" or r.k == k])
        if panels and all(panels.values()):
            path = folder / f"gap_by_epoch_{k}.png"
            draw_epochs(path, panels)
            yield path


def _panels(results: Sequence[Result]) -> dict[str, dict[str, list[float]]]:
    """GAP@20 by epoch, the mean over seeds, by curve and by losses."""
    panels: dict[str, dict[str, list[float]]] = {}
    for losses in dict.fromkeys(result.config.distillation.losses for result in _of_mode(results, "parallel")):
        groups = {
            "serial teacher": _of_mode(results, "teacher"),
            "serial student": _with(results, "serial", losses),
            "parallel teacher": _with(results, "parallel", losses),
            "parallel student": _with(results, "parallel", losses),
        }
        curves = {}
        for name, group in groups.items():
            logs = "validation_teacher" if name == "parallel teacher" else "validation"
            seeds = [_curve(RunDir(result.config.train_dir).logs / logs) for result in group]
            if any(seeds):
                curves[name] = [statistics.mean(values) for values in zip(*filter(None, seeds), strict=False)]
        panels[LOSSES[losses]] = curves
    return panels


def _of_mode(results: Sequence[Result], mode: str) -> list[Result]:
    return [result for result in results if result.config.training_mode == mode]


def _with(results: Sequence[Result], mode: str, losses: tuple[str, ...]) -> list[Result]:
    """The students of the first row of the paper's tables with these losses."""
    students = [result for result in _of_mode(results, mode) if result.config.distillation.losses == losses]
    return next(iter(by_cell(students).values()), [])


def _curve(folder: pathlib.Path) -> list[float]:
    """GAP@20 by epoch, from the event files of a training."""
    if not folder.is_dir():
        return []
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    tags = [tag for tag in GAP_TAGS if tag in events.Tags()["tensors"]]  # both, where a newer version resumed the run
    points = (point for tag in tags for point in events.Tensors(tag))
    by_step = {point.step: float(tf.make_ndarray(point.tensor_proto)) for point in points}
    return [by_step[step] for step in sorted(by_step)]


def _draw_representations(
    config: ExperimentConfig, results: Sequence[Result], folder: pathlib.Path
) -> Iterator[pathlib.Path]:
    """The paper's Figure 3 for each k of the first seed; the representations also for TensorBoard."""
    from yt8m_distill.experiments.plots import draw_points

    for student in results:
        if student.config.training_mode == "teacher" or student.run.seed != config.seeds[0]:
            continue
        own = pathlib.Path(student.config.train_dir) / VOCABULARY_FILE  # of films with labels
        vocabulary = config.vocabulary or (own if own.exists() else None)
        collected = representations.collect(student, load_vocabulary(vocabulary) if vocabulary else {})
        representations.write_for_projector(collected, folder / "tensorboard" / f"representations_{student.k}")
        path = folder / f"representations_{student.k}.png"
        points = representations.in_a_plane(collected.values, student.run.seed)
        draw_points(path, points, collected.classes, collected.roles)
        yield path


def _write_image(path: pathlib.Path, folder: pathlib.Path):
    """Writes a PNG file as a TensorBoard image, which replaces an earlier one.

    The embedding projector shows only folders with event files, so the image of figure 3 is beside its representations.
    """
    atomic.make_directory(folder)
    for earlier in folder.glob("events.out.tfevents.*"):
        earlier.unlink()
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=0):
        tf.summary.image(path.stem, tf.io.decode_png(path.read_bytes(), channels=3)[tf.newaxis])
    writer.close()
