"""Seconds from a film to its labels, for each number of frames: decoding, the image network, and the model."""

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass

from yt8m_distill.config.films import EXACT, FilmFrames
from yt8m_distill.config.json import from_values
from yt8m_distill.experiments.results import Result, speed_key
from yt8m_distill.files import untrusted
from yt8m_distill.video.decoding import frames_of_selection


@dataclass(frozen=True)
class OfFrames:
    """Features of so many frames.

    Attributes:
        k: frames that are decoded of each film; None: all.
        seconds: for a film, the median over repetitions of the mean over films.
    """

    k: int | None
    seconds: float


@dataclass(frozen=True)
class FilmSeconds:
    """Seconds from a film to its features, of one run on one machine.

    Attributes:
        machine: its description.
        films: their pattern.
        measured: for all numbers of frames.
    """

    machine: str
    films: str
    measured: tuple[OfFrames, ...]

    def of(self, result: Result, speeds: Mapping[tuple, float]) -> float | None:
        """Seconds from a film to labels; None where something of it was not measured."""
        by_k = {each.k: each.seconds for each in self.measured}
        rate, seconds = speeds.get(speed_key(result)), by_k.get(decoded_frames(result).student_frames)
        return seconds + 1 / rate if rate and seconds else None


def read(path: pathlib.Path) -> FilmSeconds | None:
    """What an earlier start has measured."""
    return from_values(FilmSeconds, untrusted.read_json(path), str(path)) if path.exists() else None


def decoded_frames(result: Result) -> FilmFrames:
    """The frames of a film that the model of a result looks at."""
    selections = result.run.evaluated_with()
    selection = next((each for each in selections if each.k == result.k), selections[0])
    return frames_of_selection(selection, EXACT)
