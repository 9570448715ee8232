"""Simulates frame-level records of full size around the video-level ones of YouTube-8M.

    python benchmarks/simulated_videos.py --video_level=$YT8M_VIDEO --output_dir=$SIMULATED

A minute or less and 120 MB for each shard of 500 videos. Ids, labels and each video's mean are real. Its 120 to 300
frames come in shots of 2.5 seconds on average, which lean towards the mean of some other video, so that few frames can
mislead: as strongly as makes k uniform frames lose about what the papers' baselines of k = 30, 10 and 6 lose.
"""

import argparse
import pathlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

SIZES = {"rgb": 1024, "audio": 128}
SHARD_VIDEOS = 500
MEANS = 1000  # of other videos at least, towards which shots lean
SHOT_SECONDS = 2.5
LEANING = 1.7  # times the deviation of another video's mean
WITHIN_SHOTS = 0.1  # standard deviation, of a video's frames in all about 1


@dataclass(frozen=True)
class VideoMean:
    """A video-level record.

    Attributes:
        context: its id and labels.
        mean: (features,) float32.
    """

    context: tf.train.Features
    mean: np.ndarray


def main(argv: Sequence[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video_level", type=pathlib.Path, required=True, help="folder with train* and validate*")
    parser.add_argument("--output_dir", type=pathlib.Path, required=True)
    parser.add_argument("--train_shards", type=int, default=5)
    parser.add_argument("--validate_shards", type=int, default=3)
    arguments = parser.parse_args(argv)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    parts = (("train", arguments.train_shards, 0), ("validate", arguments.validate_shards, 100))
    for name, shards, seed in parts:
        videos = list(video_means(sorted(arguments.video_level.glob(f"{name}*.tfrecord"))))
        if not videos:
            parser.error(f"no file matches {arguments.video_level / name}*.tfrecord")
        for shard in range(shards):
            path = arguments.output_dir / f"{name}{shard:02}.tfrecord"
            begin = SHARD_VIDEOS * shard
            write_shard(path, videos[begin : begin + SHARD_VIDEOS], videos[: begin + MEANS], seed + shard)
            print(path, flush=True)


def video_means(paths: Sequence[pathlib.Path]) -> Iterator[VideoMean]:
    """All videos of video-level files, in order."""
    for record in tf.data.TFRecordDataset([str(path) for path in paths]).as_numpy_iterator():
        features = tf.train.Example.FromString(record).features
        mean = np.concatenate([features.feature[f"mean_{name}"].float_list.value for name in SIZES])
        yield VideoMean(features, mean.astype(np.float32))


def write_shard(path: pathlib.Path, videos: Sequence[VideoMean], others: Sequence[VideoMean], seed: int):
    """A file of simulated videos; their shots lean towards `others`."""
    rng = np.random.default_rng(seed)
    means = np.stack([other.mean for other in others])
    with tf.io.TFRecordWriter(str(path)) as writer:
        for video in videos:
            frames = quantized(simulated_frames(video.mean, means, rng))
            writer.write(sequence_example(video.context, frames).SerializeToString())


def simulated_frames(mean: np.ndarray, others: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(120 to 300, features) float32, whose mean is `mean`; `others` is (videos, features)."""
    num_frames = int(rng.integers(120, 301))
    ends = rng.geometric(1 / SHOT_SECONDS, size=num_frames).cumsum()
    shots = int(np.searchsorted(ends, num_frames)) + 1
    lengths = np.diff(np.minimum(ends[:shots], num_frames), prepend=0)
    leaning = LEANING * (others[rng.integers(len(others), size=shots)] - others.mean(axis=0))
    # What another video's mean does not vary is noise, so that the frames of all videos vary as real ones do.
    noise = np.sqrt(np.maximum(1.0 - (LEANING * others.std(axis=0)) ** 2, 0.05))
    centers = leaning + noise * rng.standard_normal(leaning.shape, dtype=np.float32)
    frames = np.repeat(centers, lengths, axis=0)
    frames += WITHIN_SHOTS * rng.standard_normal(frames.shape, dtype=np.float32)
    return frames - frames.mean(axis=0) + mean


def quantized(frames: np.ndarray) -> np.ndarray:
    """The bytes that dequantize to the nearest values."""
    steps = (np.clip(frames, -2.0, 2.0) + 2.0 - 4.0 / 512) * (255.0 / 4.0)
    return np.clip(np.round(steps), 0, 255).astype(np.uint8)


def sequence_example(context: tf.train.Features, frames: np.ndarray) -> tf.train.SequenceExample:
    """A frame-level record with the id and the labels of a video-level one."""
    example = tf.train.SequenceExample()
    for name in ("id", "labels"):
        example.context.feature[name].CopyFrom(context.feature[name])
    begin = 0
    for name, size in SIZES.items():
        rows = example.feature_lists.feature_list[name].feature
        for frame in frames[:, begin : begin + size]:
            rows.add().bytes_list.value.append(frame.tobytes())
        begin += size
    return example


if __name__ == "__main__":
    main()
