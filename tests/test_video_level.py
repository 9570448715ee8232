"""Video-level records through the commands."""

import pathlib

import numpy as np
import pytest

from tests.helpers import video_level, write_records
from yt8m_distill.commands import thin_main, train_main, verify_main


def learnable_means(count: int, classes: int = 4, seed: int = 0) -> list[bytes]:
    """Video-level records whose first values show their class."""
    rng = np.random.default_rng(seed)
    records = []
    for index in range(count):
        label = int(rng.integers(classes))
        rgb = rng.normal(0, 0.3, 6)
        rgb[label] += 2
        features = {"mean_rgb": rgb.tolist(), "mean_audio": rng.normal(0, 0.3, 2).tolist()}
        records.append(video_level(features, f"v{seed}_{index}", (label,)))
    return records


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
    """A folder with training and test files."""
    folder = tmp_path_factory.mktemp("data")
    for index, (part, count) in enumerate([("train0", 60), ("train1", 40), ("test0", 30)]):
        write_records(folder / f"{part}.tfrecord", learnable_means(count, seed=index))
    return folder


def test_a_model_of_frames_is_refused(data, tmp_path, capsys):
    arguments = [f"--train_data_pattern={data}/train*", f"--train_dir={tmp_path}/run", "--num_classes=10"]
    assert train_main(["train.py", "--model=NeXtVLAD", *arguments]) == 2
    assert "these are video-level records, and NeXtVLAD takes the frames of videos" in capsys.readouterr().err


def test_verify_counts_them_and_thin_refuses_them(data, tmp_path, capsys):
    listing = f"--output_file={tmp_path}/bad.txt"
    assert verify_main(["verify", f"{data}/train*", "--num_classes=10", listing]) == 0
    assert " 100 " in capsys.readouterr().out
    write_records(tmp_path / "bad.tfrecord", [*learnable_means(3), video_level({"mean_rgb": [float("nan")] * 6})])
    assert verify_main(["verify", str(tmp_path / "bad.tfrecord"), listing]) == 1
    assert "record 4: video 'v0': feature 'mean_rgb' holds a number that is not finite" in capsys.readouterr().out
    assert thin_main(["thin", f"{data}/train*", str(tmp_path / "thin")]) == 2
    assert "video-level records" in capsys.readouterr().err
