"""Predicts videos as an Apache Beam pipeline, on one machine or on many: `run_beam_inference`.

Shards are read on any file system that Beam knows; records, frames and rows of the CSV are those of inference.py. The
model travels to the workers as a packed file beside the output.
"""

import contextlib
import dataclasses
import itertools
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult, PipelineState

from yt8m_distill.config.dataset import SEGMENT, DatasetSpec, SpecOverrides
from yt8m_distill.config.inference import BeamConfig
from yt8m_distill.data import format_detection
from yt8m_distill.data.batches import View, check_view
from yt8m_distill.data.feature_ranges import text_of, with_ranges
from yt8m_distill.data.format_detection import RECORDS_TO_DETECT_BY
from yt8m_distill.data.record_files import records_of_any
from yt8m_distill.data.video import Video
from yt8m_distill.data.video_files import check_generated_ids
from yt8m_distill.errors import TooManyBadRecords, UserError
from yt8m_distill.files import untrusted
from yt8m_distill.files.lock import lock_files
from yt8m_distill.files.patterns import files_here, find_files
from yt8m_distill.prediction import submission
from yt8m_distill.prediction.beam_source import (
    BAD_RECORDS_HEADER,
    COUNTERS,
    ReadRecords,
    ReadVideos,
    bad_record_row,
)
from yt8m_distill.prediction.opened_model import OpenedModel, Predict, Travel
from yt8m_distill.prediction.parts import is_part_of, split_name
from yt8m_distill.runs.inputs import evaluation_pattern, input_spec, level_of, overrides_of

log = logging.getLogger(__name__)

FLAG = "input_data_pattern"
# Whose flags Beam knows; other runners are asked for theirs when the job starts.
RUNNERS_WITH_KNOWN_FLAGS = ("direct", "dataflow", "prism")


def run_beam_inference(config: BeamConfig, model: OpenedModel) -> int:
    """Writes the predictions for every video, in no particular order, in parts; returns the number of videos.

    Bad records are listed in `<output>.bad_records.csv`.

    Args:
        config: of the prediction.
        model: what predicts; its model travels to the workers.

    Raises:
        UserError: no files, files of another format, a model of segments, flags that neither this nor Beam knows, a
            pipeline that has failed; or as `OpenedModel.load`.
        TooManyBadRecords: at the end, more of the input than allowed was set aside.
    """
    options = pipeline_options(config.pipeline_args)
    if level_of(config.predictions.segments, model.spec) == SEGMENT:
        raise UserError(
            "segments are predicted by inference.py, which keeps the best ones of all videos for each class; "
            "--nosegment_labels predicts whole videos."
        )
    trained_spec = dataclasses.replace(model.spec, level=level_of(False, model.spec))
    sizes = _file_sizes(evaluation_pattern(config.predictions.input_data_pattern, model.default_pattern, FLAG))
    files = [path for path, size in sizes.items() if size]
    empty = [path for path, size in sizes.items() if not size]
    if empty and not config.predictions.bad_records.skip:
        raise UserError(f"{empty[0]}: the file is empty. --on_bad_record=skip leaves such files out.")
    detected = _detect(files, overrides_of(trained_spec, config.predictions.id_key))
    spec = input_spec(trained_spec, with_ranges(detected, files, _text_of), FLAG)
    check_generated_ids(spec, files)
    view = View(model.selection)
    check_view(spec, view, FLAG)
    log.info("Predicting %d files with %s", len(files), model.describe())
    output = config.predictions.output_file
    is_remote = FileSystems.get_scheme(output) is not None
    with contextlib.ExitStack() as held:
        held.enter_context(lock_files(None if is_remote else output))
        _check_output(output)
        path = held.enter_context(_model_beside(output, model.travel))
        model_file = ModelFile(path, model.travel.load)
        handler = VideoModelHandler(model_file, config.predictions.batch_size, spec, view, model.seed)
        counts = run_pipeline(lambda: _pipeline(config, options, files, empty, handler))
    return _report(config, {**counts, "bad": counts.get("bad", 0) + len(empty)})


def pipeline_options(arguments: Sequence[str]) -> PipelineOptions:
    for before, argument in itertools.pairwise(("", *arguments)):
        if not argument.startswith("-") and ("=" in before or not before.startswith("--")):  # not the value of a flag
            raise UserError(
                f"unexpected argument '{argument}'; settings are given as --flag=value, patterns in quotes, or "
                "the shell replaces them by the files."
            )
    options = PipelineOptions(list(arguments))
    settings = options.get_all_options()
    unknown = sorted(options.get_all_options(retain_unknown_options=True).keys() - settings.keys())
    if unknown and (settings["runner"] or "direct").lower().removesuffix("runner") in RUNNERS_WITH_KNOWN_FLAGS:
        raise UserError(f"neither this program nor Beam knows --{unknown[0]}; --help shows this program's flags.")
    FileSystems.set_options(options)  # some need theirs before there is a pipeline
    return options


