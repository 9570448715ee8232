"""The model card of an export, its `README.md`: the model, its quality and speed, and how to call it."""

import os
import pathlib
import platform

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.data.frame_selection import is_formula, needs_all_frames
from yt8m_distill.deployment.int8 import LEAST_COLUMNS
from yt8m_distill.deployment.manifest import ExportedFile, Manifest
from yt8m_distill.deployment.preparation import MODEL_CARD
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic, untrusted
from yt8m_distill.files.text_table import markdown_table
from yt8m_distill.models import cost
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.model_card import DISTILLED, METRICS, header, license_of_data
from yt8m_distill.runs.trained_model import TrainedModel

FRAMES_OF_SELECTION = {
    "uniform": "frame `(2 * i + 1) * n // {twice}` for i from 0 to {last}, the middle of {k} equal parts; of a video "
    "of at most {k} frames all of them",
    "first": "the first {k} frames",
    "last": "the last {k} frames",
    "middle": "the {k} frames in the middle",
    "first_middle_last": "{k} frames from the beginning, the middle and the end, as "
    "`yt8m_distill.data.frame_selection` chooses them",
}

OTHER_FRAMES = "the {k} frames that the frame sampling `{sampling}` of the training's `--plugins` selects"


def write(manifest: Manifest, trained: TrainedModel, train_dir: str, folder: pathlib.Path, choice: str | None = None):
    """Writes the model card.

    Args:
        manifest: of the export.
        trained: the model.
        train_dir: the run that it was exported from.
        folder: of the export.
        choice: how the number of frames was chosen; None: it was given.
    """
    metrics = _metrics(manifest, trained, train_dir) or {}
    tags = list(dict.fromkeys(file.format for file in manifest.files))
    tags += [DISTILLED] if trained.config.distillation and manifest.which == "student" else []
    measured = metrics or ({} if manifest.gap is None else {"GAP@20": manifest.gap})
    parts = [
        header(manifest.model, manifest.data, measured, tags),
        _head(manifest),
        _model(manifest, trained),
    ]
    parts += [_quality(manifest, metrics), _files(manifest)]
    parts += [f"## The number of frames\n\n{choice}"] if choice else []
    parts += [_input(manifest), license_of_data(manifest.data)]
    atomic.write_text(folder / MODEL_CARD, "\n\n".join(parts) + "\n")


def table(manifest: Manifest) -> str:
    """The files of an export, as a Markdown table."""
    rows = [["file", "MB", "ms a video", "largest difference to Keras", "GAP@20"]]
    for file in manifest.files:
        size, time = f"{file.num_bytes / 1e6:.2f}", f"{file.milliseconds:.2f}"
        difference = f"{file.difference:.1e} (allowed: {file.bound:.0e})"
        rows.append([file.path, size, time, difference, "-" if file.gap is None else f"{file.gap:.5f}"])
    if manifest.gap is not None:
        rows.append(["the Keras model", "", "", "", f"{manifest.gap:.5f}"])
    return markdown_table(rows)


def _head(manifest: Manifest) -> str:
    branch = "" if manifest.branch is None else f", branch {manifest.branch}"
    return f"# {manifest.model}, {manifest.which}{branch}, {_frames(manifest)}\n\nIt predicts the labels of a video."


def _frames(manifest: Manifest) -> str:
    longest = manifest.data.longest_example
    of_all = f"of at most {longest} frames" if longest else "of videos of any length"
    if manifest.selection == ALL_FRAMES:
        return f"all {of_all}"
    if manifest.selection.stride is not None:
        return f"every frame whose number is a multiple of {manifest.selection.stride} {of_all}"
    return f"{manifest.selection.k} {of_all}"


def _model(manifest: Manifest, trained: TrainedModel) -> str:
    model, data = trained.model, manifest.data
    lines = [f"- Trained on: {data.describe()}.", f"- Arguments: {_arguments(trained)}."]
    frames = manifest.frames or 300
    total, _ = cost.multiply_accumulates(model, frames)
    computed = "unknown" if total is None else f"{total / 1e6:,.2f} million"
    lines.append(f"- Multiply-accumulates: {computed} for one video of {frames} frames.")
    lines.append(f"- Trainable parameters: {cost.parameter_count(model):,}.")
    return "## The model\n\n" + "\n".join(lines)


def _arguments(trained: TrainedModel) -> str:
    return ", ".join(f"{name}={value}" for name, value in trained.model.model_args.items())


def _quality(manifest: Manifest, metrics: dict) -> str:
    lines = []
    if metrics:
        values = ", ".join(f"{name} {metrics[name]:.4f}" for name in METRICS if name in metrics)
        lines.append(f"Evaluated with these frames in its run, on {metrics.get('examples', '?')} examples: {values}.")
    else:
        lines.append("It was not evaluated with these frames in its run.")
    if manifest.gap is not None:
        lines.append(
            f"At the export, on {manifest.gap_videos} labelled videos, the Keras model had a GAP@20 of "
            f"{manifest.gap:.5f}; {_losses(manifest)}"
        )
    return "## Quality\n\n" + " ".join(lines)


