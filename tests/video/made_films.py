"""Films that tests make with PyAV; each frame shows its number."""

import dataclasses
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np

BITS = 10
BLOCK = 16  # pixels
SOUND_RATE = 48000


@dataclass(frozen=True)
class FilmKind:
    """How a film is made.

    Attributes:
        name: of the file; its ending says the format.
        codec: of the video.
        frames: how many.
        rate: frames a second.
        size: width and height, at least 160 x 32.
        keyframes: a keyframe every so many frames.
        pixels: the pixel format.
        options: of the encoder.
        sound: codec of a tone in both channels, or None.
        times: of the frames in seconds; None: at the rate.
        frequency: of the tone, in hertz.
    """

    name: str = "film.mp4"
    codec: str = "libx264"
    frames: int = 100
    rate: int | Fraction = 25
    size: tuple[int, int] = (160, 64)
    keyframes: int = 20
    pixels: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    sound: str | None = None
    times: Sequence[float] | None = None
    frequency: float = 440.0


def picture(number: int, size: tuple[int, int]) -> np.ndarray:
    """uint8 (height, width, 3): the bits of the number as white and black blocks on top, below them moving stripes."""
    width, height = size
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    image = np.zeros((height, width, 3), np.uint8)
    image[:BLOCK, : BITS * BLOCK] = np.repeat(bits, BLOCK)[:, None] * 255
    columns, rows = np.arange(width), np.arange(height - BLOCK)[:, None]
    image[BLOCK:, :, 0] = (columns * 5 + rows + number * 7) % 256
    image[BLOCK:, :, 1] = (columns + rows * 3 - number * 4) % 256
    image[BLOCK:, :, 2] = 60
    return image


def number_in(image: np.ndarray) -> int:
    """The number that a decoded picture shows."""
    middles = image[BLOCK // 2, BLOCK // 2 : BITS * BLOCK : BLOCK].mean(axis=-1)
    return sum(1 << bit for bit, value in enumerate(middles) if value > 127)


def write_film(folder: pathlib.Path, kind: FilmKind | None = None, **changes) -> str:
    """Writes a film into the folder; returns its path as text."""
    kind = dataclasses.replace(kind or FilmKind(), **changes)
    path = str(folder / kind.name)
    with av.open(path, "w") as container:
        stream = container.add_stream(kind.codec, rate=kind.rate, options=dict(kind.options))
        stream.width, stream.height = kind.size
        stream.pix_fmt = kind.pixels
        stream.codec_context.gop_size = kind.keyframes
        tick = Fraction(1, 1000) if kind.times else 1 / Fraction(kind.rate)
        stream.codec_context.time_base = tick
        tone = container.add_stream(kind.sound, rate=SOUND_RATE, layout="stereo") if kind.sound else None
        for number in range(kind.frames):
            frame = av.VideoFrame.from_ndarray(picture(number, kind.size), format="rgb24")
            frame.pts = round(kind.times[number] * 1000) if kind.times else number
            frame.time_base = tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if tone:
            write_tone(container, tone, float(kind.frames / kind.rate), kind.frequency)
    return path


def write_tone(container: av.container.OutputContainer, stream: av.AudioStream, seconds: float, frequency: float):
    """A sine of amplitude .5, in both channels."""
    samples = 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(SOUND_RATE * seconds)) / SOUND_RATE)
    fifo = av.AudioFifo()
    frame = av.AudioFrame.from_ndarray(np.stack([samples, samples]).astype(np.float32), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts = SOUND_RATE, 0
    fifo.write(frame)
    for part in fifo.read_many(stream.codec_context.frame_size or 1024, partial=True):
        container.mux(stream.encode(part))
    container.mux(stream.encode(None))


def all_frames(path: str, rate: float | None = None) -> list[tuple[float, np.ndarray]]:
    """Everything that plain decoding gives: seconds from the first frame, or by its number, and the image."""
    with av.open(path) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    if rate:
        return [(number / rate, image) for number, (_, image) in enumerate(frames)]
    start = min(time for time, _ in frames)
    return [(time - start, image) for time, image in frames]


def shown(frames: list[tuple[float, np.ndarray]], time: float, early: float = 0.02) -> np.ndarray:
    """The image of the last of some frames that begins until `early` after a time, or of the first."""
    return [image for begin, image in frames if begin <= time + early + 1e-6 or begin == 0][-1]
