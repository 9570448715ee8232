"""ONNX files of a run that predict in place of its Keras model: `inference.py --engine=onnxruntime`."""

import dataclasses
import functools
import hashlib
import logging
import pathlib
import shutil

from yt8m_distill.config.deployment import ExportConfig
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.inference import InferenceConfig
from yt8m_distill.config.inputs import MANIFEST_FILE
from yt8m_distill.data.frame_selection import needs_all_frames
from yt8m_distill.deployment.export import run_export
from yt8m_distill.deployment.export_files import batch_function, travel_of
from yt8m_distill.deployment.manifest import read_manifest
from yt8m_distill.deployment.preparation import ONNX_FILES
from yt8m_distill.errors import UserError
from yt8m_distill.files.checksums import check_file_against
from yt8m_distill.prediction.opened_model import OpenedModel
from yt8m_distill.prediction.trained import opened_keras
from yt8m_distill.runs import loading
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.trained_model import TrainedModel

log = logging.getLogger(__name__)

CHECKED_VIDEOS = 2000  # about how many of the run's labelled videos an export is checked on


def opened_export(config: InferenceConfig, trained: TrainedModel) -> OpenedModel:
    """Predictions of a run's or packed model by ONNX Runtime, on the CPU.

    The model is exported when it is first needed, to the run directory, until its weights change; a packed model each
    time.

    Raises:
        UserError: as `opened_keras`; and where it is loaded as `run_export`, or a file is damaged.
    """
    path = functools.cache(functools.partial(_exported_file, config, trained))
    return dataclasses.replace(
        opened_keras(config, trained),
        load=functools.cache(lambda: batch_function(path())),
        travel=travel_of(ONNX_FILES[config.precision], path),
        uses_gpu=False,
    )


def _exported_file(config: InferenceConfig, trained: TrainedModel) -> pathlib.Path:
    folder = _exported(config, trained)
    files = read_manifest(folder).files
    advice = f"Delete '{folder}', and it is exported again"
    if len(files) != 1 or files[0].sha256 is None:
        raise UserError(f"'{folder}' is not an export that inference.py has written. {advice}.")
    check_file_against(folder / files[0].path, files[0].sha256, advice)
    return folder / files[0].path


def _exported(config: InferenceConfig, trained: TrainedModel) -> pathlib.Path:
    """The folder of the export, written where there is none of these weights; those of former weights are removed."""
    selection = _seen_by_the_file(trained, config)
    branch = "" if trained.branch is None else f"{trained.branch}"
    kind = f"{trained.role}{branch}_{config.precision}_{_checksum(str(selection))[:8]}"
    folder = RunDir(trained.run_path).exports / f"{kind}_{loading.fingerprint(trained)[:16]}"
    if (folder / MANIFEST_FILE).is_file():
        log.info("Using the export in %s", folder)
        return folder
    log.info("Exporting the model to %s, once", folder)
    export = ExportConfig(
        str(trained.run_path),
        str(folder),
        ("onnx",),
        which=config.which,
        branch=config.branch,
        selection=selection,
        onnx_precisions=(config.precision,),
        eval_videos=CHECKED_VIDEOS,
    )
    run_export(export, trained)
    for other in folder.parent.glob(f"{kind}_*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    return folder


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _seen_by_the_file(trained: TrainedModel, config: InferenceConfig) -> FrameSelection | None:
    """The frames of the file; None: all, of a teacher. What the reader chooses by features, the file does not again."""
    if trained.role == "teacher":
        return None
    selection = trained.selection_for(config.selection)
    if needs_all_frames(selection) and not selection.by_student:
        return dataclasses.replace(selection, sampling="uniform")
    return selection
