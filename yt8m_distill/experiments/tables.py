"""`results.md`: measured results in the form of the paper's tables, beside its numbers."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from yt8m_distill.config.dataset import EDITIONS
from yt8m_distill.config.experiment import COMPARISONS, ExperimentConfig
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import TrainConfig
from yt8m_distill.experiments import budget, comparisons, published
from yt8m_distill.experiments.cells import cell
from yt8m_distill.experiments.film_seconds import FilmSeconds
from yt8m_distill.experiments.results import Result, by_cell, references, speed_key
from yt8m_distill.files.text_table import count_cell, markdown_table
from yt8m_distill.runs.directory import RunDir

SUBJECTS = {
    "table1": "Teacher, baselines, parallel and serial students",
    "table2": "Share of the training data",
    "table4": "Intermediate and final matching of representations",
    "table5": "Teacher, uniform baseline and student",
    "table6": "Teacher, uniform baseline and student",
    "figure2": "GAP by epoch",
    "figure3": "Representations of teacher and student",
    "fair": "A student and its fair baselines",
    "cost": "Accuracy against cost",
}
YOUTUBE_8M = [edition.name for edition in EDITIONS if edition.name.startswith("YouTube-8M")]
GRIDS = ("table1", "table2", "table4", "figure2", "figure3")  # the others have a row for each model and k


@dataclass(frozen=True)
class Table:
    """The content of `results.md`.

    Attributes:
        experiment: see `ExperimentConfig`.
        results: of all finished runs.
        metrics: to show, in order.
        videos_per_second: by `speed_key`.
        figures: the paper's numbers for this model.
    """

    experiment: str
    results: Sequence[Result]
    metrics: Sequence[str]
    videos_per_second: Mapping[tuple, float]
    figures: Sequence[published.Figure]

    def many_k(self) -> bool:
        """Whether there are results for several k."""
        return len({result.k for result in self.results if result.k is not None}) > 1

    def place(self, result: Result) -> tuple[str, str]:
        """Row and column of a result in the paper's form of the table; column "": it is listed above the table."""
        row, mode = result.run.row, result.config.training_mode
        k = f"k = {result.k}" if result.k is not None else "all frames"
        if self.experiment == "table2":
            share = f"{100 * result.config.train_fraction:g} %"
            return (f"{row}, {k}" if self.many_k() and result.k is not None else row), share
        if self.experiment == "table4" and mode in ("serial", "parallel"):
            column = result.config.distillation.representation_matching
            return row, f"{column}, {k}" if self.many_k() else column
        if self.experiment == "table4" or mode == "teacher":
            return (f"{row}, {k}" if mode != "teacher" else row), ""
        return row, k


def markdown(
    config: ExperimentConfig,
    results: Sequence[Result],
    planned: int,
    videos_per_second: Mapping[tuple, float],
    films: FilmSeconds | None = None,
) -> str:
    """The text of `results.md`.

    Args:
        config: the experiment.
        results: of all finished runs.
        planned: number of all runs.
        videos_per_second: by `speed_key`; empty if it was not measured.
        films: seconds from film to features, for "cost"; None if they were not measured.
    """
    finished = len({result.run.name for result in results})
    parts = [f"# {_title(config, results)}", f"{finished} of {planned} runs have finished."]
    if not results:
        return "\n\n".join(parts) + "\n"
    metrics = metrics_of(config, results)
    model = results[0].config.model
    compared = config.experiment in COMPARISONS
    model_name = model.lower().removesuffix("model")
    figures = [] if compared else [figure for figure in published.figures() if figure.model.lower() == model_name]
    table = Table(config.experiment, results, metrics, videos_per_second, figures)
    first = "" if config.experiment in SUBJECTS and not compared else "The first run: "
    parts.append(first + _settings(results, len(config.seeds)))
    parts.append(budget.describe([(result.run.row, result.config) for result in results]))
    if config.experiment == "fair":
        parts += [*comparisons.fair_tables(results, metrics), _costs(table)]
    elif config.experiment == "cost":
        parts += comparisons.cost_tables(results, metrics, videos_per_second, films)
    elif config.experiment in GRIDS:
        parts += [_above(table), _grid(table), _gap_grid(table), _costs(table)]
    else:
        parts.append(_listing(table))
    parts.append(_note(table))
    return "\n\n".join(part for part in parts if part) + "\n"


