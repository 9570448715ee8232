"""What finished runs have measured: read from the run directories, put together, written as CSV."""

import csv
import dataclasses
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.config.json import from_values, to_json, to_values
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import DISTILLING_MODES, TrainConfig
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.evaluation.evaluate import evaluate
from yt8m_distill.evaluation.results import write_metrics
from yt8m_distill.experiments.plan import Run
from yt8m_distill.files import atomic, untrusted
from yt8m_distill.metrics import EvaluationMetrics
from yt8m_distill.models import cost
from yt8m_distill.prediction.predict import prediction_function
from yt8m_distill.runs import loading, trained_model
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.inputs import evaluation_videos
from yt8m_distill.training.report import METRICS, Report, Row, choosing_of

BATCH_SIZE = 128
ALL_METRICS = (METRICS[0], METRICS[1], "mAP_full", *METRICS[2:])


@dataclass(frozen=True)
class Stored:
    """What is kept of a run, in `experiment.json` of its directory.

    Attributes:
        training_seconds: of all starts together; of one that was killed hard they are lost.
        eval_data_pattern: what the metrics are of.
        rows: one for each of `Run.evaluated_with()`; empty before the evaluation.
    """

    training_seconds: float = 0.0
    eval_data_pattern: str | None = None
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Result:
    """One run, evaluated with one number of frames.

    Attributes:
        run: the training.
        k: frames; None: all, or by stride.
        row: frames of the longest video, parameters, multiply-accumulates and metrics.
        training_seconds: of the run.
    """

    run: Run
    k: int | None
    row: Row
    training_seconds: float

    @property
    def config(self) -> TrainConfig:
        """Of the run."""
        return self.run.config

    @property
    def cell(self) -> tuple:
        """What results that differ in nothing but the seed have in common."""
        distillation = self.config.distillation
        matching = distillation.representation_matching if distillation else "final"
        return self.run.row, self.k, self.config.train_fraction, matching


def read(run: Run) -> Stored:
    """The results of a run so far; empty for one that was never started."""
    path = _file(run)
    return from_values(Stored, untrusted.read_json(path), str(path)) if path.exists() else Stored()


def add_seconds(run: Run, seconds: float):
    """Notes that the run was trained for so long."""
    stored = read(run)
    _write(run, dataclasses.replace(stored, training_seconds=stored.training_seconds + seconds))


def is_measured(run: Run, full_map: bool) -> bool:
    """Whether the run is trained and evaluated."""
    stored = read(run)
    return (
        RunDir(run.config.train_dir).report_file.exists()
        and len(stored.rows) == len(run.evaluated_with())
        and stored.eval_data_pattern == run.config.eval_data_pattern
        and (not full_map or all("mAP_full" in row.metrics for row in stored.rows))
    )


def results_of(run: Run) -> list[Result]:
    """The results of a measured run."""
    stored = read(run)
    ks = [selection.k for selection in run.evaluated_with()]
    return [Result(run, k, row, stored.training_seconds) for k, row in zip(ks, stored.rows, strict=True)]


def measure(run: Run, full_map: bool):
    """Evaluates a trained run, with all numbers of frames that it is for, and notes the results."""
    directory = RunDir(run.config.train_dir)
    pattern = run.config.eval_data_pattern
    if pattern is not None:  # so that eval.py and inference.py find it, as after train.py
        config = dataclasses.replace(directory.read_config(), eval_data_pattern=pattern)
        atomic.write_text(directory.config_file, to_json(config))
    trained = loading.load(run.config.train_dir)
    report_row = Report.read(directory.report_file).rows[-1]
    predict = prediction_function(trained.model)
    rows = tuple(_row(run, trained, predict, selection, report_row, full_map) for selection in run.evaluated_with())
    _write(run, dataclasses.replace(read(run), eval_data_pattern=pattern, rows=rows))


def _row(
    run: Run,
    trained: trained_model.TrainedModel,
    predict: Callable,
    selection: FrameSelection,
    report_row: Row,
    full_map: bool,
) -> Row:
    """The run's own row of its report with metrics, and with the compute of these frames where they are others."""
    pattern = run.config.eval_data_pattern
    videos = evaluated_videos(run.config, trained.config)
    metrics = evaluate(
        predict,
        videos,
        selection,
        EvaluationMetrics(trained.config.data.num_classes, full_map=full_map),
        batch_size=BATCH_SIZE,
        seed=run.seed,
        description=f"Evaluating {run.name}",
    )
    if selection == trained.selection and not (pattern is None and run.config.validation_fraction):
        pattern = pattern or trained.config.eval_data_pattern
        write_metrics(RunDir(run.config.train_dir), trained, selection, metrics, pattern, videos.spec.level)
    frames = min(selection.k, report_row.frames) if selection.k else report_row.frames
    if selection == ALL_FRAMES and trained.role == "student":
        frames = videos.longest_of_first()
    if frames == report_row.frames:
        return dataclasses.replace(report_row, metrics=metrics)
    return Row(
        role=report_row.role,
        frames=frames,
        parameters=report_row.parameters,
        multiply_accumulates=cost.multiply_accumulates(trained.model, frames)[0],
        metrics=metrics,
        choosing=choosing_of(trained, selection, videos.longest_of_first()),
    )


