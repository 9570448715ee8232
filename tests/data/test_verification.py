"""python -m yt8m_distill.verify: every kind of damage is found by file and record, and nothing good is called bad."""

import errno
import pathlib
import re
import subprocess
import sys

import pytest

from tests.helpers import TINY_FLAGS, learnable_videos, sequence_example, shared_path, write_records
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.data import reading, tfrecord, verification
from yt8m_distill.data.record_files import frames_of_file
from yt8m_distill.data.verification import FileReport, check_file, table
from yt8m_distill.verify import main as verify_main

ROOT = pathlib.Path(__file__).parents[2]
SPEC = DatasetSpec("YouTube-8M 2018", "id", ("rgb", "audio"), (6, 2), 3862, 300)


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """Three files with 7 good videos of 1 to 7 frames each, in `shards`."""
    shards = tmp_path / "shards"
    shards.mkdir()
    for file in range(3):
        videos = [sequence_example(f"f{file}_{i}", num_frames=i + 1, seed=10 * file + i) for i in range(7)]
        write_records(shards / f"train{file}.tfrecord", videos)
    return shards


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    """The list of bad files is written into the working directory where no other place is named."""
    monkeypatch.chdir(tmp_path)


def verify(folder: pathlib.Path, *arguments: str) -> int:
    return verify_main(["verify", str(folder), f"--output_file={folder.parent / 'bad.txt'}", *TINY_FLAGS, *arguments])


def rows(text: str) -> dict[str, list[str]]:
    """Cells of the printed table by the first one, a file's name without its folder."""
    lines = (re.split(r"\s{2,}", line) for line in text.splitlines())
    return {cells[0].rpartition("/")[2]: cells[1:] for cells in lines if len(cells) > 1}


@pytest.mark.parametrize("workers", [1, 3])
def test_good_files_are_counted(folder, capsys, workers):
    extra = [sequence_example("none", labels=(), num_frames=0), sequence_example("long", num_frames=301)]
    write_records(folder / "train3.tfrecord", extra)
    assert verify(folder, f"--num_workers={workers}") == 0
    found = rows(capsys.readouterr().out)
    assert found["train0.tfrecord"] == ["7", "28", "0", "0", "0", "0"]
    assert found["train3.tfrecord"] == ["2", "300", "1", "1", "0", "0"]  # a video is read up to --max_frames
    assert found["all 4 files"] == ["23", "384", "1", "1", "0", "0"]
    assert not (folder.parent / "bad.txt").exists()


def test_the_list_of_an_earlier_check_does_not_stay(folder):
    (folder / "empty.tfrecord").touch()
    assert verify(folder) == 1
    assert (folder.parent / "bad.txt").read_text() == f"{folder}/empty.tfrecord\n"
    (folder / "empty.tfrecord").unlink()
    assert verify(folder) == 0
    assert (folder.parent / "bad.txt").read_text() == ""


def flip(content: bytearray, frame: tfrecord.Frame):
    content[frame.offset + 40] ^= 4


def flip_length(content: bytearray, frame: tfrecord.Frame):
    content[frame.offset] ^= 1


def cut(content: bytearray, frame: tfrecord.Frame):
    del content[frame.offset + 40 :]


@pytest.mark.parametrize(
    ("damage", "good", "problem"),
    [
        (flip, 6, "record 4: damaged: its checksum is wrong"),
        (
            flip_length,
            6,
            "record 4: damaged: the checksum of its length is wrong; the next record begins 153 bytes later",
        ),
        (cut, 3, "record 4: damaged or cut short: the file ends before it"),
        (lambda content, frame: content.__setitem__(slice(None), b""), 0, "record 1: the file is empty"),
        (lambda content, frame: content.__setitem__(slice(None), b"x" * 99), 0, "record 1: the file is not a TFRecord"),
    ],
)
def test_damaged_files(folder, capsys, damage, good, problem):
    path = folder / "train1.tfrecord"
    content = bytearray(path.read_bytes())
    damage(content, list(frames_of_file(path))[3])
    path.write_bytes(content)
    assert verify(folder) == 1
    output = capsys.readouterr().out
    found = rows(output)["train1.tfrecord"]
    assert (found[0], found[4]) == (str(good), "1")
    assert problem in found[-1]
    assert f"Bad files: 1, listed in {folder.parent / 'bad.txt'}" in output
    assert (folder.parent / "bad.txt").read_text() == f"{path}\n"


