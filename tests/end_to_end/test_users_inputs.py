"""What users bring, by the commands: labels that nobody needs, ids of every kind, sizes and lists that cannot be."""

import pathlib
import shutil

import pytest
import tensorflow as tf

from tests.end_to_end.commands import evaluate, predict, train
from tests.helpers import TINY_FLAGS, learnable_videos, sequence_example, write_records, write_run
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.run import RunConfig
from yt8m_distill.thin import main as thin_main
from yt8m_distill.train import main as train_main
from yt8m_distill.verify import main as verify_main

pytestmark = pytest.mark.slow

SPEC = DatasetSpec("YouTube-8M 2018", "id", ("rgb", "audio"), (6, 2), 10, 300)
Example = tf.train.SequenceExample


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pathlib.Path:
    """The run directory of a small model."""
    config = RunConfig("FrameLevelLogistic", "baseline", selection=FrameSelection(3), data=SPEC)
    return pathlib.Path(write_run(tmp_path_factory.mktemp("run") / "run", config))


def with_context(example: Example, key: str, **values) -> Example:
    """The same record with a feature of the context replaced, or without it."""
    changed = Example.FromString(example.SerializeToString())
    changed.context.feature.pop(key, None)
    for kind, content in values.items():
        getattr(changed.context.feature[key], kind).value.extend(content)
    return changed


def predicted(run: pathlib.Path, pattern: str, *flags: str) -> dict[str, str]:
    """Predictions by id."""
    output = run.parent / "out.csv"
    assert predict(f"--train_dir={run}", f"--input_data_pattern={pattern}", f"--output_file={output}", *flags) == 0
    rows = [line.split(",") for line in output.read_text().splitlines()[1:]]
    output.unlink()
    assert len(dict(rows)) == len(rows)
    return dict(rows)


LABELS = {
    "of another vocabulary": {"int64_list": [4000, 99999]},
    "below 0": {"int64_list": [-1]},
    "twice": {"int64_list": [3, 3]},
    "multi-hot": {"int64_list": [0, 1] * 1931},
    "texts": {"bytes_list": [b"cat"]},
    "floats": {"float_list": [0.5]},
    "none": {},
}


@pytest.mark.parametrize("labels", LABELS)
def test_predictions_do_not_depend_on_labels(run, tmp_path, labels):
    videos = learnable_videos(5)
    expected = predicted(run, write_records(tmp_path / "a.tfrecord", videos))
    changed = [with_context(video, "labels", **LABELS[labels]) for video in videos]
    path = write_records(tmp_path / "b.tfrecord", changed)
    assert predicted(run, path) == expected
    assert predicted(run, path, "--on_bad_record=skip", "--max_bad_fraction=0") == expected


def test_ids_by_other_keys_and_of_other_kinds(run, tmp_path, capsys):
    videos = learnable_videos(3)
    named = predicted(run, write_records(tmp_path / "a.tfrecord", videos))
    numbers = [with_context(video, "id", int64_list=[number - 1]) for number, video in enumerate(videos)]
    assert predicted(run, write_records(tmp_path / "n.tfrecord", numbers)) == dict(
        zip(["-1", "0", "1"], named.values(), strict=True)
    )
    clips = [
        with_context(with_context(video, "clip/data_path", bytes_list=[b"c%d" % number]), "id")
        for number, video in enumerate(videos)
    ]
    path = write_records(tmp_path / "c.tfrecord", clips)
    assert predict(f"--train_dir={run}", f"--input_data_pattern={path}", f"--output_file={tmp_path}/x.csv") == 2
    message = capsys.readouterr().err
    assert "its keys: clip/data_path (bytes), labels (int64). --id_key=KEY names" in message
    by_key = predicted(run, path, "--id_key=clip/data_path")
    assert by_key == dict(zip(["c0", "c1", "c2"], named.values(), strict=True))
    generated = predicted(run, path, "--id_key=")
    assert generated == dict(zip(["c.tfrecord:1", "c.tfrecord:2", "c.tfrecord:3"], named.values(), strict=True))


def test_generated_ids_differ_or_are_refused(run, tmp_path, capsys):
    for name in ("a", "b, c"):
        (tmp_path / name).mkdir()
        write_records(tmp_path / name / "x, y.tfrecord", [with_context(v, "id") for v in learnable_videos(2)])
    one = predicted(run, str(tmp_path / "a"), "--id_key=")
    assert list(one) == ["x__y.tfrecord:1", "x__y.tfrecord:2"]
    flags = [f"--train_dir={run}", f"--input_data_pattern={tmp_path}/*/x*", f"--output_file={tmp_path}/x.csv"]
    assert predict(*flags, "--id_key=") == 2
    assert "--id_key= makes ids of file names, and" in capsys.readouterr().err


def test_a_run_of_records_without_ids(tmp_path):
    """Trained, evaluated, predicted and thinned; what is thinned keeps the ids."""
    data = tmp_path / "data"
    data.mkdir()
    for name, count in (("train0", 30), ("test0", 20)):
        write_records(data / f"{name}.tfrecord", [with_context(video, "id") for video in learnable_videos(count)])
    run = tmp_path / "run"
    assert train(data, run, "--training_mode=baseline", "--student_frames=2", "--max_steps=2", "--id_key=") == 0
    assert evaluate(f"--train_dir={run}") == 0
    expected = predicted(run, f"{data}/test*")
    assert list(expected)[:2] == ["test0.tfrecord:1", "test0.tfrecord:2"]
    named = write_records(tmp_path / "named.tfrecord", learnable_videos(20))
    assert list(predicted(run, named).values()) == list(expected.values())
    assert next(iter(predicted(run, named))) == "v0_0"
    thin = ["thin", "--frames=2", "--id_key=", "--num_classes=10", *TINY_FLAGS, f"{data}/test*", str(tmp_path / "thin")]
    assert thin_main(thin) == 0
    assert predicted(run, str(tmp_path / "thin")) == expected


