"""The `README.md` of an export: what the model is, how good, how fast, and how to call it."""

import os
import pathlib
import platform

from yt8m_distill.config.dataset import EDITIONS, DatasetSpec
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.deployment.manifest import Description
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic, untrusted
from yt8m_distill.files.text_table import markdown_table
from yt8m_distill.models import cost
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.trained_model import TrainedModel

FILE_NAME = "README.md"
METRICS = ("GAP@20", "mAP", "mAP_full", "Hit@1", "PERR", "MAP@100000")
FRAMES_OF_SELECTION = {
    "uniform": "frame `(2 * i + 1) * n // {twice}` for i from 0 to {last}, the middle of {k} equal parts; of a video "
    "of at most {k} frames all of them",
    "first": "the first {k} frames",
    "last": "the last {k} frames",
    "middle": "the {k} frames in the middle",
    "first_middle_last": "{k} frames from the beginning, the middle and the end, as "
    "`yt8m_distill.data.frame_selection` chooses them",
}


def write(described: Description, trained: TrainedModel, train_dir: str, folder: pathlib.Path):
    """Writes the model card.

    Args:
        described: the export.
        trained: its model.
        train_dir: the run that it is from.
        folder: of the export.
    """
    parts = [_head(described), _model(described, trained), _quality(described, trained, train_dir), _files(described)]
    parts += [_input(described), _licence(described.data)]
    atomic.write_text(folder / FILE_NAME, "\n\n".join(parts) + "\n")


def table(described: Description) -> str:
    """The files, as a Markdown table."""
    rows = [["file", "MB", "ms a video", "largest difference to Keras", "GAP@20"]]
    for file in described.files:
        size, time = f"{file.num_bytes / 1e6:.2f}", f"{file.milliseconds:.2f}"
        difference = f"{file.difference:.1e} (allowed: {file.bound:.0e})"
        rows.append([file.path, size, time, difference, "-" if file.gap is None else f"{file.gap:.5f}"])
    if described.gap is not None:
        rows.append(["the Keras model", "", "", "", f"{described.gap:.5f}"])
    return markdown_table(rows)


def _head(described: Description) -> str:
    branch = "" if described.branch is None else f", branch {described.branch}"
    return f"# {described.model}, {described.which}{branch}, {_frames(described)}\n\nIt predicts the labels of a video."


def _frames(described: Description) -> str:
    longest = described.data.longest_example
    of_all = f"of at most {longest} frames" if longest else "of videos of any length"
    if described.selection == ALL_FRAMES:
        return f"all {of_all}"
    if described.selection.stride is not None:
        return f"every frame whose number is a multiple of {described.selection.stride} {of_all}"
    return f"{described.selection.k} {of_all}"


def _model(described: Description, trained: TrainedModel) -> str:
    model, data = trained.model, described.data
    lines = [f"- Trained on: {data.describe()}.", f"- Arguments: {_arguments(trained)}."]
    frames = described.frames or 300
    total, _ = cost.multiply_accumulates(model, frames)
    lines.append(f"- Multiply-accumulates: {total / 1e6:,.2f} million for one video of {frames} frames.")
    lines.append(f"- Trainable parameters: {cost.parameter_count(model):,}.")
    return "## The model\n\n" + "\n".join(lines)


def _arguments(trained: TrainedModel) -> str:
    return ", ".join(f"{name}={value}" for name, value in trained.model.model_args.items())


def _quality(described: Description, trained: TrainedModel, train_dir: str) -> str:
    lines = []
    found = _metrics(described, trained, train_dir)
    if found:
        values = ", ".join(f"{name} {found[name]:.4f}" for name in METRICS if name in found)
        lines.append(f"Evaluated with these frames in its run, on {found.get('examples', '?')} examples: {values}.")
    else:
        lines.append("In its run it was not evaluated with these frames.")
    if described.gap is not None:
        lines.append(
            f"At the export, on {described.gap_videos} labelled videos, the Keras model had a GAP@20 of "
            f"{described.gap:.5f}; {_losses(described)}"
        )
    return "## Quality\n\n" + " ".join(lines)


def _losses(described: Description) -> str:
    lossy = [each for each in described.files if each.precision != "float32" and each.gap is not None]
    if not lossy:
        return "that of each file is below."
    losses = [f"{each.precision} loses {described.gap - each.gap:.5f}" for each in lossy]
    return f"{', '.join(losses)} (negative: it gains)."


def _metrics(described: Description, trained: TrainedModel, train_dir: str) -> dict | None:
    """What evaluation found for this model with these frames: in its own run, or in that of its student."""
    runs = ((trained.run_path, True), (trained.run_path, False), (train_dir, True))
    for path, of_teacher in runs:
        file = RunDir(path).metrics_file(of_teacher=of_teacher, branch=described.branch)
        try:
            found = untrusted.read_json(file) if file.is_file() else {}
        except UserError:
            continue
        if (found.get("which"), found.get("frames")) == (described.which, described.frames_text()):
            return found
    return None


def _files(described: Description) -> str:
    text = (
        "Every file was run and compared with the Keras model on random frames, and on real videos where GAP@20 is "
        f"given. Times are those of one video of {described.frames or 'any number of'} frames by itself, on "
        f"{len(os.sched_getaffinity(0))} cores of {platform.machine()} with each runtime's own number of threads."
    )
    return f"## Files\n\n{text}\n\n{table(described)}"


def _input(described: Description) -> str:
    data = described.data
    features = ", then ".join(
        f"{size} of `{name}`" for name, size in zip(data.feature_names, data.feature_sizes, strict=True)
    )
    frames = "any number of" if described.frames is None else described.frames
    text = f"""## Input and output

`frames` (videos, frames, {data.frame_size}) uint8: bytes as they are stored in the records, {features}; of float
features `round((x + 2) * 255 / 4)` of x clipped to [-2, 2]. Nothing is to be dequantized or normalized before, the
model does it. `num_frames` (videos,) int32: how many of the frames count, from 0 on; what follows them has no effect.
`predictions` (videos, {data.num_classes}) float32: a probability for each class. LiteRT and ONNX files take exactly
{frames} frames, the SavedModel any number."""
    return f"{text}\n\n{_selection(described.selection, data)}"


def _selection(selection: FrameSelection, data: DatasetSpec) -> str:
    longest = f"its first {data.longest_example} frames at most" if data.longest_example else "all of its frames"
    if selection == ALL_FRAMES:
        return f"The model is to see {longest}, of which there is one a second."
    if selection.stride is not None:
        rule = f"every frame whose number is a multiple of {selection.stride}"
    else:
        k = selection.k
        rule = FRAMES_OF_SELECTION[selection.sampling].format(k=k, twice=2 * k, last=k - 1)
    return (
        f"Of a video of n frames (one a second; {longest} count) it is to see "
        f"{rule}. The SavedModel's signature "
        "`serialized` chooses them itself."
    )


def _licence(data: DatasetSpec) -> str:
    if data.edition in {each.name for each in EDITIONS}:
        text = (
            f"The features and labels of {data.edition} that the model was trained on are Google's, under CC BY 4.0 "
            "(https://creativecommons.org/licenses/by/4.0/): whoever passes the model on names them as its source."
        )
    else:
        text = "The model was trained on features of one's own; their licence is not known here."
    return f"## Licence of the data\n\n{text}"