@contextlib.contextmanager
def file_system_errors(path: str) -> Iterator[None]:
    """What Beam's file systems raise, as a UserError."""
    try:
        yield
    except UserError:
        raise
    except (BeamIOError, ValueError, ImportError) as error:
        raise UserError(f"{path} cannot be reached by Beam: {untrusted.in_short(error)}.") from error


def _check_output(output: str):
    """Beam removes older parts by a pattern that also matches those of predictions whose names begin alike."""
    stem, ending = split_name(output)
    with file_system_errors(output):
        (match,) = FileSystems.match([f"{stem}-*-of-*{ending}"])
    others = [file.path for file in match.metadata_list if not is_part_of(output, file.path)]
    if others:
        raise UserError(
            f"--output={output}: Beam would remove {others[0]}, which it cannot tell from an older part of this "
            "prediction; give another name or folder."
        )


def _file_sizes(pattern: str) -> dict[str, int]:
    """The files that the pattern names, in their order, and their sizes."""
    sizes: dict[str, int] = {}

    def matching(glob: str) -> list[str]:
        if not FileSystems.get_scheme(glob):
            return files_here(glob)
        with file_system_errors(glob):
            (match,) = FileSystems.match([glob])
        sizes.update({file.path: file.size_in_bytes for file in match.metadata_list})
        return [file.path for file in match.metadata_list]

    files = find_files(pattern, FLAG, matching)
    if globs := [path for path in files if set(path) & set("*?[")]:
        raise UserError(f"--{FLAG}: '{globs[0]}': Beam takes this name for a pattern; rename the file.")
    return {path: sizes[path] if path in sizes else os.path.getsize(path) for path in files}


def _detect(files: Sequence[str], overrides: SpecOverrides) -> DatasetSpec:
    """The format by the first record that shows one."""
    problem = None
    for path in files:
        uncompressed = CompressionTypes.UNCOMPRESSED
        with file_system_errors(path), FileSystems.open(path, compression_type=uncompressed) as file:
            for record in itertools.islice(records_of_any(file, path), RECORDS_TO_DETECT_BY):
                where = f"{path}, record {record.number}"
                try:
                    if record.problem:
                        raise UserError(f"{where}: {record.problem}.")
                    return format_detection.detect_spec(record.data, where, overrides)
                except UserError as error:
                    problem = problem or error
    raise problem or UserError(f"--{FLAG}: the files hold no records.")


def _text_of(path: str) -> str | None:
    """The text of a small file, of any file system; None where there is none."""
    if not FileSystems.get_scheme(path):
        return text_of(path)
    with file_system_errors(path):
        if not FileSystems.exists(path):
            return None
        with FileSystems.open(path) as file:
            return file.read(untrusted.MOST_TEXT_BYTES).decode(errors="replace")


@contextlib.contextmanager
def _model_beside(output: str, travel: Travel) -> Iterator[str]:
    """The model as a file where the workers will write, and so can read; removed at the end."""
    path = f"{split_name(output)[0]}.{travel.name}"
    folder = os.path.dirname(path)
    with tempfile.TemporaryDirectory() as local:
        packed = os.path.join(local, travel.name)
        travel.write(packed)
        try:
            if not FileSystems.get_scheme(output) and folder:
                os.makedirs(folder, exist_ok=True)
            with (
                file_system_errors(path),
                open(packed, "rb") as source,
                FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as target,
            ):
                shutil.copyfileobj(source, target)
        except OSError as error:
            raise UserError(f"--output: {path} cannot be written: {error}.") from error
    try:
        yield path
    finally:
        FileSystems.delete([path])


@dataclass(frozen=True)
class ModelFile:
    """A model on its way to the workers.

    Attributes:
        path: of the file, on any file system that Beam knows.
        read: gives the predictions of a local copy.
    """

    path: str
    read: Callable[[str], Predict]

    def load(self) -> Predict:
        with tempfile.TemporaryDirectory() as folder:
            local = os.path.join(folder, os.path.basename(self.path))
            with (
                FileSystems.open(self.path, compression_type=CompressionTypes.UNCOMPRESSED) as source,
                open(local, "wb") as target,
            ):
                shutil.copyfileobj(source, target)
            return self.read(local)


