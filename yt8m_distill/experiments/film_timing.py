"""Measures seconds from film to features; apart from `film_seconds`, as it needs the packages of the extra `video`."""

import os
import pathlib
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict

from yt8m_distill.config.films import FeatureSettings, FilmReading
from yt8m_distill.config.frames import MOST_FRAMES
from yt8m_distill.config.training import TrainConfig
from yt8m_distill.errors import UserError
from yt8m_distill.experiments.film_seconds import FilmSeconds, OfFrames, decoded_frames, read
from yt8m_distill.experiments.results import Result
from yt8m_distill.files import atomic
from yt8m_distill.files.progress_bar import ProgressBar
from yt8m_distill.video.extractor import Extractor
from yt8m_distill.video.feature_set import load_feature_set
from yt8m_distill.video.film_list import Film, read_films

REPETITIONS = 3
MOST_FILMS = 8


def check(pattern: str, config: TrainConfig):
    """Checks, before anything is trained, that there are films, and that it is known how features are made of them.

    Args:
        pattern: of films.
        config: of the first run, as resolved.

    Raises:
        UserError: there are none, or it is not known.
    """
    read_films(pattern, flag="films")
    if not config.data.extraction:
        raise UserError(
            f"--films: the features of '{config.train_data_pattern}' were not made of films here "
            "(python -m yt8m_distill.extract_features), so that it is not known how to make them."
        )


def measure(results: Sequence[Result], pattern: str, path: pathlib.Path) -> FilmSeconds:
    """Decodes and computes features of some of the films, and writes `path`, unless it has all of it already.

    All numbers of frames are measured in turn, in each repetition, so that the machine is in the same state for all.

    Raises:
        UserError: there are no films, one cannot be decoded, or a run was not trained on features of films.
    """
    choices = {choice.student_frames: choice for choice in map(decoded_frames, results)}
    stored = read(path)
    if stored and stored.films == pattern and choices.keys() <= {each.k for each in stored.measured}:
        return stored
    films = _some(read_films(pattern, flag="films"))
    features = load_feature_set(results[0].config.train_dir, FeatureSettings())
    extractors = {k: features.extractor(choice, FilmReading()) for k, choice in choices.items()}
    seconds: dict[int | None, list[float]] = {k: [] for k in extractors}
    films = _decodable(films, extractors[min(extractors, key=lambda k: k or MOST_FRAMES + 1)])  # loads the network
    with ProgressBar(REPETITIONS * len(extractors), "Measuring films", " runs") as bar:
        for k in [*extractors] * REPETITIONS:
            seconds[k].append(_seconds_of(films, extractors[k]) / len(films))
            bar.update()
    machine = f"{platform.machine()}, {os.cpu_count()} processors, {time.strftime('%Y-%m-%d')}"
    medians = tuple(OfFrames(k, statistics.median(values)) for k, values in seconds.items())
    measured = FilmSeconds(machine, pattern, medians)
    atomic.write_json(path, asdict(measured))
    return measured


def _some(films: Sequence[Film]) -> Sequence[Film]:
    """Films spread over the list."""
    count = min(len(films), MOST_FILMS)
    return [films[(2 * number + 1) * len(films) // (2 * count)] for number in range(count)]


def _decodable(films: Sequence[Film], extractor: Extractor) -> list[Film]:
    results = list(extractor.features(films))
    if good := [features.film for features in results if not features.is_lost]:
        return good
    raise UserError(f"--films: '{films[0].path}' cannot be decoded: {'; '.join(results[0].problems)}.")


def _seconds_of(films: Sequence[Film], extractor: Extractor) -> float:
    start = time.perf_counter()
    for _ in extractor.features(films):
        pass
    return time.perf_counter() - start
