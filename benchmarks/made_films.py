"""Makes films of 12 classes, each of which shows in some seconds of its film only, and a tone with it.

    python benchmarks/made_films.py --output_dir=$FILMS                  # ten minutes on two cores, 1.5 GB

A class is one of FFmpeg's moving pictures (a Mandelbrot set, the game of life, test cards, ...), turned in its hue, in
a part of the frame, over moving gradients with noise. It shows for a sixth of the film on average, in up to three
pieces; one film in three shows another class, too, in a piece of its own. `train/`, `validate/` and `labels.csv` are
what `extract_features` takes.
"""

import argparse
import csv
import itertools
import multiprocessing
import pathlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

RATE = 10
SIZE = (320, 180)
PATTERN_SIZE = "160x90"
KEYFRAMES = 50
SOUND_RATE = 16_000
CLASSES = {
    "cell automaton": "cellauto",
    "color spectrum": "colorspectrum",
    "game of life": "life",
    "mandelbrot": "mandelbrot",
    "PAL bars": "pal75bars",
    "RGB bars": "rgbtestsrc",
    "sierpinski": "sierpinski",
    "SMPTE bars": "smptebars",
    "test card 1": "testsrc",
    "test card 2": "testsrc2",
    "YUV bars": "yuvtestsrc",
    "zone plate": "zoneplate",
}
HOLDS_STILL = ("colorspectrum", "pal75bars", "rgbtestsrc", "smptebars", "yuvtestsrc")  # they are moved along the frame


@dataclass(frozen=True)
class Piece:
    """Where and when a class shows.

    Attributes:
        name: of the class.
        begin, end: in seconds.
        size, place: of its picture in the frame, in pixels: width and height, left and top.
        hue: by which its colors are turned, in degrees.
    """

    name: str
    begin: float
    end: float
    size: tuple[int, int]
    place: tuple[int, int]
    hue: int


@dataclass(frozen=True)
class Made:
    """A film to make.

    Attributes:
        path: of the file.
        seconds: its length.
        pieces: what it shows.
        seed: of the ground.
        frequency: of the tone, in hertz; it says nothing of the class.
    """

    path: pathlib.Path
    seconds: int
    pieces: tuple[Piece, ...]
    seed: int
    frequency: float

    @property
    def labels(self) -> list[str]:
        return sorted({piece.name for piece in self.pieces})


def main(argv: Sequence[str] | None = None):
    arguments = parse_arguments(argv)
    films = []
    for part, count, seed in (("train", arguments.train, 0), ("validate", arguments.validate, 1)):
        folder = arguments.output_dir / part
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        films += [planned(folder, name, number, rng) for name in CLASSES for number in range(count)]
    with (arguments.output_dir / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([film.path.name, ";".join(film.labels)] for film in films)
    with multiprocessing.Pool(arguments.processes) as pool:
        for number, path in enumerate(pool.imap_unordered(make, films), 1):
            print(f"{number}/{len(films)} {path}", flush=True)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=pathlib.Path, required=True)
    parser.add_argument("--train", type=int, default=30, help="films of each class to train on")
    parser.add_argument("--validate", type=int, default=10, help="films of each class to evaluate on")
    parser.add_argument("--processes", type=int, help="films made at once; as many as there are cores if not given")
    return parser.parse_args(argv)


def planned(folder: pathlib.Path, name: str, number: int, rng: np.random.Generator) -> Made:
    """What a film is to show."""
    seconds = int(rng.integers(20, 181))
    pieces = pieces_of(name, seconds, rng)
    if rng.random() < 1 / 3:
        other = str(rng.choice([each for each in CLASSES if each != name]))
        pieces.append(piece_of(other, seconds, max(seconds / 12, 2), rng))
    path = folder / f"{folder.name}_{name.replace(' ', '_')}_{number:02}.mp4"
    return Made(path, seconds, tuple(pieces), int(rng.integers(2**31)), float(rng.uniform(200, 2000)))


def pieces_of(name: str, seconds: int, rng: np.random.Generator) -> list[Piece]:
    """One to three pieces of a class, a sixth of the film in all on average."""
    count = int(rng.integers(1, 4))
    length = max(seconds * rng.uniform(1 / 12, 1 / 4) / count, 2)
    return [piece_of(name, seconds, length, rng) for _ in range(count)]


