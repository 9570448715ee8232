"""Films: the frames shown at given times, by decoding as little as possible, and the sound.

    with open_film("film.mp4") as film:
        times = whole_seconds(film.seconds)
        for image in film.frames_at(times):
            ...

Times are seconds from the start of the film, wherever its timestamps begin. The frame at a time is the one that is
shown then: the last one that begins at it or before. A frame that begins up to half a frame later, and at most 20 ms,
counts as beginning at it, as at 29.97 frames a second the thirtieth begins at 1.001 s. Before the first frame it is the
first, after the last one the last. A film with fewer frames than times gives frames several times, as a player would.

Frames are the same bit by bit whether they are sought or everything is decoded, with any number of threads. Of a
damaged film that does not hold from the damage to the next keyframe: there they are what the decoder makes of them.
"""

import bisect
import itertools
import os
from collections.abc import Iterator, Sequence

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from yt8m_distill.errors import UserError
from yt8m_distill.video import containers
from yt8m_distill.video.packets import FilmPackets
from yt8m_distill.video.seek_plan import Run
from yt8m_distill.video.sound import Piece, joined, read_sound, windows

SHARE_LOST = 0.02  # of a film that a file may lack of what it says, before it is a problem
SECONDS_LOST = 1.0
MOST_AVOIDED = 8  # keyframes that decoding cannot start at; where there are more, none is trusted
REFERENCES_SAFE = ("h264",)  # codecs whose frames that no other needs are skipped without an effect on others


class NotSought(Exception):
    """A seek did not lead to the keyframe that a run starts from, or the decoder does not start there.

    Args:
        stamp: when the keyframe is shown, in ticks.
    """

    def __init__(self, stamp: int):
        super().__init__(f"at {stamp} ticks")
        self.stamp = stamp


def open_film(path: str | os.PathLike, threads: int = 0) -> "Film":
    """Opens a film and reads, without decoding anything, where its frames are.

    Args:
        path: of a file in any format that FFmpeg reads, but for playlists and single pictures.
        threads: that decode it; 0: as many as there are cores. Frames are the same with any number.

    Raises:
        UserError: it cannot be read, is no film, or has no video; that its video cannot be decoded may show later only.
    """
    return Film(path, threads)


