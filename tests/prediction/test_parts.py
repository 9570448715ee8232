"""inference.py in parts, and `python -m yt8m_distill.merge_predictions`: what one run would have written, or not."""

import contextlib
import gzip
import json
import pathlib
import re
import shutil

import numpy as np
import pytest

from tests.helpers import learnable_videos, sequence_example, write_records, write_run
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.inference import InferenceConfig
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.shard import Shard
from yt8m_distill.errors import UserError
from yt8m_distill.inference import main as inference_main
from yt8m_distill.merge_predictions import main as merge_main
from yt8m_distill.prediction.parts import part_path
from yt8m_distill.prediction.submission import PredictionsWriter

SPEC = DatasetSpec("own features", "id", ("rgb", "audio"), (6, 2), 10, 12)
FILES = 5
PARTS = 3


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> pathlib.Path:
    """A folder with `whole.csv` and the three parts of `p.csv`, of a model that sees 3 random frames."""
    folder = tmp_path_factory.mktemp("parts")
    for index in range(FILES):
        write_records(folder / f"{index}.tfrecord", learnable_videos(3 + index, seed=100 * index))
    config = RunConfig("FrameLevelLogistic", "baseline", selection=FrameSelection(3, sampling="random"), data=SPEC)
    write_run(folder / "run", config)
    assert predict(folder, "whole.csv") == 0
    for index in range(PARTS):
        assert predict(folder, "p.csv", f"--num_shards={PARTS}", f"--shard_index={index}") == 0
    return folder


def predict(folder: pathlib.Path, name: str, *flags: str) -> int:
    pattern = f"--input_data_pattern={folder}/*.tfrecord"
    return inference_main(
        ["inference.py", f"--train_dir={folder}/run", pattern, f"--output_file={folder}/{name}", *flags]
    )


def merge(target, *flags: str) -> int:
    return merge_main(["merge", str(target), *flags])


@pytest.fixture
def parts(made, tmp_path) -> pathlib.Path:
    """A copy of the parts, to be damaged."""
    for path in made.glob("p-*"):
        shutil.copy(path, tmp_path)
    return tmp_path


def test_parts_in_their_order_are_the_whole(made, tmp_path, capsys):
    videos = [len(path.read_text().splitlines()) - 1 for path in sorted(made.glob("p-*-of-00003.csv"))]
    assert videos == [3, 4 + 5, 6 + 7]  # whole files, in order
    assert merge(made / "p.csv") == 0
    assert "25 videos out of 3 parts" in capsys.readouterr().out
    assert (made / "p.csv").read_bytes() == (made / "whole.csv").read_bytes()
    assert merge(tmp_path / "x.csv.gz", f"--parts={made}/p-*.csv") == 0
    assert gzip.decompress((tmp_path / "x.csv.gz").read_bytes()) == (made / "whole.csv").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"x.csv.gz"}


def test_parts_of_predictions_with_like_names_are_not_taken(parts, capsys):
    assert merge(parts / "p.csv") == 0
    (parts / "p.csv").rename(parts / "p-other-00000-of-00001.csv")
    before = (parts / "p-other-00000-of-00001.csv").read_bytes()
    assert merge(parts / "p.csv") == 0
    assert (parts / "p.csv").read_bytes() == before
    for path in parts.glob("p-0*"):
        path.unlink()
    assert merge(parts / "p.csv") == 2
    assert "no part matches" in capsys.readouterr().err


def test_names_without_an_ending(made, tmp_path):
    for index in range(PARTS):
        name = f"{tmp_path}/bare-{index:05d}-of-{PARTS:05d}"
        shutil.copy(made / f"p-{index:05d}-of-{PARTS:05d}.csv", name)
        shutil.copy(made / f"p-{index:05d}-of-{PARTS:05d}.csv.json", f"{name}.json")
    assert merge(tmp_path / "bare") == 0
    assert (tmp_path / "bare").read_bytes() == (made / "whole.csv").read_bytes()


def test_an_id_that_no_line_can_hold_is_a_bad_record(made, tmp_path, capsys):
    write_records(tmp_path / "0.tfrecord", [*learnable_videos(3), sequence_example("a,b", num_frames=2)])
    where = [
        f"--train_dir={made}/run",
        f"--input_data_pattern={tmp_path}/*.tfrecord",
        f"--output_file={tmp_path}/x.csv",
    ]
    assert inference_main(["inference.py", *where]) == 2
    assert "0.tfrecord, record 4: video 'a,b': its id has a comma" in capsys.readouterr().err
    assert inference_main(["inference.py", *where, "--on_bad_record=skip", "--max_bad_fraction=1"]) == 0
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 1 + 3


