"""The table at the end of a training: the metrics and the cost of each model."""

import dataclasses
import logging
import pathlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.json import from_values
from yt8m_distill.config.run import RunConfig
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.evaluation import knee
from yt8m_distill.evaluation.evaluate import evaluate
from yt8m_distill.evaluation.knee import Point
from yt8m_distill.evaluation.results import write_metrics
from yt8m_distill.files import untrusted
from yt8m_distill.files.text_table import aligned_table, count_cell
from yt8m_distill.metrics import EvaluationMetrics
from yt8m_distill.models import cost
from yt8m_distill.prediction import throughput
from yt8m_distill.prediction.predict import prediction_function
from yt8m_distill.runs import loading
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.trained_model import TrainedModel

log = logging.getLogger(__name__)

METRICS = ("GAP@20", "mAP", "Hit@1", "PERR")
EVALUATION_BATCH_SIZE = 128
REPETITIONS = 3
SECONDS = 1.0  # of each measurement of speed in each repetition


@dataclass(frozen=True)
class Row:
    """One model of a run.

    Attributes:
        role: "teacher", "student" or "baseline".
        frames: number of frames that it sees of the longest video.
        parameters: number of trainable parameters.
        multiply_accumulates: MACs for one video of that many frames; None: unknown.
        metrics: on the evaluation data; empty where there is none.
        videos_per_second: from records to CSV on this machine; None: not measured.
        choosing: MACs of choosing these frames by the features of all; 0: they are not; None: unknown.
    """

    role: str
    frames: int
    parameters: int
    multiply_accumulates: int | None
    metrics: Mapping[str, int | float]
    videos_per_second: float | None = field(default=None, metadata={"newer": True})
    choosing: int | None = field(default=0, metadata={"newer": True})

    def compute_cell(self) -> str:
        """Its multiply-accumulates as a cell of a table, and those of choosing its frames."""
        computed = count_cell(self.multiply_accumulates)
        if self.choosing == 0:
            return computed
        if not self.choosing or not self.multiply_accumulates:
            return f"{computed} + {count_cell(self.choosing)} to choose"
        share = 100 * self.choosing / self.multiply_accumulates
        return f"{computed} + {self.choosing:,} to choose ({share:.2g} %)"


@dataclass(frozen=True)
class Report:
    """The rows of a run, and where its files are."""

    train_dir: str
    eval_data_pattern: str | None
    rows: tuple[Row, ...]

    @classmethod
    def read(cls, path: pathlib.Path) -> "Report":
        """Reads `report.json`."""
        return from_values(cls, untrusted.read_json(path), str(path))

    def table(self) -> str:
        """The rows as text for the terminal."""
        timed = any(row.videos_per_second for row in self.rows)
        head = ["model", "frames", *METRICS, "parameters", "multiply-accumulates per video", *(["videos/s"] * timed)]
        lines = [head]
        for row in self.rows:
            scores = [f"{row.metrics[name]:.4f}" if name in row.metrics else "-" for name in METRICS]
            sizes = [count_cell(row.parameters), row.compute_cell()]
            rate = [f"{row.videos_per_second:,.0f}" if row.videos_per_second else "-"] * timed
            lines.append([row.role, str(row.frames), *scores, *sizes, *rate])
        return "\n".join([aligned_table(lines), *self._knee()])

    def _knee(self) -> list[str]:
        """A line that names the knee of one student for several k, where its GAP@20 is known."""
        rows = [row for row in self.rows if row.role != "teacher" and "GAP@20" in row.metrics]
        if len(rows) < 2:
            return []
        counted = all(row.multiply_accumulates for row in rows)
        points = [Point(row.frames, row.multiply_accumulates or row.frames, row.metrics["GAP@20"]) for row in rows]
        return [knee.describe(points, "multiply-accumulates" if counted else "frames")]

    def next_commands(self, plugins: Sequence[str] = (), *, holds_out: bool = False) -> str:
        """Commands to run next, one per line, to copy; they work outside a clone, too.

        Args:
            plugins: of the run, which the commands must be given, too.
            holds_out: whether, without evaluation files, a part of the training videos is evaluated.
        """
        run, pattern = shlex.quote(self.train_dir), shlex.quote(self.eval_data_pattern or "PATTERN")
        evaluated = "" if holds_out and self.eval_data_pattern is None else f" --eval_data_pattern={pattern}"
        run += f" --plugins={shlex.quote(','.join(plugins))}" if plugins else ""
        return "\n".join(
            [
                f"  tensorboard --logdir={shlex.quote(self.train_dir)}",
                f"  python -m yt8m_distill.eval --train_dir={run}{evaluated}",
                f"  python -m yt8m_distill.inference --train_dir={run} --input_data_pattern={pattern} "
                "--output_file=predictions.csv",
            ]
        )


