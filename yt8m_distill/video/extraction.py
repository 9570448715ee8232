"""Extracts features of films into TFRecord files: `run_extraction`."""

import logging
import pathlib
from collections.abc import Sequence

from yt8m_distill.config.dataset import RANGES_FILE, VOCABULARY_FILE
from yt8m_distill.config.films import ExtractConfig
from yt8m_distill.errors import UserError
from yt8m_distill.files.lock import lock_directory
from yt8m_distill.video.class_numbers import ClassNumbers, class_numbers, read_vocabulary, vocabulary_beside
from yt8m_distill.video.feature_set import FeatureSet, fit_feature_set, load_feature_set
from yt8m_distill.video.features import read_features
from yt8m_distill.video.film_list import Film, in_mixed_order, read_films
from yt8m_distill.video.records import FilmRecords, write_films
from yt8m_distill.video.report import REPORT_FILE, Row, joined_labels
from yt8m_distill.video.shards import Shards

log = logging.getLogger(__name__)

FIT_FILMS = 200


def run_extraction(config: ExtractConfig):
    """Writes TFRecord files of all films, `features.json`, `vocabulary.csv` and `report.csv`; what exists is kept.

    Raises:
        UserError: no films, features of another kind in the folder, a film that cannot be decoded where that is an
            error, a label that is not in the vocabulary, no space on the disk.
    """
    films = in_mixed_order(read_films(config.videos, config.labels))
    folder = pathlib.Path(config.output_dir)
    with lock_directory(folder):
        numbers = _numbers(config, films, folder)
        features = _features(config, films, folder)
        records = FilmRecords(features, config.frames, config.reading, numbers.of_films)
        _check_frames(folder, records)
        features.write(folder, numbers.num_classes, records.frames)
        if numbers.names:
            numbers.write(folder / VOCABULARY_FILE)
        labels = {video_id: joined_labels(values) for video_id, values in numbers.of_films.items()}
        work = f"{features.file.extraction} {records.frames}"
        shards = Shards(folder, config.videos_per_file, work, features.frame_bytes, labels)
        rows = write_films(shards, films, records)
    _print_summary(config, features, numbers, rows)


def _numbers(config: ExtractConfig, films: Sequence[Film], folder: pathlib.Path) -> ClassNumbers:
    """Class numbers by the vocabulary of the settings, of an earlier start, or of the features that are given."""
    _tell_of_unlabelled(films)
    earlier = folder / VOCABULARY_FILE
    if config.vocabulary:
        return class_numbers(films, read_vocabulary(config.vocabulary))
    if earlier.exists():
        return class_numbers(films, read_vocabulary(earlier), may_grow=config.features is None)
    if config.features:
        return class_numbers(films, vocabulary_beside(config.features))
    return class_numbers(films)


def _tell_of_unlabelled(films: Sequence[Film]):
    unlabelled = [film for film in films if film.labels is None]
    if unlabelled and len(unlabelled) < len(films):
        log.warning("%d of %d films have no labels (first: %s).", len(unlabelled), len(films), unlabelled[0].video_id)


def _features(config: ExtractConfig, films: Sequence[Film], folder: pathlib.Path) -> FeatureSet:
    """Those of an earlier start, those that are given, or new ones."""
    given = config.features and load_feature_set(config.features, config.what)
    if (folder / RANGES_FILE).exists():
        earlier = load_feature_set(folder, config.what)
        if given and given.file.extraction != earlier.file.extraction:
            raise UserError(f"'{folder}' has other features than --features={config.features}; give another folder.")
        return earlier
    if records := sorted(folder.glob("*.tfrecord")):
        raise UserError(
            f"'{records[0]}' is there, and no {RANGES_FILE} that says how its features were made; give another "
            "--output_dir, or remove these files."
        )
    return given or fit_feature_set(config.what, films[: config.fit_films or FIT_FILMS], config.reading)


def _check_frames(folder: pathlib.Path, records: FilmRecords):
    if not (folder / RANGES_FILE).exists():
        return
    earlier, _ = read_features(folder)
    if earlier.frames != records.frames:
        raise UserError(
            f"'{folder}' has records with other frames of each film ({earlier.frames}) than are asked for "
            f"({records.frames}); give another --output_dir."
        )


def _print_summary(config: ExtractConfig, features: FeatureSet, numbers: ClassNumbers, rows: Sequence[Row]):
    good = [row for row in rows if row.file]
    if not good:
        raise UserError(f"none of the {len(rows)} films could be decoded; {REPORT_FILE} says why.")
    frames, seconds = sum(row.frames for row in good), sum(row.seconds for row in good)
    files = len({row.file for row in good})
    print(
        f"{len(good)} videos with {frames:,} frames, of {seconds:,.0f} seconds of film, are in the {files} files of "
        f"{config.output_dir}."
    )
    recipe = features.recipe
    for name, (low, high) in features.file.ranges.items():
        clipped = (recipe.clipped or {}).get(name, 0.0)
        print(
            f"{name}: {features.file.sizes[name]} values; bytes 0 to 255 stand for {low:.6g} to {high:.6g}, "
            f"{100 * clipped:.2g} % of the sample is outside"
        )
    if recipe.explained_variance is not None:
        print(f"The projection explains {100 * recipe.explained_variance:.1f} % of the variance.")
    if numbers.num_classes:
        print(f"{len(numbers.names)} classes are in {VOCABULARY_FILE}.")
    silent = sum(row.sound == "no" for row in good)
    if silent:
        print(f"{silent} of the videos have no sound.")
    troubled = sum(bool(row.problems) for row in good)
    lost = len(rows) - len(good)
    if troubled or lost:
        print(f"{troubled} videos were decoded in part, {lost} not at all; see {REPORT_FILE}.")
