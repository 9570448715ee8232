"""python -m yt8m_distill.beam_inference: what inference.py predicts, each video once, and bad records in a list."""

import csv
import gzip
import pathlib
import shutil
import struct
import sys
import zlib

import pytest
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from tests.deployment.exports import videos
from tests.deployment.onnx_exports import write_export
from tests.helpers import learnable_videos, rated_video, video_level, write_records, write_run
from yt8m_distill.beam_inference import main as beam_main
from yt8m_distill.config.dataset import SEGMENT, VIDEO, DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.run import RunConfig
from yt8m_distill.data.record_files import frames_of_file, records_of_any
from yt8m_distill.data.tfrecord import masked_crc32c
from yt8m_distill.errors import UserError
from yt8m_distill.inference import main as inference_main
from yt8m_distill.merge_predictions import main as merge_main
from yt8m_distill.prediction import beam_source

pytestmark = pytest.mark.slow

SPEC = DatasetSpec("own features", "id", ("rgb", "audio"), (6, 2), 10, 12)


def predict(folder: pathlib.Path, name: str, *flags: str) -> int:
    where = [f"--train_dir={folder}/run", f"--input_data_pattern={folder}/*.tfrecord,{folder}/1.tfrecord"]
    if name.startswith("beam"):
        return beam_main(["beam", *where, f"--output={folder}/{name}", "--runner=DirectRunner", *flags])
    return inference_main(["inference.py", *where, f"--output_file={folder}/{name}", *flags])


def read_predictions(path: pathlib.Path) -> dict[str, dict[str, float]]:
    """Scores by class by video; every video once."""
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    assert len({video for video, _ in rows}) == len(rows)
    return {video: dict(zip(p.split()[::2], map(float, p.split()[1::2]), strict=True)) for video, p in rows}


def assert_same(folder: pathlib.Path):
    expected, found = (read_predictions(folder / name) for name in ("here.csv", "beam.csv"))
    assert expected.keys() == found.keys()
    for video, scores in expected.items():
        assert found[video] == pytest.approx(scores, abs=1e-5)


def damage(path: pathlib.Path, number: int, offset: int):
    """Changes a bit of a record: in its length (offset 0), or in its data."""
    place = list(frames_of_file(path))[number - 1].offset + offset
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """Files with and without damage, and the run of a model that sees 3 random frames."""
    folder = tmp_path_factory.mktemp("beam")
    for index in range(3):
        write_records(folder / f"{index}.tfrecord", [*learnable_videos(20, seed=100 * index), b"no record"])
    damage(folder / "1.tfrecord", 2, 40)
    damage(folder / "2.tfrecord", 19, 0)
    (folder / "3.tfrecord").touch()
    config = RunConfig("FrameLevelLogistic", "baseline", selection=FrameSelection(3, sampling="random"), data=SPEC)
    write_run(folder / "run", config)
    return folder


def test_predictions_are_those_of_inference_and_bad_records_are_listed(folder, capsys):
    assert predict(folder, "here.csv", "--on_bad_record=skip", "--max_bad_fraction=1") == 0
    flags = ["--batch_size=8", "--output_shards=2"]
    assert predict(folder, "beam.csv", *flags) == 1  # too many bad ones
    told = capsys.readouterr()
    assert "Predictions for 58 videos" in told.out
    assert "6 bad records" in told.err
    assert "more than --max_bad_fraction=0.01" in told.err
    assert merge_main(["merge", str(folder / "beam.csv")]) == 0
    assert_same(folder)
    with open(folder / "beam.bad_records.csv", newline="") as file:
        bad = {(pathlib.Path(row["file"]).name, int(row["record"])): row["problem"] for row in csv.DictReader(file)}
    assert sorted(bad) == [
        ("0.tfrecord", 21), ("1.tfrecord", 2), ("1.tfrecord", 21), ("2.tfrecord", 19), ("2.tfrecord", 21),
        ("3.tfrecord", 1),
    ]  # fmt: skip
    assert bad["1.tfrecord", 2] == "damaged: its checksum is wrong"
    assert "the next record begins" in bad["2.tfrecord", 19]
    assert not list(folder.glob("*.tgz"))  # the model travelled in it


