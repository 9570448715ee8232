"""python -m yt8m_distill.thin: the same frames in fewer bytes, and no command sees more than thin shards hold."""

import dataclasses
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.end_to_end.commands import evaluate, predict, train
from tests.helpers import TINY_FEATURES, TINY_FLAGS, learnable_videos, sequence_example, shared_path, write_records
from yt8m_distill.config.dataset import DatasetSpec, SpecOverrides
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.data import format_detection, reading, rewriting
from yt8m_distill.data.batches import View, check_view
from yt8m_distill.data.frame_selection import frame_indices
from yt8m_distill.data.record_files import frames_of_file
from yt8m_distill.data.sequence_example import regular_record, serialized_example, serialized_int64s
from yt8m_distill.data.tfrecord import DamagedRecord, framed
from yt8m_distill.data.video_files import open_videos
from yt8m_distill.errors import UserError
from yt8m_distill.files.untrusted import read_json
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.loading import load
from yt8m_distill.thin import main as thin_main
from yt8m_distill.verify import main as verify_main

ROOT = pathlib.Path(__file__).parents[2]
SPEC = DatasetSpec("YouTube-8M 2018", "id", ("rgb", "audio"), (6, 2), 3862, 300)
K = 4


def thin(source, target, *arguments: str, k: int = K) -> int:
    return thin_main(["thin", str(source), str(target), f"--frames={k}", *TINY_FLAGS, *arguments])


def parsed(path) -> list[tf.train.SequenceExample]:
    return [tf.train.SequenceExample.FromString(each.numpy()) for each in tf.data.TFRecordDataset(str(path))]


def rows(example: tf.train.SequenceExample, name: str) -> list[bytes]:
    return [row.bytes_list.value[0] for row in example.feature_lists.feature_list[name].feature]


def snapshot(folder: pathlib.Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of all files, hidden ones too."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


@pytest.mark.parametrize("num_frames", [0, 1, 127, 300])
@pytest.mark.parametrize("size", [1, 124, 1024, 20000])
def test_encoded_records_are_those_of_protobuf(num_frames, size):
    example = sequence_example(num_frames=num_frames, sizes={"clip": size}, labels=(1, 200, 3861))
    frames = np.frombuffer(b"".join(rows(example, "clip")), np.uint8).reshape(num_frames, size)
    encoded = serialized_example(example.context.SerializeToString(deterministic=True), {"clip": frames})
    assert encoded == example.SerializeToString(deterministic=True)
    if num_frames:
        np.testing.assert_array_equal(regular_record(encoded).feature_lists["clip"], frames)


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31, 2**62])
def test_encoded_numbers_are_those_of_protobuf(value):
    feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    assert serialized_int64s({"a": value}) == tf.train.Features(feature={"a": feature}).SerializeToString()


def test_framed_records_are_those_of_tensorflow(tmp_path):
    path = write_records(tmp_path / "a.tfrecord", [b"", b"some data", bytes(70000)])
    assert pathlib.Path(path).read_bytes() == framed(b"") + framed(b"some data") + framed(bytes(70000))


@pytest.mark.parametrize("num_frames", [0, 1, K - 1, K, K + 1, 11, 300, 301])
def test_a_thin_record_holds_the_frames_that_a_student_sees(tmp_path, num_frames):
    original = sequence_example("v", (7, 3), num_frames, seed=num_frames)
    original.context.feature["score"].float_list.value.extend([0.5, 2.0])
    original.context.feature["uploader"].bytes_list.value.extend([b"a", b"b"])
    write_records(tmp_path / "a.tfrecord", [original])
    assert thin(tmp_path, tmp_path / "out") == 0
    (record,) = parsed(tmp_path / "out" / "a.tfrecord")
    indices = frame_indices(min(num_frames, 300), k=K)
    for name in ("rgb", "audio"):
        assert rows(record, name) == [rows(original, name)[index] for index in indices]
    added = {"thin_frames": K, "thin_max_frames": 300, "thin_original_frames": num_frames}
    assert {name: list(record.context.feature.pop(name).int64_list.value) for name in added} == {
        name: [value] for name, value in added.items()
    }
    assert record.context == original.context


