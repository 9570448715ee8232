"""The model card of a run directory, its `README.md`: the models, their quality, and how to use them."""

import pathlib

from yt8m_distill.config.run import RunConfig
from yt8m_distill.files import atomic
from yt8m_distill.files.text_table import count_cell, markdown_table
from yt8m_distill.runs import model_card
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.training.report import METRICS, Report

_MARK = "<!-- Written by yt8m_distill at the end of each training. Without this line it is left as it is. -->"
_USE = """## Use it

```python
import yt8m_distill

model = yt8m_distill.load("this folder")
model.top(model.predict(frames), k=5)  # frames: all of a video, one a second, as in the records
```

`yt8m eval`, `yt8m inference` and `yt8m export` take the folder as `--train_dir`."""


def write(run: RunDir, config: RunConfig, report: Report):
    """Writes the card of a finished run, unless its user has written one; it has no times, so that it is reproducible.

    Args:
        run: that has finished.
        config: of the run.
        report: of the run; its last row is the run's own model with the frames that it was trained on.
    """
    path = run.path / model_card.FILE_NAME
    if not _is_ours(path):
        return
    trained = report.rows[-1]
    tags = [model_card.DISTILLED] if config.distillation else []
    parts = [
        model_card.header(config.model, config.data, trained.metrics, tags),
        _MARK,
        f"# {config.model}, {trained.role}, {trained.frames} frames\n\nIt predicts the labels of a video.",
        f"## The models\n\nTrained on: {config.data.describe()}.\n\n{_table(report)}",
        _USE,
        model_card.license_of_data(config.data),
    ]
    atomic.write_text(path, "\n\n".join(parts) + "\n")


def _is_ours(path: pathlib.Path) -> bool:
    return not path.exists() or (path.is_file() and _MARK in path.read_text(encoding="utf-8", errors="replace"))


def _table(report: Report) -> str:
    rows = [["model", "frames", *METRICS, "parameters", "multiply-accumulates per video"]]
    for row in report.rows:
        scores = [f"{row.metrics[name]:.4f}" if name in row.metrics else "-" for name in METRICS]
        rows.append([row.role, str(row.frames), *scores, count_cell(row.parameters), row.compute_cell()])
    return markdown_table(rows)