def piece_of(name: str, seconds: int, length: float, rng: np.random.Generator) -> Piece:
    begin = rng.uniform(0, seconds - length)
    width = int(SIZE[0] * rng.uniform(0.4, 1)) // 2 * 2
    height = width * SIZE[1] // SIZE[0] // 2 * 2
    place = int(rng.integers(SIZE[0] - width + 1)), int(rng.integers(SIZE[1] - height + 1))
    return Piece(name, begin, begin + length, (width, height), place, int(rng.integers(0, 360)))


def make(film: Made) -> pathlib.Path:
    """Writes a film; one that is there stays."""
    if film.path.exists():
        return film.path
    unfinished = film.path.with_name(f".{film.path.name}")
    with av.open(str(unfinished), "w", format="mp4") as container:
        options = {"preset": "ultrafast", "crf": "30", "x264-params": f"keyint={KEYFRAMES}"}
        video = container.add_stream("libx264", rate=RATE, options=options)
        video.width, video.height = SIZE
        video.pix_fmt, video.bit_rate, video.codec_context.thread_count = "yuv420p", 0, 1
        sound = container.add_stream("aac", rate=SOUND_RATE, layout="mono")
        for frame in pictures(film):
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for part in tones(film, sound.codec_context.frame_size or 1024):
            container.mux(sound.encode(part))
        container.mux(sound.encode(None))
    return unfinished.replace(film.path)


def pictures(film: Made) -> Iterator[av.VideoFrame]:
    """The frames of a film: its ground, with the pieces laid over it."""
    graph = av.filter.Graph()
    size = f"{SIZE[0]}x{SIZE[1]}"
    source = f"s={size}:r={RATE}:seed={film.seed}:speed=.02:nb_colors=4:duration={film.seconds}"
    last = chain(graph, ("gradients", source), ("format", "yuv420p"), ("noise", "alls=4:allf=t"))
    for piece in film.pieces:
        pattern = chain(graph, *pattern_of(piece))
        x, y = piece.place
        shown = f"enable='between(t,{piece.begin},{piece.end})'"
        overlay = graph.add("overlay", f"x={x}:y={y}:shortest=1:{shown}")
        last.link_to(overlay, 0, 0)
        pattern.link_to(overlay, 0, 1)
        last = overlay
    last.link_to(graph.add("buffersink"))
    graph.configure()
    for number in range(film.seconds * RATE):
        frame = graph.pull()
        frame.pts, frame.time_base = number, Fraction(1, RATE)
        yield frame


def pattern_of(piece: Piece) -> list[tuple[str, str]]:
    """The filters that make a class's picture."""
    source = CLASSES[piece.name]
    moved = [("scroll", "horizontal=.01")] if source in HOLDS_STILL else []
    width, height = piece.size
    scaled = [("scale", f"{width}:{height}"), ("format", "yuv420p"), ("hue", f"h={piece.hue}")]
    rings = ":kx2=25:ky2=45:kt=9" if source == "zoneplate" else ""
    return [(source, f"s={PATTERN_SIZE}:r={RATE}{rings}"), *moved, *scaled]


def chain(graph: av.filter.Graph, *filters: tuple[str, str]):
    """Filters that follow each other; the last of them."""
    added = [graph.add(name, arguments) for name, arguments in filters]
    for first, second in itertools.pairwise(added):
        first.link_to(second)
    return added[-1]


def tones(film: Made, size: int) -> Iterator[av.AudioFrame]:
    """Noise, and a tone where a piece shows."""
    times = np.arange(film.seconds * SOUND_RATE) / SOUND_RATE
    sounding = sum((times >= piece.begin) & (times < piece.end) for piece in film.pieces) > 0
    noise = np.random.default_rng(film.seed).normal(0, 0.02, len(times))
    samples = (noise + 0.3 * sounding * np.sin(2 * np.pi * film.frequency * times)).astype(np.float32)
    for begin in range(0, len(samples) - size + 1, size):
        part = av.AudioFrame.from_ndarray(samples[None, begin : begin + size], format="fltp", layout="mono")
        part.sample_rate, part.pts, part.time_base = SOUND_RATE, begin, Fraction(1, SOUND_RATE)
        yield part


if __name__ == "__main__":
    main()