def test_thin_shards_are_read_without_the_parser(tmp_path):
    write_records(tmp_path / "a.tfrecord", [sequence_example(num_frames=9)])
    assert thin(tmp_path, tmp_path / "out") == 0
    serialized = next(iter(tf.data.TFRecordDataset(str(tmp_path / "out" / "a.tfrecord")))).numpy()
    spec = format_detection.detect_spec(serialized, "x", TINY_FEATURES)
    assert spec == DatasetSpec("YouTube-8M 2018", "id", ("rgb", "audio"), (6, 2), 3862, 300, thin_frames=K)
    assert "thin shards with 4 frames" in spec.describe()
    assert "thin" not in SPEC.describe()
    record = regular_record(serialized)
    assert record.context["thin_original_frames"].values == [9]
    assert reading.read_video(serialized, spec).num_frames == K


def test_features_a_frame_apart_and_a_record_in_two_parts(tmp_path):
    """Protobuf joins messages that stand one after another; only the parser reads such a record."""
    context, lists = sequence_example("apart", num_frames=0), sequence_example("x", num_frames=9)
    del context.feature_lists.feature_list["rgb"], context.feature_lists.feature_list["audio"]
    del lists.context.feature["id"], lists.feature_lists.feature_list["audio"].feature[8]
    joined = context.SerializeToString() + lists.SerializeToString()
    assert regular_record(joined) is None
    write_records(tmp_path / "a.tfrecord", [joined])
    assert thin(tmp_path, tmp_path / "out") == 0
    (record,) = parsed(tmp_path / "out" / "a.tfrecord")
    assert record.context.feature["id"].bytes_list.value[:] == [b"apart"]
    assert record.context.feature["thin_original_frames"].int64_list.value[:] == [8]
    for name in ("rgb", "audio"):
        assert rows(record, name) == [rows(lists, name)[index] for index in frame_indices(8, k=K)]


@pytest.fixture
def shards(tmp_path) -> pathlib.Path:
    """A folder with four files of 5 videos each."""
    folder = tmp_path / "in"
    folder.mkdir()
    for file in range(4):
        videos = [sequence_example(f"f{file}_{i}", num_frames=5 + i, seed=10 * file + i) for i in range(5)]
        write_records(folder / f"train{file}.tfrecord", videos)
    return folder


def test_names_and_order_are_kept_and_bytes_are_fewer(shards, tmp_path, capsys):
    assert thin(f"{shards}/train[01]*,{shards}/train3.tfrecord", tmp_path / "deep" / "out") == 0
    assert sorted(snapshot(tmp_path / "deep" / "out")) == ["train0.tfrecord", "train1.tfrecord", "train3.tfrecord"]
    ids = [each.context.feature["id"].bytes_list.value[0] for each in parsed(tmp_path / "deep/out/train1.tfrecord")]
    assert ids == [f"f1_{i}".encode() for i in range(5)]
    assert "15 videos written; all 3 thin shards" in capsys.readouterr().out


def test_thin_shards_pass_verification(shards, tmp_path, capsys):
    assert thin(shards, tmp_path / "out") == 0
    assert verify_main(["verify", str(tmp_path / "out"), *TINY_FLAGS, f"--output_file={tmp_path / 'bad.txt'}"]) == 0
    assert "all 4 files" in capsys.readouterr().out


def test_a_second_run_leaves_finished_shards_alone(shards, tmp_path, capsys):
    out = tmp_path / "out"
    assert thin(f"{shards}/train[01]*", out) == 0
    before = snapshot(out)
    capsys.readouterr()
    assert thin(shards, out) == 0
    after = snapshot(out)
    assert "10 videos written; all 4 thin shards" in capsys.readouterr().out
    assert {name: after[name] for name in before} == before
    assert len(after) == 4


def test_a_stopped_run_leaves_no_half_of_a_shard(shards, tmp_path, monkeypatch):
    assert thin(shards, tmp_path / "whole") == 0
    written = []

    def stopping(data: bytes) -> bytes:
        written.append(data)
        if len(written) == 13:
            raise KeyboardInterrupt
        return framed(data)

    with monkeypatch.context() as patched:
        patched.setattr(rewriting, "framed", stopping)
        assert thin(shards, tmp_path / "out") == 1
    assert sorted(snapshot(tmp_path / "out")) == ["train0.tfrecord", "train1.tfrecord"]
    assert thin(shards, tmp_path / "out") == 0
    contents = [{name: content for name, (content, _) in snapshot(tmp_path / f).items()} for f in ("whole", "out")]
    assert contents[0] == contents[1]