def make_report(
    config: RunConfig,
    run: RunDir,
    files: Mapping[str, VideoFiles],
    teacher: TrainedModel | None,
) -> Report:
    """Evaluates the best weights of a run, and its teacher.

    Args:
        config: of the run.
        run: with its best weights written.
        files: "train", and "eval" for metrics.
        teacher: of serial training; None: there is none.
    """
    trained = [loading.load(run.path, role) for role in config.trained_roles]
    if teacher is not None:
        trained.insert(0, teacher)
    longest = files["train"].longest_of_first()
    predicting = [(model, prediction_function(model.model)) for model in trained]  # compiled once for all selections
    seen = [(*model, selection) for model in predicting for selection in _selections(model[0], longest)]
    rows = [_row(*each, config, run, files.get("eval"), longest) for each in seen]
    if len(seen) > len(trained) and not config.learning.deterministic:
        rates = _videos_per_second(seen, files.get("eval") or files.get("validation") or files["train"])
        rows = [dataclasses.replace(row, videos_per_second=rate) for row, rate in zip(rows, rates, strict=True)]
    return Report(config.train_dir, config.eval_data_pattern, tuple(rows))


def _selections(trained: TrainedModel, longest: int) -> list[FrameSelection]:
    """The frames that a model has a row for: of one student for several k each of these, below the longest video."""
    asked = trained.config.selection_of(trained.role).drawn_from
    if trained.role == "teacher" or not asked:
        return [trained.selection]
    smaller = [k for k in asked if k < min(longest, trained.selection.k)]
    return [*(dataclasses.replace(trained.selection, k=k) for k in smaller), trained.selection]


def _videos_per_second(
    seen: Sequence[tuple[TrainedModel, Callable, FrameSelection]], videos: VideoFiles
) -> list[float]:
    """Of each model with its frames. Times differ in every run, so a deterministic one has none."""
    log.info("Measuring videos/s for each number of frames")
    tasks = {place: throughput.Task(predict, videos, selection) for place, (_, predict, selection) in enumerate(seen)}
    return list(throughput.measure_in_turn(tasks, REPETITIONS, SECONDS).values())


def _row(
    trained: TrainedModel,
    predict: Callable,
    selection: FrameSelection,
    config: RunConfig,
    run: RunDir,
    eval_videos,
    longest: int,
) -> Row:
    # Of the longest video of the data: 300 frames would make the student look better where videos are shorter.
    frames = selection.frames(longest)
    return Row(
        role="baseline" if config.training_mode == "baseline" else trained.role,
        frames=frames,
        parameters=cost.parameter_count(trained.model),
        multiply_accumulates=cost.multiply_accumulates(trained.model, frames)[0],
        metrics=_metrics(trained, predict, selection, config, run, eval_videos),
        choosing=choosing_of(trained, selection, longest),
    )


def choosing_of(trained: TrainedModel, selection: FrameSelection, longest: int) -> int | None:
    """Multiply-accumulates of choosing a model's frames among those of the longest video; see `Row`."""
    if selection.k is None:
        return 0
    sampling, sizes = selection.sampling, trained.config.data.feature_sizes
    return cost.choosing_products(sampling, sizes, longest, min(selection.k, longest))


def _metrics(
    trained: TrainedModel, predict: Callable, selection: FrameSelection, config: RunConfig, run: RunDir, eval_videos
) -> dict[str, Any]:
    if eval_videos is None:
        return {}
    result = _metrics_of_own_run(trained, config) or evaluate(
        predict,
        eval_videos,
        selection,
        EvaluationMetrics(config.data.num_classes),
        batch_size=EVALUATION_BATCH_SIZE,
        seed=config.learning.seed,
        description=f"Evaluating the {trained.role}",
    )
    level = eval_videos.spec.level
    if selection == trained.selection:
        write_metrics(run, trained, selection, result, config.eval_data_pattern, level, of_report=True)
    return result


def _metrics_of_own_run(trained: TrainedModel, config: RunConfig) -> dict[str, float] | None:
    """The metrics that a teacher's own run has measured on the same files."""
    path = RunDir(trained.run_path).report_file
    own_run = config.training_mode == "serial" and len(config.teacher_dirs) < 2  # an ensemble has none
    if trained.role != "teacher" or trained.of_student or not own_run or not path.exists():
        return None
    report = Report.read(path)
    return dict(report.rows[0].metrics) or None if report.eval_data_pattern == config.eval_data_pattern else None