class Film:
    """A film; made by `open_film`.

    Its methods open the file themselves, so they may be used side by side, also in threads.

    Attributes:
        path: of the file.
        seconds: from the first frame to the end of the last that is in the file, whatever the file says.
        keyframe_times: seconds of the frames that decoding can start at, ascending.
        has_sound: whether it has a sound track that can be decoded; that nothing is in it shows when it is read.
    """

    def __init__(self, path: str | os.PathLike, threads: int):
        self.path = path
        self._threads = threads
        self._reading = containers.Losses("video")
        self._decoding = containers.Losses("video")
        self._hearing = containers.Losses("sound")
        self._notes: dict[str, None] = {}  # in order, each once
        with containers.open_container(path) as container:
            stream = containers.video_stream(container, path, threads)
            self.has_sound = containers.audio_stream(container) is not None
            self._packets = FilmPackets(container, stream, path, self._reading)
            self._table = self._packets.table
            self._note_length(container, stream)
        self._is_damaged = False
        self._avoided: set[int] = set()  # when keyframes are shown that decoding cannot start at
        self._seek_choice = 0  # which of the stamps to try first: what has worked
        self.seconds = self._table.seconds
        self.keyframe_times: list[float] = self._table.keyframe_times
        if not self._table.is_regular:
            self._note("timestamps are missing or not in order: times follow from the number of frames")

    def __enter__(self) -> "Film":
        return self

    def __exit__(self, *_):
        """Nothing is open between calls."""

    def _note_length(self, container: av.container.InputContainer, stream: containers.VideoStream):
        """Notes that less of the film is there than the file says."""
        length = stream.duration * float(stream.time_base) if stream.duration else None
        told = length or (container.duration or 0) / av.time_base
        lost = told - self._table.seconds
        if lost > max(SECONDS_LOST, SHARE_LOST * told):
            self._note(f"its frames end after {self._table.seconds:.1f} of {told:.1f} s")

    def _note(self, problem: str):
        self._notes.setdefault(problem)

    @property
    def problems(self) -> list[str]:
        """What was lost or odd until now, a sentence each; what decoding finds is known after it."""
        losses = (self._reading, self._decoding, self._hearing)
        return [*self._notes, *(sentence for each in losses for sentence in each.describe())]

    def frames_at(self, times: Sequence[float]) -> Iterator[np.ndarray]:
        """The frames shown at some times.

        Args:
            times: ascending, in seconds from the start of the film.

        Yields:
            One image for each time, uint8 (height, width, 3), RGB, upright. The same array again where it is the same
            frame.

        Raises:
            UserError: the times do not ascend, or not one frame of the film can be decoded.
        """
        times = list(times)
        if any(later < earlier for earlier, later in itertools.pairwise(times)):
            raise UserError("times must ascend.")
        self._table = self._packets.exact_table(times)
        if self._table.is_regular:
            yield from self._sought_images(times)
        else:
            yield from self._counted_images(times)

    def _sought_images(self, times: Sequence[float]) -> Iterator[np.ndarray]:
        """As `frames_at`, by a plan; where that fails, by another for the times that are left."""
        done = 0
        while done < len(times):
            packets = self._table.shown_at(times)[done:]
            images = self._planned_images(self._plan(list(dict.fromkeys(packets))))
            try:
                for _, same in itertools.groupby(packets):
                    image = next(images)
                    for _ in same:
                        yield image
                        done += 1
            except NotSought as error:
                self._avoided.add(error.stamp)
                self._note("decoding cannot start at all of its keyframes")
                self._table = self._packets.whole_table()
                if not self._table.is_regular:
                    yield from itertools.islice(self._counted_images(times), done, None)
                    return
            except containers.DamagedPacket:
                self._is_damaged = True
                self._note("its video is damaged")

    def _plan(self, targets: Sequence[int]) -> list[Run]:
        if len(self._avoided) < MOST_AVOIDED:
            return self._table.plan(targets, self._avoided, by_group=self._is_damaged)
        return [Run(self._table.first, tuple(targets), 0)]

    def _planned_images(self, runs: Sequence[Run]) -> Iterator[np.ndarray]:
        # What a decoder mends damage with depends on all that it has decoded before.
        for together in [[run] for run in runs] if self._is_damaged else [runs]:
            with containers.open_container(self.path) as container:
                threads = 1 if self._is_damaged else self._threads
                strict = not self._is_damaged and not self._table.has_leading
                stream = containers.video_stream(container, self.path, threads, strict)
                convert = Converter(self._threads)
                for run in together:
                    frames = self._frames_of_run(container, stream, run)
                    for frame in shown_at(frames, [self._table.stamp(target) for target in run.targets]):
                        yield convert(self._checked(frame))

    def _checked(self, frame: av.VideoFrame | None) -> av.VideoFrame:
        if frame is None:
            raise UserError(f"not one frame of '{self.path}' can be decoded.")
        return frame

    def _frames_of_run(
        self, container: av.container.InputContainer, stream: containers.VideoStream, run: Run
    ) -> Iterator[tuple[int, av.VideoFrame]]:
        """The frames of a run's packets, and when they are shown; those that nobody needs may be left out."""
        sought = run.start != self._table.first
        if sought:
            packets = self._sought_packets(container, stream, run.start)
        else:
            packets = itertools.islice(self._packets_of(container, stream), run.start, None)
        wanted = [self._table.stamp(target) for target in run.targets]
        start, begun, reached = self._table.stamp(run.start), False, 0
        for frame in self._decoded(stream, packets, frozenset(wanted)):
            if frame.pts is None or frame.pts < start:
                continue
            if sought and not begun and (frame.pts != start or not frame.key_frame):
                raise NotSought(start)
            if frame.is_corrupt:
                self._note_loss(frame.pts)
            passed = bisect.bisect_left(wanted, frame.pts, lo=reached)
            self._miss(wanted[reached:passed])
            begun, reached = True, max(reached, bisect.bisect_right(wanted, frame.pts))
            yield frame.pts, frame
        if sought and not begun:
            raise NotSought(start)
        self._miss(wanted[reached:])

    def _miss(self, stamps: Sequence[int]):
        """Wanted frames did not come out of the decoder: the one before stands for them if damage was known before."""
        if stamps and not self._is_damaged:
            raise containers.DamagedPacket
        for stamp in stamps:
            self._note_loss(stamp)

    def _note_loss(self, stamp: int):
        self._decoding.add(stamp, (stamp - self._table.zero) * self._table.tick)

    def _packets_of(
        self, container: av.container.InputContainer, stream: containers.VideoStream
    ) -> Iterator[av.Packet]:
        """All packets from where the container is; errors in reading them have been noted already."""
        return containers.read_packets(container, stream, containers.Losses("video"))

    def _sought_packets(
        self, container: av.container.InputContainer, stream: containers.VideoStream, start: int
    ) -> Iterator[av.Packet]:
        """The packets from a keyframe on. Some formats seek by the time of showing, some by the time of decoding."""
        stamp, places = self._table.stamp(start), self._table.seek_stamps(start)
        for number in sorted(range(len(places)), key=lambda number: number != self._seek_choice):
            try:
                container.seek(places[number], stream=stream)
            except (av.error.FFmpegError, OSError):
                continue
            packets = self._packets_of(container, stream)
            for packet in packets:
                if packet.is_keyframe and packet.pts == stamp:
                    self._seek_choice = number
                    yield packet
                    yield from packets
                    return
                if packet.is_keyframe and packet.pts is not None and packet.pts > stamp:
                    break
        raise NotSought(stamp)

    def _decoded(
        self, stream: containers.VideoStream, packets: Iterator[av.Packet], wanted: frozenset[int]
    ) -> Iterator[av.VideoFrame]:
        """Decodes packets until those of all wanted frames are in, and what is still in the decoder then.

        Of a damaged film everything is decoded, as another frame may have to stand for one that does not come out.
        """
        context, missing = stream.codec_context, set(wanted)
        may_skip = context.name in REFERENCES_SAFE and not self._is_damaged
        for packet in packets:
            if may_skip:
                context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
            yield from self._decode(stream, packet)
            missing.discard(packet.pts)
            if not missing and not self._is_damaged:
                break
        yield from self._decode(stream, None)

    def _decode(self, stream: containers.VideoStream, packet: av.Packet | None) -> list[av.VideoFrame]:
        if not self._is_damaged:
            return containers.decode_packet(stream, packet)
        return containers.decode_over_damage(stream, packet, self._decoding, self._table.zero_seconds)

    def _counted_images(self, times: Sequence[float]) -> Iterator[np.ndarray]:
        """As `frames_at`, of a film whose frames get their times while everything is decoded."""
        with containers.open_container(self.path) as container:
            stream = containers.video_stream(container, self.path, threads=1)
            convert = Converter(self._threads)
            packets = itertools.chain(self._packets_of(container, stream), [None])
            frames = (
                frame
                for packet in packets
                for frame in containers.decode_over_damage(stream, packet, self._decoding, self._table.zero_seconds)
            )
            last = image = None
            timed = zip(itertools.chain(self._table.times, itertools.repeat(self.seconds)), frames, strict=False)
            for frame in shown_at(timed, [time + self._table.early for time in times]):
                if frame is not last or image is None:
                    last, image = frame, convert(self._checked(frame))
                yield image

    def sound(self, rate: int = 16000, seconds: float | None = None) -> np.ndarray:
        """The sound from the start of the film on, mono.

        Args:
            rate: samples a second that it is converted to.
            seconds: how much of it at most; None: all.

        Returns:
            float32 (samples,) in [-1, 1]; shorter where it ends before, empty without sound.
        """
        return joined(self._sound_pieces(rate), rate, seconds)

    def sound_at(self, times: Sequence[float], seconds: float = 1.0, rate: int = 16000) -> np.ndarray:
        """The same samples as of `sound`, from some times on; nothing after the last is decoded.

        Args:
            times: where each piece begins, in seconds from the start of the film.
            seconds: the length of each.
            rate: samples a second that it is converted to.

        Returns:
            float32 (times, samples of a piece) in [-1, 1], 0 where there is no sound.
        """
        return windows(self._sound_pieces(rate), rate, times, seconds)

    def _sound_pieces(self, rate: int) -> Iterator[Piece]:
        is_heard = False
        for piece in read_sound(self.path, rate, self._table.zero_seconds, self._hearing):
            is_heard = True
            yield piece
        if self.has_sound and not is_heard:
            self.has_sound = False
            self._note("its sound track has no sound")


class Converter:
    """Makes upright RGB images of frames.

    Args:
        threads: 0: as many as there are cores.
    """

    def __init__(self, threads: int):
        self._threads = threads
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """uint8 (height, width, 3); turned as the film says, by quarters of a circle."""
        image = self._reformatter.reformat(frame, format="rgb24", threads=self._threads).to_ndarray()
        quarters = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(image, quarters)) if quarters else image


def shown_at(frames: Iterator[tuple[float, av.VideoFrame]], limits: Sequence[float]) -> Iterator[av.VideoFrame | None]:
    """The last frame with a time of at most each limit; before the first frame the first; None if there are none.

    Args:
        frames: with their times, as they are shown.
        limits: ascending.
    """
    coming_time, coming = next(frames, (np.inf, None))
    shown = coming
    for limit in limits:
        while coming_time <= limit:
            shown = coming
            coming_time, coming = next(frames, (np.inf, None))
        yield shown
