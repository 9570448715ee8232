"""Files to batches: patterns, order, resume position, and errors that name file and record."""

import dataclasses
import os
import pathlib

import numpy as np
import pytest

from tests.helpers import TINY_FEATURES, sequence_example, shared_path, write_records
from yt8m_distill.config.dataset import DatasetSpec, SpecOverrides
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.data import reading_order
from yt8m_distill.data.bad_records import BadRecords
from yt8m_distill.data.batches import View
from yt8m_distill.data.reading_order import position_after
from yt8m_distill.data.video_files import VideoFiles, open_videos
from yt8m_distill.errors import UserError
from yt8m_distill.files.patterns import find_files

SPEC = DatasetSpec("x", "id", ("rgb", "audio"), (6, 2), 10, 300)


@pytest.fixture
def videos(tmp_path) -> VideoFiles:
    """Three files with 7 videos each, of 1 to 7 frames."""
    for file in range(3):
        records = [sequence_example(f"f{file}_{i}", num_frames=i + 1, seed=10 * file + i) for i in range(7)]
        write_records(tmp_path / f"train{file}.tfrecord", records)
    return open_videos(str(tmp_path), "train_data_pattern", TINY_FEATURES)


def ids(batches) -> list[str]:
    return [video_id.decode() for batch in batches for video_id in batch["video_id"]]


def test_patterns(tmp_path):
    for name in ("a1.tfrecord", "a2.tfrecord", "b.tfrecord", "notes.txt"):
        (tmp_path / name).touch()
    names = [name.rpartition("/")[2] for name in find_files(str(tmp_path), "x")]
    assert names == ["a1.tfrecord", "a2.tfrecord", "b.tfrecord"]
    globbed = find_files(f"{tmp_path}/b.tfrecord, {tmp_path}/a*,{tmp_path}/./a1.tfrecord", "x")
    assert [name.rpartition("/")[2] for name in globbed] == ["b.tfrecord", "a1.tfrecord", "a2.tfrecord"]


@pytest.mark.parametrize("pattern", ["/nowhere/*.tfrecord", "", " , "])
def test_patterns_without_files_are_refused(pattern):
    with pytest.raises(UserError, match="--some_flag"):
        find_files(pattern, "some_flag")


def test_ordered_batches_hold_every_video_once_in_order(videos):
    assert ids(videos.ordered_batches(View(), 4)) == [f"f{f}_{i}" for f in range(3) for i in range(7)]


def test_batches_are_padded_with_zeros(videos):
    batch = next(videos.ordered_batches(View(), 5))
    assert batch["frames"].shape == (5, 5, 8)
    for row, n in zip(batch["frames"], batch["num_frames"], strict=True):
        assert row[n:].sum() == 0 < row[:n].sum()


def test_training_order_is_a_function_of_seed_and_epoch(videos):
    def order(seed, epoch):
        return ids(videos.training_batches(View(), 4, seed=seed, epoch=epoch))

    first = order(0, 0)
    assert sorted(first) == sorted(f"f{f}_{i}" for f in range(3) for i in range(7))
    assert first == order(0, 0)
    assert len({tuple(first), tuple(order(0, 1)), tuple(order(1, 0))}) == 3


def test_an_epoch_is_resumed_after_any_batch(videos):
    batches = list(videos.training_batches(View(), 4, seed=3, epoch=2))
    for done in range(len(batches)):
        rest = videos.training_batches(View(), 4, seed=3, epoch=2, start=position_after(batches[done]))
        assert ids(rest) == ids(batches[done + 1 :])


def test_random_frames_differ_each_epoch_and_stay_in_evaluation(videos):
    view = View(FrameSelection(2, sampling="random"), with_all_frames=True)

    def indices(batches) -> dict[bytes, tuple[int, ...]]:
        found = {}
        for batch in batches:
            rows = zip(batch["video_id"], batch["student_indices"], strict=True)
            found |= {video_id: tuple(row) for video_id, row in rows}
        return found

    epochs = [indices(videos.training_batches(view, 4, seed=0, epoch=epoch)) for epoch in (0, 1)]
    assert epochs[0] != epochs[1]
    assert indices(videos.ordered_batches(view, 4, 5)) == indices(videos.ordered_batches(view, 21, 5))


