"""Exports a trained model to files that do not need this package: `run_export`."""

import dataclasses
import logging
import os
import pathlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import tensorflow as tf

from yt8m_distill.config.dataset import VOCABULARY_FILE
from yt8m_distill.config.deployment import EXPORT_FORMATS, ExportConfig
from yt8m_distill.data.batches import View, check_view
from yt8m_distill.data.feature_ranges import copy_description
from yt8m_distill.data.video_files import VideoFiles, check_segments
from yt8m_distill.deployment import hub, int8, litert, model_card, onnx, runners, saved_model, validation
from yt8m_distill.deployment.chosen_frames import choose_frames
from yt8m_distill.deployment.costs import costs_of, reference_of, trained_numbers
from yt8m_distill.deployment.exported_model import Network, of_trained
from yt8m_distill.deployment.manifest import ExportedFile, Manifest, write_manifest
from yt8m_distill.deployment.preparation import ONNX_FILES, check_packages, check_target
from yt8m_distill.errors import UserError
from yt8m_distill.evaluation.evaluate import evaluate
from yt8m_distill.files import atomic
from yt8m_distill.files.checksums import file_checksum
from yt8m_distill.files.lock import lock_files
from yt8m_distill.metrics import EvaluationMetrics
from yt8m_distill.plugins import FRAME_SAMPLINGS
from yt8m_distill.prediction.predict import prediction_function
from yt8m_distill.prediction.vocabulary import load_vocabulary
from yt8m_distill.runs import loading, trained_model
from yt8m_distill.runs.inputs import evaluation_videos

log = logging.getLogger(__name__)

BATCH_SIZE = 64


@dataclass(frozen=True)
class _Planned:
    """A file to write; see `ExportedFile`."""

    path: str
    format: str
    precision: str = "float32"
    batch: int | None = None
    float32_layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Reference:
    """The Keras model that every file is compared with.

    Attributes:
        network: the model to export.
        predict: its predictions, see `prediction_function`.
        probes: videos with its predictions.
        videos: labelled videos; None: there are none.
        gap: its GAP@20 on these.
        gap_videos: their number.
    """

    network: Network
    predict: Callable
    probes: Sequence[validation.Probe]
    videos: VideoFiles | None
    gap: float | None = None
    gap_videos: int = 0


def run_export(config: ExportConfig, trained: trained_model.TrainedModel | None = None) -> Manifest:
    """Writes an export: files of the formats, each checked against the Keras model, `export.json` and `README.md`.

    An earlier export of the same name is replaced when the new one is complete.

    Args:
        config: of the export.
        trained: its model, where it is loaded already, on the CPU.

    Raises:
        UserError: there is no such run or model, it cannot be exported, packages are missing, `output_dir` holds
            something else, or a file's predictions differ from the model's. Nothing is written then.
    """
    check_packages(config.formats)
    target = pathlib.Path(os.path.abspath(config.output_dir))
    with lock_files(target):
        check_target(target)
        manifest = _write_export(config, target, trained)
    print(model_card.table(manifest))
    print(f"The export is in {target}; {target / 'README.md'} says how to use it.")
    if config.push_to_hub is not None:
        print(f"It is pushed to {hub.push(target, config.push_to_hub, private=config.hub_private)}")
    return manifest


def _write_export(config: ExportConfig, target: pathlib.Path, trained: trained_model.TrainedModel | None) -> Manifest:
    if trained is None:
        use_no_gpu()
        trained = loading.load(config.train_dir, config.which, branch=config.branch)
    chosen = choose_frames(trained, config.choice, config.train_dir) if config.choice else None
    network = of_trained(trained, chosen.selection if chosen else config.selection)
    _check_formats(config, network)
    names = _class_names(config, network.spec.num_classes, trained.run_path / VOCABULARY_FILE)
    reference = _reference(config, trained, network)
    numbers = trained_numbers(trained, network)
    with atomic.directory_written_beside(target) as folder:
        _write_files(config, network, names, folder)
        float32_layers = _write_int8(config, reference, folder)
        manifest = Manifest(
            model=trained.config.model,
            which=trained.role,
            branch=trained.branch,
            data=network.spec,
            selection=network.selection,
            frames=network.frames,
            top_k=min(config.top_k, network.spec.num_classes),
            class_names=names,
            files=tuple(_checked_file(folder, planned, reference) for planned in _planned(config, float32_layers)),
            gap=reference.gap,
            gap_videos=reference.gap_videos,
            plugins=() if FRAME_SAMPLINGS.is_built_in(network.selection.sampling) else trained.config.plugins,
            numbers=numbers,
            costs=costs_of(trained, network, numbers),
            reference=reference_of(trained, network, numbers, config.train_dir),
        )
        write_manifest(manifest, folder)
        if network.spec.extraction:
            copy_description(trained.run_path, folder)
        model_card.write(manifest, trained, config.train_dir, folder, chosen.describe() if chosen else None)
    return manifest


def _check_formats(config: ExportConfig, network: Network):
    if network.chooses and "litert" in config.formats:
        raise UserError(
            f"--formats=litert: such a file takes just the frames that the model sees, and "
            f"--frame_sampling={network.selection.sampling} chooses them by the features of all. Export it with "
            f"--student_frames={network.selection.k} --frame_sampling=uniform, or as saved_model or onnx."
        )


def use_no_gpu():
    """Files are traced, compared and measured on the CPU, as they are for any processor."""
    try:
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError as error:
        raise UserError("TensorFlow already uses a GPU; export in a separate process.") from error