def _title(config: ExperimentConfig, results: Sequence[Result]) -> str:
    """What is compared, of which model, on which data: a table of the paper only on the paper's data set."""
    name = config.experiment
    subject = SUBJECTS.get(name, name)
    if not results or name not in SUBJECTS or name in COMPARISONS:
        return subject
    number = f"{name[:-1]} {name[-1]}"
    edition = RunDir(results[0].config.train_dir).read_config().data.edition
    if results[0].config.train_data_pattern is None:
        data = "the sample data"
    elif edition in YOUTUBE_8M:
        return f"{number.capitalize()}: {subject}, {config.settings.model} on {edition}"
    else:
        data = edition
    return f"{subject}, {config.settings.model} on {data}, in the form of the paper's {number}"


def metrics_of(config: ExperimentConfig, results: Sequence[Result]) -> list[str]:
    """The metrics that the tables show, in their order."""
    order = ("mAP", "GAP@20") if config.experiment in ("table5", "table6") else ("GAP@20", "mAP")
    return [name for name in (*order, "mAP_full") if name in results[0].row.metrics]


def _settings(results: Sequence[Result], seeds: int) -> str:
    """Model, arguments and training settings of the first run."""
    config = RunDir(results[0].config.train_dir).read_config()
    learning = config.learning
    args = ", ".join(f"{name} {value}" for name, value in sorted(config.model_args.items()))
    spread = f"; mean ± standard deviation over {seeds} seeds" if seeds > 1 else ""
    return (
        f"{config.model} ({args}); {learning.num_epochs} epochs, batch {learning.batch_size}, learning rate "
        f"{learning.base_learning_rate:g}; {config.data.edition}, trained on `{config.train_data_pattern}`, evaluated "
        f"on {_evaluated_on(results[0].config, config)}{spread}."
    )


def _evaluated_on(asked: TrainConfig, resolved: RunConfig) -> str:
    if asked.eval_data_pattern is None and asked.validation_fraction:
        share = f"{100 * asked.validation_fraction:g} %"
        return f"the {share} of them that it was not trained on, by which its best epoch was chosen"
    return f"`{asked.eval_data_pattern or resolved.eval_data_pattern}`"


def _above(table: Table) -> str:
    """Results without a column: the teacher, and the uniform baseline if columns are not k."""
    lines = []
    for group in by_cell(table.results).values():
        row, column = table.place(group[0])
        if column == "":
            paper = _published(table, group[0])
            quoted = f" (the paper: {paper.gap} / {paper.map})" if paper else ""
            lines.append(f"- {row}: {cell(group, table.metrics)}{quoted}")
    return f"{_metrics_line(table)}\n\n" + "\n".join(lines)


def _metrics_line(table: Table) -> str:
    return f"**{' / '.join(table.metrics)}**"


def _grid(table: Table) -> str:
    """Rows and columns as in the paper, and beside them the paper's numbers."""
    placed, rows, columns = _placed(table, by_cell(table.results).values())
    published_columns = _published_columns(table)
    head = ["", *columns, *(f"paper, {name}" for name in published_columns)]
    lines = []
    for row in rows:
        measured = [cell(placed[row, column], table.metrics) if (row, column) in placed else "" for column in columns]
        label = placed[row, next(column for column in columns if (row, column) in placed)][0].run.row
        lines.append([row, *measured, *(by_row.get(label, "") for by_row in published_columns.values())])
    return markdown_table([head, *lines]) if lines else ""


def _placed(table: Table, groups: Iterable[list[Result]]) -> tuple[dict[tuple[str, str], list[Result]], list, list]:
    """The groups by row and column, and all rows and columns in their order."""
    placed = {table.place(group[0]): group for group in groups if table.place(group[0])[1]}
    rows, columns = (list(dict.fromkeys(labels)) for labels in zip(*placed, strict=True)) if placed else ([], [])
    # The first row of table 4 has no intermediate matching, which is the paper's first column.
    return placed, rows, sorted(columns, key=lambda column: not column.startswith("intermediate"))


def _published_columns(table: Table) -> dict[str, dict[str, str]]:
    """The paper's GAP / mAP by column and row, for columns of the same kind as the table's."""
    named_columns = table.experiment in ("table2", "table4")
    columns: dict[str, dict[str, str]] = {}
    for figure in table.figures:
        same_kind = figure.experiment == table.experiment if named_columns else not figure.column
        if same_kind and figure.k is not None:
            name = f"{figure.column}, k = {figure.k}" if figure.column else f"k = {figure.k}"
            columns.setdefault(name, {})[figure.row] = f"{figure.gap} / {figure.map}"
    return columns


