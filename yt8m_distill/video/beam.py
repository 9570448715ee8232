"""Extracts features of films as an Apache Beam pipeline, on one machine or on many: `run_beam_extraction`.

Films are read on any file system that Beam knows; from others than the worker's own they are copied first.
`features.json` and what belongs to it travels to the workers with the pipeline; the image network they have from the
same package, or from a file that is at the same place on each of them.
"""

import csv
import dataclasses
import io
import logging
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics

from yt8m_distill.config.dataset import DESCRIPTION_FILES, VOCABULARY_FILE
from yt8m_distill.config.films import BeamExtractConfig, FeatureSettings, FilmReading
from yt8m_distill.errors import UserError
from yt8m_distill.files.patterns import files_here
from yt8m_distill.plugins.loading import load_plugins
from yt8m_distill.prediction.beam import file_system_errors, pipeline_options, run_pipeline
from yt8m_distill.prediction.beam_source import COUNTERS
from yt8m_distill.video.class_numbers import class_numbers, read_vocabulary, vocabulary_beside
from yt8m_distill.video.feature_set import load_feature_set
from yt8m_distill.video.film_list import Film, in_mixed_order, read_films
from yt8m_distill.video.records import FilmRecords
from yt8m_distill.video.report import COLUMNS, REPORT_FILE, Row, shown_path

log = logging.getLogger(__name__)

PREFIX, ENDING = "films", ".tfrecord"
_UNCOMPRESSED = CompressionTypes.UNCOMPRESSED


def run_beam_extraction(config: BeamExtractConfig) -> int:
    """Writes TFRecord files of all films, in no particular order, and the files of `run_extraction` beside them.

    Returns:
        The number of films in them.

    Raises:
        UserError: no films, no features, a label that is not in the vocabulary, a film that cannot be decoded where
            that is an error, flags that neither this nor Beam knows, a pipeline that has failed.
    """
    options = pipeline_options(config.pipeline_args)
    films = in_mixed_order(read_films(config.videos, config.labels, matching=_matching))
    vocabulary = read_vocabulary(config.vocabulary) if config.vocabulary else vocabulary_beside(config.features)
    numbers = class_numbers(films, vocabulary)
    features = load_feature_set(config.features, FeatureSettings())
    reading = FilmReading(config.on_bad_video, workers=1)
    frames = FilmRecords(features, config.frames, reading).frames
    with tempfile.TemporaryDirectory() as folder:
        features.write(pathlib.Path(folder), numbers.num_classes, frames)
        if numbers.names:
            numbers.write(pathlib.Path(folder) / VOCABULARY_FILE)
        description = {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}
    _check_output(config.output)
    _write_description(config.output, description)
    extract = ExtractFilm(description, config, reading)
    counts = run_pipeline(lambda: _pipeline(config, options, films, numbers.of_films, extract))
    videos, lost = counts.get("videos", 0), counts.get("lost", 0)
    print(f"{videos} videos are in {os.path.join(config.output, PREFIX)}-*{ENDING}")
    if lost:
        log.warning("%d films could not be decoded; %s says why.", lost, os.path.join(config.output, REPORT_FILE))
    return videos


class ExtractFilm(beam.DoFn):
    """A film with its class numbers becomes a record, and a row of the report.

    Args:
        description: content of `features.json` and the files that belong to it, by name.
        config: of the extraction.
        reading: how films are read.
    """

    REPORT = "report"

    def __init__(self, description: Mapping[str, bytes], config: BeamExtractConfig, reading: FilmReading):
        self.description = description
        self.config = config
        self.reading = reading

    def setup(self):
        load_plugins(self.config.plugins)  # a worker is a process of its own
        with tempfile.TemporaryDirectory() as folder:
            for name, content in self.description.items():
                (pathlib.Path(folder) / name).write_bytes(content)
            self._features = load_feature_set(folder, FeatureSettings())

    def process(self, element: tuple[Film, Sequence[int]]) -> Iterator:
        film, labels = element
        records = FilmRecords(self._features, self.config.frames, self.reading, {film.video_id: labels})
        row, record = self._extracted(film, records)
        row = dataclasses.replace(row, path=shown_path(film.path))
        Metrics.counter(COUNTERS, "videos" if record is not None else "lost").inc()
        yield beam.pvalue.TaggedOutput(self.REPORT, _line(row))
        if record is not None:
            yield record

    def _extracted(self, film: Film, records: FilmRecords) -> tuple[Row, bytes | None]:
        with tempfile.TemporaryDirectory() as folder:
            try:
                local = dataclasses.replace(film, path=_copied(film.path, folder))
            except (UserError, OSError) as error:
                if self.reading.on_bad_video == "error":
                    raise
                return Row(film.video_id, film.path, 0.0, 0, "", "", "", str(error)), None
            ((row, record),) = records.rows([local])
            return row, record


def _pipeline(
    config: BeamExtractConfig,
    options,
    films: Sequence[Film],
    labels: Mapping[str, Sequence[int]],
    extract: ExtractFilm,
) -> beam.Pipeline:
    pipeline = beam.Pipeline(options=options)
    extracted = (
        pipeline
        | "Films" >> beam.Create([(film, tuple(labels[film.video_id])) for film in films])
        | "Spread" >> beam.Reshuffle()
        | "Extract" >> beam.ParDo(extract).with_outputs(ExtractFilm.REPORT, main="records")
    )  # fmt: skip
    prefix = os.path.join(config.output, PREFIX)
    extracted.records | "Write" >> beam.io.WriteToTFRecord(
        prefix, file_name_suffix=ENDING, num_shards=config.output_shards or 0
    )
    extracted[ExtractFilm.REPORT] | "Report" >> beam.io.WriteToText(
        os.path.join(config.output, REPORT_FILE), num_shards=1, shard_name_template="", header=",".join(COLUMNS)
    )
    return pipeline


def _line(row: Row) -> str:
    text = io.StringIO()
    csv.DictWriter(text, COLUMNS, lineterminator="").writerow({**row.values(), "seconds": f"{row.seconds:.3f}"})
    return text.getvalue()


def _copied(path: str, folder: str) -> str:
    """The path of a film on this machine."""
    if not FileSystems.get_scheme(path):
        return path
    local = os.path.join(folder, "film" + os.path.splitext(path)[1])
    with (
        file_system_errors(path),
        FileSystems.open(path, compression_type=_UNCOMPRESSED) as source,
        open(local, "wb") as target,
    ):
        shutil.copyfileobj(source, target, 1 << 20)
    return local


def _matching(pattern: str) -> list[str]:
    if not FileSystems.get_scheme(pattern):
        return files_here(pattern)
    with file_system_errors(pattern):
        (match,) = FileSystems.match([pattern])
    return [file.path for file in match.metadata_list]


def _check_output(output: str):
    """Checks that there are no records that this extraction would not replace."""
    with file_system_errors(output):
        matches = _matching(os.path.join(output, f"{PREFIX}-*"))
    if matches:
        raise UserError(f"--output: '{matches[0]}' has records of an earlier extraction; give another folder.")


def _write_description(output: str, description: Mapping[str, bytes]):
    """Writes the files beside the records, `features.json` last."""
    if not FileSystems.get_scheme(output):
        os.makedirs(output, exist_ok=True)
    for name in DESCRIPTION_FILES:
        if name in description:
            path = os.path.join(output, name)
            try:
                with file_system_errors(path), FileSystems.create(path, compression_type=_UNCOMPRESSED) as file:
                    file.write(description[name])
            except OSError as error:
                raise UserError(f"--output: {path} cannot be written: {error}.") from error
