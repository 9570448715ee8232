"""Exports a trained model to files that do without this package: `run_export`."""

import dataclasses
import importlib.util
import logging
import pathlib
from collections.abc import Callable, Iterator, Mapping

from yt8m_distill import predictions_csv, run_dir, trained_model
from yt8m_distill.config import ExportConfig
from yt8m_distill.data.dataset import VideoFiles, View, check_view, estimated_videos
from yt8m_distill.dataset_spec import SEGMENT
from yt8m_distill.deployment import checking, description, litert, model_card, onnx, runners, saved_model
from yt8m_distill.deployment.description import Description, ExportedFile
from yt8m_distill.deployment.network import Network, of_trained
from yt8m_distill.errors import UserError
from yt8m_distill.evaluation import evaluate, evaluation_videos, prediction_function
from yt8m_distill.metrics import EvaluationMetrics

log = logging.getLogger(__name__)

PACKAGES = {"saved_model": (), "litert": ("ai_edge_litert",), "onnx": ("tf2onnx", "onnxruntime")}
BATCH_SIZE = 64


def run_export(config: ExportConfig) -> Description:
    """Writes an export: files of the formats, each checked against the Keras model, `export.json` and `README.md`.

    An earlier export of the same name is replaced when the new one is whole.

    Raises:
        UserError: no run or model, one that cannot be exported, packages that are missing, something else where the
            export is to go, a file that predicts otherwise than the model. Nothing is written then.
    """
    _check_packages(config)
    target = pathlib.Path(config.output_dir)
    _check_target(target)
    names = predictions_csv.load_vocabulary(config.vocabulary) if config.vocabulary else None
    trained = trained_model.load(config.train_dir, config.which, branch=config.branch)
    network = of_trained(trained, config.selection)
    videos = _videos(config, trained, network)
    with run_dir.directory_written_beside(target) as folder:
        _write_files(config, network, names, folder)
        described = _checked(config, trained, network, names, videos, folder)
        description.write(described, folder)
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
    if not target.exists() or (target / description.FILE_NAME).is_file():
        return
    if not target.is_dir() or any(target.iterdir()):
        raise UserError(
            f"--output_dir={target} exists and is no export (it has no {description.FILE_NAME}); name a new folder."
        )


def _videos(config: ExportConfig, trained: trained_model.TrainedModel, network: Network) -> VideoFiles | None:
    """Labelled videos, about as many as wanted; None where there are none."""
    if not config.eval_videos:
        return None
    try:
        videos = evaluation_videos(config.eval_data_pattern, trained.config, "eval_data_pattern")
        check_view(videos.spec, View(network.selection), "eval_data_pattern")
    except UserError as error:
        if config.eval_data_pattern:
            raise
        log.info("GAP@20 is not measured, the run's evaluation files cannot be read: %s", error)
        return None
    expected = max(estimated_videos(videos), 1)
    return dataclasses.replace(videos, fraction=min(1.0, config.eval_videos / expected))


def _write_files(config: ExportConfig, network: Network, names: Mapping[int, str] | None, folder: pathlib.Path):
    writers: dict[str, Callable] = {
        "saved_model": lambda: saved_model.write(network, folder / "saved_model", config.top_k, names),
        "litert": lambda: litert.write(network, folder / "litert", config.litert_precisions),
        "onnx": lambda: onnx.write(network, folder / "model.onnx"),
    }
    for each in config.formats:
        log.info("Writing %s", each)
        writers[each]()


def _files(config: ExportConfig) -> Iterator[tuple[str, str, str, int | None]]:
    """Path, format, precision and batch of every file."""
    for each in config.formats:
        if each == "litert":
            for precision in config.litert_precisions:
                for suffix, batch in litert.BATCHES.items():
                    yield f"litert/{precision}{suffix}.tflite", each, precision, batch
        else:
            yield {"saved_model": "saved_model", "onnx": "model.onnx"}[each], each, "float32", None


def _checked(
    config: ExportConfig,
    trained: trained_model.TrainedModel,
    network: Network,
    names: Mapping[int, str] | None,
    videos: VideoFiles | None,
    folder: pathlib.Path,
) -> Description:
    """Every file compared with the Keras model, and measured."""
    reference = prediction_function(trained.model)
    given = checking.probes(network, reference, videos)
    if "saved_model" in config.formats and network.spec.level != SEGMENT:
        checking.check_serialized("saved_model", folder / "saved_model", network, reference)
    of_keras = None if videos is None else _evaluated("Keras", reference, videos, network)
    files = []
    for path, *kind in _files(config):
        log.info("Checking %s", path)
        files.append(_checked_file(folder / path, path, kind, given, of_keras, videos, network))
    all_names = None if names is None else tuple(names.get(i, f"class {i}") for i in range(network.spec.num_classes))
    return Description(
        model=trained.config.model,
        which=trained.role,
        branch=trained.branch,
        data=network.spec,
        selection=network.selection,
        frames=network.frames,
        top_k=min(config.top_k, network.spec.num_classes),
        class_names=all_names,
        files=tuple(files),
        gap=of_keras and of_keras["GAP@20"],
        gap_videos=int(of_keras["examples"]) if of_keras else 0,
    )


def _checked_file(
    place: pathlib.Path,
    path: str,
    kind: list,
    given: list[checking.Probe],
    of_keras: Mapping[str, float] | None,
    videos: VideoFiles | None,
    network: Network,
) -> ExportedFile:
    file_format, precision, batch = kind
    predict = runners.load(place)
    bound = checking.BOUNDS[precision]
    difference = checking.check(path, predict, given, bound)
    gap = None
    if of_keras is not None and batch is None:  # the file for one video has the same weights
        result = _evaluated(path, lambda each: predict(each["frames"], each["num_frames"]), videos, network)
        gap = result["GAP@20"]
        checking.check_gap(path, gap, of_keras["GAP@20"])
    sizes = [file.stat().st_size for file in (place, *place.rglob("*")) if file.is_file()]
    time = checking.milliseconds(predict, given[0])
    return ExportedFile(path, file_format, precision, batch, sum(sizes), difference, bound, time, gap)


def _evaluated(name: str, predict: Callable, videos: VideoFiles, network: Network) -> dict[str, float]:
    metrics = EvaluationMetrics(videos.spec.num_classes)
    return evaluate(
        predict, videos, network.selection, metrics, batch_size=BATCH_SIZE, seed=0, description=f"GAP@20 of {name}"
    )
