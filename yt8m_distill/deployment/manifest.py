"""The manifest of an export: `export.json` in its folder."""

import itertools
import pathlib
from dataclasses import dataclass, field

from yt8m_distill.config import json
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.inputs import MANIFEST_FILE
from yt8m_distill.data.frame_selection import needs_all_frames
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic, untrusted
from yt8m_distill.plugins.loading import check_loaded


@dataclass(frozen=True)
class ExportedFile:
    """One file of an export.

    Attributes:
        path: in the export's folder; a folder for a SavedModel.
        format: one of `config.deployment.EXPORT_FORMATS`.
        precision: of the weights.
        batch: videos that it takes at a time; None: any number.
        num_bytes: its size.
        difference: largest difference between its predictions and those of the Keras model, on the videos of the check.
        bound: largest difference allowed.
        milliseconds: for one video, measured at the export.
        gap: GAP@20; None: not measured.
        sha256: checksum, see `file_checksum`; None: of an export that has none.
        float32_layers: of an int8 ONNX file, layers that have stayed float32 because they would lose too much GAP@20.
    """

    path: str
    format: str
    precision: str
    batch: int | None
    num_bytes: int
    difference: float
    bound: float
    milliseconds: float
    gap: float | None = None
    sha256: str | None = None
    float32_layers: tuple[str, ...] = field(default=(), metadata={"newer": True})


@dataclass(frozen=True)
class Cost:
    """What a model computes for one video of the longest length.

    Attributes:
        which: "student" or "teacher".
        frames: that it sees.
        multiply_accumulates: those of choosing the frames by their features included; None: unknown.
    """

    which: str
    frames: int
    multiply_accumulates: int | None


@dataclass(frozen=True)
class Manifest:
    """What an export holds.

    Attributes:
        model: name in the registry.
        which: "student" or "teacher".
        branch: index, of a branch of a mixture; None: a whole model.
        data: the format of the records.
        selection: the frames that the model sees.
        frames: their number at most; None: there is no limit.
        top_k: classes predicted for a video by default.
        class_names: by index; None: there was no vocabulary.
        files: the exported files.
        gap: GAP@20 of the Keras model, on the same videos as those of the files; None: not measured.
        gap_videos: number of these videos.
        plugins: modules that the frame sampling is from; none where it is a built-in one.
        numbers: of frames that a client may choose among, ascending to that of the selection: the model was trained for
            each of them; empty: it was trained for one.
        costs: of the model with each of `numbers`, or with the selection; empty: of an export that does not say.
        reference: what they are to be compared with: the teacher with all frames, or the model itself where no teacher
            is known; None: it sees all frames, or nothing is known.
    """

    model: str
    which: str
    branch: int | None
    data: DatasetSpec
    selection: FrameSelection
    frames: int | None
    top_k: int
    class_names: tuple[str, ...] | None
    files: tuple[ExportedFile, ...]
    gap: float | None = None
    gap_videos: int = 0
    plugins: tuple[str, ...] = ()
    numbers: tuple[int, ...] = field(default=(), metadata={"newer": True})
    costs: tuple[Cost, ...] = field(default=(), metadata={"newer": True})
    reference: Cost | None = field(default=None, metadata={"newer": True})


def most_frames(spec: DatasetSpec, selection: FrameSelection) -> int | None:
    """Largest number of frames that a model gets of a video; None: there is no limit."""
    longest = spec.longest_example
    if needs_all_frames(selection):  # which it chooses among itself
        return longest or None
    if selection.k is not None:
        return selection.frames(longest or selection.k)
    return selection.frames(longest) if longest else None


def write_manifest(manifest: Manifest, folder: pathlib.Path):
    """Writes `export.json`."""
    atomic.write_json(folder / MANIFEST_FILE, json.to_values(manifest))


def read_manifest(folder: pathlib.Path) -> Manifest:
    """Reads `export.json`, and checks that its values go together.

    Raises:
        UserError: the folder is not an export, its manifest is damaged, or it names plugins that are not imported.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise UserError(f"'{folder}' is not an export (no {MANIFEST_FILE}); python -m yt8m_distill.export writes one.")
    values = untrusted.read_json(path)
    check_loaded(values, str(path))  # before the names in it are looked up
    manifest = json.from_values(Manifest, values, str(path))
    classes = manifest.data.num_classes
    if manifest.class_names is not None and len(manifest.class_names) != classes:
        raise UserError(f"{path}: class_names must have {classes} names, as many as there are classes.")
    if not 1 <= manifest.top_k <= classes:
        raise UserError(f"{path}: top_k must be from 1 to {classes}, the number of classes.")
    expected = most_frames(manifest.data, manifest.selection)
    if manifest.frames != expected:
        raise UserError(f"{path}: frames must be {expected}, by its data and selection, not {manifest.frames}.")
    if manifest.numbers:
        _check_numbers(manifest, path)
    for file in manifest.files:
        if pathlib.PurePath(file.path).is_absolute() or ".." in pathlib.PurePath(file.path).parts:
            raise UserError(f"{path}: '{file.path}' is not a file in the export's folder.")
    return manifest


def _check_numbers(manifest: Manifest, path: pathlib.Path):
    numbers, selection = manifest.numbers, manifest.selection
    ascending = all(number < following for number, following in itertools.pairwise(numbers))
    if needs_all_frames(selection) or numbers[0] < 1 or numbers[-1] != selection.k or not ascending:
        raise UserError(f"{path}: numbers must be ascending numbers of frames up to that of its selection.")