class VideoModelHandler(ModelHandler[Video, tuple[bytes, np.ndarray], Predict]):
    """Predicts batches of videos; each gives its id and its predictions, (classes,).

    Args:
        model_file: the model.
        batch_size: videos at a time.
        spec: how the videos were read.
        view: the frames that the model sees.
        seed: with the video's id it decides the frames of a "random" selection.
    """

    def __init__(self, model_file: ModelFile, batch_size: int, spec: DatasetSpec, view: View, seed: int):
        super().__init__(min_batch_size=batch_size, max_batch_size=batch_size)
        self.model_file = model_file
        self.spec = spec
        self.view = view
        self.seed = seed

    def load_model(self) -> Predict:
        return self.model_file.load()

    def run_inference(
        self,
        batch: Sequence[Video],
        model: Predict,
        inference_args: dict[str, Any] | None = None,
    ) -> list[tuple[bytes, np.ndarray]]:
        del inference_args
        scores = model(self.view.batch(batch, self.spec, self.seed))
        return [(video.video_id, row) for video, row in zip(batch, scores, strict=True)]

    def get_num_bytes(self, batch: Sequence[Video]) -> int:
        return sum(feature.nbytes for video in batch for feature in video.features)


def _row(predicted: tuple[bytes, np.ndarray], top_k: int) -> str:
    return submission.format_row(*predicted, top_k).rstrip("\n")


def _pipeline(
    config: BeamConfig,
    options: PipelineOptions,
    files: Sequence[str],
    empty_files: Sequence[str],
    handler: VideoModelHandler,
) -> beam.Pipeline:
    settings = config.predictions
    stem, ending = split_name(settings.output_file)
    pipeline = beam.Pipeline(options=options)
    read = (
        pipeline
        | "Files" >> beam.Create(files)
        | "Records" >> ReadRecords()
        | "Videos" >> beam.ParDo(ReadVideos(handler.spec, settings.bad_records.skip)).with_outputs(
            ReadVideos.BAD, main="good"
        )
    )  # fmt: skip
    (
        read.good
        | "Predict" >> RunInference(handler)
        | "Rows" >> beam.Map(_row, settings.top_k)
        | "Write" >> beam.io.WriteToText(
            stem, ending, num_shards=config.output_shards or 0, header=submission.HEADER.strip()
        )
    )  # fmt: skip
    empty = pipeline | "Empty" >> beam.Create([bad_record_row(path, 1, 0, "the file is empty") for path in empty_files])
    (
        (read[ReadVideos.BAD], empty)
        | "Bad" >> beam.Flatten()
        | "WriteBad"
        >> beam.io.WriteToText(
            _bad_records_file(settings.output_file), num_shards=1, shard_name_template="", header=BAD_RECORDS_HEADER
        )
    )
    return pipeline


def _bad_records_file(output: str) -> str:
    return f"{split_name(output)[0]}.bad_records.csv"


def run_pipeline(built: Callable[[], beam.Pipeline]) -> dict[str, int]:
    """Runs a pipeline to its end; returns what was counted."""
    try:
        result = built().run()
        state = result.wait_until_finish()
    except Exception as error:  # every runner has its own
        raise UserError(f"the pipeline has failed: {_cause(error)}") from error
    if state != PipelineState.DONE:
        raise UserError(f"the pipeline has ended as {state}; the runner's log says why.")
    return _counts(result)


def _cause(error: Exception) -> str:
    """The message of a UserError in the runner's message, else its last line."""
    log.warning("%s", error)
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    sentence = next((line for line in reversed(lines) if "UserError: " in line), lines[-1])
    return sentence.rpartition("UserError: ")[2].partition(" [while running")[0]


def _counts(result: PipelineResult) -> dict[str, int]:
    counters = result.metrics().query(beam.metrics.MetricsFilter().with_namespace(COUNTERS))["counters"]
    return {counter.key.metric.name: counter.result for counter in counters}


def _report(config: BeamConfig, counts: Mapping[str, int]) -> int:
    output, videos, bad = config.predictions.output_file, counts.get("videos", 0), counts.get("bad", 0)
    stem, ending = split_name(output)
    print(f"Predictions for {videos} videos are in {stem}-*-of-*{ending}")
    if counts.get("without_frames"):
        log.warning("%d videos have no frames: their predictions say nothing of them.", counts["without_frames"])
    if bad:
        lost, total = (counts.get(name, 0) for name in ("bad_bytes", "bytes"))  # what was never counted is not there
        fraction = lost / total if total else 1.0
        text = f"{bad} bad records, {lost:,} of {total:,} bytes, are listed in {_bad_records_file(output)}"
        if fraction > config.predictions.bad_records.max_bad_fraction:
            limit = config.predictions.bad_records.max_bad_fraction
            raise TooManyBadRecords(f"{text}: more than --max_bad_fraction={limit:g}. All outputs are in place.")
        log.warning("%s.", text)
    return videos