BAD_VIDEOS = {
    "it is not a tf.train.SequenceExample": b"\xff\xff\xff",
    "it has no video id in 'id'": sequence_example("x", id_key="name"),
    "video 'x': it has no feature list 'audio'": sequence_example("x", sizes={"rgb": 6}),
    "video 'x': frame 0 of 'audio' has 3 bytes, not 2": sequence_example("x", sizes={"rgb": 6, "audio": 3}),
    "video 'x': label 3862 is outside [0, 3862); --num_classes sets": sequence_example("x", labels=(1, 3862)),
}


def test_all_bad_records_of_a_file_are_counted_and_the_first_is_explained(folder, capsys):
    good = [sequence_example(f"g{i}") for i in range(3)]
    for number, bad in enumerate(BAD_VIDEOS.values()):
        write_records(folder / f"bad{number}.tfrecord", [good[0], good[1], bad, good[2], bad])
    assert verify(folder) == 1
    found = rows(capsys.readouterr().out)
    for number, (problem, bad) in enumerate(BAD_VIDEOS.items()):
        cells = found[f"bad{number}.tfrecord"]
        size = len(bad if isinstance(bad, bytes) else bad.SerializeToString())
        assert cells[:1] + cells[4:6] == ["3", "2", str(2 * (size + 16))]
        assert cells[6].startswith(f"record 3: {problem}")
    listed = (folder.parent / "bad.txt").read_text().splitlines()
    assert listed == [f"{folder}/bad{number}.tfrecord" for number in range(len(BAD_VIDEOS))]


def test_a_first_record_of_another_length_does_not_make_the_others_bad(folder, capsys):
    first = sequence_example("odd", sizes={"rgb": 5, "audio": 2})
    write_records(folder / "a.tfrecord", [first, sequence_example("b"), sequence_example("c")])
    assert verify(folder) == 1
    found = rows(capsys.readouterr().out)
    assert found["a.tfrecord"][4:] == ["1", found["a.tfrecord"][5], found["a.tfrecord"][6]]
    assert found["a.tfrecord"][6] == "record 1: video 'odd': frame 0 of 'rgb' has 5 bytes, not 6"
    assert found["train0.tfrecord"][4] == "0"


def test_flags_say_what_is_right(folder, capsys):
    write_records(folder / "label.tfrecord", [sequence_example("x", labels=(50,))])
    assert verify(folder) == 0
    assert verify(folder, "--num_classes=50") == 1
    assert "label 50 is outside [0, 50)" in capsys.readouterr().out
    assert verify(folder, "--feature_names=rgb,audio", "--feature_sizes=6,3") == 2  # no record is like that
    assert "not 3 (--feature_sizes" in capsys.readouterr().err


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    missing = check_file(str(tmp_path / "gone.tfrecord"), SPEC, lambda num_bytes: None)
    assert (missing.bad_records, missing.first_problem) == (
        1,
        "record 1: the file cannot be read: No such file or directory",
    )
    path = write_records(tmp_path / "a.tfrecord", [sequence_example(f"v{i}") for i in range(5)])
    third = list(frames_of_file(path))[2]

    def failing(file: int, offset: int, buffer):
        if offset == third.offset:
            raise OSError(errno.EIO, "Input/output error")
        return tfrecord.read_record(file, offset, buffer)

    monkeypatch.setattr(reading, "read_record", failing)
    broken = check_file(path, SPEC, lambda num_bytes: None)
    assert (broken.videos, broken.bad_bytes) == (2, 3 * third.num_bytes)
    assert broken.first_problem == "record 3: the file cannot be read: Input/output error"


def test_a_record_of_absurd_length_takes_no_memory(tmp_path):
    length = (1 << 29).to_bytes(8, "little")
    path = tmp_path / "a.tfrecord"
    with open(path, "wb") as file:
        file.write(length + tfrecord.masked_crc32c(length).to_bytes(4, "little"))
        file.truncate((1 << 29) + 16)  # takes no space on the disk
    report = check_file(str(path), SPEC, lambda num_bytes: None)
    assert report.first_problem == "record 1: longer than 268,435,456 bytes: no video"