def test_a_file_of_an_export_travels_to_the_workers(tmp_path, capsys):
    folder = write_export(tmp_path / "export")
    write_records(tmp_path / "0.tfrecord", [record.SerializeToString() for record in videos()])
    where = [f"--export_dir={folder}", f"--input_data_pattern={tmp_path}/0.tfrecord", "--engine=onnxruntime"]
    assert beam_main(["beam", *where, f"--output={tmp_path}/beam.csv", "--output_shards=1"]) == 0
    assert inference_main(["inference.py", *where, f"--output_file={tmp_path}/here.csv"]) == 0
    assert merge_main(["merge", str(tmp_path / "beam.csv")]) == 0
    assert_same(tmp_path)
    assert not list(tmp_path.glob("*.onnx"))  # the model travelled in it


def test_a_bad_record_can_be_an_error(folder, capsys):
    (folder / "clean").mkdir()
    write_records(folder / "clean" / "0.tfrecord", [*learnable_videos(3), b"no record"])
    pattern = f"--input_data_pattern={folder}/clean"
    assert (
        beam_main(["b", f"--train_dir={folder}/run", pattern, f"--output={folder}/e.csv", "--on_bad_record=error"]) == 2
    )
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("Error: the pipeline has failed")
    assert "0.tfrecord, record 4: it is not a tf.train.SequenceExample" in last


def test_an_empty_file_may_be_all_that_is_bad(folder, tmp_path, caplog):
    write_records(tmp_path / "0.tfrecord", learnable_videos(3))
    (tmp_path / "1.tfrecord").touch()
    flags = [f"--train_dir={folder}/run", f"--input_data_pattern={tmp_path}/*.tfrecord", f"--output={tmp_path}/out.csv"]
    assert beam_main(["beam", *flags]) == 0
    assert "1 bad records, 0 of 480 bytes" in caplog.text
    assert sum(len(read_predictions(path)) for path in tmp_path.glob("out-*.csv")) == 3
    assert "1.tfrecord,1,0,the file is empty" in (tmp_path / "out.bad_records.csv").read_text()


def test_parts_of_predictions_with_like_names_are_not_removed(folder, tmp_path, capsys):
    other = tmp_path / "p-other-00000-of-00001.csv"
    other.write_text("somebody's")
    flags = [f"--train_dir={folder}/run", f"--input_data_pattern={folder}/0.tfrecord", f"--output={tmp_path}/p.csv"]
    assert beam_main(["beam", *flags]) == 2
    assert f"Beam would remove {other}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [other.name]


def test_files_are_those_of_inference(folder, tmp_path, monkeypatch):
    """Also of a pattern without a folder; what `thin` is still writing begins with a dot."""
    write_records(tmp_path / "0.tfrecord", learnable_videos(3))
    (tmp_path / ".1.tfrecord").write_bytes(b"half")
    monkeypatch.chdir(tmp_path)
    assert beam_main(["b", f"--train_dir={folder}/run", "--input_data_pattern=*.tfrecord", "--output=out/x.csv"]) == 0
    assert sum(len(read_predictions(path)) for path in tmp_path.glob("out/x-*.csv")) == 3


def test_a_file_that_a_worker_does_not_see_is_an_error(tmp_path):
    assert beam_source.check_seen(__file__) == __file__
    with pytest.raises(UserError, match=r"0\.tfrecord is not there for this worker"):
        beam_source.check_seen(str(tmp_path / "0.tfrecord"))