def _class_names(config: ExportConfig, num_classes: int, own: pathlib.Path) -> tuple[str, ...] | None:
    """By the vocabulary of the settings, or by that of the run, if it has one."""
    path = config.vocabulary or (own if own.exists() else None)
    if path is None:
        return None
    vocabulary = load_vocabulary(path, num_classes)
    return tuple(vocabulary.get(i, f"class {i}") for i in range(num_classes))


def _videos(config: ExportConfig, trained: trained_model.TrainedModel, network: Network) -> VideoFiles:
    """Labelled videos, about `config.eval_videos` of them.

    Raises:
        UserError: there are none.
    """
    videos = evaluation_videos(config.eval_data_pattern, trained.config, "eval_data_pattern")
    check_view(videos.spec, View(network.selection), "eval_data_pattern")
    check_segments(videos, "eval_data_pattern")
    expected = max(videos.estimated_videos(), 1)
    return videos.part(min(1.0, config.eval_videos / expected))


def _write_files(config: ExportConfig, network: Network, names: Sequence[str] | None, folder: pathlib.Path):
    writers: dict[str, Callable] = {
        "saved_model": lambda: saved_model.write(network, folder / "saved_model", config.top_k, names),
        "litert": lambda: litert.write(network, folder / "litert", config.litert_precisions),
        "onnx": lambda: onnx.write(network, folder / ONNX_FILES["float32"]),
    }
    for file_format in config.formats:
        log.info("Writing %s", file_format)
        writers[file_format]()


def _write_int8(config: ExportConfig, reference: _Reference, folder: pathlib.Path) -> tuple[str, ...]:
    """Writes the int8 ONNX file, if there is to be one, beside the float32 one, which goes if that is not to be.

    Returns:
        Its layers that stay float32; without labelled videos none.
    """
    if "onnx" not in config.formats or "int8" not in config.onnx_precisions:
        return ()
    source, target = (folder / ONNX_FILES[precision] for precision in ("float32", "int8"))
    layers = int8.find_layers(reference.network, source)

    def loss(chosen: Collection[int8.Layer]) -> float:
        int8.write(source, target, chosen)
        return reference.gap - _gap(f"{target.name}, {len(chosen)} int8 layers", runners.load(target), reference)

    float32 = [] if reference.gap is None else int8.float32_layers(layers, loss, validation.MOST_INT8_LOSS)
    int8.write(source, target, [layer for layer in layers if layer not in float32])
    if "float32" not in config.onnx_precisions:
        source.unlink()
    return tuple(layer.name for layer in float32)


def _planned(config: ExportConfig, float32_layers: tuple[str, ...]) -> list[_Planned]:
    files = {
        "saved_model": [_Planned("saved_model", "saved_model")],
        "litert": [
            _Planned(f"litert/{precision}{suffix}.tflite", "litert", precision, batch)
            for precision in config.litert_precisions
            for suffix, batch in litert.BATCHES.items()
        ],
        "onnx": [
            _Planned(
                ONNX_FILES[precision], "onnx", precision, float32_layers=float32_layers if precision == "int8" else ()
            )
            for precision in config.onnx_precisions
        ],
    }
    return [planned for name in EXPORT_FORMATS if name in config.formats for planned in files[name]]


def _reference(config: ExportConfig, trained: trained_model.TrainedModel, network: Network) -> _Reference:
    predict = prediction_function(network.model)
    without_videos = _Reference(network, predict, [validation.random_probe(network, predict)], None)
    if not config.eval_videos:
        return without_videos
    try:
        videos = _videos(config, trained, network)
        probes = [*without_videos.probes, validation.real_probe(network, predict, videos)]
        reference = dataclasses.replace(without_videos, probes=probes, videos=videos)
        result = _evaluate("Keras", predict, reference)
    except UserError as error:
        if config.eval_data_pattern:
            raise
        log.info("GAP@20 is not measured: %s", error)  # the run's own videos may have been moved
        return without_videos
    return dataclasses.replace(reference, gap=result["GAP@20"], gap_videos=int(result["examples"]))


def _checked_file(folder: pathlib.Path, planned: _Planned, reference: _Reference) -> ExportedFile:
    """Runs and measures a file that has been written.

    Raises:
        UserError: its predictions differ from the Keras model's.
    """
    log.info("Checking %s", planned.path)
    path, bound = folder / planned.path, validation.BOUNDS[planned.precision]
    if planned.format == "saved_model" and reference.network.reads_records:
        validation.check_serialized(planned.path, path, reference.network, reference.predict)
    predict = runners.load(path)
    difference = validation.check(planned.path, predict, reference.probes, bound)
    gap = None
    if reference.gap is not None and planned.batch is None:  # the file for one video has the same weights
        gap = _gap(planned.path, predict, reference)
        validation.check_gap(planned.path, gap, reference.gap)
    return ExportedFile(
        **dataclasses.asdict(planned),
        num_bytes=sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file()),
        difference=difference,
        bound=bound,
        milliseconds=validation.milliseconds(predict, reference.probes[0]),
        gap=gap,
        sha256=file_checksum(path),
    )


def _gap(name: str, predict: runners.Predict, reference: _Reference) -> float:
    """GAP@20 of a file on the labelled videos."""
    return _evaluate(name, lambda batch: predict(batch["frames"], batch["num_frames"]), reference)["GAP@20"]


def _evaluate(name: str, predict: Callable, reference: _Reference) -> dict[str, float]:
    return evaluate(
        predict,
        reference.videos,
        reference.network.selection,
        EvaluationMetrics(reference.network.spec.num_classes),
        batch_size=BATCH_SIZE,
        seed=0,
        description=f"GAP@20 of {name}",
    )
