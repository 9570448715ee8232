"""Exports a trained model to files that do without this package: `run_export`."""

import dataclasses
import importlib.util
import logging
import os
import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

from yt8m_distill.config.dataset import SEGMENT
from yt8m_distill.config.deployment import EXPORT_FORMATS, ExportConfig
from yt8m_distill.data.batches import View, check_view
from yt8m_distill.data.video_files import VideoFiles, check_segments
from yt8m_distill.deployment import litert, manifest, model_card, onnx, runners, saved_model, validation
from yt8m_distill.deployment.exported_model import Network, of_trained
from yt8m_distill.deployment.manifest import Description, ExportedFile
from yt8m_distill.errors import UserError
from yt8m_distill.evaluation.evaluate import evaluate
from yt8m_distill.files import atomic
from yt8m_distill.metrics import EvaluationMetrics
from yt8m_distill.prediction import vocabulary as predictions_csv
from yt8m_distill.prediction.predict import prediction_function
from yt8m_distill.runs import loading, trained_model
from yt8m_distill.runs.inputs import evaluation_videos

log = logging.getLogger(__name__)

ENTRIES = (manifest.FILE_NAME, model_card.FILE_NAME, "saved_model", "litert", "model.onnx")
PACKAGES = {"saved_model": (), "litert": ("ai_edge_litert",), "onnx": ("onnx", "tf2onnx", "onnxruntime")}
BATCH_SIZE = 64


@dataclass(frozen=True)
class _Planned:
    """A file that is to be written; see `ExportedFile`."""

    path: str
    format: str
    precision: str = "float32"
    batch: int | None = None


@dataclass(frozen=True)
class _Standard:
    """What every file is held to.

    Attributes:
        network: what is exported.
        predict: the Keras model, see `prediction_function`.
        probes: videos, and what it says of them.
        videos: labelled ones; None: there are none.
        gap: its GAP@20 on these.
        gap_videos: how many they are.
    """

    network: Network
    predict: Callable
    probes: Sequence[validation.Probe]
    videos: VideoFiles | None
    gap: float | None = None
    gap_videos: int = 0


def run_export(config: ExportConfig) -> Description:
    """Writes an export: files of the formats, each checked against the Keras model, `export.json` and `README.md`.

    An earlier export of the same name is replaced when the new one is whole.

    Raises:
        UserError: no run or model, one that cannot be exported, packages that are missing, something else where the
            export is to go, a file that predicts otherwise than the model. Nothing is written then.
    """
    _check_packages(config)
    target = pathlib.Path(os.path.abspath(config.output_dir))
    _check_target(target)
    _use_no_gpu()
    trained = loading.load(config.train_dir, config.which, branch=config.branch)
    network = of_trained(trained, config.selection)
    names = _class_names(config, network.spec.num_classes)
    standard = _standard(config, trained, network)
    with atomic.directory_written_beside(target) as folder:
        _write_files(config, network, names, folder)
        described = Description(
            model=trained.config.model,
            which=trained.role,
            branch=trained.branch,
            data=network.spec,
            selection=network.selection,
            frames=network.frames,
            top_k=min(config.top_k, network.spec.num_classes),
            class_names=names,
            files=tuple(_checked_file(folder, planned, standard) for planned in _planned(config)),
            gap=standard.gap,
            gap_videos=standard.gap_videos,
        )
        manifest.write(described, folder)
        model_card.write(described, trained, config.train_dir, folder)
    print(model_card.table(described))
    print(f"The export is in {target}; {target / 'README.md'} says how to use it.")
    return described


def _check_packages(config: ExportConfig):
    missing = [name for each in config.formats for name in PACKAGES[each] if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"--formats={','.join(config.formats)} needs {' and '.join(missing)}: {runners.EXTRA}")


def _check_target(target: pathlib.Path):
    """Only an earlier export is replaced."""
    if not target.exists():
        return
    found = {each.name for each in target.iterdir()} if target.is_dir() else {target.name}
    others = found - set(ENTRIES) if manifest.FILE_NAME in found else found
    if others:
        raise UserError(
            f"--output_dir={target} exists, and '{min(others)}' is not part of an export, which would be lost; name a "
            "new folder."
        )


def _use_no_gpu():
    """Files are for any processor: they are traced, compared and measured on this machine's."""
    try:
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError as error:
        raise UserError("TensorFlow uses a GPU already; export in a process of its own.") from error


