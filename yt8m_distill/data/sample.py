"""The sample data set: a small, learnable one in the shape of YouTube-8M, written once into the user's cache directory.

A video is a row of shots of 1 to 20 seconds. A shot shows one content: that of one of the video's labels in a few short
shots, and in all others one that belongs to no label. So a label is to be seen in a few seconds only, and whoever looks
at fewer frames misses some of it. How much frames differ within a video, how much they resemble each other over time,
and how far their means spread is near to what a real video of YouTube-8M measures.
"""

import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yt8m_distill.config.dataset import YOUTUBE_8M_2018
from yt8m_distill.data.sequence_example import serialized_bytes, serialized_example, serialized_int64s
from yt8m_distill.data.tfrecord import framed
from yt8m_distill.errors import UserError
from yt8m_distill.files.progress_bar import ProgressBar
from yt8m_distill.files.user_cache import user_cache
from yt8m_distill.quantization import quantize

log = logging.getLogger(__name__)

FORMAT_VERSION = 1  # raised when the same settings give other videos
PARTS = ("train", "validate", "test")
LONGEST_SHOT = 20  # seconds


@dataclass(frozen=True)
class SampleSettings:
    """The size and difficulty of the sample data set.

    Attributes:
        seed: of everything.
        videos: in the parts train, validate and test.
        shards: files of each part.
        shortest, longest: frames of a video.
        classes: how many of the 3862 classes occur.
        other_contents: contents of shots that belong to no label.
        label_shots: fewest and most shots that show one label.
        longest_label_shot: seconds; a label shows in shots up to this length.
    """

    seed: int = 0
    videos: tuple[int, int, int] = (1000, 120, 250)
    shards: tuple[int, int, int] = (8, 2, 2)
    shortest: int = 70
    longest: int = 110
    classes: int = 48
    other_contents: int = 60
    label_shots: tuple[int, int] = (4, 6)
    longest_label_shot: int = 4

    def __post_init__(self):
        if min(self.videos) < 1 or min(self.shards) < 1:
            raise UserError("the sample data set needs at least one video and one file in each part.")
        if not LONGEST_SHOT <= self.shortest <= self.longest:
            raise UserError(f"videos of the sample data set must have at least {LONGEST_SHOT} frames, not fewer.")
        if not 2 <= self.classes <= YOUTUBE_8M_2018.num_classes:
            raise UserError(f"2 to {YOUTUBE_8M_2018.num_classes} classes can occur, not {self.classes}.")
        if not 1 <= self.label_shots[0] <= self.label_shots[1] or self.longest_label_shot < 1:
            raise UserError("a label must show in at least one shot of at least one second.")

    def expected_bytes(self) -> int:
        """About the size of all files."""
        bytes_a_frame = sum(size for _, size in YOUTUBE_8M_2018.features) + 12  # and the fields' headers
        return sum(self.videos) * (self.shortest + self.longest) // 2 * bytes_a_frame


@dataclass(frozen=True)
class SamplePaths:
    """Where the sample data set is: its directory, and a pattern for each part."""

    directory: str
    train: str
    validate: str
    test: str


@dataclass(frozen=True)
class _Feature:
    """How a feature's values spread, before they are cut to [-2, 2] and quantized.

    Attributes:
        name, size: of the feature list.
        deviation: standard deviation of a value over all videos.
        mean_deviation: of a video's mean.
        contrast: how much the deviation differs between shots; quiet and loud shots are part of real videos.
    """

    name: str
    size: int
    deviation: float
    mean_deviation: float
    contrast: float


# Found by measuring: after quantization they give the statistics that tests/data/test_sample.py asks for.
_FEATURES = (_Feature("rgb", 1024, 1.11, 0.2, 0.25), _Feature("audio", 128, 1.08, 0.2, 0.6))
_SHOT_SHARE = 0.6  # of the variance within a video that is common to the frames of a shot
_CONTENT_SHARE = 0.9  # of that, which is the shot's content; the rest is the shot's own
_MEAN_RANK = 12  # dimensions in which the means of videos differ
_LENGTH_EXPONENT = 1.5  # shots of s seconds occur with s^-1.5
_LABEL_COUNTS = (0.3, 0.35, 0.2, 0.15)  # videos with 1, 2, 3, 4 labels
_TOPICS = 8  # classes that occur together


