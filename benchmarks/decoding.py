"""How much of the time of decoding a film do k sought frames save?

    python benchmarks/decoding.py                                        # a quarter of an hour

Films of moving patterns with noise, as long as `--seconds`, of 25 frames a second, in two sizes and with two distances
of keyframes. All of their frames at whole seconds are taken, by plain PyAV that decodes everything and by
`Film.frames_at`, then k of them, at the student's positions or at the keyframes nearest to these. One thread decodes.
Finding out where the packets are is part of every time; making the films is not. "packets" is the share of the film's
that decoders are given. All frames are compared with those of plain decoding and must be equal.
"""

import argparse
import contextlib
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from fractions import Fraction

import av
import numpy as np
from measuring import measure_in_turn, print_machine, print_table, rate_ratio

from yt8m_distill.video import containers
from yt8m_distill.video.films import open_film
from yt8m_distill.video.positions import positions, whole_seconds

RATE = 25
PLAIN = "all, plain PyAV"


def main(argv: Sequence[str] | None = None):
    arguments = parse_arguments(argv)
    print_machine()
    with tempfile.TemporaryDirectory() as name:
        for size in arguments.sizes.split(","):
            for distance in map(int, arguments.keyframes.split(",")):
                width, height = map(int, size.split("x"))
                path = write_film(pathlib.Path(name) / "film.mp4", arguments.seconds, (width, height), distance)
                print(f"\n{size}, {arguments.seconds} s, a keyframe every {distance} frames")
                report(path, [int(k) for k in arguments.students.split(",")], arguments.repetitions)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=180, help="length of a film")
    parser.add_argument("--sizes", default="640x360,1280x720", help="of frames")
    parser.add_argument("--keyframes", default="50,250", help="frames from one keyframe to the next")
    parser.add_argument("--students", default="6,10,30", help="numbers of frames k")
    parser.add_argument("--repetitions", type=int, default=3)
    return parser.parse_args(argv)


def write_film(path: pathlib.Path, seconds: int, size: tuple[int, int], keyframes: int) -> pathlib.Path:
    """An H.264 film whose picture moves over a large one of blocks, with noise of its own in each frame."""
    rng = np.random.default_rng(0)
    width, height = size
    large = rng.integers(0, 200, (height // 8 + 34, width // 8 + 66, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    noise = rng.integers(0, 40, (5, height, width, 3), np.uint8)
    with av.open(str(path), "w") as container:
        options = {"preset": "veryfast", "x264-params": f"keyint={keyframes}:min-keyint={keyframes}:scenecut=0"}
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(seconds * RATE):
            x, y = round(255 + 255 * np.sin(number / 50)), round(127 + 127 * np.cos(number / 70))
            image = large[y : y + height, x : x + width] + noise[number % len(noise)]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def report(path: pathlib.Path, ks: Sequence[int], repetitions: int):
    """Times of all ways, their ratios to decoding everything, and the packets that they decode."""
    tasks = tasks_of(path, ks)
    film = open_film(path)
    expected = dict(zip(whole_seconds(film.seconds), plain_frames(path), strict=True))
    packets = {name: packets_decoded(task) for name, (task, _) in tasks.items()}
    for name, (task, times) in tasks.items():
        for time, image in zip(times, task(), strict=True):
            if time in expected and not np.array_equal(image, expected[time]):
                raise RuntimeError(f"{name}: another frame at {time} s")
    measured = measure_in_turn({name: counting(task) for name, (task, _) in tasks.items()}, repetitions)
    rows = [
        (
            name,
            f"{each.median:.3f}",
            f"{rate_ratio(each, measured[PLAIN]) * measured[PLAIN].amount / each.amount:.2f}",
            "100 %" if name == PLAIN else f"{100 * packets[name] / (film.seconds * RATE):.1f} %",
        )
        for name, each in measured.items()
    ]
    print_table(("", "s a film", "times as fast as all, plain", "packets"), rows)


def tasks_of(path: pathlib.Path, ks: Sequence[int]) -> dict[str, tuple[Callable[[], list], list[float]]]:
    """By name, what decodes frames, and their times."""
    film = open_film(path)
    times = whole_seconds(film.seconds)
    chosen = {"all": times}
    for k in ks:
        chosen[f"k = {k}"] = positions(times, k)
        chosen[f"k = {k}, keyframes"] = positions(times, k, "uniform", "keyframes", film.keyframe_times)
    tasks = {PLAIN: (lambda: plain_frames(path), times)}
    for name, wanted in chosen.items():
        tasks[name] = (lambda wanted=wanted: list(open_film(path, threads=1).frames_at(wanted)), wanted)
    return tasks


def plain_frames(path: pathlib.Path) -> list[np.ndarray]:
    """A frame for each second, by a loop over all."""
    images = []
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(video=0)):
            if number % RATE == 0:
                images.append(frame.to_ndarray(format="rgb24", threads=1))
    return images


def packets_decoded(task: Callable[[], list]) -> int:
    """How many packets decoders are given by this package."""
    count = 0

    def counted(stream, packet):
        nonlocal count
        count += packet is not None
        return decode_packet(stream, packet)

    decode_packet = containers.decode_packet
    with contextlib.ExitStack() as stack:
        containers.decode_packet = counted
        stack.callback(setattr, containers, "decode_packet", decode_packet)
        task()
    return count


def counting(task: Callable[[], list]) -> Callable[[], int]:
    return lambda: len(task())


if __name__ == "__main__":
    main()