def test_what_a_kill_leaves_is_no_shard(shards, tmp_path):
    """A half-written file has a hidden name, which folders and globs do not match; the next run removes it."""
    out = tmp_path / "out"
    out.mkdir()
    leftover = out / ".train0.tfrecord.partial"
    leftover.write_bytes(b"half")
    assert thin(f"{shards}/train1*", out) == 0
    assert len(open_videos(str(out), "x", TINY_FEATURES).files) == 1
    assert thin(shards, out) == 0
    assert not leftover.exists()


def test_other_things_in_the_way_are_refused_and_left_alone(shards, tmp_path, capsys):
    out = tmp_path / "out"
    assert thin(f"{shards}/train2*", out) == 0
    (tmp_path / "foreign").mkdir()
    write_records(tmp_path / "foreign" / "train2.tfrecord", [sequence_example("other")])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "train2.tfrecord").touch()
    attempts = [(out, 5, ()), (tmp_path / "foreign", K, ()), (tmp_path / "empty", K, ()), (out, K, ("--max_frames=3",))]
    for target, k, arguments in attempts:
        before = snapshot(target)
        assert thin(shards, target, *arguments, k=k) == 2
        assert f"'{target}/train2.tfrecord' is not what --frames={k} makes of '{shards}" in capsys.readouterr().err
        assert snapshot(target) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{in}"], "OUT_DIR is missing"),
        (["{in}", "{in}"], "is in it; thin shards need a directory of their own"),
        (["{in}", "{in}/../in/"], "is in it"),
        (["{in},{tmp}/again", "{tmp}/out"], "have the same name"),
        (["{in}/nothing*", "{tmp}/out"], "IN: no file matches"),
        (["{in}", "{tmp}/out", "--frames=0"], "--frames must be at least 1"),
        (["{in}", "{tmp}/out", "--max_bad_fraction=0.5"], "does nothing without --on_bad_record=skip"),
        (["{in}", "{in}/train0.tfrecord"], "cannot be created"),
    ],
)
def test_wrong_usage(shards, tmp_path, capsys, arguments, message):
    (tmp_path / "again").mkdir()
    write_records(tmp_path / "again" / "train0.tfrecord", [sequence_example()])
    filled = [each.replace("{in}", str(shards)).replace("{tmp}", str(tmp_path)) for each in arguments]
    assert thin_main(["thin", *TINY_FLAGS, *filled]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_thin_shards_are_not_thinned_again(shards, tmp_path, capsys):
    assert thin(shards, tmp_path / "out") == 0
    assert thin(tmp_path / "out", tmp_path / "again", k=2) == 2
    assert "is a thin shard already" in capsys.readouterr().err


def damage(path: pathlib.Path, number: int) -> int:
    """Flips a bit in a record; returns the record's bytes."""
    frame = list(frames_of_file(path))[number - 1]
    content = bytearray(path.read_bytes())
    content[frame.offset + 30] ^= 1
    path.write_bytes(content)
    return frame.num_bytes


def test_bad_records(shards, tmp_path, capsys, caplog):
    damage(shards / "train1.tfrecord", 3)
    (shards / "train2.tfrecord").write_bytes((shards / "train2.tfrecord").read_bytes()[:50])
    out = tmp_path / "out"
    assert thin(shards, out) == 2
    assert f"{shards}/train1.tfrecord, record 3: damaged" in capsys.readouterr().err
    assert sorted(snapshot(out)) == ["train0.tfrecord"]
    assert thin(shards, out, "--on_bad_record=skip") == 1
    assert "more than --max_bad_fraction=0.01" in capsys.readouterr().err
    assert "train2.tfrecord holds no good record" in caplog.text
    assert [len(parsed(out / f"train{i}.tfrecord")) for i in (0, 1, 3)] == [5, 4, 5]
    assert not (out / "train2.tfrecord").exists()
    assert thin(shards, out, "--on_bad_record=skip", "--max_bad_fraction=1") == 0


def test_a_full_disk_is_a_user_error(shards, tmp_path, capsys):
    out = tmp_path / "out"
    assert thin(f"{shards}/train0*", out) == 0
    (out / ".train2.tfrecord.partial").symlink_to("/dev/full")
    assert thin(shards, out) == 2
    message = capsys.readouterr().err
    assert f"no space left on the disk for '{out}/train2.tfrecord'; what was written before is intact" in message
    assert sorted(snapshot(out)) == ["train0.tfrecord", "train1.tfrecord"]
    assert thin(shards, out) == 0


def test_selected_frames_of_thin_shards_are_those_of_the_originals(tmp_path):
    write_records(
        tmp_path / "a.tfrecord", [sequence_example(f"v{n}", num_frames=n, seed=n) for n in reversed(range(40))]
    )
    assert thin(tmp_path, tmp_path / "out") == 0
    both = []
    for folder in (tmp_path, tmp_path / "out"):
        videos = open_videos(str(folder), "x", TINY_FEATURES)
        both.append(list(videos.ordered_batches(View(FrameSelection(K)), 16)))
    for original, thin_batch in zip(*both, strict=True):
        for name in ("video_id", "labels", "num_frames", "frames"):
            np.testing.assert_array_equal(thin_batch[name], original[name])


def test_kinds_of_shards_do_not_mix(shards, tmp_path):
    assert thin(shards, tmp_path / "four") == 0
    assert thin(f"{shards}/train0*", tmp_path / "three", k=3) == 0
    mixtures = [
        (f"{shards}/train0*,{tmp_path}/four/train1*", "its shard is thin, with --frames=4 and --max_frames=300"),
        (f"{tmp_path}/four/train1*,{shards}/train0*", "its shard is not thin; the data began with one that is thin"),
        (f"{tmp_path}/four/train1*,{tmp_path}/three", "its shard is thin, with --frames=3 and --max_frames=300"),
    ]
    for pattern, message in mixtures:
        videos = open_videos(pattern, "x", TINY_FEATURES)
        with pytest.raises(UserError, match=f"train0.tfrecord, record 1: .*{message}|train1.*, record 1: .*{message}"):
            list(videos.ordered_batches(View(FrameSelection(2)), 4))
    videos = open_videos(mixtures[0][0], "x", TINY_FEATURES, skip_bad_records=True)
    assert sum(len(batch["video_id"]) for batch in videos.ordered_batches(View(), 4)) == 5


def test_both_ways_of_reading_agree_on_thin_records(tmp_path):
    thin_spec = DatasetSpec("YouTube-8M 2018", "id", ("rgb", "audio"), (6, 2), 3862, 300, K)
    for values in ([K], [K, 9], [9], []):
        example = sequence_example()
        example.context.feature["thin_frames"].int64_list.value.extend(values)
        example.context.feature["thin_max_frames"].int64_list.value.append(300)
        serialized = example.SerializeToString()
        outcomes = []
        for record in (serialized, serialized + tf.train.SequenceExample().SerializeToString() + b"\n\0"):
            try:
                outcomes.append(reading.read_video(record, thin_spec).num_frames)
            except DamagedRecord as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]
        assert (outcomes[0] == 4) == (values[:1] == [K])
        with pytest.raises(DamagedRecord, match="its shard is thin"):
            reading.read_video(serialized, SPEC)