def test_sound_records_of_an_unknown_format_are_wrong_usage(tmp_path, capsys):
    write_records(tmp_path / "a.tfrecord", [sequence_example(sizes={"clip": 4})])
    assert verify_main(["verify", str(tmp_path)]) == 2
    assert "give --feature_names and --num_classes" in capsys.readouterr().err
    assert verify_main(["verify", str(tmp_path), "--feature_names=clip", "--num_classes=5"]) == 0


def test_damage_is_found_where_no_record_shows_the_format(tmp_path, capsys):
    write_records(tmp_path / "a.tfrecord", [sequence_example(sizes={"clip": 4}), b"\xff\xff"])
    (tmp_path / "b.tfrecord").write_bytes(b"text")
    assert verify_main(["verify", str(tmp_path), f"--output_file={tmp_path / 'bad.txt'}"]) == 1
    found = rows(capsys.readouterr().out)
    assert found["a.tfrecord"][-1] == "record 2: it is not a tf.train.SequenceExample"
    assert found["b.tfrecord"][-1] == "record 1: the file is not a TFRecord file but a text file"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "PATTERN is missing"),
        (["/nowhere/*"], "PATTERN: no file matches '/nowhere/*'"),
        (["x", "--workers=2"], "workers"),
        (["x", "--num_workers=0"], "--num_workers must be at least 1"),
        (["x", "--feature_sizes=2"], "--feature_sizes needs --feature_names"),
    ],
)
def test_wrong_usage(capsys, arguments, message):
    assert verify_main(["verify", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_files_of_a_glob_that_the_shell_has_replaced(folder, capsys):
    paths = sorted(map(str, folder.glob("train[01]*")))
    assert verify_main(["verify", "--num_workers=2", *TINY_FLAGS, *paths]) == 0
    assert rows(capsys.readouterr().out)["all 2 files"][0] == "14"


def test_of_many_files_only_the_bad_ones_have_a_line():
    good = [FileReport(f"good{i}", 10, 1000, 0, 1, 0, 0, "") for i in range(30)]
    bad = [FileReport(f"bad{i}", 5, 500, 0, 0, 2, 77, "record 1: damaged") for i in range(2)]
    lines = [re.split(r"\s{2,}", line) for line in table([*good[:9], *bad, *good[9:]]).splitlines()]
    assert [line[0] for line in lines] == ["file", "bad0", "bad1", "30 good files", "all 32 files"]
    assert lines[3][1:] == ["300", "30,000", "0", "30", "0", "0"]
    assert lines[4][1:] == ["310", "31,000", "0", "30", "4", "154"]


def test_an_interrupt_ends_all_threads(folder, monkeypatch, capsys):
    def interrupted(path, spec, progress):
        if path.endswith("train0.tfrecord"):
            raise KeyboardInterrupt
        while True:  # until told to stop
            progress(0)

    monkeypatch.setattr(verification, "check_file", interrupted)
    assert verify(folder, "--num_workers=3") == 1
    assert "Stopped." in capsys.readouterr().err


def test_the_progress_bar_moves_by_all_bytes(tmp_path, monkeypatch):
    path = write_records(tmp_path / "a.tfrecord", learnable_videos(50))
    monkeypatch.setattr(verification, "PROGRESS_BYTES", 500)
    moved = []
    check_file(path, SPEC, moved.append)
    assert sum(moved) == pathlib.Path(path).stat().st_size
    assert len(moved) > 5


def test_as_a_module():
    command = [sys.executable, "-m", "yt8m_distill.verify"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 2
    shown = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0
    assert "--num_workers" in shown.stdout


def test_audioset_passes(tmp_path, capsys):
    folder = shared_path("data/audioset")
    assert verify_main(["verify", str(folder), f"--output_file={tmp_path / 'bad.txt'}"]) == 0
    output = capsys.readouterr().out
    assert rows(output)["all 12 files"][4:] == ["0", "0"]
    assert "No bad files." in output
