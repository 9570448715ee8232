"""Frames that are lists of floats, read directly."""

import numpy as np
import pytest

from tests.data.test_quantizing import embeddings, record
from tests.helpers import write_records
from yt8m_distill.config.dataset import SpecOverrides
from yt8m_distill.data import format_detection
from yt8m_distill.data.video_files import open_videos
from yt8m_distill.errors import UserError
from yt8m_distill.quantize import main as quantize_main
from yt8m_distill.runs.inputs import input_spec, overrides_of
from yt8m_distill.verify import main as verify_main

NAME = "RGB/feature/floats"  # as MediaPipe calls it
OVERRIDES = SpecOverrides(feature_names=(NAME,), num_classes=10)


def written(folder, frames):
    folder.mkdir(exist_ok=True)
    records = [record(f"v{number}", values, name=NAME) for number, values in enumerate(frames)]
    write_records(folder / "a.tfrecord", records)
    return folder


def videos_of(folder, overrides=OVERRIDES):
    return open_videos(str(folder), "IN", overrides)


def test_they_are_read_as_the_bytes_that_the_command_writes(tmp_path):
    frames = embeddings(40)
    folder = written(tmp_path / "floats", frames)
    names = "--feature_names=" + NAME
    assert quantize_main(["quantize", str(folder), str(tmp_path / "bytes"), names]) == 0
    direct, quantized = videos_of(folder), videos_of(tmp_path / "bytes")
    assert direct.spec.feature_ranges == quantized.spec.feature_ranges
    assert (direct.spec.feature_sizes, direct.spec.float_frames, quantized.spec.float_frames) == ((16,), True, False)
    for one, other in zip(direct.videos(), quantized.videos(), strict=True):
        assert (one.video_id, one.labels) == (other.video_id, other.labels)
        np.testing.assert_array_equal(one.features[0], other.features[0])


def test_for_a_trained_model_its_ranges_count(tmp_path):
    trained = videos_of(written(tmp_path / "train", embeddings(20))).spec
    other = written(tmp_path / "test", [3 * values for values in embeddings(5, seed=1)])
    detected = videos_of(other, overrides_of(trained)).spec
    spec = input_spec(trained, detected, "eval_data_pattern")
    assert spec == trained
    low, high = trained.feature_ranges[0]
    video = next(iter(open_videos(str(other), "IN", OVERRIDES, spec).videos()))
    expected = np.rint((np.clip(3 * embeddings(5, seed=1)[0], low, high) - low) * (255 / (high - low)))
    np.testing.assert_allclose(video.features[0], expected, atol=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: np.where(values == values[0, 0], np.nan, values), "a number that is not finite"),
        (lambda values: values[:, :5], "has 5 numbers, not 16"),
    ],
)
def test_bad_frames(tmp_path, change, message):
    frames = embeddings(5)
    frames[3] = change(frames[3])
    videos = videos_of(written(tmp_path / "floats", frames))
    with pytest.raises(UserError, match=message):
        list(videos.videos())


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        (NAME, SpecOverrides((NAME,), (8,), 10), f"'{NAME}' has 16 numbers a frame, not 8 .--feature_sizes"),
        ("rgb", SpecOverrides(), "'rgb' has 16 numbers a frame, not the published 1024. A feature of your own size"),
    ],
)
def test_frames_of_another_size(name, overrides, message):
    serialized = record("v0", embeddings(1)[0], name=name).SerializeToString()
    with pytest.raises(UserError, match=message):
        format_detection.detect_spec(serialized, "x", overrides)


def test_verify(tmp_path, capsys):
    folder = written(tmp_path / "floats", embeddings(5))
    flags = [f"--feature_names={NAME}", "--num_classes=10", f"--output_file={tmp_path}/bad.txt"]
    assert verify_main(["verify", str(folder), *flags]) == 0
    assert "No bad files" in capsys.readouterr().out