def _class_names(config: ExportConfig, num_classes: int) -> tuple[str, ...] | None:
    if not config.vocabulary:
        return None
    vocabulary = predictions_csv.load_vocabulary(config.vocabulary, num_classes)
    return tuple(vocabulary.get(i, f"class {i}") for i in range(num_classes))


def _videos(config: ExportConfig, trained: trained_model.TrainedModel, network: Network) -> VideoFiles:
    """Labelled videos, about as many as wanted.

    Raises:
        UserError: there are none.
    """
    videos = evaluation_videos(config.eval_data_pattern, trained.config, "eval_data_pattern")
    check_view(videos.spec, View(network.selection), "eval_data_pattern")
    check_segments(videos, "eval_data_pattern")
    expected = max(videos.estimated_videos(), 1)
    return dataclasses.replace(videos, fraction=min(1.0, config.eval_videos / expected))


def _write_files(config: ExportConfig, network: Network, names: Sequence[str] | None, folder: pathlib.Path):
    writers: dict[str, Callable] = {
        "saved_model": lambda: saved_model.write(network, folder / "saved_model", config.top_k, names),
        "litert": lambda: litert.write(network, folder / "litert", config.litert_precisions),
        "onnx": lambda: onnx.write(network, folder / "model.onnx"),
    }
    for each in config.formats:
        log.info("Writing %s", each)
        writers[each]()


def _planned(config: ExportConfig) -> list[_Planned]:
    files = {
        "saved_model": [_Planned("saved_model", "saved_model")],
        "litert": [
            _Planned(f"litert/{precision}{suffix}.tflite", "litert", precision, batch)
            for precision in config.litert_precisions
            for suffix, batch in litert.BATCHES.items()
        ],
        "onnx": [_Planned("model.onnx", "onnx")],
    }
    return [planned for each in EXPORT_FORMATS if each in config.formats for planned in files[each]]


def _standard(config: ExportConfig, trained: trained_model.TrainedModel, network: Network) -> _Standard:
    predict = prediction_function(network.model)
    without_videos = _Standard(network, predict, [validation.random_probe(network, predict)], None)
    if not config.eval_videos:
        return without_videos
    try:
        videos = _videos(config, trained, network)
        probes = [*without_videos.probes, validation.real_probe(network, predict, videos)]
        standard = dataclasses.replace(without_videos, probes=probes, videos=videos)
        result = _evaluated("Keras", predict, standard)
    except UserError as error:
        if config.eval_data_pattern:
            raise
        log.info("GAP@20 is not measured: %s", error)  # the run's own videos may be elsewhere by now
        return without_videos
    return dataclasses.replace(standard, gap=result["GAP@20"], gap_videos=int(result["examples"]))


def _checked_file(folder: pathlib.Path, planned: _Planned, standard: _Standard) -> ExportedFile:
    """A file that has been run and measured.

    Raises:
        UserError: it predicts otherwise than the Keras model.
    """
    log.info("Checking %s", planned.path)
    place, bound = folder / planned.path, validation.BOUNDS[planned.precision]
    if planned.format == "saved_model" and standard.network.spec.level != SEGMENT:
        validation.check_serialized(planned.path, place, standard.network, standard.predict)
    predict = runners.load(place)
    difference = validation.check(planned.path, predict, standard.probes, bound)
    gap = None
    if standard.gap is not None and planned.batch is None:  # the file for one video has the same weights
        result = _evaluated(planned.path, lambda batch: predict(batch["frames"], batch["num_frames"]), standard)
        gap = result["GAP@20"]
        validation.check_gap(planned.path, gap, standard.gap)
    return ExportedFile(
        **dataclasses.asdict(planned),
        num_bytes=sum(file.stat().st_size for file in (place, *place.rglob("*")) if file.is_file()),
        difference=difference,
        bound=bound,
        milliseconds=validation.milliseconds(predict, standard.probes[0]),
        gap=gap,
    )


def _evaluated(name: str, predict: Callable, standard: _Standard) -> dict[str, float]:
    metrics = EvaluationMetrics(standard.network.spec.num_classes)
    described = {"batch_size": BATCH_SIZE, "seed": 0, "description": f"GAP@20 of {name}"}
    return evaluate(predict, standard.videos, standard.network.selection, metrics, **described)