def _losses(manifest: Manifest) -> str:
    lossy = [file for file in manifest.files if file.precision != "float32" and file.gap is not None]
    if not lossy:
        return "that of each file is below."
    losses = [f"{_short(file)} loses {manifest.gap - file.gap:.5f}" for file in lossy]
    return f"{', '.join(losses)} (negative: it gains)."


def _short(file: ExportedFile) -> str:
    """The precision of a file, with its format where that is not LiteRT."""
    return file.precision if file.format == "litert" else f"{file.precision} ({file.path})"


def _metrics(manifest: Manifest, trained: TrainedModel, train_dir: str) -> dict | None:
    """Evaluation results of this model with these frames, from its own run or that of its student."""
    runs = ((trained.run_path, True), (trained.run_path, False), (train_dir, True))
    for path, of_teacher in runs:
        file = RunDir(path).metrics_file(of_teacher=of_teacher, branch=manifest.branch)
        try:
            metrics = untrusted.read_json(file) if file.is_file() else {}
        except UserError:
            continue
        if (metrics.get("which"), metrics.get("frames")) == (manifest.which, manifest.selection.describe()):
            return metrics
    return None


def _files(manifest: Manifest) -> str:
    text = (
        "Every file was run and compared with the Keras model on random frames, and on real videos if a GAP@20 is "
        f"given. Times are for one video of {manifest.frames or 'any number of'} frames by itself, on "
        f"{len(os.sched_getaffinity(0))} cores of {platform.machine()} with each runtime's own number of threads."
    )
    parts = [
        f"## Files\n\n{text}",
        table(manifest),
        *(_int8(manifest, file) for file in manifest.files if _is_int8(file)),
    ]
    return "\n\n".join(parts)


def _is_int8(file: ExportedFile) -> bool:
    return (file.format, file.precision) == ("onnx", "int8")


def _int8(manifest: Manifest, file: ExportedFile) -> str:
    """Which layers of an int8 ONNX file are int8."""
    text = f"In `{file.path}` products with matrices of at least {LEAST_COLUMNS} columns are int8"
    if file.float32_layers:
        names = ", ".join(f"`{name}`" for name in file.float32_layers)
        return f"{text}, but for {names}, which stay float32 because they lose too much GAP@20. The rest is float32."
    if manifest.gap is None:
        return f"{text}; the rest is float32. There were no labelled videos to measure what that loses."
    return f"{text}; the rest is float32."


def _input(manifest: Manifest) -> str:
    data = manifest.data
    features = ", then ".join(
        f"{size} of `{name}`" for name, size in zip(data.feature_names, data.feature_sizes, strict=True)
    )
    frames = "any number of" if manifest.frames is None else manifest.frames
    text = f"""## Input and output

`frames` (videos, frames, {data.frame_size}) uint8: bytes as they are stored in the records, {features}; for float
features {_quantized(data)}. Do not dequantize or normalize them, the model does it.
`num_frames` (videos,) int32: the number of real frames, at the beginning; frames after them have no effect.
`predictions` (videos, {data.num_classes}) float32: a probability for each class. LiteRT and ONNX files take exactly
{frames} frames, the SavedModel any number."""
    return f"{text}\n\n{_selection(manifest.selection, data)}"


def _quantized(data: DatasetSpec) -> str:
    """How the bytes of each feature are made."""
    ranges = data.feature_ranges
    if ranges is None:
        return "`round((x + 2) * 255 / 4)` of x clipped to [-2, 2]"
    named = zip(data.feature_names, ranges, strict=True)
    by_feature = ", ".join(f"[{low!r}, {high!r}] of `{name}`" for name, (low, high) in named)
    return f"`round((x - low) * 255 / (high - low))` of x clipped to [low, high], which is {by_feature}"


def _selection(selection: FrameSelection, data: DatasetSpec) -> str:
    longest = f"its first {data.longest_example} frames at most" if data.longest_example else "all of its frames"
    if selection == ALL_FRAMES:
        return f"Of a video, give the model {longest}; there is one per second."
    if selection.stride is not None:
        rule = f"every frame whose number is a multiple of {selection.stride}"
        if selection.counting == "authors":
            longest_video = selection.longest_video
            rule += f", the first `int(n / {longest_video} * {longest_video // selection.stride})` of them"
    else:
        k = selection.k
        rule = FRAMES_OF_SELECTION.get(selection.sampling, OTHER_FRAMES)
        rule = rule.format(k=k, twice=2 * k, last=k - 1, sampling=selection.sampling)
    if needs_all_frames(selection):
        return (
            f"Of a video, give the model {longest}; there is one per second. It chooses {selection.k} of them "
            f"by their features (`{selection.sampling}`), so all have to be computed. Frames chosen already are kept."
        )
    text = f"Of a video of n frames (one per second; {longest} count), give the model {rule}. "
    if is_formula(selection):
        return text + "The SavedModel's signature `serialized` selects them itself."
    return (
        text + "The SavedModel has no signature `serialized`, as it does not select them: it takes these frames only."
    )