def test_the_students_view_decodes_what_the_distillation_batch_points_to(videos):
    selection = FrameSelection(3)
    few = next(videos.ordered_batches(View(selection), 21))
    both = next(videos.ordered_batches(View(selection, with_all_frames=True), 21))
    for row in range(21):
        n = int(few["num_frames"][row])
        chosen = both["frames"][row][both["student_indices"][row, :n]]
        np.testing.assert_array_equal(few["frames"][row, :n], chosen)


def test_counts_for_progress_bars(videos):
    assert videos.estimated_videos() in range(15, 28)
    assert VideoFiles(videos.files[:1], videos.spec).estimated_videos() == 7
    assert videos.longest_of_first() == 7


def damaged(path, kind: str):
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little") + 16
    if kind == "flipped bit":
        data[2 * length + 40] ^= 1
    elif kind == "cut short":
        del data[2 * length + 40 :]
    elif kind == "no TFRecord":
        data = bytearray(b"this is a text file, and no TFRecord file at all\n" * 9)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("kind", "message"),
    [("flipped bit", "record 3: damaged"), ("cut short", "record 3: damaged"), ("no TFRecord", "not a TFRecord")],
)
def test_damage_is_named_by_file_and_record(tmp_path, kind, message):
    good = write_records(tmp_path / "a.tfrecord", [sequence_example("a", num_frames=2)])
    write_records(tmp_path / "b.tfrecord", [sequence_example("same length", num_frames=2) for _ in range(5)])
    damaged(tmp_path / "b.tfrecord", kind)
    videos = open_videos(good, "x", TINY_FEATURES)
    videos = VideoFiles((good, str(tmp_path / "b.tfrecord")), videos.spec)
    for batches in (videos.ordered_batches(View(), 2), videos.training_batches(View(), 2, seed=0, epoch=0)):
        with pytest.raises(UserError, match=message) as caught:
            list(batches)
        assert "b.tfrecord" in str(caught.value)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (sequence_example("bad", labels=(2, 4000)), r"video 'bad': label 4000 is outside \[0, 3862\)"),
        (sequence_example("bad", id_key="name"), "it has no video id in 'id'"),
        (sequence_example("bad", sizes={"rgb": 6}), "video 'bad': it has no feature list 'audio'"),
        (sequence_example("bad", sizes={"rgb": 6, "audio": 3}), "frame 0 of 'audio' has 3 bytes, not 2"),
        (b"\xff\xff\xff", "it is not a tf.train.SequenceExample"),
    ],
)
def test_a_bad_record_is_named_by_file_number_and_problem(tmp_path, bad, problem):
    path = write_records(tmp_path / "a.tfrecord", [sequence_example("good"), bad])
    videos = open_videos(path, "x", TINY_FEATURES)
    with pytest.raises(UserError, match=rf"a\.tfrecord, record 2: .*{problem}"):
        list(videos.ordered_batches(View(), 8))


@pytest.mark.parametrize("content", [b"", b"nothing like a record, but long enough for a header"])
def test_files_without_records_are_refused(tmp_path, content):
    (tmp_path / "a.tfrecord").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.tfrecord"):
        open_videos(str(tmp_path), "train_data_pattern", TINY_FEATURES)


def test_audioset_has_every_clip_once():
    videos = open_videos(str(shared_path("data/audioset/train00.tfrecord")), "x", SpecOverrides())
    found = ids(videos.training_batches(View(FrameSelection(3)), 256, seed=0, epoch=0))
    assert len(found) == len(set(found)) == 2776


def test_a_fraction_is_the_same_records_in_every_order(videos):
    half = dataclasses.replace(videos, fraction=0.5)
    kept = ids(half.ordered_batches(View(), 4))
    assert 3 < len(kept) < 18
    assert kept == [each for each in ids(videos.ordered_batches(View(), 4)) if each in kept]  # in the files' order
    assert sorted(ids(half.training_batches(View(), 4, seed=1, epoch=3))) == sorted(kept)
    few = ids(dataclasses.replace(videos, fraction=0.2).ordered_batches(View(), 4))
    assert 0 < len(few) < len(kept)
    assert set(few) < set(kept)


