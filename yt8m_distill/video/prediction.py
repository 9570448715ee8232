"""Predicts the labels of films: only the frames that the model sees are decoded, and then it predicts."""

import contextlib
import dataclasses
import hashlib
import logging
import os
import pathlib
import time
from collections.abc import Sequence

from yt8m_distill.config.dataset import DESCRIPTION_FILES, RANGES_FILE, SEGMENT, VOCABULARY_FILE
from yt8m_distill.config.films import EXACT, FilmFrames
from yt8m_distill.config.inference import InferenceConfig
from yt8m_distill.deployment.engine import open_model
from yt8m_distill.errors import UserError
from yt8m_distill.files.lock import DIRECTORY_LOCK, lock_directory
from yt8m_distill.prediction.opened_model import OpenedModel
from yt8m_distill.prediction.run import check_settings, run_inference
from yt8m_distill.runs.inputs import level_of
from yt8m_distill.video.decoding import frames_of_selection
from yt8m_distill.video.feature_set import FeatureSet, load_feature_set
from yt8m_distill.video.features import read_features
from yt8m_distill.video.film_list import Film, read_films
from yt8m_distill.video.records import FilmRecords, write_films
from yt8m_distill.video.report import REPORT_FILE, Row, write_report
from yt8m_distill.video.shards import Shards

log = logging.getLogger(__name__)

_VIDEOS_PER_FILE = 1024


def run_film_inference(config: InferenceConfig) -> int:
    """Writes predictions for films, and `<output_file>.report.csv` with a row for each.

    Features are kept in `<output_file>.features` until the predictions are written, so that a prediction that is
    stopped is resumed.

    Returns:
        The number of films, or of segments, that were predicted.

    Raises:
        UserError: as `prediction.run.run_inference`; or the run does not say how its features are made of films, there
            are no films, or none can be decoded.
    """
    output = pathlib.Path(config.output_file)
    folder, report = (output.with_name(f"{output.name}.{name}") for name in ("features", "report.csv"))
    with open_model(config) as model:
        check_settings(config, model.spec)
        films = read_films(config.films.videos, flag="input_videos")
        features, choice = run_features(model, config), decoded_frames(model, config)
        model.load()  # what cannot predict is found before films are decoded
        records = FilmRecords(features, choice, config.films.reading, max_frames=model.spec.max_frames)
        _extract(films, records, model.spec.num_classes, folder, report)
        vocabulary = config.vocabulary
        if vocabulary is None and (model.folder / VOCABULARY_FILE).exists():
            vocabulary = str(model.folder / VOCABULARY_FILE)
        of_records = dataclasses.replace(config, films=None, input_data_pattern=str(folder), vocabulary=vocabulary)
        count = run_inference(of_records, model)
    _remove(folder)
    return count


def _extract(films: Sequence[Film], records: FilmRecords, num_classes: int, folder: pathlib.Path, report: pathlib.Path):
    features = records.features
    log.info("Decoding %s frames of each of %d films", records.choice.student_frames or "all", len(films))
    started = time.monotonic()
    work = f"{records.frames}, films {_identity_of(films)}"
    with lock_directory(folder):
        _clear_other_work(folder, features, work)
        features.write(folder, num_classes, work)
        shards = Shards(folder, _VIDEOS_PER_FILE, f"{features.file.extraction} {work}", features.frame_bytes)
        rows = write_films(shards, films, records)
    write_report(report, (dataclasses.replace(row, file="") for row in rows))
    _print_summary(rows, report, time.monotonic() - started)


def _remove(folder: pathlib.Path):
    """Removes the features that were made; what else somebody has put there stays."""
    for path in (*folder.glob("films-*"), folder / REPORT_FILE, *(folder / name for name in DESCRIPTION_FILES)):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (folder / DIRECTORY_LOCK).unlink(missing_ok=True)
        folder.rmdir()


def _identity_of(films: Sequence[Film]) -> str:
    text = "\n".join(f"{film.video_id}\t{os.path.abspath(film.path)}\t{_stamp_of(film.path)}" for film in films)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def _stamp_of(path: str) -> str:
    """Size and time of a file, which change with its content."""
    try:
        found = os.stat(path)
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"


def _clear_other_work(folder: pathlib.Path, features: FeatureSet, work: str):
    """Removes what an earlier prediction, of other films or frames, has left."""
    if not (folder / RANGES_FILE).exists():
        if other := next((path for path in folder.iterdir() if not path.name.startswith(".")), None):
            raise UserError(f"'{other}' is in the way: features are kept in that folder; give another --output_file.")
        return
    recipe, file = read_features(folder)
    if (file.extraction, recipe.frames) != (features.file.extraction, work):
        for path in (*folder.glob("films-*"), folder / REPORT_FILE):
            path.unlink(missing_ok=True)


def run_features(model: OpenedModel, config: InferenceConfig) -> FeatureSet:
    """The features that a model was trained on.

    Raises:
        UserError: its run does not say how they are made of films, or a network is not where it was.
    """
    if not model.spec.extraction:
        raise UserError(
            f"--input_videos: the model in '{model.source}' was trained on features that were not made of films "
            "here (python -m yt8m_distill.extract_features), so that it is not known how to make them."
        )
    return load_feature_set(model.folder, config.films.places)


def decoded_frames(model: OpenedModel, config: InferenceConfig) -> FilmFrames:
    """The frames of a film that a model looks at: k of them, where they follow from the length of the film alone."""
    if level_of(config.segments, model.spec) == SEGMENT:
        choice = FilmFrames()
    else:
        choice = frames_of_selection(model.selection, config.films.positions)
    if config.films.positions != EXACT and choice.student_frames is None:
        raise UserError(
            f"--frame_positions={config.films.positions} is for models that look at k frames; this one needs all."
        )
    return choice


def _print_summary(rows: list[Row], report: pathlib.Path, seconds: float):
    good = [row for row in rows if row.file]
    if not good:
        raise UserError(f"none of the {len(rows)} films could be decoded; {report} says why.")
    film_seconds, frames = sum(row.seconds for row in good), sum(row.frames for row in good)
    print(f"{len(good)} films of {film_seconds:,.0f} seconds: {frames:,} frames decoded in {seconds:,.1f} s.")
    if lost := len(rows) - len(good):
        print(f"{lost} films could not be decoded; see {report}.")
