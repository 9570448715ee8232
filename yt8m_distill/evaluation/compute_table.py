"""Parameters, memory and compute of a model, as text: `run_flops`."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from yt8m_distill.config.dataset import AUDIOSET, LONGEST_VIDEO, YOUTUBE_8M_2018, SpecOverrides
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.models import FlopsConfig
from yt8m_distill.data.frame_selection import needs_all_frames
from yt8m_distill.errors import UserError
from yt8m_distill.files.text_table import aligned_markdown_table, count_cell
from yt8m_distill.models import VideoModel, building, cost
from yt8m_distill.models.arguments import typed_model_args
from yt8m_distill.plugins import MODELS
from yt8m_distill.runs import teachers

GIGA = 1e9
TEXT_WIDTH = 100


@dataclass(frozen=True)
class Sized:
    """A model for a number of frames, whose variables have no values: a column of the tables."""

    frames: int
    model: VideoModel


def run_flops(config: FlopsConfig):
    """Prints parameters, memory and multiply-accumulates of a model, beside published compute.

    Raises:
        UserError: unknown model, argument or feature, a value that the model refuses, or no such run.
    """
    columns = _of_run(config) if config.train_dir is not None else _of_settings(config)
    choosing = _choosing(config, columns)
    print("\n\n".join([_description(columns), _whole_model(columns, choosing), _papers_convention(columns)]))


def _of_settings(config: FlopsConfig) -> list[Sized]:
    """The model of the flags; arguments that depend on the number of frames have the values of a training."""
    model_class = MODELS.get(config.model)
    sizes, num_classes = _sizes(config.overrides)
    model_args = typed_model_args(model_class, config.model_args)

    def args_for(frames: int) -> dict[str, Any]:
        return {**model_class.args_for_frames(frames), **model_args}

    return _columns(config.frames, args_for, config.model, sizes, num_classes)


def _of_run(config: FlopsConfig) -> list[Sized]:
    """The model of a run, with the arguments that it was trained with, for any number of frames."""
    directory, run, role = teachers.find_run(config.train_dir, config.which)
    if role == teachers.ENSEMBLE:
        members = ", ".join(run.teacher_dirs)
        raise UserError(f"the teacher of '{config.train_dir}' is an ensemble; count its members: {members}.")
    args, data = run.model_args_of(role), run.data
    asked = config.which or role  # a teacher that is the student of its own run sees all frames
    frames = config.frames or run.selection_of(asked).drawn_from or (run.frames_of(asked),)
    try:
        return _columns(frames, lambda _: args, run.model, data.feature_sizes, data.num_classes)
    except (ValueError, TypeError) as error:  # the configuration may be from elsewhere
        problem = str(error).removesuffix(".")
        raise UserError(f"the model of '{directory.config_file}' cannot be built: {problem}.") from error


def _sizes(overrides: SpecOverrides) -> tuple[tuple[int, ...], int]:
    """Length of each feature, and the number of classes: those of the flags, else of the edition with the features."""
    names = overrides.feature_names or tuple(name for name, _ in YOUTUBE_8M_2018.features)
    editions = [edition for edition in (YOUTUBE_8M_2018, AUDIOSET) if set(names) <= dict(edition.features).keys()]
    edition = next(iter(editions), None)
    if edition is None and not (overrides.feature_sizes and overrides.num_classes):
        raise UserError(
            f"--feature_names={','.join(names)} are not the features of a known edition: also give --feature_sizes and "
            "--num_classes."
        )
    sizes = overrides.feature_sizes or tuple(dict(edition.features)[name] for name in names)
    return sizes, overrides.num_classes or edition.num_classes


def _columns(
    frames: Sequence[int],
    args_for: Callable[[int], Mapping[str, Any]],
    name: str,
    feature_sizes: tuple[int, ...],
    num_classes: int,
) -> list[Sized]:
    """A model for each number of frames, whose variables have shapes but take no memory."""
    try:
        with keras.StatelessScope(initialize_variables=False):
            sizes = {"feature_sizes": feature_sizes, "num_classes": num_classes, "classifier_layer": None}
            return [Sized(count, building.build_model(name, **sizes, **args_for(count))) for count in frames]
    finally:
        keras.utils.clear_session(free_memory=False)  # otherwise Keras would initialize the variables later


def _description(columns: Sequence[Sized]) -> str:
    model = columns[0].model
    args = [(column.frames, column.model.model_args) for column in columns]
    by_frames = [name for name in model.model_args if len({values[name] for _, values in args}) > 1]
    shared = ", ".join(f"{name}={value}" for name, value in model.model_args.items() if name not in by_frames)
    sizes = " + ".join(map(str, model.feature_sizes))
    lines = [
        _wrapped(f"{type(model).__name__}: {shared}"),
        *(f"{name}, by frames: {', '.join(f'{k}: {values[name]}' for k, values in args)}" for name in by_frames),
        f"Input: features of {sizes} values per frame; {model.num_classes} classes.",
        f"Trainable parameters: {cost.parameter_count(model):,}",
        f"Memory of all weights in float32, with batch normalization statistics: {cost.weight_bytes(model):,} bytes",
    ]
    return "\n".join(lines)


def _choosing(config: FlopsConfig, columns: Sequence[Sized]) -> list[list[str]]:
    """A row of what choosing the frames takes, and one of its share; none where nothing is chosen by features."""
    sampling, frames = config.frame_sampling or "uniform", config.video_frames
    if config.train_dir is not None:
        _, run, role = teachers.find_run(config.train_dir, config.which)
        # A teacher that is the student of its own run sees all frames.
        sampling = config.frame_sampling or run.selection_of(config.which or role).sampling
        frames = frames or run.data.longest_example
    if config.video_frames is not None and not needs_all_frames(FrameSelection(1, sampling=sampling)):
        raise UserError(f"--video_frames does nothing with --frame_sampling={sampling}, which looks at no features.")
    frames = frames or LONGEST_VIDEO
    sizes = columns[0].model.feature_sizes
    counts = [cost.choosing_products(sampling, sizes, frames, min(c.frames, frames)) for c in columns]
    if not any(count != 0 for count in counts):
        return []
    rows = [[f"choosing of {frames} by {sampling}", *map(count_cell, counts)]]
    totals = [cost.multiply_accumulates(column.model, column.frames)[0] for column in columns]
    if None not in counts and all(totals):
        shares = (f"{100 * count / total:.2g} %" for count, total in zip(counts, totals, strict=True))
        rows.append(["its share of the total", *shares])
    return rows


def _whole_model(columns: Sequence[Sized], more_rows: Sequence[Sequence[str]]) -> str:
    counts = [cost.multiply_accumulates(column.model, column.frames)[1] for column in columns]
    text = (
        "Multiply-accumulates of the whole model for one video: all matrix products, those of an LSTM in each step; "
        "element-wise operations are not counted. Floating-point operations are twice as many."
    )
    if not all(counts):
        name = type(columns[0].model).__name__
        return _wrapped(f"{text} Here they are unknown: {name} does not state them (`encoder_multiply_accumulates`).")
    return f"{_wrapped(text)}\n\n{_table('layer', columns, counts, more_rows)}"


def _papers_convention(columns: Sequence[Sized]) -> str:
    """The published compute beside that of the same parts of these models."""
    model = columns[0].model
    convention = cost.paper_convention(model)
    if convention is None:
        return f"No compute is published for {type(model).__name__}."
    counts = [convention.parts(column.model, column.frames) for column in columns]
    text = _wrapped(
        f"In the convention of {convention.source}, which does not count the whole model. Counted: "
        f"{convention.counted}. Not counted: {convention.left_out}. The paper gives these numbers as GFLOPs."
    )
    published = convention.published_for(model)
    if published:
        rows = [
            ["total, in 10^9", *(f"{sum(parts.values()) / GIGA:.3f}" for parts in counts)],
            ["published", *(f"{published[c.frames]:.3f}" if c.frames in published else "-" for c in columns)],
        ]
        return f"{text}\n\n{_table('part', columns, counts, rows)}"
    sizes = ", ".join(f"{name}={value}" for name, value in convention.sizes.items())
    other_size = f"The published numbers are for another model size, {sizes}, and are not shown."
    return f"{text}\n\n{_table('part', columns, counts)}\n\n{_wrapped(other_size)}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, TEXT_WIDTH, break_on_hyphens=False)


def _table(
    head: str,
    columns: Sequence[Sized],
    counts: Sequence[Mapping[str, int]],
    more_rows: Sequence[Sequence[str]] = (),
) -> str:
    """Counts by name, one column for each number of frames, and their totals, as an aligned Markdown table."""
    return aligned_markdown_table(
        [
            [head, *(f"{column.frames} frame{'s' * (column.frames != 1)}" for column in columns)],
            *([name, *(f"{by_name[name]:,}" for by_name in counts)] for name in counts[0]),
            ["total", *(f"{sum(by_name.values()):,}" for by_name in counts)],
            *more_rows,
        ]
    )
