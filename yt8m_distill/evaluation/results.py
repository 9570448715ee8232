"""Output files of an evaluation."""

import contextlib
import csv
import dataclasses
import io
import logging
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic, untrusted
from yt8m_distill.metrics import EvaluationMetrics
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.trained_model import TrainedModel
from yt8m_distill.runs.weights import check_checksum

log = logging.getLogger(__name__)

# The loss is a cross entropy, which shares a chart with that of training.
_TAGS = {"loss": "loss/ce", "examples": "videos/evaluated"}
_OF_REPORT = ".report.v2"  # the end of the names of its event files


def write_metrics(
    run: RunDir,
    trained: TrainedModel,
    selection: FrameSelection,
    result: Mapping[str, float],
    eval_data_pattern: str,
    level: str,
    output_file: str | None = None,
    *,
    of_report: bool = False,
) -> pathlib.Path:
    """Writes the metrics of an evaluation into a run directory, as JSON and for TensorBoard.

    Args:
        run: run directory.
        trained: the model.
        selection: the frames that it saw.
        result: the metrics.
        eval_data_pattern: the videos.
        level: of the records; whether whole videos or rated segments were evaluated.
        output_file: another path for the JSON file.
        of_report: it belongs to the run's final table, whose curves replace those of an earlier attempt.

    Returns:
        The path of the JSON file.
    """
    default = metrics_file(run, trained.role, trained.branch)
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
    logs = run.logs / "_".join(default.parent.relative_to(run.path).parts)
    try:
        with curves_named(logs):
            _write_curves(logs, result, step or 0, of_report)
    except UserError as error:
        if target == default:
            raise
        log.warning("Only for TensorBoard: %s", error)  # the run may be somebody else's
    return target


def _write_curves(logs: pathlib.Path, result: Mapping[str, float], step: int, of_report: bool):
    for earlier in logs.glob(f"*{_OF_REPORT}") if of_report else ():
        earlier.unlink()
    writer = tf.summary.create_file_writer(str(logs), filename_suffix=_OF_REPORT if of_report else None)
    with writer.as_default(step):
        write_scalars(result)
    writer.close()


@contextlib.contextmanager
def curves_named(folder: pathlib.Path) -> Iterator[None]:
    """Names a folder of TensorBoard files that cannot be written.

    Raises:
        UserError: TensorFlow cannot write them.
    """
    try:
        with atomic.full_disk_named(folder):
            yield
    except (tf.errors.OpError, OSError) as error:
        problem = untrusted.in_short(error).partition("}} ")[2] or untrusted.in_short(error)
        raise UserError(f"the curves in '{folder}' cannot be written: {problem}.") from error


def metrics_file(run: RunDir, which: str | None, branch: int | None) -> pathlib.Path:
    """Where the metrics of a model are, unless another file is asked for.

    Args:
        run: run directory.
        which: "student" or "teacher"; None: the run's own.
        branch: index, of a branch of a mixture.
    """
    is_teacher_of_student = which == "teacher" and run.read_config().main_role != "teacher"
    return run.metrics_file(of_teacher=is_teacher_of_student, branch=branch)


def best_step(run: RunDir) -> int | None:
    """The training step of the weights of the best epoch; None where it is not stored.

    Raises:
        UserError: `best.json` has no valid step.
    """
    path = run.best / "best.json"
    check_checksum(path)
    step = untrusted.read_json(path).get("step") if path.is_file() else None
    if step is not None and not (type(step) is int and 0 <= step < 2**62):
        raise UserError(f"'{path}' has no valid step of the weights.")
    return step


def write_scalars(metrics: Mapping[str, Any]):
    """Writes the metrics of an evaluation to the default TensorBoard writer, at its default step."""
    for name, value in metrics.items():
        tf.summary.scalar(_TAGS.get(name, f"metrics/{name}"), value)


def write_per_class(path: pathlib.Path, metrics: EvaluationMetrics):
    """Writes a CSV file with one row for each class."""
    rows = [dataclasses.asdict(row) for row in metrics.per_class()]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    atomic.write_text(path, text.getvalue())
