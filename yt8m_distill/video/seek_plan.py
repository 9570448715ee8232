"""Which packets of a film are decoded for some of its frames, and where seeking saves any.

A decoder starts at a keyframe only. What a frame costs is the number of packets from a keyframe to it, or from the
frame before it, whichever are fewer; so a plan never decodes more than decoding everything does.
"""

import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

SEEK_COST = 3  # in packets: finding the place, and emptying the decoder before
KEYFRAMES_MISSED = 2  # by a seek that still counts
LONGEST_EARLY = 0.02  # seconds that a frame may be shown before its time
USUAL_RATE = 25.0  # frames a second, of a film of one frame that has none


class Packet(NamedTuple):
    """A packet of a film, as far as plans need it.

    Attributes:
        pts: when its frame is shown, in ticks; None where the file does not say.
        dts: when it is decoded, in ticks, or None.
        is_key: decoding can start at it.
        is_hidden: its frame is decoded but not shown, as an edit list of the file says.
    """

    pts: int | None
    dts: int | None
    is_key: bool
    is_hidden: bool = False


@dataclass(frozen=True)
class Run:
    """Packets that are decoded one after the other.

    Attributes:
        start: the first of them, a keyframe.
        targets: those whose frames are wanted, in the order in which they are shown.
        cost: how many are decoded, with `SEEK_COST` where it begins with a seek.
    """

    start: int
    targets: tuple[int, ...]
    cost: int


