"""Extracts features of films into TFRecord files: `run_extraction`."""

import logging
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from yt8m_distill.config.dataset import RANGES_FILE, VOCABULARY_FILE
from yt8m_distill.config.films import ExtractConfig
from yt8m_distill.errors import UserError
from yt8m_distill.files.lock import lock_directory
from yt8m_distill.video.class_numbers import ClassNumbers, class_numbers, read_vocabulary
from yt8m_distill.video.extractor import FilmFeatures
from yt8m_distill.video.feature_set import FeatureSet, fit_feature_set, load_feature_set
from yt8m_distill.video.film_list import Film, in_mixed_order, read_films
from yt8m_distill.video.records import film_record
from yt8m_distill.video.report import REPORT_FILE, Row, joined_labels
from yt8m_distill.video.shards import Shards, check_labels

log = logging.getLogger(__name__)


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
        features.write(folder, numbers.num_classes)
        if numbers.names:
            numbers.write(folder / VOCABULARY_FILE)
        extraction = _Extraction(config, features, numbers)
        labels = {video_id: joined_labels(values) for video_id, values in numbers.of_films.items()}
        identity = (features.file.extraction, str(config.frames))
        shards = Shards(folder, config.videos_per_file, identity, features.frame_bytes)
        check_labels(shards.rows(), labels, folder)
        with tqdm(total=len(films), desc="Extracting", unit="video", mininterval=1.0) as bar:
            rows = shards.write(films, lambda left: _shown(extraction.rows(left), bar, len(films) - len(left)))
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
        path = pathlib.Path(config.features)
        beside = (path if path.is_dir() else path.parent) / VOCABULARY_FILE
        return class_numbers(films, read_vocabulary(beside) if beside.exists() else None)
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
    return given or fit_feature_set(config.what, films[: config.fit_films], config.reading)


@dataclass(frozen=True)
class _Extraction:
    """One extraction: rows and records of films."""

    config: ExtractConfig
    features: FeatureSet
    numbers: ClassNumbers

    def rows(self, films: Sequence[Film]) -> Iterator[tuple[Row, bytes | None]]:
        """Row of the report and record of each film, in their order; no record where it cannot be decoded."""
        extractor = self.features.extractor(self.config.frames, self.config.reading)
        for features in extractor.features(films):
            if features.is_lost:
                self._note_lost(features)
            yield self._row(features), None if features.is_lost else self._record(features)

    def _record(self, features: FilmFeatures) -> bytes:
        return film_record(
            features,
            self.features.quantizer.frames(features),
            self.numbers.of_films[features.film.video_id],
            self.features.recipe.max_frames,
            self.config.frames,
            has_audio=None if self.features.audio is None else features.sound is not None,
        )

    def _row(self, features: FilmFeatures) -> Row:
        film = features.film
        sound = "" if self.features.audio is None or features.is_lost else "no" if features.sound is None else "yes"
        labels = joined_labels(self.numbers.of_films[film.video_id])
        problems = "; ".join(features.problems)
        return Row(film.video_id, film.path, features.seconds, features.frames, sound, labels, "", problems)

    def _note_lost(self, features: FilmFeatures):
        text = f"'{features.film.path}' is no film that can be decoded: {'; '.join(features.problems)}"
        if self.config.reading.on_bad_video == "error":
            raise UserError(f"{text}. --on_bad_video=skip leaves such films out.")
        log.warning("%s. It is left out.", text)


def _shown(
    results: Iterable[tuple[Row, bytes | None]], bar: tqdm, done: int
) -> Iterator[tuple[Row, bytes | None]]:
    """Results, with a progress bar in videos and seconds of film."""
    bar.update(done)
    seconds = 0.0
    for row, record in results:
        seconds += row.seconds
        bar.set_postfix_str(f"{seconds:,.0f} s of film", refresh=False)
        bar.update()
        yield row, record


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
