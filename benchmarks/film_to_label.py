"""How much of the time from a film to its labels do k frames save, and does extraction overlap decoder and network?

    python benchmarks/film_to_label.py                                   # half an hour
    python benchmarks/film_to_label.py --train_dir=RUN                   # the student of a run on features of films

Films as in `decoding.py`. "film to label" is decoding, EfficientNet-Lite0, projection, a model, and a row of the CSV
file; without `--train_dir` the model is a NeXtVLAD with random weights, which takes as long. "decoder" and "network"
are the same work by themselves; "overlap" is the longer of the two, divided by the time of the whole extraction. It
cannot be more than "possible": where all cores do the processor time of both and nothing else.
"""

import argparse
import dataclasses
import os
import pathlib
import statistics
import tempfile
from collections.abc import Callable, Sequence

import numpy as np
from decoding import write_film
from measuring import Measured, measure_in_turn, median_of, print_machine, print_table, rate_ratio

from yt8m_distill.config.films import EXACT, KEYFRAMES, FilmFrames
from yt8m_distill.models import building
from yt8m_distill.prediction.predict import prediction_function
from yt8m_distill.prediction.submission import format_row
from yt8m_distill.runs import loading
from yt8m_distill.video.backbones.naming import backbone_named
from yt8m_distill.video.decoding import Decoding
from yt8m_distill.video.extractor import Extractor
from yt8m_distill.video.film_list import Film
from yt8m_distill.video.films import open_film
from yt8m_distill.video.positions import whole_seconds
from yt8m_distill.video.projection import fit_standardization

ALL = "all frames"
DECODER, NETWORK = "decoder", "network"


def main(argv: Sequence[str] | None = None):
    arguments = parse_arguments(argv)
    print_machine()
    backbone = backbone_named()
    predict = prediction_of(arguments, backbone.size)
    with tempfile.TemporaryDirectory() as name:
        for size in arguments.sizes.split(","):
            for distance in map(int, arguments.keyframes.split(",")):
                width, height = map(int, size.split("x"))
                folder = pathlib.Path(name)
                path = str(write_film(folder / "film.mp4", arguments.seconds, (width, height), distance))
                print(f"\n{size}, {arguments.seconds} s, a keyframe every {distance} frames")
                report(path, backbone, predict, arguments)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=180, help="length of a film")
    parser.add_argument("--sizes", default="640x360,1280x720", help="of frames")
    parser.add_argument("--keyframes", default="50,250", help="frames from one keyframe to the next")
    parser.add_argument("--students", default="6,10,30", help="numbers of frames k")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--films", type=int, default=2, help="films extracted side by side, for the overlap")
    parser.add_argument("--train_dir", help="run on features of EfficientNet-Lite0 alone")
    parser.add_argument("--model_args", default="", help="of the model with random weights")
    return parser.parse_args(argv)


def prediction_of(arguments: argparse.Namespace, size: int) -> Callable:
    """The model's predictions of a batch."""
    if arguments.train_dir:
        return prediction_function(loading.load(arguments.train_dir, None).model)
    model_args = dict(pair.split("=", 1) for pair in arguments.model_args.split(",") if pair)
    model_args = {name: int(value) for name, value in model_args.items()}
    return prediction_function(building.build_model("NeXtVLAD", feature_sizes=(size,), num_classes=3862, **model_args))


def report(path: str, backbone, predict: Callable, arguments: argparse.Namespace):
    """Seconds a film of all ways, and their ratios to all frames; then how decoder and network overlap."""
    film = Film(path, "film")
    choices = {ALL: FilmFrames()}
    for k in map(int, arguments.students.split(",")):
        choices[f"k = {k}"] = FilmFrames(k, EXACT)
        choices[f"k = {k}, keyframes"] = FilmFrames(k, KEYFRAMES)
    (sample,) = Extractor(backbone, None, Decoding()).features([film])
    projection = fit_standardization(sample.images)

    def labels_of(choice: FilmFrames) -> str:
        (features,) = Extractor(backbone, None, Decoding(choice=choice)).features([film])
        frames = projection.to_bytes(features.images)[np.newaxis]
        batch = {"frames": frames, "num_frames": np.array([frames.shape[1]], np.int32)}
        return format_row(b"film", np.asarray(predict(batch))[0])

    tasks = {name: (lambda choice=choice: bool(labels_of(choice))) for name, choice in choices.items()}
    tasks |= parts_of_extraction(film, backbone, arguments.films)
    measured = measure_in_turn(tasks, arguments.repetitions)
    whole = measured[ALL]
    rows = [(name, f"{measured[name].median:.3f}", f"{rate_ratio(measured[name], whole):.2f}") for name in choices]
    print_table(("", "s a film", "times as fast as all frames"), rows)
    print_overlap({name: measured[name] for name in (DECODER, NETWORK, "extraction")})


def parts_of_extraction(film: Film, backbone, films: int) -> dict[str, Callable[[], float]]:
    """Decoding, the network, and both together, of the same films."""
    images = [backbone.prepare(image) for image in frames_of(film.path)]
    several = [dataclasses.replace(film, video_id=str(number)) for number in range(films)]

    def decoder() -> float:
        for _ in several:
            for image in frames_of(film.path):
                backbone.prepare(image)
        return films

    def network() -> float:
        for _ in several:
            backbone(images)
        return films

    return {
        DECODER: decoder,
        NETWORK: network,
        "extraction": lambda: len(list(Extractor(backbone, None, Decoding()).features(several))),
    }


def frames_of(path: str):
    with open_film(path, threads=1) as opened:
        yield from opened.frames_at(whole_seconds(opened.seconds))


def print_overlap(measured: dict[str, Measured]):
    names = tuple(measured)
    slower = median_of(measured, lambda seconds: max(seconds[DECODER], seconds[NETWORK]) / seconds["extraction"])
    spent = sum(statistics.median(measured[name].processor_seconds) for name in (DECODER, NETWORK))
    possible = max(measured[DECODER].median, measured[NETWORK].median) / (spent / len(os.sched_getaffinity(0)))
    cells = [f"{each.median / each.amount:.3f}" for each in measured.values()]
    heads = [f"{name}, s a film" for name in names]
    row = ("whole extraction", *cells, f"{slower:.2f}", f"{min(possible, 1.0):.2f}")
    print_table(("", *heads, "overlap", "possible"), [row])


if __name__ == "__main__":
    main()
