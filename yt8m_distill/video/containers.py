"""Film files opened by PyAV, read and decoded packet by packet, so that damage costs no more than what it hits.

Films come from anywhere. Only formats are opened that hold a film in one file: no playlists, which name other files and
addresses, and no patterns of picture names.
"""

import os
import stat
from collections.abc import Iterator

import av

from yt8m_distill.errors import UserError
from yt8m_distill.files.remote import is_remote
from yt8m_distill.files.untrusted import in_short, in_words

MOST_PIXELS = 1 << 26  # of a frame; 8K has 2^25
MOST_ERRORS = 1000  # in reading, without a packet between them
_DEMUXERS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "asf", "flv", "live_flv", "ogg", "gif", "apng", "mxf"),
    *("rm", "nut", "wtv", "nsv", "dv", "swf", "ivf", "obu", "h261", "h263", "h264", "hevc", "vvc", "m4v", "vc1"),
    *("mjpeg", "yuv4mpegpipe", "gxf", "aac", "ac3", "aiff", "amr", "ape", "au", "caf", "flac", "mp3", "wav", "wv"),
)
_OPTIONS = {
    "format_whitelist": ",".join(_DEMUXERS),
    "protocol_whitelist": "file",
    "max_pixels": str(MOST_PIXELS),
}
VideoStream = av.video.stream.VideoStream
AudioStream = av.audio.stream.AudioStream
Stream = VideoStream | AudioStream
Frame = av.VideoFrame | av.AudioFrame


class DamagedPacket(Exception):
    """A packet cannot be decoded."""


class Losses:
    """What could not be read or decoded of one stream.

    Args:
        name: of the stream, for `describe`.
    """

    def __init__(self, name: str):
        self.name = name
        self._times: dict[object, float | None] = {}

    def add(self, key: object, seconds: float | None):
        """Notes a loss, once for each key; `seconds` from the start of the film, None where that is unknown."""
        self._times.setdefault(key, seconds)

    def describe(self) -> list[str]:
        """Nothing, or a sentence with the number of losses and the place of the first."""
        if not self._times:
            return []
        places = [seconds for seconds in self._times.values() if seconds is not None]
        where = f", the first at {max(min(places), 0):.1f} s" if places else ""
        count = len(self._times)
        return [f"{count} damaged packet{'s' if count > 1 else ''} of the {self.name}{where}"]


def open_container(path: str | os.PathLike) -> av.container.InputContainer:
    """Opens a film file.

    Raises:
        UserError: it does not exist, is not a regular file, is empty, or is not a film.
    """
    _check_file(path)
    name = f"file:{os.fspath(path)}"
    try:
        try:
            return av.open(name, options=_OPTIONS)
        except UnicodeDecodeError:  # of a title that is not UTF-8; newer versions of PyAV do not raise it
            return av.open(name, options=_OPTIONS, metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or in_short(error)
        raise UserError(
            f"'{path}' cannot be decoded ({reason}): it is no film, a part of one, or in a format that is not read."
        ) from error


def _check_file(path: str | os.PathLike):
    if is_remote(path):
        raise UserError(f"'{path}' is on another machine; films are read from local files.")
    try:
        status = os.stat(path)
    except OSError as error:
        raise UserError(f"{in_words(error)}.") from error
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"'{path}' is not a regular file.")
    if not status.st_size:
        raise UserError(f"'{path}' is empty.")


def video_stream(
    container: av.container.InputContainer, path: str | os.PathLike, threads: int, strict: bool = False
) -> VideoStream:
    """The moving pictures of a film, ready to decode; covers do not count.

    Args:
        container: an open film.
        path: of the film, for messages.
        threads: that decode; 0: as many as there are cores.
        strict: whether the decoder shall refuse damaged packets, instead of mending their frames.

    Raises:
        UserError: it has none, of a kind that can be decoded, or its frames are too large.
    """
    streams = [each for each in container.streams.video if not is_cover(each)]
    if not streams:
        cover = " but a cover" if container.streams.video else ""
        raise UserError(f"'{path}' has no video{cover}.")
    decodable = [each for each in streams if each.codec_context is not None]
    if not decodable:
        raise UserError(f"'{path}': there is no decoder for its video.")
    best = container.streams.best("video")
    stream = best if best in decodable else decodable[0]
    context = stream.codec_context
    if context.width * context.height > MOST_PIXELS:
        size = f"{context.width} x {context.height}"
        raise UserError(f"'{path}' has frames of {size} pixels; more than {MOST_PIXELS:,} are not decoded.")
    context.options = {"max_pixels": str(MOST_PIXELS)} | ({"err_detect": "explode"} if strict else {})
    context.thread_type = "AUTO"
    context.thread_count = threads
    return stream


def is_cover(stream: VideoStream) -> bool:
    """Whether it is no video but a picture, as of a record."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def audio_stream(container: av.container.InputContainer) -> AudioStream | None:
    """The sound of a film; None where it has none that can be decoded."""
    streams = [each for each in container.streams.audio if each.codec_context is not None]
    best = container.streams.best("audio")
    return best if best in streams else next(iter(streams), None)


def read_packets(container: av.container.InputContainer, stream: Stream, losses: Losses) -> Iterator[av.Packet]:
    """The packets of a stream from where the container is, over errors, which are noted."""
    errors = 0
    while errors < MOST_ERRORS:
        try:
            for packet in container.demux(stream):
                errors = 0
                if packet.size:
                    yield packet
            return
        except (av.error.FFmpegError, OSError):
            errors += 1
            losses.add(object(), None)


def decode_packet(stream: Stream, packet: av.Packet | None) -> list[Frame]:
    """The frames that come out of the decoder when it is given a packet.

    Args:
        stream: whose decoder it is.
        packet: None for what is still in the decoder, which then needs a seek before it takes more.

    Raises:
        DamagedPacket: this packet or one before it cannot be decoded. Of several threads, others may be lost with it.
    """
    try:
        return stream.codec_context.decode(packet)
    except EOFError:
        return []
    except (av.error.FFmpegError, ValueError) as error:
        raise DamagedPacket from error


def decode_over_damage(stream: Stream, packet: av.Packet | None, losses: Losses, zero: float) -> list[Frame]:
    """As `decode_packet`; damage is noted and costs the frames of a packet.

    Args:
        stream: whose decoder it is.
        packet: None for what is still in the decoder.
        losses: where damage is noted.
        zero: the start of the film, in seconds of its timestamps.
    """
    try:
        return decode_packet(stream, packet)
    except DamagedPacket:
        pts = None if packet is None else packet.pts
        losses.add(pts, None if pts is None else pts * float(stream.time_base) - zero)
        return []
