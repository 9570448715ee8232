"""Where the packets of a film are: from the index of its file where it has one, else by reading all of them.

An MP4 file lists its packets, but for when their frames are shown, which is known of those packets only that are read.
So where few frames are wanted, the packets around them are read, and most of a large file is never looked at. Before,
times of showing are guessed from those of decoding.
"""

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator, Sequence

import av
import numpy as np

from yt8m_distill.errors import UserError
from yt8m_distill.video import containers
from yt8m_distill.video.seek_plan import Packet, PacketTable


class UnfitIndex(Exception):
    """The index of a file differs from its packets."""


class FilmPackets:
    """The packets of a film.

    Args:
        container: the open film, at its start.
        stream: its video.
        path: of the film.
        losses: where damage is noted that reading finds.

    Attributes:
        table: what is known of them.

    Raises:
        UserError: there are none.
    """

    def __init__(
        self,
        container: av.container.InputContainer,
        stream: containers.VideoStream,
        path: str | os.PathLike,
        losses: containers.Losses,
    ):
        self._path = path
        self._losses = losses
        self._lock = threading.Lock()
        self._tick = float(stream.time_base)
        rate = stream.average_rate or stream.guessed_rate
        self._rate = float(rate) if rate else None
        self._reorders = container.format.name == "avi" and bool(stream.codec_context.has_b_frames)
        self._step: float | None = None
        self._last_duration = 0
        only_read(container, stream)
        self._packets = self._guessed_packets(container, stream)
        self._groups_read: set[int] = set()
        self._is_exact = not self._packets
        if self._is_exact:
            self._read_all(container, stream)
        else:
            self._keys = [number for number, packet in enumerate(self._packets) if packet.is_key]
            self._stamps = np.array([self._packets[key].pts for key in self._keys])
            self._read_groups(container, stream, sorted({0, len(self._keys) - 1}))
        self.table = self._new_table()
        # The same for all of this film's frames, also if the index turns out to be wrong.
        self._step = self.table.step

    def exact_table(self, times: Sequence[float]) -> PacketTable:
        """The packets, exact where something is shown at some times, in seconds from the start of the film."""
        with self._lock:
            if not self._is_exact:
                self._read_around(self.table.limits(times))
                self.table = self._new_table()
            return self.table

    def whole_table(self) -> PacketTable:
        """All packets, exact."""
        with self._lock:
            if not self._is_exact:
                self._read_anew()
                self.table = self._new_table()
            return self.table

    def _new_table(self) -> PacketTable:
        def table() -> PacketTable:
            last = self._last_duration
            return PacketTable(self._packets, self._tick, self._rate, last, self._reorders, self._step)

        guessed = None if self._is_exact else table()
        if guessed and guessed.is_regular and not guessed.has_leading:
            return guessed
        if guessed:
            self._read_anew()
        return table()

    def _read_anew(self):
        with self._opened() as opened:
            self._read_all(*opened)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[av.container.InputContainer, containers.VideoStream]]:
        with containers.open_container(self._path) as container:
            stream = containers.video_stream(container, self._path, threads=1)
            only_read(container, stream)
            yield container, stream

    def _guessed_packets(self, container: av.container.InputContainer, stream: containers.VideoStream) -> list[Packet]:
        """The packets of the index, all shown as long after their decoding as the first; empty without an index."""
        entries = list(stream.index_entries) if container.format.name.startswith("mov") else []
        if len(entries) < 2 or len(entries) != stream.frames or not entries[0].is_keyframe:
            return []
        size = os.path.getsize(self._path)
        stamps = [entry.timestamp for entry in entries]
        if (
            any(entry.is_discard or entry.pos + entry.size > size for entry in entries)
            or any(later <= earlier for earlier, later in itertools.pairwise(stamps))
            or stream.start_time is None
            or (stream.codec_context.has_b_frames and not is_steady(stamps))
        ):
            return []
        delay = stream.start_time - stamps[0]
        return [Packet(entry.timestamp + delay, entry.timestamp, entry.is_keyframe) for entry in entries]

    def _read_around(self, limits: np.ndarray):
        """Reads the groups of what is shown at some ticks; when their keyframes are shown, too, is known after it."""
        while not self._is_exact:
            groups = np.maximum(np.searchsorted(self._stamps, limits, side="right") - 1, 0)
            missing = sorted(set(groups.tolist()) - self._groups_read)
            if not missing:
                return
            if 2 * (len(missing) + len(self._groups_read)) > len(self._keys):
                self._read_anew()
            else:
                with self._opened() as opened:
                    self._read_groups(*opened, missing)

    def _read_groups(
        self, container: av.container.InputContainer, stream: containers.VideoStream, groups: Sequence[int]
    ):
        """Reads the packets of groups, each from a keyframe to the next; all packets if the index is wrong."""
        try:
            for group in groups:
                container.seek(int(self._stamps[group]), stream=stream)
                self._read_group(containers.read_packets(container, stream, self._losses), group)
            self._stamps = np.array([self._packets[key].pts for key in self._keys])
            if (np.diff(self._stamps) <= 0).any():
                raise UnfitIndex
        except (UnfitIndex, av.error.FFmpegError, OSError):
            self._read_anew()

    def _read_group(self, packets: Iterator[av.Packet], group: int):
        is_last = group + 1 == len(self._keys)
        begin = self._keys[group]
        end = len(self._packets) if is_last else self._keys[group + 1] + 1  # with the next keyframe
        packets = itertools.dropwhile(lambda packet: packet.dts != self._packets[begin].dts, packets)
        last = (0, 0)
        for number in range(begin, end):
            packet, expected = next(packets, None), self._packets[number]
            if packet is None or packet.pts is None or packet.is_discard:
                raise UnfitIndex
            if (packet.dts, packet.is_keyframe) != (expected.dts, expected.is_key):
                raise UnfitIndex
            self._packets[number] = Packet(packet.pts, packet.dts, packet.is_keyframe)
            last = max(last, (packet.pts, packet.duration or 0))
        if is_last:
            self._last_duration = last[1]
        self._groups_read.add(group)

    def _read_all(self, container: av.container.InputContainer, stream: containers.VideoStream):
        """Reads all packets; the container is at its start."""
        self._packets, self._is_exact, last = [], True, (-1, 0)
        for packet in containers.read_packets(container, stream, self._losses):
            self._packets.append(Packet(packet.pts, packet.dts, packet.is_keyframe, packet.is_discard))
            if packet.pts is not None:
                last = max(last, (packet.pts, packet.duration or 0))
        if not self._packets:
            raise UserError(f"'{self._path}' has no frames: the file may be cut off.")
        self._last_duration = last[1]


def is_steady(stamps: Sequence[int]) -> bool:
    """Whether timestamps are equally far apart, so that reordered frames are shown as long after their decoding as all.

    Example:
        >>> is_steady([0, 33, 67, 100]), is_steady([0, 33, 100])
        (True, False)
    """
    steps = np.diff(stamps)
    return bool(steps.max() - steps.min() <= 1)


def only_read(container: av.container.InputContainer, stream: containers.VideoStream):
    """Keeps the other streams of a film from being read."""
    for other in container.streams:
        if other.index != stream.index:
            other.discard = av.stream.Discard.all
