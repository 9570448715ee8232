"""What an export holds: `export.json` in its folder."""

import pathlib
from dataclasses import dataclass

from yt8m_distill.config import json
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic, untrusted

FILE_NAME = "export.json"


@dataclass(frozen=True)
class ExportedFile:
    """One file of an export.

    Attributes:
        path: in the export's folder; of a SavedModel a folder.
        format: one of `config.EXPORT_FORMATS`.
        precision: of the weights.
        batch: videos that it takes at a time; None: any number.
        num_bytes: its size.
        difference: the largest one of its predictions to the Keras model's, where it was checked.
        bound: what was allowed.
        milliseconds: for one video, measured at the export.
        gap: GAP@20; None: not measured.
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


@dataclass(frozen=True)
class Description:
    """An export.

    Attributes:
        model: name in the registry.
        which: "student" or "teacher".
        branch: of a mixture; None: it is a whole model.
        data: the format of the records.
        selection: the frames that the model sees.
        frames: how many these are at most; None: there is no limit.
        top_k: classes that are given of a video.
        class_names: by index; None: there was no vocabulary.
        files: what there is.
        gap: GAP@20 of the Keras model on the same videos as that of the files; None: not measured.
        gap_videos: on how many.
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

    def frames_text(self) -> str:
        """As in the names of run directories, or "all"."""
        return self.selection.describe()


def most_frames(spec: DatasetSpec, selection: FrameSelection) -> int | None:
    """Frames that a model gets of a video at most; None: there is no limit."""
    longest = spec.longest_example
    if selection.k is not None:
        return selection.frames(longest or selection.k)
    return selection.frames(longest) if longest else None


def write(description: Description, folder: pathlib.Path):
    """Writes `export.json`."""
    atomic.write_json(folder / FILE_NAME, json.to_values(description))


def read(folder: pathlib.Path) -> Description:
    """The description of an export.

    Raises:
        UserError: no export is there, or its description is damaged.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise UserError(f"'{folder}' holds no export: it has no {FILE_NAME}. python -m yt8m_distill.export writes one.")
    found = json.from_values(Description, untrusted.read_json(path), str(path))
    if found.class_names is not None and len(found.class_names) != found.data.num_classes:
        raise UserError(f"{path}: class_names must have {found.data.num_classes} names, as many as there are classes.")
    if not 1 <= found.top_k <= found.data.num_classes:
        raise UserError(f"{path}: top_k must be from 1 to {found.data.num_classes}, the number of classes.")
    expected = most_frames(found.data, found.selection)
    if found.frames != expected:
        raise UserError(f"{path}: frames must be {expected}, by its data and selection, not {found.frames}.")
    for file in found.files:
        if pathlib.PurePath(file.path).is_absolute() or ".." in pathlib.PurePath(file.path).parts:
            raise UserError(f"{path}: '{file.path}' is not a file in the export's folder.")
    return found
