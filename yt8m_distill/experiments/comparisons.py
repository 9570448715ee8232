"""Comparisons at equal budgets: what a student gains by its teacher, and accuracy against cost."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yt8m_distill.evaluation import knee
from yt8m_distill.evaluation.knee import Point
from yt8m_distill.experiments.cells import cell, spread
from yt8m_distill.experiments.film_seconds import FilmSeconds
from yt8m_distill.experiments.plan import ANY_K, FAIR_TEACHER, FROM_NOTHING, FROM_TEACHER, STUDENT
from yt8m_distill.experiments.results import Result, by_cell, speed_key
from yt8m_distill.files.text_table import markdown_table

BASELINES = (FROM_NOTHING, FROM_TEACHER)
FAIR_HEAD = """Labels alone from nothing: the student's model, frames and helps, for the epochs of teacher and student
together. Labels alone from the teacher: the student without its teacher's outputs. Fair teacher: all frames, labels,
the helps and the epochs of both. Gap closed: (student - best) / (fair teacher - best), best being the better of the two
trained on labels alone, from means over seeds; ± is the standard deviation over seeds, each compared with itself."""


@dataclass(frozen=True)
class Comparison:
    """A student with one k by one metric, seed by seed.

    Attributes:
        k: frames.
        metric: its name.
        baseline: the row that is the better one of `BASELINES`, by the mean over seeds.
        student, best, fair_teacher: values of the seeds that all of them have.
    """

    k: int
    metric: str
    baseline: str
    student: tuple[float, ...]
    best: tuple[float, ...]
    fair_teacher: tuple[float, ...]

    @property
    def differences(self) -> list[float]:
        """Student minus best baseline, of each seed."""
        return [student - best for student, best in zip(self.student, self.best, strict=True)]

    @property
    def gap_closed(self) -> float | None:
        """The share of the gap, from means over seeds; None where the fair teacher is not above the baseline."""
        gap = statistics.mean(self.fair_teacher) - statistics.mean(self.best)
        return statistics.mean(self.differences) / gap if gap > 0 else None

    @property
    def gaps_closed(self) -> list[float]:
        """The share of each seed by itself; empty where one has no gap."""
        gaps = [fair - best for fair, best in zip(self.fair_teacher, self.best, strict=True)]
        return [each / gap for each, gap in zip(self.differences, gaps, strict=True)] if min(gaps) > 0 else []

    def describe_gap(self) -> str:
        """ "41 % ± 6 %"; "-" without a gap."""
        if self.gap_closed is None:
            return "-"
        text = f"{100 * self.gap_closed:.0f} %"
        shares = self.gaps_closed
        return f"{text} ± {100 * statistics.stdev(shares):.0f} %" if len(shares) > 1 else text


def compare(results: Sequence[Result], k: int, metric: str) -> Comparison | None:
    """The student of k frames beside the baselines and the fair teacher; None before all of them have a common seed."""
    places = ((STUDENT, k), *((row, k) for row in BASELINES), (FAIR_TEACHER, None))
    by_row = {place[0]: _by_seed(results, place, metric) for place in places}
    seeds = sorted(set.intersection(*map(set, by_row.values())))
    if not seeds:
        return None
    values = {row: tuple(of_seed[seed] for seed in seeds) for row, of_seed in by_row.items()}
    baseline = max(BASELINES, key=lambda row: statistics.mean(values[row]))
    return Comparison(k, metric, baseline, values[STUDENT], values[baseline], values[FAIR_TEACHER])


def _by_seed(results: Iterable[Result], place: tuple[str, int | None], metric: str) -> dict[int, float]:
    """The values of a row and k."""
    return {result.run.seed: result.row.metrics[metric] for result in results if (result.run.row, result.k) == place}


def fair_tables(results: Sequence[Result], metrics: Sequence[str]) -> list[str]:
    """The parts of the text of the experiment "fair"."""
    groups = {(group[0].run.row, group[0].k): group for group in by_cell(results).values()}
    lines = [["k", *BASELINES, STUDENT.lower(), "student - best", "gap closed"]]
    for k in _numbers(results):
        compared = [compare(results, k, metric) for metric in metrics]
        measured = [cell(groups[row, k], metrics) if (row, k) in groups else "" for row in (*BASELINES, STUDENT)]
        gains = " / ".join(spread(each.differences, signed=True) for each in compared if each)
        lines.append([str(k), *measured, gains, " / ".join(each.describe_gap() for each in compared if each)])
    of_all = [[row, cell(group, metrics)] for (row, k), group in groups.items() if k is None]
    shown = f"**{' / '.join(metrics)}**"
    parts = [FAIR_HEAD, f"{shown}\n\n{markdown_table(lines)}", markdown_table([["all frames", shown], *of_all])]
    return [*parts, *_above_fair_teacher(groups, metrics)]


def _above_fair_teacher(groups: Mapping[tuple, Sequence[Result]], metrics: Sequence[str]) -> list[str]:
    """Says where a model for every k is the better one at all frames, too, so that the gap is wider than it seems."""
    means = {
        row: {metric: statistics.mean(result.row.metrics[metric] for result in group) for metric in metrics}
        for (row, k), group in groups.items()
        if k is None and row in (FAIR_TEACHER, *BASELINES)
    }
    fair = means.pop(FAIR_TEACHER, {})
    above = [f"{row} ({metric})" for metric in fair for row in means if means[row][metric] > fair[metric]]
    return [f"Better at all frames than the fair teacher, though on labels alone: {', '.join(above)}."] if above else []


def cost_tables(
    results: Sequence[Result],
    metrics: Sequence[str],
    speeds: Mapping[tuple, float],
    films: FilmSeconds | None = None,
) -> list[str]:
    """The parts of the text of the experiment "cost": every model by its cost, and the knee of the one student."""
    head = ["", "k", *metrics, "multiply-accumulates", "videos/s"]
    lines = [[*head, "film to labels, s"] if films else head]
    for group in sorted(by_cell(results).values(), key=_cost):
        first = group[0]
        rate = speeds.get(speed_key(first))
        k = "all" if first.k is None else str(first.k)
        sizes = [first.row.compute_cell(), f"{rate:,.0f}" if rate else ""]
        if films:
            seconds = films.of(first, speeds)
            sizes.append(f"{seconds:.3g}" if seconds else "")
        lines.append([first.run.row, k, *(cell(group, [metric]) for metric in metrics), *sizes])
    return [markdown_table(lines), *_knee(results)]


def _knee(results: Iterable[Result]) -> list[str]:
    of_student = [result for result in results if result.run.row == ANY_K and result.k is not None]
    groups = list(by_cell(of_student).values())
    if len(groups) < 2:
        return []
    points = [
        Point(group[0].k, _cost(group), statistics.mean(result.row.metrics["GAP@20"] for result in group))
        for group in groups
    ]
    counted = all(group[0].row.multiply_accumulates for group in groups)
    return [f"{ANY_K}. {knee.describe(points, 'multiply-accumulates' if counted else 'frames')}"]


def _cost(group: Sequence[Result]) -> int:
    """Multiply-accumulates for a video; its frames where a model does not state them."""
    return group[0].row.multiply_accumulates or group[0].row.frames


def to_json(
    results: Sequence[Result], metrics: Sequence[str], speeds: Mapping[tuple, float], films: FilmSeconds | None = None
) -> dict[str, Any]:
    """The content of `results.json`: a row for each model and k over seeds, and the comparisons of "fair"."""
    rows = [
        {
            "row": group[0].run.row,
            "k": group[0].k,
            "frames": group[0].row.frames,
            "seeds": [result.run.seed for result in group],
            "metrics": {metric: _described([result.row.metrics[metric] for result in group]) for metric in metrics},
            "multiply_accumulates": group[0].row.multiply_accumulates,
            "videos_per_second": speeds.get(speed_key(group[0])),
            "film_to_labels_seconds": films.of(group[0], speeds) if films else None,
        }
        for group in by_cell(results).values()
    ]
    compared = [compare(results, k, metric) for k in _numbers(results) for metric in metrics]
    return {"rows": rows, "comparisons": [_of_comparison(each) for each in compared if each]}


def _of_comparison(compared: Comparison) -> dict[str, Any]:
    shares = compared.gaps_closed
    return {
        "k": compared.k,
        "metric": compared.metric,
        "best_baseline": compared.baseline,
        "student_minus_best": _described(compared.differences),
        "gap_closed": compared.gap_closed,
        "gap_closed_deviation": statistics.stdev(shares) if len(shares) > 1 else None,
    }


def _described(values: Sequence[float]) -> dict[str, Any]:
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "deviation": deviation, "values": list(values)}


def _numbers(results: Iterable[Result]) -> list[int]:
    """Every k."""
    return sorted({result.k for result in results if result.k is not None})