def test_a_fraction_of_many_records_is_near_to_what_was_asked_for(tmp_path):
    path = write_records(tmp_path / "many.tfrecord", [b""] * 4000)
    for fraction in (0.1, 0.25, 0.5):
        part = VideoFiles((path,), SPEC, fraction=fraction)
        assert len(list(part._places_of_file(0))) == pytest.approx(4000 * fraction, rel=0.1)
        assert part.estimated_videos() == 4000 * fraction


def test_the_rest_is_what_a_fraction_leaves_out(videos):
    part = dataclasses.replace(videos, fraction=0.7)
    rest = dataclasses.replace(part, rest=True)
    chosen, others = ids(part.ordered_batches(View(), 4)), ids(rest.ordered_batches(View(), 4))
    for whole, of_whole in ((part, chosen), (rest, others)):
        assert ids(whole.part(1.0).ordered_batches(View(), 4)) == of_whole
        some = ids(whole.part(0.5).ordered_batches(View(), 4))
        assert set(some) < set(of_whole)
        assert some
    assert sorted(chosen + others) == sorted(ids(videos.ordered_batches(View(), 4)))
    assert chosen
    assert others


def test_a_fraction_is_resumed(videos, monkeypatch):
    monkeypatch.setattr(reading_order, "WINDOW_RECORDS", 3)  # a record of each file at a time
    half = dataclasses.replace(videos, fraction=0.5)
    batches = list(half.training_batches(View(), 1, seed=0, epoch=0))
    assert len(batches) > 4
    for done, batch in enumerate(batches, 1):
        rest = half.training_batches(View(), 1, seed=0, epoch=0, start=position_after(batch))
        assert ids(rest) == ids(batches[done:])


def test_a_fraction_may_hold_nothing(videos):
    assert videos.holds_records()
    assert not dataclasses.replace(videos, fraction=1e-9).holds_records()


def test_sizes_are_looked_up_once(videos, monkeypatch):
    total = sum(os.path.getsize(path) for path in videos.files)
    monkeypatch.setattr(os.path, "getsize", lambda path: pytest.fail(f"looks {path} up again"))
    assert dataclasses.replace(videos, fraction=0.5).num_bytes == total
    assert dataclasses.replace(videos, files=videos.files[:1]).num_bytes < total
    VideoFiles(("nowhere.tfrecord",), SPEC)  # not before they are asked for


@pytest.mark.parametrize("skip", [False, True])
def test_files_that_change_meanwhile_are_named(videos, skip):
    videos = dataclasses.replace(videos, bad_records=BadRecords(skip))
    path = videos.files[1]
    content, stamp = pathlib.Path(path).read_bytes(), os.stat(path)

    def refused(problem: str):
        for read in (lambda: ids(videos.ordered_batches(View(), 4)), lambda: videos.estimated_videos(10)):
            with pytest.raises(UserError, match=rf"train1\.tfrecord {problem}"):
                read()

    assert len(ids(videos.ordered_batches(View(), 4))) == 21
    os.unlink(path)
    refused("was removed after this command had begun: put it back")
    pathlib.Path(path).write_bytes(content[:-9])
    refused(r"was replaced or written to .* \(it had [0-9,]+ bytes, now it has")
    pathlib.Path(path).write_bytes(content * 2)
    refused(r"was replaced or written to .* \(it had [0-9,]+ bytes, now it has")
    pathlib.Path(path).write_bytes(bytes(len(content)))
    refused(r"was replaced or written to .* \(it has as many bytes as before\)")
    pathlib.Path(path).write_bytes(content)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # as a copy from elsewhere has it
    assert len(ids(videos.ordered_batches(View(), 4))) == 21


def test_a_file_that_is_overwritten_while_it_is_read(videos):
    batches = videos.ordered_batches(View(), 4)
    next(batches)
    for path in videos.files:
        with open(path, "r+b") as file:
            file.write(bytes(200))
        os.utime(path, ns=(0, 0))
    with pytest.raises(UserError, match=r"train[0-2]\.tfrecord was replaced or written to"):
        list(batches)
