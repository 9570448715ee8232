"""A file of an export, ready to predict: chosen, checked and loaded. Only a SavedModel needs TensorFlow."""

import functools
import importlib.util
import logging
import pathlib
import shutil
from collections.abc import Callable

import numpy as np

from yt8m_distill.config.deployment import ENGINE_OF_FORMAT
from yt8m_distill.config.inference import InferenceConfig
from yt8m_distill.deployment import runners
from yt8m_distill.deployment.manifest import ExportedFile, Manifest, read_manifest
from yt8m_distill.errors import UserError
from yt8m_distill.files.checksums import check_file_against, file_checksum
from yt8m_distill.files.untrusted import in_short
from yt8m_distill.prediction.opened_model import OpenedModel, Predict, Travel

log = logging.getLogger(__name__)

_PACKAGES = {"tensorflow": "tensorflow", "litert": "ai_edge_litert", "onnxruntime": "onnxruntime"}
_EXPORTS = {
    "tensorflow": "--formats=saved_model",
    "litert": "--formats=litert --litert_precisions={}",
    "onnxruntime": "--formats=onnx --onnx_precisions={}",
}


def engine_of(file: ExportedFile) -> str:
    """What runs a file: "tensorflow", "litert" or "onnxruntime"."""
    return ENGINE_OF_FORMAT[file.format]


def chosen_file(
    manifest: Manifest,
    folder: pathlib.Path,
    engine: str | None = None,
    precision: str | None = None,
    name: str | None = None,
) -> ExportedFile:
    """A file of an export: the first one that is as asked for, if possible of those whose runtime is installed.

    Args:
        manifest: of the export.
        folder: of the export.
        engine: what is to run it; None: any.
        precision: of its weights; None: any.
        name: its path in the folder; None: any.

    Raises:
        UserError: the export has no such file; the message says how to write it.
    """
    if not manifest.files:
        raise UserError(f"the export in '{folder}' has no files.")
    files = {file.path: file for file in manifest.files}
    if name is not None:
        if name not in files:
            raise UserError(f"--file={name}: the export in '{folder}' has only {', '.join(files)}.")
        return files[name]
    fitting = [
        file for file in files.values() if engine in (None, engine_of(file)) and precision in (None, file.precision)
    ]
    if not fitting:
        raise UserError(_no_such_file(manifest, folder, engine, precision))
    return next((file for file in fitting if _is_installed(engine_of(file))), fitting[0])


def _is_installed(engine: str) -> bool:
    return importlib.util.find_spec(_PACKAGES[engine]) is not None


def _no_such_file(manifest: Manifest, folder: pathlib.Path, engine: str | None, precision: str | None) -> str:
    asked = [f"--{name}={value}" for name, value in (("engine", engine), ("precision", precision)) if value]
    files = ", ".join(f"{file.path} ({file.precision} of {engine_of(file)})" for file in manifest.files)
    wanted = engine or ("litert" if precision == "float16" else "onnxruntime")
    flags = _EXPORTS[wanted].format(precision or "float32")
    return (
        f"{' '.join(asked)}: the export in '{folder}' has only {files}. python -m yt8m_distill.export {flags} writes "
        "such a file."
    )


def load_file(manifest: Manifest, folder: pathlib.Path, file: ExportedFile) -> runners.Predict:
    """The function of a file of an export, which has been called once, as the first call is slow.

    Raises:
        UserError: its runtime is not installed, it is damaged, or it does not predict the classes of the manifest.
    """
    path = folder / file.path
    if file.sha256 is not None:
        check_file_against(path, file.sha256, "Export it again, or restore it from a copy")
    predict = runners.load(path)
    size = manifest.data.frame_size
    try:
        predictions = predict(np.zeros((1, manifest.frames or 1, size), np.uint8), np.zeros(1, np.int32))
    except Exception as error:  # each runtime has its own
        raise UserError(f"'{path}' cannot be run: {in_short(error)}. Export it again.") from error
    if predictions.shape != (1, manifest.data.num_classes):
        raise UserError(
            f"'{path}' gives predictions of shape {predictions.shape}, not of the {manifest.data.num_classes} classes "
            "of its manifest. Export it again."
        )
    log.info("Loaded %s", path)
    return predict


def opened_file(config: InferenceConfig) -> OpenedModel:
    """Predictions of a file of an export.

    Raises:
        UserError: as `read_manifest` and `chosen_file`; and where it is loaded as `load_file`.
    """
    folder = pathlib.Path(config.export_dir)
    manifest = read_manifest(folder)
    file = chosen_file(manifest, folder, config.engine, config.precision)
    path = folder / file.path
    return OpenedModel(
        load=functools.cache(lambda: _of_batches(load_file(manifest, folder, file))),
        spec=manifest.data,
        selection=manifest.selection,
        role=manifest.which,
        source=path,
        folder=folder,
        identity=lambda: file.sha256 or file_checksum(path),
        numbers=f"{file.precision} of {engine_of(file)}",
        seed=0,
        default_pattern=None,
        travel=travel_of(path.name, lambda: path),
        uses_gpu=False,
    )


def travel_of(name: str, path: Callable[[], pathlib.Path]) -> Travel:
    """How a file of an export gets to other processes.

    Args:
        name: of the file.
        path: gives its path, once it is needed.
    """

    def write(target: str):
        source = path()
        if source.is_dir():
            raise UserError(f"'{source}' is a folder, which workers do not take; give --engine=onnxruntime or litert.")
        shutil.copyfile(source, target)

    return Travel(f"model{pathlib.Path(name).suffix}", write, batch_function)


def batch_function(path: str | pathlib.Path) -> Predict:
    """The predictions of the exported file at a path, see `runners.load`."""
    return _of_batches(runners.load(pathlib.Path(path)))


def _of_batches(predict: runners.Predict) -> Predict:
    return lambda batch: predict(batch["frames"], batch["num_frames"])