def test_editions_are_read_together(run, tmp_path):
    old = [sequence_example(f"old{number}", num_frames=3, id_key="video_id", seed=number) for number in range(2)]
    new = [sequence_example(f"new{number}", num_frames=3, seed=number) for number in range(2)]
    for records in ([*old, *new], [*new, *old]):
        rows = predicted(run, write_records(tmp_path / "mixed.tfrecord", records))
        assert rows["old0"] == rows["new0"] != rows["old1"] == rows["new1"]
    listing = f"--output_file={tmp_path}/bad.txt"
    assert verify_main(["verify", str(tmp_path / "mixed.tfrecord"), *TINY_FLAGS, listing]) == 0


@pytest.mark.parametrize(
    ("size", "guess"),
    [
        (4096, "probably 1024 float32 values"),
        (2048, "probably 1024 float16 values"),
        (8192, "probably 1024 float64 values"),
        (5 * 1024, "probably 5 frames in one string"),
        (1000, "not the published 1024. A feature of your own size needs --feature_names and --feature_sizes"),
    ],
)
def test_published_features_of_another_size(tmp_path, capsys, size, guess):
    path = write_records(tmp_path / "a.tfrecord", [sequence_example(sizes={"rgb": size, "audio": 128})])
    arguments = ["--model=FrameLevelLogistic", f"--train_data_pattern={path}", f"--train_dir={tmp_path}/run"]
    assert train_main(["train.py", *arguments]) == 2
    message = capsys.readouterr().err
    assert f"feature 'rgb' has {size} bytes a frame" in message
    assert guess in message
    assert verify_main(["verify", path]) == 2
    assert guess in capsys.readouterr().err
    other_key = write_records(tmp_path / "b.tfrecord", [sequence_example(sizes={"rgb": size}, id_key="name")])
    flags = ["--feature_names=rgb", "--num_classes=10", "--id_key=name"]
    assert verify_main(["verify", other_key, *flags]) == 2
    assert guess in capsys.readouterr().err
    assert verify_main(["verify", other_key, *flags, f"--feature_sizes={size}"]) == 0


def test_float_features_are_named(tmp_path, capsys):
    example = sequence_example(sizes={"rgb": 1024, "audio": 128})
    row = example.feature_lists.feature_list["rgb"].feature[0]
    row.float_list.value.extend([0.5] * 1024)
    path = write_records(tmp_path / "a.tfrecord", [example])
    assert verify_main(["verify", path]) == 2
    assert "frames of 'rgb' must be one bytes string (uint8 values) or a list of floats each, not float_list" in (
        capsys.readouterr().err
    )


def test_multi_hot_labels_are_named_in_either_mode(tmp_path, capsys):
    videos = [with_context(video, "labels", int64_list=[0, 1, 0, 0, 0, 1]) for video in learnable_videos(20)]
    write_records(tmp_path / "train0.tfrecord", videos)
    write_records(tmp_path / "test0.tfrecord", learnable_videos(20))
    arguments = ["--training_mode=baseline", "--student_frames=2", "--max_steps=2"]
    for mode in ([], ["--on_bad_record=skip"]):
        assert train(tmp_path, tmp_path / "run", *arguments, *mode) == 2
        assert "multi-hot" in capsys.readouterr().err


def test_a_silent_video_is_said_and_counted(data, run, tmp_path, capsys):
    silent = learnable_videos(1)[0]
    del silent.feature_lists.feature_list["audio"].feature[:]
    for _ in range(3):
        silent.feature_lists.feature_list["rgb"].feature.add().CopyFrom(
            silent.feature_lists.feature_list["rgb"].feature[0]
        )
    path = write_records(tmp_path / "a.tfrecord", [*learnable_videos(3, seed=5), silent])
    flags = [f"--train_dir={run}", f"--input_data_pattern={path}", f"--output_file={tmp_path}/x.csv"]
    assert predict(*flags) == 2
    assert "record 4: video 'v0_0': it has" in capsys.readouterr().err
    assert len(predicted(run, path, "--on_bad_record=skip", "--max_bad_fraction=1")) == 3
    assert verify_main(["verify", path, *TINY_FLAGS, f"--output_file={tmp_path}/bad.txt"]) == 1
    assert "of 'rgb' and 0 of 'audio' frames, so that the video has none" in capsys.readouterr().out


def test_verify_lists_what_inference_refuses(run, tmp_path, capsys):
    path = write_records(tmp_path / "a.tfrecord", [sequence_example("a"), sequence_example("clips, 2019/a.mp4")])
    flags = [f"--train_dir={run}", f"--input_data_pattern={path}", f"--output_file={tmp_path}/x.csv"]
    assert predict(*flags) == 2
    problem = "record 2: video 'clips, 2019/a.mp4': its id has a comma, a quote or a line break"
    assert problem in capsys.readouterr().err
    assert verify_main(["verify", path, *TINY_FLAGS, f"--output_file={tmp_path}/bad.txt"]) == 1
    assert problem in capsys.readouterr().out


def test_a_folder_whose_name_looks_like_a_pattern(run, tmp_path):
    folder = tmp_path / "[ab]"
    folder.mkdir()
    write_records(folder / "x.tfrecord", learnable_videos(3))
    moved = folder / "run"
    shutil.copytree(run, moved)
    assert len(predicted(moved, str(folder))) == 3
    assert len(predicted(moved, f"{folder}/x*")) == 3
