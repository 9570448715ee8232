"""features.json beside files: read by every way to open them, wrong ones named."""

import json

import pytest

from tests.helpers import sequence_example, write_records
from yt8m_distill.config.dataset import DatasetSpec, SpecOverrides
from yt8m_distill.config.json import from_values, to_values
from yt8m_distill.data.feature_ranges import read_ranges, write_ranges
from yt8m_distill.data.video_files import open_videos
from yt8m_distill.errors import UserError
from yt8m_distill.runs.inputs import check_ranges

OVERRIDES = SpecOverrides(("rgb", "audio"), (6, 2), 10)
RANGES = {"rgb": (-1.0, 3.0), "audio": (0.0, 0.5)}


def opened(pattern) -> DatasetSpec:
    return open_videos(str(pattern), "x", OVERRIDES).spec


@pytest.fixture
def folder(tmp_path):
    write_records(tmp_path / "a.tfrecord", [sequence_example()])
    return tmp_path


def test_without_a_file_the_range_is_that_of_published_features(folder):
    assert opened(folder).feature_ranges is None
    assert "feature_ranges" not in to_values(opened(folder))
    write_ranges(folder, {"rgb": (-2, 2), "audio": (-2.0, 2.0), "other": (0, 1)})
    assert opened(folder).feature_ranges is None


def test_the_file_is_beside_the_records(folder):
    write_ranges(folder, {**RANGES, "other": (0, 9)})
    for pattern in (folder, folder / "*", folder / "a.tfrecord"):
        spec = opened(pattern)
        assert spec.feature_ranges == ((-1.0, 3.0), (0.0, 0.5))
        assert "with values in [-1, 3] and [0, 0.5]" in spec.describe()
    values = json.loads(json.dumps(to_values(spec)))
    assert from_values(DatasetSpec, values, "x") == spec
    assert read_ranges(folder / "features.json") == {**RANGES, "other": (0.0, 9.0)}


def test_folders_must_agree(folder, tmp_path):
    (tmp_path / "more").mkdir()
    write_records(tmp_path / "more" / "b.tfrecord", [sequence_example()])
    write_ranges(folder, RANGES)
    with pytest.raises(UserError, match="quantized with different ranges"):
        opened(f"{folder}/a.tfrecord,{tmp_path}/more")
    write_ranges(tmp_path / "more", RANGES)
    assert opened(f"{folder}/a.tfrecord,{tmp_path}/more").feature_ranges is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not valid JSON"),
        ("[]", "does not hold a JSON object"),
        ("{}", "must hold 'features'"),
        ('{"features": []}', "must hold 'features'"),
        ('{"features": {"rgb": {"min": 0, "max": 1}}}', "has no range of the feature 'audio'; it has rgb"),
        ('{"features": {"rgb": {"min": 1, "max": 1}}}', "the range of 'rgb' must be two numbers"),
        ('{"features": {"rgb": {"min": true, "max": 2}}}', "the range of 'rgb'"),
        ('{"features": {"rgb": {"min": 0, "max": Infinity}}}', "the range of 'rgb'"),
        ('{"features": {"rgb": {"min": NaN, "max": 1}}}', "the range of 'rgb'"),
        ('{"features": {"rgb": [0, 1]}}', "the range of 'rgb'"),
    ],
)
def test_wrong_files(folder, text, message):
    (folder / "features.json").write_text(text)
    with pytest.raises(UserError, match=message) as raised:
        opened(folder)
    assert "features.json" in str(raised.value)


@pytest.mark.parametrize("ranges", [((0, 1),), ((0, 1), (1, 1)), ((0, 1), (0, float("inf"))), ((0, 1, 2), (0, 1))])
def test_wrong_ranges_of_a_configuration(ranges):
    with pytest.raises(UserError, match="range"):
        DatasetSpec("own", "id", ("rgb", "audio"), (6, 2), 10, 300, feature_ranges=ranges)


def test_other_ranges_than_those_of_the_training_are_refused(folder):
    trained = opened(folder)
    write_ranges(folder, RANGES)
    with pytest.raises(UserError, match=r"--y: .* quantized to \[-1, 3\] and \[0, 0.5\], those of .* to \[-2, 2\]"):
        check_ranges(trained, opened(folder), "y")
    check_ranges(opened(folder), opened(folder), "y")
