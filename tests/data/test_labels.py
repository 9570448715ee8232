"""Checks that videos have labels: none, few, few files, and ratings of segments."""

import dataclasses

import pytest

from tests.helpers import rated_video, sequence_example, write_records
from yt8m_distill.config.dataset import SpecOverrides
from yt8m_distill.data import labels
from yt8m_distill.data.bad_records import BadRecords
from yt8m_distill.data.labels import check_labels
from yt8m_distill.data.video_files import open_videos
from yt8m_distill.errors import UserError


def opened(folder, *files: list, segments: bool = False):
    for index, records in enumerate(files):
        write_records(folder / f"{index:02}.tfrecord", records)
    overrides = SpecOverrides(("rgb", "audio"), (6, 2), 10, segment_labels=segments or None)
    return open_videos(str(folder), "x", overrides)


def video(label: int | None = None):
    return sequence_example(labels=() if label is None else (label,))


def test_all_labelled_says_nothing(tmp_path, caplog):
    check_labels(opened(tmp_path, [video(1)] * 3, [video(2)] * 3), "x", "y")
    assert not caplog.records


def test_few_are_counted(tmp_path, caplog):
    videos = opened(tmp_path, [video(1), *[video()] * 4], [video()] * 5)
    check_labels(videos, "train_data_pattern", "y")
    assert "--train_data_pattern: of the videos looked at, only 1 of 10 has a label" in caplog.text
    caplog.clear()
    check_labels(videos, "train_data_pattern", "y", warn=False)
    assert not caplog.records


def test_none_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"--x: none of the 10 videos has a label \('labels'\), so y\."):
        check_labels(opened(tmp_path, [video()] * 5, [video()] * 5), "x", "y")


def test_a_label_behind_the_sample_is_found(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(labels, "SAMPLED_VIDEOS", 4)
    monkeypatch.setattr(labels, "SAMPLED_FILES", 2)
    check_labels(opened(tmp_path, [video()] * 5, [video()] * 6, [video(), video(), video(3)]), "x", "y")
    assert "only 1 of 14 has a label" in caplog.text


def test_files_are_sampled_evenly(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(labels, "SAMPLED_VIDEOS", 4)
    monkeypatch.setattr(labels, "SAMPLED_FILES", 2)
    check_labels(opened(tmp_path, [video(1)] * 9, [video(1)] * 9, [video()] * 9, [video()] * 9), "x", "y")
    assert "only 2 of 4 have a label" in caplog.text


def test_segments_need_a_positive_rating(tmp_path, caplog):
    negative, positive = rated_video([(0, 1, 0.0)]), rated_video([(0, 1, 0.0), (5, 2, 1.0)])
    check_labels(opened(tmp_path, [negative, positive], segments=True), "x", "y")
    assert "have a label" not in caplog.text
    with pytest.raises(UserError, match="none of the 2 videos has a segment rated positive"):
        check_labels(opened(tmp_path, [negative, negative], segments=True), "x", "y")


def test_no_video_at_all_is_an_error(tmp_path):
    videos = opened(tmp_path, [video(1)])
    write_records(tmp_path / "00.tfrecord", [b"no record"])
    skipping = dataclasses.replace(videos, bad_records=BadRecords(skip=True), stamps={})
    with pytest.raises(UserError, match=r"--x: no video could be read; .*verify"):
        check_labels(skipping, "x", "y")
