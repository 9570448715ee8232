"""Serves an exported model over HTTP: `run_service`."""

import ipaddress
import logging
import pathlib

import numpy as np

from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.deployment import manifest, runners
from yt8m_distill.deployment.manifest import Description, ExportedFile
from yt8m_distill.deployment.runners import Predict
from yt8m_distill.errors import UserError
from yt8m_distill.files.untrusted import in_short

log = logging.getLogger(__name__)


def run_service(config: ServeConfig):
    """Serves until it is stopped.

    Raises:
        UserError: no export or no such file in it, missing packages, an address that cannot be listened to.
    """
    try:
        import uvicorn

        from yt8m_distill.serving.app import create_app
    except ImportError as error:
        raise UserError(f"the service needs {error.name}: pip install 'yt8m_distill[serve]'") from error
    described, predict = load(config)
    if not _is_loopback(config.host):
        log.warning(
            "--host=%s: whoever reaches this address can use the service; it asks for no password.", config.host
        )
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(described, predict, config),
            host=config.host,
            port=config.port,
            log_level="warning",
            limit_concurrency=config.max_connections + 1,  # at which it answers 503; it counts the one that asks, too
        )
    )
    print(f"Serving {described.model} ({described.which}) on http://{config.host}:{config.port}", flush=True)
    try:
        server.run()
    except SystemExit as error:  # uvicorn has logged why
        raise UserError(f"--host={config.host} --port={config.port}: the service cannot listen there.") from error


def load(config: ServeConfig) -> tuple[Description, Predict]:
    """The export, and the function of one of its files, which has been called once."""
    folder = pathlib.Path(config.model_dir)
    described = manifest.read(folder)
    file = _chosen(config, described)
    predict = runners.load(folder / file.path)
    size = described.data.frame_size
    try:  # also because the first call is slow
        predictions = predict(np.zeros((1, described.frames or 1, size), np.uint8), np.zeros(1, np.int32))
    except Exception as error:  # of any of the runtimes
        raise UserError(f"'{folder / file.path}' cannot be run: {in_short(error)}. Export it again.") from error
    if predictions.shape != (1, described.data.num_classes):
        raise UserError(
            f"'{folder / file.path}' gives predictions of shape {predictions.shape}, not of the "
            f"{described.data.num_classes} classes that the export describes. Export it again."
        )
    log.info("Loaded %s", folder / file.path)
    return described, predict


def _chosen(config: ServeConfig, described: Description) -> ExportedFile:
    if not described.files:
        raise UserError(f"the export in '{config.model_dir}' has no files.")
    if config.file is None:
        return described.files[0]
    found = next((each for each in described.files if each.path == config.file), None)
    if found is None:
        known = ", ".join(each.path for each in described.files)
        raise UserError(f"--file={config.file}: the export in '{config.model_dir}' has {known}.")
    return found


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
