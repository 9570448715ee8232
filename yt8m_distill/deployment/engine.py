"""Prediction of records by an exported model: `inference.py --engine=onnxruntime`."""

import dataclasses
import hashlib
import logging
import pathlib
import shutil
from collections.abc import Callable

import numpy as np

from yt8m_distill.config.deployment import ExportConfig
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.inference import InferenceConfig
from yt8m_distill.data.batches import Batch
from yt8m_distill.data.frame_selection import needs_all_frames
from yt8m_distill.deployment import runners
from yt8m_distill.deployment.export import run_export, use_no_gpu
from yt8m_distill.deployment.manifest import FILE_NAME as MANIFEST
from yt8m_distill.deployment.manifest import read_manifest
from yt8m_distill.errors import UserError
from yt8m_distill.files.checksums import check_file_against
from yt8m_distill.prediction.run import open_trained, run_inference
from yt8m_distill.runs import loading
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.trained_model import TrainedModel

log = logging.getLogger(__name__)

CHECKED_VIDEOS = 2000  # about how many of the run's labelled videos an export is checked on


def run_exported_inference(config: InferenceConfig) -> int:
    """`run_inference` by ONNX Runtime, on the CPU.

    The model is exported once, to the run directory, until its weights change; a packed model each time.

    Returns:
        The number of videos or segments.

    Raises:
        UserError: as `run_inference` and `run_export`.
    """
    use_no_gpu()
    with open_trained(config) as trained:
        return run_inference(config, trained, _prediction_function(config, trained))


def _prediction_function(config: InferenceConfig, trained: TrainedModel) -> Callable[[Batch], np.ndarray]:
    folder = _exported(config, trained)
    files = read_manifest(folder).files
    advice = f"Delete '{folder}', and it is exported again"
    if len(files) != 1 or files[0].sha256 is None:
        raise UserError(f"'{folder}' is not an export that inference.py has written. {advice}.")
    path = folder / files[0].path
    check_file_against(path, files[0].sha256, advice)
    predict = runners.load(path)
    return lambda batch: predict(batch["frames"], batch["num_frames"])


def _exported(config: InferenceConfig, trained: TrainedModel) -> pathlib.Path:
    """The folder of the export, written where there is none of these weights; those of former weights are removed."""
    selection = _seen_by_the_file(trained, config)
    branch = "" if trained.branch is None else f"{trained.branch}"
    kind = f"{trained.role}{branch}_{config.precision}_{_checksum(str(selection))[:8]}"
    folder = RunDir(trained.run_path).exports / f"{kind}_{loading.fingerprint(trained)[:16]}"
    if (folder / MANIFEST).is_file():
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
