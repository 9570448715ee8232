"""Serves an exported model over HTTP: `run_service`."""

import gc
import ipaddress
import logging
import pathlib
from typing import Any

from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.deployment.export_files import chosen_file, engine_of, load_file
from yt8m_distill.deployment.manifest import ExportedFile, Manifest, read_manifest
from yt8m_distill.deployment.runners import Predict
from yt8m_distill.errors import UserError
from yt8m_distill.files.checksums import file_checksum
from yt8m_distill.serving.limits import allow_open_files
from yt8m_distill.video.packages import check_packages

log = logging.getLogger(__name__)

FILES_PER_CONNECTION = 3  # itself, the body of a request, and what it is parsed to
OTHER_FILES = 256


def run_service(config: ServeConfig):
    """Serves until the process is stopped.

    Raises:
        UserError: not an export, no such file in it, missing packages, an address that cannot be listened on.
    """
    try:
        from yt8m_distill.serving.app import create_app
        from yt8m_distill.serving.connections import create_server
    except ImportError as error:
        raise UserError(f"serving needs {error.name}: pip install 'yt8m_distill[serve]'") from error
    manifest, predict = load(config)
    file = _chosen(config, manifest)
    checksum = file_checksum(pathlib.Path(config.model_dir) / file.path)
    allow_open_files(FILES_PER_CONNECTION * config.max_connections + OTHER_FILES)
    if not _is_loopback(config.host):
        log.warning(
            "--host=%s: everyone who can reach this address can use the service; it has no authentication.", config.host
        )
    features = film_features(manifest, config)
    server = create_server(create_app(manifest, predict, config, checksum, features, file), config)
    films = ", and films" if features is not None else ""
    print(
        f"Serving {manifest.model} ({manifest.which}, {file.precision} of {engine_of(file)}){films} on "
        f"http://{config.host}:{config.port}",
        flush=True,
    )
    gc.collect()
    gc.freeze()  # garbage of requests is then found soon, without looking at all of TensorFlow
    try:
        server.run()
    except SystemExit as error:  # uvicorn has logged the reason
        raise UserError(f"--host={config.host} --port={config.port}: the service cannot listen there.") from error


def film_features(manifest: Manifest, config: ServeConfig) -> Any:
    """The features of films that the model takes; None where films are not taken.

    Raises:
        UserError: films are wanted, and cannot be taken.
    """
    if config.films.wanted is False or (not config.films.wanted and not manifest.data.extraction):
        return None
    try:
        check_packages()
        from yt8m_distill.serving.films import load_features

        return load_features(manifest, config)
    except (UserError, ModuleNotFoundError) as error:  # their networks need TensorFlow
        if config.films.wanted:
            raise UserError(f"films cannot be taken: {error}") from error
        log.warning("Films are not taken: %s", error)
        return None


def load(config: ServeConfig) -> tuple[Manifest, Predict]:
    """The manifest of an export, and the function of one of its files, which has been called once."""
    manifest = read_manifest(pathlib.Path(config.model_dir))
    return manifest, load_file(manifest, pathlib.Path(config.model_dir), _chosen(config, manifest))


def _chosen(config: ServeConfig, manifest: Manifest) -> ExportedFile:
    return chosen_file(manifest, pathlib.Path(config.model_dir), config.engine, config.precision, config.file)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
