"""Teacher, uniform baselines and students by frames and seeds, and their table; for audioset.py and sample_gap.py.

Runs are kept: finished ones are not repeated, a stopped benchmark goes on.
"""

import dataclasses
import pathlib
import statistics
from collections.abc import Sequence

from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.inference import EvalConfig
from yt8m_distill.config.training import Distillation, TrainConfig
from yt8m_distill.evaluation.run import run_evaluation
from yt8m_distill.training.run import run_training

Results = dict[tuple[str, int], dict[str, float]]  # metrics by (role, frames); the teacher's under 0


def measured(config: TrainConfig, eval_data_pattern: str | None, full_map: bool) -> dict[str, float]:
    """Trains one run, or takes it as it is, and returns its metrics."""
    report = run_training(config)
    if eval_data_pattern is None:
        return dict(report.rows[-1].metrics)
    return run_evaluation(EvalConfig(config.train_dir, eval_data_pattern, full_map=full_map))


def runs_of_seed(
    base: TrainConfig, frames: Sequence[int], folder: pathlib.Path, *, eval_data_pattern: str | None, full_map: bool
) -> Results:
    """All runs with the seed of `base`, a teacher's configuration.

    Args:
        frames: k of the baselines and students.
        folder: of their run directories.
        eval_data_pattern: None: what the end of the training measured.
        full_map: measure mAP_full, too.
    """
    teacher = dataclasses.replace(base, training_mode="teacher", train_dir=str(folder / "teacher"))
    results = {("teacher", 0): measured(teacher, eval_data_pattern, full_map)}
    for k in frames:
        few = {"selection": FrameSelection(k)}
        uniform = dataclasses.replace(base, training_mode="baseline", train_dir=str(folder / f"uniform{k}"), **few)
        student = dataclasses.replace(
            base,
            training_mode="serial",
            distillation=Distillation(),
            teacher_dir=teacher.train_dir,
            train_dir=str(folder / f"student{k}"),
            **few,
        )
        results["uniform", k] = measured(uniform, eval_data_pattern, full_map)
        results["student", k] = measured(student, eval_data_pattern, full_map)
    return results


def cell(results: Sequence[Results], key: tuple[str, int], metrics: Sequence[str]) -> str:
    """ "mean ± deviation" of each metric over seeds."""
    parts = []
    for metric in metrics:
        values = [result[key][metric] for result in results]
        spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
        parts.append(f"{statistics.mean(values):.3f}{spread}")
    return " / ".join(parts)


def gap_closed(results: Sequence[Results], k: int, metric: str) -> str:
    """(student - uniform) / (teacher - uniform) of the means over seeds; "-" where the teacher does not lead."""
    teacher, uniform, student = (
        statistics.mean(result[key][metric] for result in results)
        for key in (("teacher", 0), ("uniform", k), ("student", k))
    )
    return f"{100 * (student - uniform) / (teacher - uniform):.0f} %" if teacher > uniform else "-"


def print_table(title: str, results: Sequence[Results], frames: Sequence[int], metrics: Sequence[str]):
    """A Markdown table with a row for each k."""
    print(f"\n{title}, {len(results)} seed(s), {' / '.join(metrics)}\n")
    print("| frames | uniform | student | gap closed |\n|---|---|---|---|")
    for k in frames:
        cells = [cell(results, (role, k), metrics) for role in ("uniform", "student")]
        closed = " / ".join(gap_closed(results, k, metric) for metric in metrics)
        print(f"| {k} | {cells[0]} | {cells[1]} | {closed} |")
    print(f"| all | teacher: {cell(results, ('teacher', 0), metrics)} | | |", flush=True)