def _published(table: Table, result: Result) -> published.Figure | None:
    """The paper's numbers for the same model, row and k."""
    cells = {(figure.row, figure.k): figure for figure in reversed(table.figures) if not figure.column}
    return cells.get((result.run.row, result.k))


def _gap_grid(table: Table) -> str:
    """The share of the gap between the uniform baseline and the teacher that each student closes."""
    students = [group for group in by_cell(table.results).values() if gap_closed(group, table) != ""]
    placed, rows, columns = _placed(table, students)
    lines = [
        [row, *(gap_closed(placed[row, column], table) if (row, column) in placed else "" for column in columns)]
        for row in rows
    ]
    head = f"Gap closed, (student - uniform) / (teacher - uniform), {_metrics_line(table)}"
    return f"{head}\n\n{markdown_table([['', *columns], *lines])}" if lines else ""


def _costs(table: Table) -> str:
    """Parameters, compute and speed by frames."""
    lines = []
    for result in _distinct(table.results, speed_key):
        k = "all" if result.k is None else str(result.k)
        paper = next((figure.gigaflops for figure in table.figures if figure.k == result.k and figure.gigaflops), "")
        row = result.row
        sizes = [count_cell(row.parameters), row.compute_cell()]
        lines.append([k, str(row.frames), *sizes, _rate(table, result), paper])
    head = ["k", "frames", "parameters", "multiply-accumulates", "videos/s", "paper, GFLOPs"]
    return markdown_table([head, *lines])


def _distinct(results: Iterable[Result], key: Callable[[Result], tuple]) -> list[Result]:
    """The first result of each key."""
    first: dict[tuple, Result] = {}
    for result in results:
        first.setdefault(key(result), result)
    return list(first.values())


def _rate(table: Table, result: Result) -> str:
    rate = table.videos_per_second.get(speed_key(result))
    return f"{rate:,.0f}" if rate else ""


def _listing(table: Table) -> str:
    """A row for each model and k, a column for each metric."""
    head = ["", "k", *table.metrics, "gap closed", "multiply-accumulates", "videos/s"]
    head += ["paper, mAP", "paper, GAP", "paper, GFLOPs"] if table.figures else []
    lines = []
    for group in by_cell(table.results).values():
        first = group[0]
        k = "all" if first.k is None else str(first.k)
        line = [first.run.row, k, *(cell(group, [metric]) for metric in table.metrics), gap_closed(group, table)]
        line += [first.row.compute_cell(), _rate(table, first)]
        paper = _published(table, first)
        if table.figures:
            line += [paper.map, paper.gap, paper.gigaflops] if paper else ["", "", ""]
        lines.append(line)
    text = markdown_table([head, *lines])
    missing = [figure for figure in table.figures if _is_missing(table, figure)]
    quoted = [f"{figure.row}, k = {figure.k}: {figure.map} / {figure.gap}" for figure in missing]
    return f"{text}\n\nThe paper, mAP / GAP: {'; '.join(quoted)}." if quoted else text


def _is_missing(table: Table, figure: published.Figure) -> bool:
    """Whether the paper has these numbers in the same table, for a k that was not run here."""
    measured = {(result.run.row, result.k) for result in table.results}
    return figure.experiment == table.experiment and (figure.row, figure.k) not in measured


def _note(table: Table) -> str:
    quoted = f"Numbers under *paper* are from Bhardwaj et al., for {published.DATA}; they were not measured here."
    counted = "Multiply-accumulates are of our whole model for one video; the paper's GFLOPs do not count all parts."
    timed = "videos/s: from records to CSV, measured in turn in one run on this machine."
    parts = [quoted if table.figures else "", counted, timed if table.videos_per_second else ""]
    return " ".join(part for part in parts if part)


def gap_closed(students: Sequence[Result], table: Table) -> str:
    """The share for each metric, from means over seeds; "" without a teacher and a uniform baseline to compare with."""
    teachers, uniform = references(students[0], table.results)
    if not teachers or not uniform:
        return ""
    parts = []
    for metric in table.metrics:
        high, low, student = (
            statistics.mean(result.row.metrics[metric] for result in group) for group in (teachers, uniform, students)
        )
        parts.append(f"{100 * (student - low) / (high - low):.0f} %" if high > low else "-")
    return " / ".join(parts)