def test_a_part_says_which_it_is(made, capsys):
    assert predict(made, "q.csv.gz", "--num_shards=5", "--shard_index=4") == 0
    assert f"7 videos, part 4 of 5, are in {made}/q-00004-of-00005.csv.gz" in capsys.readouterr().out
    assert json.loads((made / "q-00004-of-00005.csv.gz.json").read_text())["rows"] == 7


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_every_file_is_in_one_part(count):
    files = [str(number) for number in range(20)]
    parts = [Shard(index, count).of(files) for index in range(count)]
    assert [file for part in parts for file in part] == files
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_stopped_part_is_resumed_and_counts_all_rows(tmp_path):
    class Killed(Exception):
        pass

    def writer():
        return PredictionsWriter(tmp_path / "p.csv", work="w", run={"model": "m"})

    with contextlib.suppress(Killed), writer() as first:
        first.write(["a"], np.ones((1, 2)))
        first.save("here")
        raise Killed
    with writer() as second:
        assert second.position == "here"
        second.write(["b", "c"], np.ones((2, 2)))
    assert json.loads((tmp_path / "p.csv.json").read_text()) == {"run": {"model": "m"}, "rows": 3}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.csv", "p.csv.json"]


def remove_one(folder):
    (folder / "p-00001-of-00003.csv").unlink()


def give_one_twice(folder):
    (folder / "copy").mkdir()
    shutil.copy(folder / "p-00001-of-00003.csv", folder / "copy")


def add_other_count(folder):
    shutil.copy(folder / "p-00000-of-00003.csv", folder / "p-00000-of-00002.csv")


def change_run(folder):
    path = folder / "p-00002-of-00003.csv.json"
    path.write_text(path.read_text().replace('"frames": "random3"', '"frames": "random4"'))


def remove_description(folder):
    (folder / "p-00002-of-00003.csv.json").unlink()


def repeat_video(folder):
    first = (folder / "p-00000-of-00003.csv").read_text().splitlines(keepends=True)[1]
    path = folder / "p-00002-of-00003.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:-1], first]))


def cut_in_a_line(folder):
    path = folder / "p-00001-of-00003.csv"
    path.write_bytes(path.read_bytes()[:-5])


def cut_after_a_line(folder):
    path = folder / "p-00001-of-00003.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def take_other_file(folder):
    (folder / "p-00001-of-00003.csv").write_text("Class,Segments\n")


@pytest.mark.parametrize(
    ("damage", "flags", "told"),
    [
        (remove_one, (), "1 of 3 parts are missing: 1"),
        (give_one_twice, ("--parts={0}/p-*.csv,{0}/copy/*.csv",), "part 1 occurs twice"),
        (add_other_count, (), "there are parts of 2 and of 3"),
        (change_run, (), "p-00002-of-00003.csv is of a different run than .*p-00000-of-00003.csv: frames differ"),
        (remove_description, (), "p-00002-of-00003.csv is of a different run, or its"),
        (repeat_video, (), "video v0_0 occurs twice: line 2 of .*p-00000-of-00003.csv, and line 14 of .*p-00002"),
        (cut_in_a_line, (), "p-00001-of-00003.csv is truncated or damaged"),
        (cut_after_a_line, (), "p-00001-of-00003.csv has 8 videos, and its description says 9"),
        (take_other_file, (), "p-00001-of-00003.csv is not a predictions file"),
        (lambda folder: None, ("--parts={0}/x*",), "no part matches"),
        (lambda folder: None, ("--parts={0}/p-00000-of-00003.csv.json",), "does not have the name of a part"),
    ],
)
def test_what_is_not_one_run_is_refused(parts, capsys, damage, flags, told):
    damage(parts)
    assert merge(parts / "p.csv", *(flag.format(parts) for flag in flags)) == 2
    assert not list(parts.glob("p.csv*"))
    assert re.search(told, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--num_shards=2",), "--num_shards does nothing without --shard_index"),
        (("--num_shards=2", "--shard_index=2"), "--shard_index must be from 0 to 1, not 2"),
        (("--num_shards=0", "--shard_index=0"), "--num_shards must be at least 1"),
        (("--num_shards=6", "--shard_index=0"), "more than there are files (5)"),
        (("--num_shards=2", "--shard_index=0", "--segment_labels"), "a file of segments holds the best of all"),
        (("--num_shards=2", "--shard_index=0", "--output_model_tgz=x.tgz"), "--output_model_tgz does not go with"),
    ],
)
def test_senseless_parts_are_refused(made, capsys, flags, told):
    assert predict(made, "r.csv", *flags) == 2
    assert told in capsys.readouterr().err


def test_names_of_parts():
    assert part_path("a.b/p", Shard(2, 4)) == "a.b/p-00002-of-00004"
    assert part_path("gs://x/p.csv.gz", Shard(0, 1)) == "gs://x/p-00000-of-00001.csv.gz"
    with pytest.raises(UserError, match="index must be from 0 to 2, not -1"):
        InferenceConfig("p.csv", "run", shard=Shard(-1, 3))