def test_damage_that_takes_memory_or_cannot_be_unpacked(tmp_path):
    length = struct.pack("<Q", 1 << 62)
    vast = length + struct.pack("<I", masked_crc32c(length)) + bytes(100)
    write_records(tmp_path / "0.tfrecord", learnable_videos(2))
    packed = bytearray(gzip.compress((tmp_path / "0.tfrecord").read_bytes()))
    packed[len(packed) // 2] ^= 255
    contents = {
        "vast.tfrecord": (vast, "damaged or cut short: the file ends before it"),
        "0.tfrecord.gz": (bytes(packed), "the file is not a TFRecord file but a damaged gzip file"),
        "1.tfrecord.gz": (b"no gzip", "the file is not a TFRecord file but a text file"),
    }
    for name, (content, problem) in contents.items():
        (tmp_path / name).write_bytes(content)
        with FileSystems.open(str(tmp_path / name), compression_type=CompressionTypes.UNCOMPRESSED) as file:
            *_, last = records_of_any(file, name)
        assert last.problem == problem


def test_video_level_models(tmp_path):
    means = [video_level({"mean_rgb": [0.1 * n, 1, 2, 3, 4, 5], "mean_audio": [n, 1]}, f"v{n}") for n in range(9)]
    write_records(tmp_path / "1.tfrecord", means)
    spec = DatasetSpec("own features", "id", ("mean_rgb", "mean_audio"), (6, 2), 10, 1, level=VIDEO)
    write_run(tmp_path / "run", RunConfig("Logistic", "teacher", data=spec))
    assert predict(tmp_path, "here.csv") == 0
    assert predict(tmp_path, "beam.csv", "--output_shards=1") == 0
    assert merge_main(["merge", str(tmp_path / "beam.csv")]) == 0
    assert_same(tmp_path)


def test_senseless_wishes_are_refused(folder, tmp_path, capsys, monkeypatch):
    assert predict(folder, "beam_.csv", "--topk=4") == 2
    assert "neither this program nor Beam knows --topk" in capsys.readouterr().err
    for flags, told in (
        (["--runner=direct", "--topk=4"], "neither this program nor Beam knows --topk"),
        (["0.tfrecord"], "unexpected argument '0.tfrecord'"),
        (["--runner=None"], "the pipeline has failed: Unexpected pipeline runner: None"),
        (["--output=nowhere://bucket/x.csv"], "nowhere://bucket/x.csv cannot be reached by Beam"),
        (["--input_data_pattern=nowhere://bucket/*"], "nowhere://bucket/* cannot be reached by Beam"),
    ):
        assert predict(folder, "beam_.csv", *flags) == 2
        assert told in capsys.readouterr().err
    write_records(tmp_path / "1.tfrecord", [rated_video([(0, 1, 1.0)])])
    spec = DatasetSpec("own features", "id", ("rgb", "audio"), (6, 2), 10, 12, level=SEGMENT)
    write_run(tmp_path / "run", RunConfig("FrameLevelLogistic", "teacher", data=spec))
    assert predict(tmp_path, "beam.csv") == 2
    assert "segments are predicted by inference.py" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "yt8m_distill.prediction.beam")
    assert predict(folder, "beam.csv") == 2
    assert "pip install 'yt8m_distill[beam]'" in capsys.readouterr().err


def test_labels_ids_and_compression_are_those_of_inference(folder, tmp_path):
    """Labels that no model knows, an id as a number, generated ids, and compressed files without an ending."""
    videos = learnable_videos(12)
    for number, video in enumerate(videos):
        labels = video.context.feature["labels"].int64_list.value
        labels[:] = [0, 1] * 5 if number % 2 else [99999]
        if number % 3 == 0:
            video.context.feature["id"].int64_list.value.append(number)
    plain = pathlib.Path(write_records(tmp_path / "0.tfrecord", videos[:4]))
    for number, compress in ((1, gzip.compress), (2, zlib.compress)):
        records = pathlib.Path(write_records(tmp_path / "records", videos[4 * number : 4 * number + 4])).read_bytes()
        (tmp_path / f"{number}.tfrecord").write_bytes(compress(records))
    shutil.copytree(folder / "run", tmp_path / "run")
    assert predict(tmp_path, "here.csv") == 0
    assert predict(tmp_path, "beam.csv", "--output_shards=1") == 0
    assert merge_main(["merge", str(tmp_path / "beam.csv")]) == 0
    assert_same(tmp_path)
    assert {"0", "3", "6", "9", "v0_1"} <= read_predictions(tmp_path / "here.csv").keys()
    plain.write_bytes(gzip.compress(plain.read_bytes()))
    assert predict(tmp_path, "here.csv", "--id_key=") == 0
    assert predict(tmp_path, "beam2.csv", "--output_shards=1", "--id_key=") == 0
    (part,) = tmp_path.glob("beam2-*.csv")
    assert read_predictions(part).keys() == read_predictions(tmp_path / "here.csv").keys()
    assert "2.tfrecord:4" in read_predictions(part)
