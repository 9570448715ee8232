"""The settings of a run for TensorBoard: all of them as a text, and those of the training as hyper-parameters."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import summary_v2

from yt8m_distill.config.json import to_values
from yt8m_distill.config.run import RunConfig
from yt8m_distill.evaluation.results import curves_named

HYPER_PARAMETERS = (
    *("model", "model_args", "student_model_args", "training_mode", "selection", "distillation", "learning"),
    "train_fraction",
)
_OF_SETTINGS = ".settings.v2"  # the end of the names of its event files


def write_settings(config: RunConfig, folder: pathlib.Path):
    """Writes the settings in place of earlier ones, so that a run that is resumed has them once.

    They are in the folder of the curves' folders, by which the dashboard of hyper-parameters has all curves as metrics.

    Args:
        config: of the run.
        folder: `logs` of the run directory.

    Raises:
        UserError: it cannot be written.
    """
    settings = dict(_flat("", to_values(config)))
    hyper_parameters = {
        name: value
        for name, value in settings.items()
        if name.partition(".")[0] in HYPER_PARAMETERS and value is not None
    }
    with curves_named(folder):
        for earlier in folder.glob(f"events.out.tfevents.*{_OF_SETTINGS}"):
            earlier.unlink()
        writer = tf.summary.create_file_writer(str(folder), filename_suffix=_OF_SETTINGS)
        with writer.as_default(step=0):
            summary_v2.hparams(hyper_parameters, trial_id=config.train_dir)
            tf.summary.text("settings", _table(settings))
        writer.close()


def _flat(prefix: str, values: Any) -> Iterator[tuple[str, Any]]:
    """Every setting by its dotted name: a number, a text, true or false, or None."""
    if isinstance(values, dict) and values:
        for name, value in values.items():
            yield from _flat(f"{prefix}.{name}" if prefix else name, value)
    elif not isinstance(values, dict):
        yield prefix, json.dumps(values) if isinstance(values, list | tuple) else values


def _table(settings: dict[str, Any]) -> str:
    """A table in Markdown, one setting a row."""
    rows = [f"| {name} | {_cell(value)} |" for name, value in sorted(settings.items())]
    return "\n".join(["| setting | value |", "|---|---|", *rows])


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return "`" + text.replace("|", "\\|").replace("`", "'") + "`" if text else ""
