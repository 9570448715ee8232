"""Draws PNG files with matplotlib, without a display; needs the extra `plots`."""

import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

DOTS_PER_INCH = 130
STYLES = {"teacher": "--", "baseline": ":", "student": "-"}


@dataclass(frozen=True)
class Line:
    """A row of a table over its numbers of frames.

    Attributes:
        label: of the row.
        kind: "teacher", "baseline" or "student".
        x: frames, multiply-accumulates or videos/s.
        y: means over seeds, by metric.
        deviations: standard deviations over seeds, by metric; 0 for one seed.
    """

    label: str
    kind: str
    x: Sequence[float]
    y: Mapping[str, Sequence[float]]
    deviations: Mapping[str, Sequence[float]]


def draw_accuracy(path: pathlib.Path, lines: Sequence[Line], metrics: Sequence[str], x_label: str):
    """Draws a panel for each metric: the teacher as a level, baselines dotted, students solid."""
    figure = Figure(figsize=(5.5 * len(metrics) + 2.5, 4.5), layout="constrained")
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        for number, line in enumerate(lines):
            _draw_line(axes, line, metric, colormaps["tab20"](number % 20))
        _label_logarithmic_x(axes, sorted({x for line in lines for x in line.x}))
        axes.set_xlabel(x_label)
        axes.set_ylabel(metric)
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=DOTS_PER_INCH)


def _draw_line(axes: Axes, line: Line, metric: str, color):
    y = line.y[metric]
    if line.kind == "teacher":
        axes.axhline(y[0], color=color, linestyle=STYLES["teacher"], linewidth=1)
    style = "none" if line.kind == "teacher" else STYLES[line.kind]
    marker = "*" if line.kind == "teacher" else "o"
    size = 11 if line.kind == "teacher" else 5
    options = {"color": color, "linestyle": style, "marker": marker, "markersize": size}
    axes.errorbar(line.x, y, yerr=line.deviations[metric], label=line.label, **options)


def _label_logarithmic_x(axes: Axes, values: Sequence[float]):
    axes.set_xscale("log")
    apart = [value for i, value in enumerate(values) if i == 0 or value > 1.15 * values[i - 1]]
    axes.xaxis.set_major_locator(FixedLocator(apart))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def _short(value: float) -> str:
    """A number with a unit: 3, 1.2M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def draw_epochs(path: pathlib.Path, panels: Mapping[str, Mapping[str, Sequence[float]]]):
    """Draws GAP@20 after each epoch: a panel for each combination of losses, with a curve for each model.

    Args:
        path: PNG.
        panels: GAP by epoch, by the curve's name ("serial teacher"), by the panel's title.
    """
    figure = Figure(figsize=(4.5 * len(panels) + 1.5, 4), layout="constrained")
    shown = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (title, curves) in zip(shown, panels.items(), strict=True):
        for name, values in curves.items():
            color = "tab:blue" if name.startswith("serial") else "tab:red"
            style = "--" if name.endswith("teacher") else "-"
            axes.plot(range(1, len(values) + 1), values, color=color, linestyle=style, marker="o", ms=3, label=name)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    shown[0].set_ylabel("GAP@20 on validation videos")
    names = {text: handle for axes in shown for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(names.values(), names.keys(), loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=DOTS_PER_INCH)


def draw_points(path: pathlib.Path, points: np.ndarray, classes: Sequence[str], roles: Sequence[str]):
    """Draws points in a plane: a color for each class, its dark shade for the teacher, the light one for the student.

    Args:
        path: PNG.
        points: (points, 2).
        classes: name of each point's class.
        roles: "teacher" or "student", of each point.
    """
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(dict.fromkeys(classes)):
        for shade, role in enumerate(("teacher", "student")):
            rows = [c == name and r == role for c, r in zip(classes, roles, strict=True)]
            color = colormaps["tab20"](2 * number + shade)
            axes.scatter(*points[rows].T, s=12, color=color, label=f"{name}, {role}")
    axes.set_xticks([])
    axes.set_yticks([])
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=DOTS_PER_INCH)