def evaluated_videos(config: TrainConfig, trained: RunConfig) -> VideoFiles:
    """The videos that a run of an experiment is evaluated on.

    Args:
        config: of the run.
        trained: as resolved.

    Raises:
        UserError: there are no such videos, or they do not suit the model.
    """
    return evaluation_videos(
        config.eval_data_pattern, trained, "eval_data_pattern", skip_bad_records=config.bad_records.skip
    )


def _file(run: Run):
    return RunDir(run.config.train_dir).path / "experiment.json"


def _write(run: Run, stored: Stored):
    atomic.write_json(_file(run), dataclasses.asdict(stored))


def by_cell(results: Iterable[Result]) -> dict[tuple, list[Result]]:
    """Results that differ in nothing but the seed, together."""
    cells: dict[tuple, list[Result]] = {}
    for result in results:
        cells.setdefault(result.cell, []).append(result)
    return cells


def references(student: Result, results: Sequence[Result]) -> tuple[list[Result], list[Result]]:
    """The teachers and uniform baselines, over seeds, that a student is compared with; empty where there are none."""
    if student.config.training_mode not in DISTILLING_MODES:
        return [], []
    like = [
        result
        for result in results
        if (result.config.model, result.config.train_fraction) == (student.config.model, student.config.train_fraction)
    ]
    teachers = _first_cell(result for result in like if result.config.training_mode == "teacher")
    uniform = _first_cell(result for result in like if _is_uniform(result) and result.k == student.k)
    return teachers, uniform


def _is_uniform(result: Result) -> bool:
    config = result.config
    return config.training_mode == "baseline" and config.selection.sampling == "uniform" and result.k is not None


def _first_cell(results: Iterable[Result]) -> list[Result]:
    return next(iter(by_cell(results).values()), [])


def csv_text(results: Sequence[Result], videos_per_second: Mapping[tuple, float]) -> str:
    """A line for each result: the settings that vary, metrics, sizes, times.

    Args:
        results: of finished runs.
        videos_per_second: by `speed_key`.
    """
    settings = [dict(_settings(result)) for result in results]
    names = sorted({name for values in settings for name in values})
    varying = [name for name in names if len({values[name] for values in settings if name in values}) > 1]
    metrics = [name for name in ALL_METRICS if any(name in result.row.metrics for result in results)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    sizes = ("parameters", "multiply_accumulates", "videos_per_second", "training_seconds")
    writer.writerow(["run", "row", "seed", "k", "frames", *varying, *metrics, *sizes])
    for result, varied in zip(results, settings, strict=True):
        row, rate = result.row, videos_per_second.get(speed_key(result))
        writer.writerow(
            [result.run.name, result.run.row, result.run.seed, _known(result.k), row.frames]
            + [_known(varied.get(name)) for name in varying]
            + [_known(row.metrics.get(name)) for name in metrics]
            + [
                row.parameters,
                "unknown" if row.multiply_accumulates is None else row.multiply_accumulates,
                f"{rate:.1f}" if rate else "",
                f"{result.training_seconds:.1f}",
            ]
        )
    return text.getvalue()


def speed_key(result: Result) -> tuple:
    """Results with the same one take the same time for a video."""
    computed = result.row.multiply_accumulates
    return result.config.model, result.k, None if computed is None else computed + (result.row.choosing or 0)


def _known(value) -> object:
    return "" if value is None else value


def _settings(result: Result) -> Iterable[tuple[str, str]]:
    """The settings of a run by name, as text; without directories, and what has a column of its own."""
    for name, value in to_values(result.config).items():
        if name in ("train_dir", "teacher_dir"):
            continue
        parts = value.items() if isinstance(value, dict) else [("", value)]
        for part, single in parts:
            own_column = ("learning", "seed"), ("selection", "k"), ("teacher_cache", "directory")
            if (name, part) in own_column or single is None or single == ():
                continue
            yield f"{name}.{part}" if part else name, _text(single)


def _text(value) -> str:
    if isinstance(value, dict):
        return "+".join(f"{name}={item}" for name, item in value.items())
    return "+".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