class PacketTable:
    """The packets of a film's video in the order of decoding.

    The film starts with its first keyframe: what is shown before cannot be decoded.

    Args:
        packets: all of them.
        tick: seconds of a tick.
        rate: frames a second as the file says, or None.
        last_duration: of the frame shown last, in ticks; 0: unknown.
        reorders: whether the decoder gives frames in another order than it is given them.
        step: seconds of a frame; None: as the timestamps say.

    Attributes:
        is_regular: timestamps are all there, none twice, and fit the order of decoding. Otherwise there are no plans:
            the film is decoded from its start, and its n-th frame is shown at the n-th of `times`.
        step: seconds of a frame, the median.
        early: seconds by which a frame may be shown before its time and still counts as shown then: half a frame, and
            not more than `LONGEST_EARLY`.
        zero: the tick at which the film starts.
        seconds: from there to the end of the last frame.
        keyframe_times: seconds of all keyframes, ascending.
    """

    def __init__(
        self,
        packets: Sequence[Packet],
        tick: float,
        rate: float | None = None,
        last_duration: int = 0,
        reorders: bool = False,
        step: float | None = None,
    ):
        first = next((number for number, packet in enumerate(packets) if packet.is_key), 0)
        self.first = first
        self.tick = tick
        self._stamps = packets
        self._is_key = np.array([packet.is_key for packet in packets], bool)
        self._is_key[first] = True
        self._keys = np.flatnonzero(self._is_key)
        self.is_regular = all(packet.pts is not None for packet in packets[first:])
        if self.is_regular:
            self._read_stamps(packets, rate, last_duration)
            self.is_regular = self._fits_decoding(reorders)
        if not self.is_regular:
            self._count_frames(packets, rate)
        self.step = step or self.step
        self.early = min(self.step / 2, LONGEST_EARLY)

    def _read_stamps(self, packets: Sequence[Packet], rate: float | None, last_duration: int):
        self._pts = np.array([packet.pts or 0 for packet in packets], np.int64)
        self.zero = int(self._pts[self.first])
        is_shown = ~np.array([packet.is_hidden for packet in packets], bool) & (self._pts >= self.zero)
        is_shown[: self.first] = False
        if is_shown.any():
            self.zero = int(self._pts[is_shown].min())
        else:
            is_shown[self.first] = True
        shown = np.flatnonzero(is_shown)
        self._shown = shown[np.lexsort((shown, self._pts[shown]))]
        stamps = self._pts[self._shown]
        steps = np.diff(stamps)
        steps = steps[steps > 0]
        self.step = float(np.median(steps)) * self.tick if steps.size else 1 / (rate or USUAL_RATE)
        self.seconds = float(stamps[-1] - self.zero) * self.tick + (last_duration * self.tick or self.step)
        keys = self._keys[self._pts[self._keys] >= self.zero]
        self.keyframe_times = ((self._pts[keys] - self.zero) * self.tick).tolist() or [0.0]

    def _fits_decoding(self, reorders: bool) -> bool:
        """Whether keyframes ascend, and each frame is shown between the keyframe before its own and the next."""
        key_stamps = self._pts[self._keys]
        if (np.diff(key_stamps) <= 0).any() or (np.diff(self._pts[self._shown]) == 0).any():
            return False
        if reorders and len(self._shown) > 1 and (np.diff(self._pts[self.first :]) > 0).all():
            return False  # AVI files have no timestamps of frames that are reordered: these are made up
        group = np.searchsorted(self._keys, np.arange(self.first, len(self._pts)), side="right")
        lowest = np.concatenate([key_stamps[:1], key_stamps])[np.maximum(group - 1, 0)]
        highest = np.concatenate([key_stamps[1:], [np.iinfo(np.int64).max]])[group - 1]
        stamps = self._pts[self.first :]
        after_first = group > 1  # those before the first keyframe are not shown
        return not ((stamps >= highest) | ((stamps < lowest) & after_first)).any()

    def _count_frames(self, packets: Sequence[Packet], rate: float | None):
        self.zero = next((stamp for packet in packets for stamp in packet[:2] if stamp is not None), 0)
        self.step = 1 / (rate or USUAL_RATE)
        self.times = ascending_times([packet.dts for packet in packets[self.first :]], self.tick, self.step)
        self.seconds = self.times[-1] + self.step
        self.keyframe_times = [self.times[key - self.first] for key in self._keys]

    @property
    def has_leading(self) -> bool:
        """Whether some packets behind a keyframe are shown before it, and need frames before it."""
        behind = np.searchsorted(self._keys, np.arange(self.first, len(self._pts)), side="right") - 1
        return bool((self._pts[self.first :] < self._pts[self._keys][behind]).any())

    @property
    def zero_seconds(self) -> float:
        """The start of the film, in seconds of its timestamps."""
        return self.zero * self.tick

    def seek_stamps(self, key: int) -> list[int]:
        """Ticks that a seek may be given to get to a keyframe or before it, most promising first.

        Some formats seek by when frames are shown, some by when they are decoded; and some miss by a keyframe.
        """
        number = int(np.searchsorted(self._keys, key))
        keys = self._keys[max(number - KEYFRAMES_MISSED, 0) : number + 1].tolist()
        return [stamp for packet in reversed(keys) for stamp in self._stamps[packet][:2] if stamp is not None]

    def stamp(self, packet: int) -> int:
        """When its frame is shown, in ticks."""
        return int(self._pts[packet])

    def limits(self, times: Iterable[float]) -> np.ndarray:
        """The last ticks at which the frames may begin that are shown at some times: `early` after these."""
        return np.floor((np.fromiter(times, float) + self.early) / self.tick + 1e-6) + self.zero

    def shown_at(self, times: Iterable[float]) -> list[int]:
        """The packet of the frame shown at each time: the last one with a time <= time + `early`, else the first."""
        places = np.searchsorted(self._pts[self._shown], self.limits(times), side="right") - 1
        return self._shown[np.maximum(places, 0)].tolist()

    def plan(self, packets: Sequence[int], avoided: Collection[int] = (), by_group: bool = False) -> list[Run]:
        """The runs that decode some packets' frames with the fewest packets.

        Args:
            packets: in the order in which they are shown, none twice.
            avoided: when keyframes are shown that decoding cannot start at after all, in ticks.
            by_group: start at the last keyframe before each packet, also where going on would be cheaper.
        """
        keys = self._keys[~np.isin(self._pts[self._keys], np.fromiter(avoided, np.int64))]
        if not len(keys) or keys[0] != self.first:
            keys = np.concatenate([[self.first], keys])
        runs: list[Run] = []
        targets, start, end, cost = [], self.first, self.first - 1, 0
        for packet, key in zip(packets, self._starts(keys, packets), strict=True):
            if key > end and (by_group or packet - key + 1 + SEEK_COST < packet - end):
                if targets:
                    runs.append(Run(start, tuple(targets), cost))
                start, targets, end, cost = key, [], key - 1, SEEK_COST if key != self.first else 0
            cost += max(packet - end, 0)
            end = max(packet, end)
            targets.append(packet)
        return [*runs, Run(start, tuple(targets), cost)] if targets else runs

    def _starts(self, keys: np.ndarray, packets: Sequence[int]) -> list[int]:
        """The keyframe that each packet is decoded from; one that is shown before its keyframe needs the one before."""
        in_file = np.searchsorted(keys, packets, side="right")
        in_time = np.searchsorted(self._pts[keys], self._pts[np.asarray(packets, int)], side="right")
        return keys[np.maximum(np.minimum(in_file, in_time) - 1, 0)].tolist()


def ascending_times(stamps: Sequence[int | None], tick: float, step: float) -> list[float]:
    """Seconds from the first of some timestamps; where some are missing or jump back, by the number of frames.

    Args:
        stamps: in ticks.
        tick: seconds of one.
        step: seconds from one frame to the next.

    Example:
        >>> ascending_times([100, 110, 130], tick=0.1, step=1.0)
        [0.0, 1.0, 3.0]
        >>> ascending_times([100, 130, 3, None], tick=0.1, step=1.0)
        [0.0, 1.0, 2.0, 3.0]
    """
    if None in stamps or any(later <= earlier for earlier, later in itertools.pairwise(stamps)):
        return [number * step for number in range(len(stamps))]
    return [(stamp - stamps[0]) * tick for stamp in stamps]