@pytest.mark.parametrize("max_frames", [0, 5])
def test_another_max_frames_than_the_shards_were_made_with_is_refused(shards, tmp_path, max_frames):
    assert thin(shards, tmp_path / "out") == 0
    with pytest.raises(UserError, match=f"made with --max_frames=300, not {max_frames}"):
        open_videos(
            str(tmp_path / "out"),
            "x",
            SpecOverrides(("rgb", "audio"), (6, 2), max_frames=max_frames),
        )
    assert thin(shards, tmp_path / "other", f"--max_frames={max_frames}") == 0
    videos = open_videos(str(tmp_path / "other"), "x", TINY_FEATURES)
    assert (videos.spec.max_frames, videos.spec.thin_frames) == (max_frames, K)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
    """Originals of videos of 1 to 12 frames in `original`, thin shards of 3 frames in `thin`."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "original").mkdir()
    for index, (part, count) in enumerate([("train0", 30), ("train1", 34), ("test0", 20)]):
        write_records(folder / "original" / f"{part}.tfrecord", learnable_videos(count, seed=100 * index))
    assert thin(folder / "original", folder / "thin", k=3) == 0
    return folder


BASELINE = ("--training_mode=baseline", "--student_frames=3", "--num_epochs=1", "--deterministic")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> pathlib.Path:
    """A baseline of 3 frames, trained on the originals."""
    folder = tmp_path_factory.mktemp("runs") / "baseline"
    assert train(data / "original", folder, *BASELINE) == 0
    return folder


@pytest.mark.slow
def test_predictions_and_metrics_are_those_on_the_originals(data, run, tmp_path):
    for kind in ("original", "thin"):
        pattern, output = f"{data}/{kind}/test*", f"--output_file={tmp_path / kind}"
        assert predict(f"--train_dir={run}", f"--input_data_pattern={pattern}", output) == 0
        assert evaluate(f"--train_dir={run}", f"--eval_data_pattern={pattern}", f"{output}.json") == 0
    assert (tmp_path / "thin").read_bytes() == (tmp_path / "original").read_bytes()
    metrics = [read_json(tmp_path / f"{kind}.json") for kind in ("original", "thin")]
    assert metrics[0].pop("eval_data_pattern") != metrics[1].pop("eval_data_pattern")
    assert metrics[0] == metrics[1]


@pytest.mark.slow
def test_training_is_that_on_the_originals(data, run, tmp_path, caplog):
    validation = f"--validation_data_pattern={data}/original/test*"  # the kinds may differ between patterns
    assert train(data / "thin", tmp_path / "run", *BASELINE, validation) == 0
    weights = [load(str(folder), "student").model.get_weights() for folder in (run, tmp_path / "run")]
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert RunDir(tmp_path / "run").read_config().data.thin_frames == 3
    assert "so the student sees all of them" not in caplog.text


@pytest.mark.parametrize(
    ("arguments", "wish"),
    [
        (["--student_frames=3"], "a model that sees all frames"),
        (["--training_mode=parallel", "--student_frames=3"], "a model that sees all frames"),
        (["--training_mode=teacher"], "a model that sees all frames"),
        (["--student_frames=3", "--teacher_dir={teacher}"], "a model that sees all frames"),
        (["--training_mode=baseline", "--student_frames=4"], "--student_frames=4"),
        (["--training_mode=baseline", "--student_stride=2"], "--student_stride=2"),
        (["--training_mode=baseline", "--student_frames=3", "--frame_sampling=first"], "--frame_sampling=first"),
    ],
)
@pytest.mark.parametrize("part", ["train", "validation"])
def test_training_on_more_than_thin_shards_hold_is_refused(data, tmp_path, capsys, arguments, wish, part):
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher/report.json").touch()
    arguments = [argument.format(teacher=tmp_path / "teacher") for argument in arguments]
    if part == "train":
        assert train(data / "thin", tmp_path / "run", *arguments) == 2
    else:
        pattern = f"--validation_data_pattern={data}/thin/test*"
        assert train(data / "original", tmp_path / "run", *arguments, pattern) == 2
    message = capsys.readouterr().err
    assert f"--{part}_data_pattern: thin shards, which hold 3 uniform frames of each video; {wish} needs" in message
    assert not (tmp_path / "run").exists()


def test_other_frames_than_thin_shards_hold_are_refused_in_evaluation_and_prediction(data, run, tmp_path, capsys):
    commands = [
        (evaluate, f"--eval_data_pattern={data}/thin/test*", f"--output_file={tmp_path / 'x'}"),
        (predict, f"--input_data_pattern={data}/thin/test*", f"--output_file={tmp_path / 'x'}"),
    ]
    for command, pattern, output in commands:
        for wish in ("--student_frames=4", "--student_stride=2", "--frame_sampling=last"):
            frames = ["--student_frames=3"] if "sampling" in wish else []
            assert command(f"--train_dir={run}", pattern, output, wish, *frames) == 2
            message = capsys.readouterr().err
            assert f"{pattern.partition('=')[0]}: thin shards, which hold 3" in message
            assert f"; {wish} needs the original shards" in message
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_a_teacher_does_not_take_thin_shards(data, tmp_path, capsys):
    assert train(data / "original", tmp_path / "run", "--training_mode=teacher", "--max_steps=1") == 0
    assert evaluate(f"--train_dir={tmp_path / 'run'}", f"--eval_data_pattern={data}/thin/test*") == 2
    assert "a model that sees all frames needs the original shards" in capsys.readouterr().err


def test_fewer_frames_than_thin_shards_hold_are_taken_with_a_warning(data, run, tmp_path, caplog):
    arguments = [f"--train_dir={run}", "--student_frames=2", f"--output_file={tmp_path / 'x.csv'}"]
    assert predict(*arguments, f"--input_data_pattern={data}/thin/test*") == 0
    assert "2 of the 3 frames in thin shards are close to 2 of all frames, but not always the same" in caplog.text


def test_as_a_module():
    command = [sys.executable, "-m", "yt8m_distill.thin"]
    assert subprocess.run([*command, "x"], cwd=ROOT, capture_output=True).returncode == 2
    shown = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0
    assert "--frames" in shown.stdout


def test_the_real_youtube_8m_video(tmp_path):
    path = shared_path("data/yt8m_frame/SjJ3.tfrecord")
    assert thin_main(["thin", str(path), str(tmp_path / "out"), "--frames=30"]) == 0
    original, record = parsed(path)[0], parsed(tmp_path / "out" / path.name)[0]
    assert rows(record, "rgb") == [rows(original, "rgb")[index] for index in frame_indices(170, k=30)]
    assert (tmp_path / "out" / path.name).stat().st_size < 0.18 * path.stat().st_size


@pytest.mark.parametrize("sampling", ["medoid", "k_center", "motion"])
def test_thin_shards_hold_chosen_frames(tmp_path, sampling):
    """The same frames for the same sampling and k, and no other ones."""
    (tmp_path / "in").mkdir()
    write_records(
        tmp_path / "in" / "a.tfrecord", [sequence_example(f"v{n}", num_frames=n, seed=n) for n in (0, 2, 9, 40)]
    )
    assert thin(tmp_path / "in", tmp_path / "out", f"--frame_sampling={sampling}") == 0
    original, kept = (open_videos(str(tmp_path / name), "x", TINY_FEATURES) for name in ("in", "out"))
    assert (kept.spec.thin_frames, kept.spec.thin_sampling) == (K, sampling)
    view = View(FrameSelection(K, sampling=sampling))
    check_view(kept.spec, view, "x")
    (expected,), (batch,) = (list(videos.ordered_batches(view, 9)) for videos in (original, kept))
    np.testing.assert_array_equal(batch["frames"], expected["frames"])
    assert batch["num_frames"].tolist() == [0, 2, K, K]
    others = [FrameSelection(K), FrameSelection(K, sampling="learned"), FrameSelection(K - 1, sampling=sampling)]
    for other in [*others, FrameSelection(K, sampling=sampling, drawn_from=(1, K))]:
        with pytest.raises(UserError, match=f"thin shards, which hold {K} {sampling} frames"):
            check_view(kept.spec, View(other), "x")
    with pytest.raises(UserError, match=f"thin shards, which hold {K} uniform frames"):
        check_view(dataclasses.replace(kept.spec, thin_sampling="uniform"), view, "x")


def test_thin_shards_of_different_samplings_do_not_mix(tmp_path):
    (tmp_path / "in").mkdir()
    write_records(tmp_path / "in" / "a.tfrecord", [sequence_example("v", num_frames=9)])
    for sampling in ("uniform", "medoid"):
        assert thin(tmp_path / "in", tmp_path / sampling, f"--frame_sampling={sampling}") == 0
    videos = open_videos(f"{tmp_path}/uniform/*,{tmp_path}/medoid/*", "x", TINY_FEATURES)
    with pytest.raises(UserError, match=r"its shard is thin, .* and --frame_sampling=medoid; the data began with"):
        list(videos.ordered_batches(View(FrameSelection(K)), 9))