@dataclass(frozen=True)
class _World:
    """What all videos share.

    Attributes:
        class_ids: the classes that occur, in [0, 3862), by frequency.
        topics: the topic of each.
        class_contents: (classes, features).
        other_contents: (contents, features).
        mean_directions: (rank, features).
    """

    class_ids: np.ndarray
    topics: np.ndarray
    class_contents: np.ndarray
    other_contents: np.ndarray
    mean_directions: np.ndarray


def _make_world(settings: SampleSettings) -> _World:
    rng = np.random.default_rng([settings.seed, 0])
    features = sum(feature.size for feature in _FEATURES)

    def directions(count: int) -> np.ndarray:
        return rng.standard_normal((count, features), dtype=np.float32)

    return _World(
        class_ids=rng.choice(YOUTUBE_8M_2018.num_classes, settings.classes, replace=False),
        topics=rng.permutation(np.arange(settings.classes) % _TOPICS),
        class_contents=directions(settings.classes),
        other_contents=directions(settings.other_contents),
        mean_directions=directions(_MEAN_RANK) / np.float32(np.sqrt(_MEAN_RANK)),
    )


def _draw_labels(world: _World, rng: np.random.Generator) -> list[int]:
    """One to four different classes (indices into `class_ids`), frequent ones more often, half of them of one topic."""
    frequencies = 1.0 / (np.arange(len(world.class_ids)) + 5.0)
    count = min(1 + rng.choice(len(_LABEL_COUNTS), p=_LABEL_COUNTS), len(world.class_ids))
    chosen: list[int] = []
    for _ in range(count):
        weights = frequencies.copy()
        weights[chosen] = 0.0
        of_topic = weights * (world.topics == world.topics[chosen[0]]) if chosen else weights
        if of_topic.any() and rng.random() < 0.5:
            weights = of_topic
        chosen.append(int(rng.choice(len(weights), p=weights / weights.sum())))
    return chosen


