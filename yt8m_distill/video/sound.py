"""The sound of a film as mono samples, placed by its timestamps: silence where it has gaps.

Sound is decoded from its start always, as its decoders carry a state from packet to packet: so any part of it has the
same samples, bit by bit, whatever else is asked for. It takes some 2 ms for a second of it.
"""

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import av
import numpy as np

from yt8m_distill.video import containers

_MEAN_OF_CHANNELS = {"rematrix_maxval": "1.0"}  # not their sum, which would exceed 1 where all are loud
LONGEST_GAP = 0.1  # seconds that timestamps may differ from the number of samples: coarse clocks do


class Piece(NamedTuple):
    """Samples without a gap.

    Attributes:
        start: the number of the first one from the start of the film; negative before it.
        samples: float32 (samples,), as decoded: some may exceed [-1, 1].
    """

    start: int
    samples: np.ndarray


def read_sound(path: str | os.PathLike, rate: int, zero: float, losses: containers.Losses) -> Iterator[Piece]:
    """The sound of a film in pieces, ascending, that do not overlap; none where there is no sound.

    Args:
        path: of the film.
        rate: samples a second that it is converted to.
        zero: the start of the film, in seconds of its timestamps.
        losses: where damage is noted.

    Raises:
        UserError: the file cannot be opened.
    """
    with containers.open_container(path) as container:
        stream = containers.audio_stream(container)
        if stream is None:
            return
        placed = Placement(rate, zero)
        for packet in containers.read_packets(container, stream, losses):
            for frame in containers.decode_over_damage(stream, packet, losses, zero):
                yield from placed.add(frame)
        for frame in containers.decode_over_damage(stream, None, losses, zero):
            yield from placed.add(frame)
        yield from placed.end()


class Placement:
    """Converts frames to mono samples and finds their places.

    Args:
        rate: samples a second that they are converted to.
        zero: the start of the film, in seconds of its timestamps.
    """

    def __init__(self, rate: int, zero: float):
        self._rate = rate
        self._zero = zero
        self._resampler: av.AudioResampler | None = None
        self._kind: tuple | None = None  # of the frames that the resampler takes
        self._expected = 0.0  # seconds at which the next frame begins if there is no gap
        self._next = None  # the place of the next sample

    def add(self, frame: av.AudioFrame) -> Iterator[Piece]:
        """The samples that are ready with one more frame."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        seconds = self._expected if frame.time is None else frame.time - self._zero
        if kind != self._kind or abs(seconds - self._expected) > LONGEST_GAP:
            yield from self.end()
            self._resampler = av.AudioResampler("flt", "mono", self._rate, options=_MEAN_OF_CHANNELS)
            self._kind = kind
            place = round(seconds * self._rate)
            self._next = place if self._next is None else max(place, self._next)
        self._expected = seconds + frame.samples / frame.sample_rate
        frame.pts = None  # the resampler shall count samples only
        yield from self._placed(self._resampler.resample(frame))

    def end(self) -> Iterator[Piece]:
        """The samples that are still in the converter."""
        if self._resampler is not None:
            yield from self._placed(self._resampler.resample(None))
            self._resampler = None

    def _placed(self, frames: list[av.AudioFrame]) -> Iterator[Piece]:
        for frame in filter(None, frames):  # a converter with nothing to do returns what it is given, also None
            samples = frame.to_ndarray().reshape(-1)
            yield Piece(self._next, samples)
            self._next += len(samples)


def joined(pieces: Iterator[Piece], rate: int, seconds: float | None) -> np.ndarray:
    """Everything from the start of the film on, float32 (samples,), at most so many seconds; see `Film.sound`."""
    most = None if seconds is None else round(seconds * rate)
    parts, length = [], 0
    for start, samples in pieces:
        samples = samples[max(-start, 0) :]
        start = max(start, 0)
        if most is not None and start >= most:
            break
        if len(samples):
            parts += [np.zeros(start - length, np.float32), samples]
            length = start + len(samples)
    return in_range(np.concatenate([*parts, np.zeros(0, np.float32)])[:most])


def windows(pieces: Iterator[Piece], rate: int, times: Sequence[float], seconds: float) -> np.ndarray:
    """Parts of the sound, float32 (times, samples of each); see `Film.sound_at`."""
    size = round(seconds * rate)
    begins = np.array([round(time * rate) for time in times], int)
    parts = np.zeros((len(begins), size), np.float32)
    order = np.argsort(begins)
    ascending = begins[order]
    for start, samples in pieces:
        end = start + len(samples)
        if not len(begins) or start >= ascending[-1] + size:
            break
        first, last = np.searchsorted(ascending, (start - size, end), side="right")
        for number in order[first:last]:
            begin = begins[number]
            left, right = max(begin, start), min(begin + size, end)
            parts[number, left - begin : max(right, left) - begin] = samples[left - start : max(right, left) - start]
    return in_range(parts)


def in_range(samples: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1]; what is not a number, as out of damaged packets, becomes 0."""
    return np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0).clip(-1, 1)
