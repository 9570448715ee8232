"""The table at the end of a training: the metrics and the cost of each model."""

import pathlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yt8m_distill.config.json import from_values
from yt8m_distill.config.run import RunConfig
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.evaluation.evaluate import evaluate
from yt8m_distill.evaluation.results import write_metrics
from yt8m_distill.files import untrusted
from yt8m_distill.files.text_table import aligned_table, count_cell
from yt8m_distill.metrics import EvaluationMetrics
from yt8m_distill.models import cost
from yt8m_distill.prediction.predict import prediction_function
from yt8m_distill.runs import loading
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.trained_model import TrainedModel

METRICS = ("GAP@20", "mAP", "Hit@1", "PERR")
EVALUATION_BATCH_SIZE = 128


@dataclass(frozen=True)
class Row:
    """One model of a run.

    Attributes:
        role: "teacher", "student" or "baseline".
        frames: number of frames that it sees of the longest video.
        parameters: number of trainable parameters.
        multiply_accumulates: MACs for one video of that many frames; None: unknown.
        metrics: on the evaluation data; empty where there is none.
    """

    role: str
    frames: int
    parameters: int
    multiply_accumulates: int | None
    metrics: Mapping[str, int | float]


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
        head = ["model", "frames", *METRICS, "parameters", "multiply-accumulates per video"]
        lines = [head]
        for row in self.rows:
            scores = [f"{row.metrics[name]:.4f}" if name in row.metrics else "-" for name in METRICS]
            sizes = [count_cell(row.parameters), count_cell(row.multiply_accumulates)]
            lines.append([row.role, str(row.frames), *scores, *sizes])
        return aligned_table(lines)

    def next_commands(self, plugins: Sequence[str] = ()) -> str:
        """Commands to run next, one per line, to copy.

        Args:
            plugins: of the run, which the commands must be given, too.
        """
        run, pattern = shlex.quote(self.train_dir), shlex.quote(self.eval_data_pattern or "PATTERN")
        run += f" --plugins={shlex.quote(','.join(plugins))}" if plugins else ""
        return "\n".join(
            [
                f"  tensorboard --logdir={shlex.quote(self.train_dir)}",
                f"  python eval.py --train_dir={run} --eval_data_pattern={pattern}",
                f"  python inference.py --train_dir={run} --input_data_pattern={pattern} --output_file=predictions.csv",
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
    rows = tuple(_row(model, config, run, files.get("eval"), longest) for model in trained)
    return Report(config.train_dir, config.eval_data_pattern, rows)


def _row(trained: TrainedModel, config: RunConfig, run: RunDir, eval_videos, longest: int) -> Row:
    # Of the longest video of the data: 300 frames would make the student look better where videos are shorter.
    frames = trained.selection.frames(longest)
    return Row(
        role="baseline" if config.training_mode == "baseline" else trained.role,
        frames=frames,
        parameters=cost.parameter_count(trained.model),
        multiply_accumulates=cost.multiply_accumulates(trained.model, frames)[0],
        metrics=_metrics(trained, config, run, eval_videos),
    )


def _metrics(trained: TrainedModel, config: RunConfig, run: RunDir, eval_videos) -> dict[str, Any]:
    if eval_videos is None:
        return {}
    result = _metrics_of_own_run(trained, config) or evaluate(
        prediction_function(trained.model),
        eval_videos,
        trained.selection,
        EvaluationMetrics(config.data.num_classes),
        batch_size=EVALUATION_BATCH_SIZE,
        seed=config.learning.seed,
        description=f"Evaluating the {trained.role}",
    )
    level = eval_videos.spec.level
    write_metrics(run, trained, trained.selection, result, config.eval_data_pattern, level, of_report=True)
    return result


def _metrics_of_own_run(trained: TrainedModel, config: RunConfig) -> dict[str, float] | None:
    """The metrics that a teacher's own run has measured on the same files."""
    path = RunDir(trained.run_path).report_file
    own_run = config.training_mode == "serial" and len(config.teacher_dirs) < 2  # an ensemble has none
    if trained.role != "teacher" or trained.of_student or not own_run or not path.exists():
        return None
    report = Report.read(path)
    return dict(report.rows[0].metrics) or None if report.eval_data_pattern == config.eval_data_pattern else None
