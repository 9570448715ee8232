"""Packing a trained model as one file."""

import dataclasses
import gzip
import pathlib
import tarfile
import tempfile
from typing import Any

from yt8m_distill.config.dataset import DESCRIPTION_FILES
from yt8m_distill.config.inputs import CONFIG_FILE
from yt8m_distill.config.json import to_json
from yt8m_distill.data.feature_ranges import copy_description
from yt8m_distill.errors import UserError
from yt8m_distill.files import archives, atomic
from yt8m_distill.files.checksums import CHECKSUMS_FILE
from yt8m_distill.models.ensemble import TeacherEnsemble
from yt8m_distill.runs import loading, weights
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.trained_model import TrainedModel

PACKED_FILES = (
    *(CONFIG_FILE, "best/student.weights.h5", "best/teacher.weights.h5", f"best/{CHECKSUMS_FILE}"),
    *DESCRIPTION_FILES,
)


def pack(trained: TrainedModel, path: str):
    """Writes a model as a .tgz file that `unpack` reads: a small run directory with configuration and weights.

    The file is complete, or not there: it is written beside, and renamed.

    Raises:
        UserError: the model is an ensemble, or the file cannot be written.
    """
    if isinstance(trained.model, TeacherEnsemble):
        raise UserError("an ensemble of teachers cannot be packed; pack the models of their own runs.")
    target = pathlib.Path(path)
    atomic.make_directory(target.parent)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        best = RunDir(folder).best
        weights.save_all({trained.role: trained.model}, best)
        write_config(RunDir(folder), trained)
        if trained.config.data.extraction:
            copy_description(trained.run_path, pathlib.Path(folder))
        with (
            atomic.file_written_beside(target, binary=True) as packed,
            gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as compressed,
            tarfile.open(fileobj=compressed, mode="w") as archive,
        ):
            files = [RunDir(folder).config_file, weights.weights_file(best, trained.role), best / CHECKSUMS_FILE]
            for file in (*files, *_description(RunDir(folder))):
                archive.add(file, arcname=str(file.relative_to(folder)), filter=_anonymous)


def _description(run: RunDir) -> list[pathlib.Path]:
    """What the run says of how its features are made of films."""
    return [path for path in (run.path / name for name in DESCRIPTION_FILES) if path.exists()]


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member without time and owner: the same model gives the same bytes."""
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def write_config(run: RunDir, trained: TrainedModel):
    """Writes the configuration of a packed model, which has no teacher."""
    mode = "teacher" if trained.role == "teacher" else "baseline"
    alone = dataclasses.replace(
        trained.config,
        training_mode=mode,
        selection=trained.selection,
        distillation=None,
        teacher_dir=None,
        teacher_role="teacher",
        teacher_settings={},
        init_from=None,
        teacher_cache=None,
    )
    atomic.write_text(run.config_file, to_json(alone))


def unpack(path: str, folder: str):
    """Extracts a model packed by `pack` into an empty folder.

    Raises:
        UserError: it is not an archive, or has anything but the plain files of a packed model, or is too large.
    """
    archives.unpack(path, folder, PACKED_FILES)
    if not RunDir(folder).config_file.is_file():
        raise UserError(f"'{path}' is not a packed model: it has no config.json.")


def load_packed(path: str, folder: str, **options: Any) -> TrainedModel:
    """Loads a packed model.

    Args:
        path: of the file.
        folder: empty, to extract it into; the files of the model's `run_path` are there.
        **options: as of `loading.load`.

    Raises:
        UserError: as `unpack` and `loading.load`.
    """
    unpack(path, folder)
    try:
        trained = loading.load(folder, **options)
    except UserError as error:  # the user does not know the folder
        raise UserError(str(error).replace(folder, path)) from error
    return dataclasses.replace(trained, source=pathlib.Path(path))
