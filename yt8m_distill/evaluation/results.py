"""Files that an evaluation writes."""

import csv
import dataclasses
import io
import pathlib
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic, untrusted
from yt8m_distill.metrics import EvaluationMetrics
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.trained_model import TrainedModel


def write_metrics(
    run: RunDir,
    trained: TrainedModel,
    selection: FrameSelection,
    result: Mapping[str, float],
    eval_data_pattern: str,
    level: str,
    output_file: str | None = None,
) -> pathlib.Path:
    """Writes `metrics.json` and TensorBoard scalars of an evaluation into a run directory; returns the JSON's path.

    Args:
        run: the directory.
        trained: what was evaluated.
        selection: the frames it saw.
        result: the metrics.
        eval_data_pattern: the videos.
        level: of their records: whether whole videos were evaluated or rated segments.
        output_file: where to write the JSON instead.
    """
    teachers_of_student = trained.role == "teacher" and run.read_config().main_role != "teacher"
    default = run.metrics_file(of_teacher=teachers_of_student, branch=trained.branch)
    target = pathlib.Path(output_file or default)
    step = trained.step if trained.step is not None else best_step(RunDir(trained.run_path))
    described = {
        "model": trained.config.model,
        "which": trained.role,
        **({} if trained.branch is None else {"branch": trained.branch}),
        "frames": selection.describe(),
        "precision": trained.model.compute_dtype,
        "step": step,
        "eval_data_pattern": eval_data_pattern,
        "level": level,
    }
    atomic.write_json(target, {**described, **result})
    writer = tf.summary.create_file_writer(str(run.logs / "_".join(default.parent.relative_to(run.path).parts)))
    with writer.as_default(step or 0):
        write_scalars(result)
    writer.close()
    return target


def best_step(run: RunDir) -> int | None:
    """The training step of the best epoch's weights."""
    described = run.best / "best.json"
    step = untrusted.read_json(described).get("step") if described.is_file() else None
    if step is not None and not (type(step) is int and 0 <= step < 2**62):
        raise UserError(f"'{described}' does not say of which step the weights are.")
    return step


def write_scalars(values: Mapping[str, Any]):
    """Numbers for TensorBoard under their own names, to the writer and step that are the default just now."""
    for name, value in values.items():
        tf.summary.scalar(name, value)


def write_per_class(path: pathlib.Path, metrics: EvaluationMetrics):
    """A CSV with one row for each class."""
    rows = [dataclasses.asdict(row) for row in metrics.per_class()]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    atomic.write_text(path, text.getvalue())
