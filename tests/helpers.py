"""What several tests need: the reference cases and the places of real data."""

import pathlib
from collections.abc import Iterable

import numpy as np
import pytest
import tensorflow as tf

from yt8m_distill.config.dataset import SpecOverrides
from yt8m_distill.config.json import to_json
from yt8m_distill.config.run import RunConfig
from yt8m_distill.models import building
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.weights import weights_file

# Where published features have other sizes than the published ones, these are to be given.
TINY_FLAGS = ["--feature_names=rgb,audio", "--feature_sizes=6,2"]
REFERENCE_DIR = pathlib.Path(__file__).parent / "reference"
TINY_FEATURES = SpecOverrides(("rgb", "audio"), (6, 2))
SHARED_DIR = pathlib.Path(__file__).parents[2] / "shared"


def load_case(name: str) -> dict[str, np.ndarray]:
    """All arrays of the reference case `name`; `.npz` is appended."""
    with np.load(REFERENCE_DIR / f"{name}.npz") as arrays:
        return dict(arrays)


def case_weights(case: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights of a case under their TensorFlow 1 names (`w.` dropped)."""
    return {key[2:]: value for key, value in case.items() if key.startswith("w.")}


def shared_path(relative: str) -> pathlib.Path:
    """A file or folder of real data; skips the test where it is not on this machine."""
    path = SHARED_DIR / relative
    if not path.exists():
        pytest.skip(f"real data not here: {relative}")
    return path


def sequence_example(
    video_id: str = "v0",
    labels: tuple[int, ...] = (1,),
    num_frames: int = 4,
    sizes: dict[str, int] | None = None,
    id_key: str = "id",
    seed: int = 0,
) -> tf.train.SequenceExample:
    """A frame-level record with random bytes; "rgb" 6 and "audio" 2 bytes a frame unless `sizes` says otherwise."""
    rng = np.random.default_rng(seed)

    def rows(size: int) -> tf.train.FeatureList:
        frames = rng.integers(0, 256, (num_frames, size), np.uint8)
        values = [tf.train.BytesList(value=[row.tobytes()]) for row in frames]
        return tf.train.FeatureList(feature=[tf.train.Feature(bytes_list=value) for value in values])

    context = {
        id_key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[video_id.encode()])),
        "labels": tf.train.Feature(int64_list=tf.train.Int64List(value=labels)),
    }
    lists = {name: rows(size) for name, size in (sizes or {"rgb": 6, "audio": 2}).items()}
    return tf.train.SequenceExample(
        context=tf.train.Features(feature=context), feature_lists=tf.train.FeatureLists(feature_list=lists)
    )


def rated_video(
    ratings: Iterable[tuple[int, int, float]], video_id: str = "v0", num_frames: int = 20, seed: int = 0
) -> bytes:
    """A serialized frame-level record with (start, class, score) of rated segments."""
    example = sequence_example(video_id, num_frames=num_frames, seed=seed)
    context = example.context.feature
    for start, label, score in ratings:
        context["segment_start_times"].int64_list.value.append(start)
        context["segment_end_times"].int64_list.value.append(min(start + 5, 2**63 - 1))
        context["segment_labels"].int64_list.value.append(label)
        context["segment_scores"].float_list.value.append(score)
    return example.SerializeToString(deterministic=True)


def video_level(
    features: dict[str, list[float]], video_id: str = "v0", labels: tuple[int, ...] = (1,), id_key: str = "id"
) -> bytes:
    """A serialized video-level record."""
    values = {name: tf.train.Feature(float_list=tf.train.FloatList(value=means)) for name, means in features.items()}
    values[id_key] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[video_id.encode()]))
    values["labels"] = tf.train.Feature(int64_list=tf.train.Int64List(value=labels))
    return tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString(deterministic=True)


def write_run(folder: pathlib.Path, config: RunConfig) -> str:
    """The run directory of a teacher or baseline with random weights; returns its path as text."""
    run, (role, model) = RunDir(folder), *building.build_models(config).items()
    run.best.mkdir(parents=True)
    model.save_weights(weights_file(run.best, role))
    run.config_file.write_text(to_json(config))
    return str(folder)


def write_records(path: pathlib.Path, records) -> str:
    """Writes records (serialized, or SequenceExamples) into a TFRecord file; returns its path as text."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record if isinstance(record, bytes) else record.SerializeToString())
    return str(path)


def learnable_videos(count: int, classes: int = 4, seed: int = 0) -> list[tf.train.SequenceExample]:
    """Videos whose first rgb bytes show their class in every frame, of 1 to 12 frames."""
    rng = np.random.default_rng(seed)
    videos = []
    for index in range(count):
        label = int(rng.integers(classes))
        example = sequence_example(f"v{seed}_{index}", (label,), int(rng.integers(1, 13)), seed=seed + index)
        for row in example.feature_lists.feature_list["rgb"].feature:
            frame = bytearray(row.bytes_list.value[0])
            frame[:classes] = bytes(250 if c == label else 5 for c in range(classes))
            row.bytes_list.value[0] = bytes(frame)
        videos.append(example)
    return videos
