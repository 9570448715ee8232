"""Numbers in the cells of tables: the mean over seeds with its spread."""

import statistics
from collections.abc import Sequence

from yt8m_distill.experiments.results import Result


def short(value: float) -> str:
    """A number as the papers print it.

    Example:
        >>> short(0.8114), short(-0.0114)
        ('.811', '-.011')
    """
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"


def spread(values: Sequence[float], signed: bool = False) -> str:
    """The mean ± standard deviation; of one value the value.

    Example:
        >>> spread([0.25, 0.75]), spread([0.25], signed=True)
        ('.500 ± .354', '+.250')
    """
    mean = statistics.mean(values)
    text = f"+{short(mean)}" if signed and mean >= 0 else short(mean)
    return f"{text} ± {short(statistics.stdev(values))}" if len(values) > 1 else text


def cell(group: Sequence[Result], metrics: Sequence[str]) -> str:
    """The mean ± standard deviation of each metric over seeds."""
    return " / ".join(spread([result.row.metrics[metric] for result in group]) for metric in metrics)
