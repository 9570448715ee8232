"""What an export needs, checked before TensorFlow is imported: packages, and a folder that may be written."""

import importlib.util
import os
import pathlib
from collections.abc import Sequence

from yt8m_distill.config.dataset import DESCRIPTION_FILES
from yt8m_distill.config.deployment import ExportConfig
from yt8m_distill.config.inputs import MANIFEST_FILE
from yt8m_distill.deployment import hub
from yt8m_distill.deployment.runners import EXTRA
from yt8m_distill.errors import UserError
from yt8m_distill.runs.model_card import FILE_NAME as MODEL_CARD
from yt8m_distill.runs.requests import check_request

ONNX_FILES = {"float32": "model.onnx", "int8": "model_int8.onnx"}
ENTRIES = (MANIFEST_FILE, MODEL_CARD, "saved_model", "litert", *ONNX_FILES.values(), *DESCRIPTION_FILES)
PACKAGES = {"saved_model": (), "litert": ("ai_edge_litert",), "onnx": ("onnx", "tf2onnx", "onnxruntime")}


def check_export(config: ExportConfig):
    """Checks what can be checked of an export before TensorFlow is imported.

    Raises:
        UserError: no such model, missing packages, a folder with something else in it, or a hub that lets nothing be
            pushed.
    """
    check_packages(config.formats)
    check_target(pathlib.Path(os.path.abspath(config.output_dir)))
    check_request(config.train_dir, config)
    if config.push_to_hub is not None:
        hub.check_push(config.push_to_hub)


def check_packages(formats: Sequence[str]):
    """Raises UserError where packages are missing that an export to some formats needs."""
    needed = [package for file_format in formats for package in PACKAGES[file_format]]
    missing = [package for package in needed if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(f"--formats={','.join(formats)} needs {' and '.join(missing)}: {EXTRA}")


def check_target(target: pathlib.Path):
    """Raises UserError where something else than an earlier export would be replaced."""
    if not target.exists():
        return
    names = {path.name for path in target.iterdir()} if target.is_dir() else {target.name}
    others = names - set(ENTRIES) if MANIFEST_FILE in names else names
    if others:
        raise UserError(
            f"--output_dir={target} exists, and '{min(others)}' is not part of an export, which would be lost; name a "
            "new folder."
        )