def _draw_shot_lengths(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Seconds of each shot: many short ones and some long ones, in all `num_frames`."""
    seconds = np.arange(1, LONGEST_SHOT + 1)
    weights = seconds**-_LENGTH_EXPONENT
    drawn = rng.choice(seconds, size=num_frames, p=weights / weights.sum())
    ends = np.minimum(np.cumsum(drawn), num_frames)
    shots = int((ends < num_frames).sum()) + 1
    return np.diff(ends[:shots], prepend=0)


def _shot_contents(
    settings: SampleSettings, world: _World, labels: Sequence[int], lengths: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(shots, features): each label's content in a few short shots, contents of no label in all others."""
    contents = world.other_contents[rng.integers(len(world.other_contents), size=len(lengths))]
    free = list(rng.permutation(np.flatnonzero(lengths <= settings.longest_label_shot)))
    for label in labels:
        count = int(rng.integers(settings.label_shots[0], settings.label_shots[1] + 1))
        shots, free = free[:count], free[count:]
        contents[shots] = world.class_contents[label]
    return contents


def _make_video(settings: SampleSettings, world: _World, part: int, index: int) -> tuple[np.ndarray, list[int]]:
    """One video: frames uint8 (frames, features), and its labels."""
    rng = np.random.default_rng([settings.seed, 1 + part, index])
    lengths = _draw_shot_lengths(int(rng.integers(settings.shortest, settings.longest + 1)), rng)
    labels = _draw_labels(world, rng)
    contents = _shot_contents(settings, world, labels, lengths, rng)
    details = rng.standard_normal(contents.shape, dtype=np.float32)
    shots = np.sqrt(_SHOT_SHARE * _CONTENT_SHARE) * contents + np.sqrt(_SHOT_SHARE * (1 - _CONTENT_SHARE)) * details
    frames = np.repeat(shots.astype(np.float32), lengths, axis=0)
    frames += np.float32(np.sqrt(1 - _SHOT_SHARE)) * rng.standard_normal(frames.shape, dtype=np.float32)
    frames *= np.repeat(_shot_deviations(len(lengths), rng), lengths, axis=0)
    frames += _video_mean(world, rng)
    return quantize(frames), sorted(int(world.class_ids[label]) for label in labels)


def _by_value(values: Sequence[float]) -> np.ndarray:
    """(features,): one number for each value of each feature."""
    return np.repeat(np.array(values, np.float32), [feature.size for feature in _FEATURES])


def _shot_deviations(shots: int, rng: np.random.Generator) -> np.ndarray:
    """(shots, features): the deviation of each shot's values around the video's mean."""
    contrast = _by_value([feature.contrast for feature in _FEATURES])
    within = _by_value([np.sqrt(f.deviation**2 - f.mean_deviation**2) for f in _FEATURES])
    factors = 1 + contrast * rng.uniform(-1, 1, size=(shots, 1)).astype(np.float32)
    return within * factors / np.sqrt(1 + contrast**2 / 3)


def _video_mean(world: _World, rng: np.random.Generator) -> np.ndarray:
    weights = rng.standard_normal((_MEAN_RANK, 1)).astype(np.float32) * np.float32(rng.uniform(0.8, 1.2))
    return _by_value([feature.mean_deviation for feature in _FEATURES]) * np.sum(
        weights * world.mean_directions, axis=0
    )


def _to_record(video_id: str, frames: np.ndarray, labels: Sequence[int]) -> bytes:
    """A serialized SequenceExample, its maps in the order of their keys."""
    ends = np.cumsum([feature.size for feature in _FEATURES])
    lists = {feature.name: frames[:, end - feature.size : end] for feature, end in zip(_FEATURES, ends, strict=True)}
    context = serialized_bytes("id", video_id.encode()) + serialized_int64s({"labels": labels})
    return serialized_example(context, dict(sorted(lists.items())))


def write_sample(directory: str | os.PathLike, settings: SampleSettings | None = None) -> None:
    """Writes all parts as `train00.tfrecord` and so on into an existing directory, under a progress bar.

    The same settings give the same bytes.
    """
    settings = settings or SampleSettings()
    world = _make_world(settings)
    with ProgressBar(sum(settings.videos), "Writing the sample data", " videos") as bar:
        for part, name in enumerate(PARTS):
            for shard in range(settings.shards[part]):
                path = pathlib.Path(directory) / f"{name}{shard:02d}.tfrecord"
                with open(path, "wb") as file:
                    for index in range(shard, settings.videos[part], settings.shards[part]):
                        frames, labels = _make_video(settings, world, part, index)
                        file.write(framed(_to_record(f"{name}{index:05d}", frames, labels)))
                        bar.update()


def ensure_sample(cache_dir: str | os.PathLike | None = None, settings: SampleSettings | None = None) -> SamplePaths:
    """The sample data set, written now if it is not there yet.

    Args:
        cache_dir: None: `$XDG_CACHE_HOME/yt8m_distill`, or `~/.cache/yt8m_distill`.
        settings: None: the default ones; others go into a directory of their own.

    Raises:
        UserError: the directory cannot be written to, or the disk is full.
    """
    settings = settings or SampleSettings()
    cache = pathlib.Path(cache_dir) if cache_dir is not None else user_cache()
    directory = cache / f"sample-{_fingerprint(settings)}"
    if not directory.is_dir():
        log.info("Writing the sample data set (%.0f MB) to %s", settings.expected_bytes() / 1e6, directory)
        try:
            _write_beside(directory, settings)
        except OSError as error:
            raise UserError(
                f"the sample data set cannot be written to '{directory}' ({error}). It takes "
                f"{settings.expected_bytes() / 1e6:.0f} MB; XDG_CACHE_HOME chooses another place."
            ) from error
    return SamplePaths(str(directory), *(str(directory / f"{part}*.tfrecord") for part in PARTS))


def _fingerprint(settings: SampleSettings) -> str:
    text = json.dumps([FORMAT_VERSION, dataclasses.asdict(settings)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _write_beside(directory: pathlib.Path, settings: SampleSettings):
    """Fills a temporary directory and renames it, so that no process ever sees half a data set."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = pathlib.Path(tempfile.mkdtemp(prefix=f"{directory.name}.", suffix=".partial", dir=directory.parent))
    try:
        write_sample(partial, settings)
        os.chmod(partial, 0o755)
        os.rename(partial, directory)
    except OSError:
        if not directory.is_dir():  # another process was faster: its data are the same
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
