"""python -m yt8m_distill.export: every file predicts what the Keras model does, or there is none."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.deployment.exports import (
    CLASSES,
    FRAME_SIZE,
    MAX_FRAMES,
    K,
    export,
    frames_of,
    predictions_of,
    videos,
    write_run,
)
from tests.helpers import learnable_videos, sequence_example, write_records
from tests.models.test_every_model import TINY
from yt8m_distill.config.dataset import SEGMENT, VIDEO
from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.data.batches import View
from yt8m_distill.data.frame_selection import frame_indices
from yt8m_distill.data.reading import read_video
from yt8m_distill.deployment import onnx, runners
from yt8m_distill.deployment.manifest import read_manifest
from yt8m_distill.errors import UserError
from yt8m_distill.plugins import FRAME_SAMPLINGS, register_frame_sampling
from yt8m_distill.prediction.predict import prediction_function
from yt8m_distill.runs import loading
from yt8m_distill.serving import server

pytestmark = pytest.mark.slow

PRECISIONS = {"float32": 1e-5, "float16": 1e-3, "int8": 0.05}
FILES = ["saved_model", *(f"litert/{p}{batch}.tflite" for p in PRECISIONS for batch in ("", "_batch1")), "model.onnx"]
# In a process that has neither this package nor Keras.
LABEL_VIDEOS = """
import json, sys
sys.modules["yt8m_distill"] = sys.modules["keras"] = None
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
records = [bytes.fromhex(line) for line in sys.stdin.read().split()]
outputs = loaded.signatures["serving_default"](serialized=tf.constant(records))
print(json.dumps({
    "video_ids": [each.decode() for each in outputs["video_ids"].numpy()],
    "names": [[name.decode() for name in row] for row in outputs["names"].numpy()],
    "class_indices": outputs["class_indices"].numpy().tolist(),
    "scores": outputs["scores"].numpy().tolist(),
}))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> tuple[pathlib.Path, keras.Model]:
    """A HierarchicalRNN in every format, and its Keras model."""
    folder = tmp_path_factory.mktemp("export")
    data = write_records(folder / "a.tfrecord", learnable_videos(40, CLASSES))
    (folder / "names.csv").write_text("Index,Name\n" + "".join(f"{i},name {i}\n" for i in range(CLASSES - 1)))
    model = write_run(
        folder / "run",
        "HierarchicalRNN",
        {"cells": 48, "layers": 1, "block_length": 2},  # smaller weights stay float32 in int8 files
        selection=FrameSelection(K),
        data_pattern=data,
    )
    arguments = ["--formats=saved_model,litert,onnx", "--top_k=3", f"--vocabulary={folder / 'names.csv'}"]
    assert export(folder / "run", folder / "exported", *arguments) == 0
    return folder / "exported", model


def random_frames(length: int = K) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (5, length, FRAME_SIZE), np.uint8), np.array([0, 1, 2, length, length], np.int32)


def test_service_loads_a_file_of_the_export(exported):
    folder, model = exported
    frames, num_frames = random_frames()
    expected = np.array(model({"frames": frames, "num_frames": num_frames})["predictions"])

    for file in (None, "litert/float32_batch1.tflite"):
        described, predict = server.load(ServeConfig(str(folder), file))
        assert described.class_names[:2] == ("name 0", "name 1")
        np.testing.assert_allclose(predict(frames, num_frames), expected, rtol=0, atol=1e-5)
    with pytest.raises(UserError, match=r"--file=int8\.tflite: the export in .* has only saved_model, litert"):
        server.load(ServeConfig(str(folder), "int8.tflite"))
    with pytest.raises(UserError, match="is not an export"):
        server.load(ServeConfig(str(folder.parent)))


@pytest.mark.parametrize("name", ["saved_model/variables/variables.data-00000-of-00001", "litert/int8.tflite"])
def test_service_refuses_a_flipped_bit(exported, name):
    path, content = exported[0] / name, (exported[0] / name).read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 4
    path.write_bytes(flipped)
    try:
        file = "saved_model" if name.startswith("saved_model") else name
        with pytest.raises(UserError, match=f"{file}' is damaged: .* Export it again"):
            server.load(ServeConfig(str(exported[0]), file))
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("name", FILES)
def test_every_file_predicts_what_keras_does(exported, name):
    folder, model = exported
    frames, num_frames = random_frames()
    expected = np.array(model({"frames": frames, "num_frames": num_frames})["predictions"])
    assert np.ptp(expected, axis=0).min() > 0.01  # else equal predictions would say little
    bound = next((bound for precision, bound in PRECISIONS.items() if precision in name), 1e-5)

    predict = runners.load(folder / name)

    for rows in (slice(None), slice(3, 4)):
        got = predict(frames[rows], num_frames[rows])
        np.testing.assert_allclose(got, expected[rows], rtol=0, atol=bound)


def test_saved_model_reads_records_with_tensorflow_alone(exported):
    folder, model = exported
    records = videos()
    serialized = "\n".join(record.SerializeToString().hex() for record in records)
    command = [sys.executable, "-c", LABEL_VIDEOS, str(folder / "saved_model")]

    result = subprocess.run(command, input=serialized, capture_output=True, text=True, cwd=folder)

    assert result.returncode == 0, result.stderr
    outputs = json.loads(result.stdout)
    assert outputs["video_ids"] == [f"v{i}" for i in range(len(records))]
    for row, record in enumerate(records):
        frames = frames_of(record)
        expected = predictions_of(model, frames[frame_indices(len(frames), k=K)])
        best = np.argsort(-expected, kind="stable")[:3]
        assert outputs["class_indices"][row] == best.tolist()
        np.testing.assert_allclose(outputs["scores"][row], expected[best], rtol=0, atol=1e-6)
        assert outputs["names"][row] == [f"class {i}" if i == CLASSES - 1 else f"name {i}" for i in best]


def test_saved_model_holds_the_student_and_no_cudnn_kernels(exported):
    folder, model = exported
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    graph = loaded.signatures["serialized"].graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    stored = tf.train.load_checkpoint(str(folder / "saved_model/variables/variables")).get_variable_to_shape_map()
    shapes = sorted(shape for name, shape in stored.items() if name.endswith("VARIABLE_VALUE"))

    assert [node.op for node in nodes if "cudnn" in node.op.lower()] == []
    assert shapes == sorted(list(variable.shape) for variable in model.trainable_variables)


def test_description_and_model_card(exported):
    folder, _ = exported
    described = read_manifest(folder)
    text = (folder / "README.md").read_text(encoding="utf-8")

    assert [file.path for file in described.files] == [
        "saved_model",
        *(f"litert/{p}{batch}.tflite" for p in PRECISIONS for batch in ("", "_batch1")),
        "model.onnx",
    ]
    assert (described.frames, described.selection, described.gap_videos) == (K, FrameSelection(K), 40)
    by_path = {file.path: file for file in described.files}
    assert by_path["model.onnx"].num_bytes == (folder / "model.onnx").stat().st_size
    assert by_path["litert/int8.tflite"].num_bytes < by_path["litert/float32.tflite"].num_bytes
    assert by_path["model.onnx"].gap == pytest.approx(described.gap, abs=1e-6)
    loss = described.gap - by_path["litert/int8.tflite"].gap
    for expected in ("# HierarchicalRNN, student, 3 of at most 12 frames", f"int8 loses {loss:.5f}", "CC BY 4.0"):
        assert expected in text
    assert re.search(r"Multiply-accumulates: [\d.]+ million for one video of 3 frames", text)
    assert text.startswith("---\nlicense: ")
    assert re.search(r'^tags: \[.*"hierarchicalrnn", "saved_model", "litert", "onnx"\]$', text, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "formats"), [("NetVLAD", "litert"), ("MixNeXtVLAD", "litert"), ("Dbof", "litert"), ("Lstm", "litert,onnx")]
)
def test_other_families(tmp_path, name, formats):
    """Teachers, which see all frames."""
    model = write_run(tmp_path / "run", name, TINY[name], max_frames=2)
    arguments = [f"--formats={formats}", "--litert_precisions=float32", "--eval_videos=0"]
    assert export(tmp_path / "run", tmp_path / "out", *arguments) == 0
    frames, num_frames = random_frames(2)
    expected = np.array(model({"frames": frames, "num_frames": num_frames})["predictions"])
    for file in read_manifest(tmp_path / "out").files:
        got = runners.load(tmp_path / "out" / file.path)(frames, num_frames)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5, err_msg=file.path)


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        (["--student_stride=5"], {"stride": 5}),
        (["--student_frames=4", "--frame_sampling=first_middle_last"], {"k": 4, "sampling": "first_middle_last"}),
    ],
)
def test_other_frames_are_chosen_by_the_same_rule(tmp_path, flags, options):
    model = write_run(tmp_path / "run", "FrameLevelLogistic", {}, selection=FrameSelection(K))
    assert export(tmp_path / "run", tmp_path / "out", "--eval_videos=0", *flags) == 0
    serialized = tf.constant([record.SerializeToString() for record in videos()])
    outputs = tf.saved_model.load(str(tmp_path / "out/saved_model")).signatures["serialized"](serialized=serialized)
    for row, record in enumerate(videos()):
        frames = frames_of(record)
        expected = predictions_of(model, frames[frame_indices(len(frames), **options)])
        np.testing.assert_allclose(outputs["scores"][row], -np.sort(-expected), rtol=0, atol=1e-6)


def test_bad_records_are_refused_by_the_saved_model(exported):
    folder, _ = exported
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    other_size = sequence_example(sizes={"rgb": 6, "audio": 3})
    no_id = sequence_example(id_key="name")
    thin = sequence_example(num_frames=4)
    thin.context.feature["thin_frames"].int64_list.value.append(4)
    for record, text in ((other_size, "a frame of audio has not 2 bytes"), (no_id, "no video id"), (thin, "thin")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=text):
            loaded.signatures["serialized"](serialized=tf.constant([record.SerializeToString()]))


def test_a_file_that_predicts_otherwise_is_not_written(tmp_path, monkeypatch, capsys):
    """The former export stays as it was."""
    write_run(tmp_path / "run", "FrameLevelLogistic", {})
    assert export(tmp_path / "run", tmp_path / "out", "--eval_videos=0") == 0
    before = (tmp_path / "out" / "export.json").read_bytes()
    write = onnx.write

    def write_another(network, path):
        bias = network.model.classifier.dense.bias
        value = bias.numpy()
        bias.assign(value + 1e-3)
        write(network, path)
        bias.assign(value)

    monkeypatch.setattr(onnx, "write", write_another)
    assert export(tmp_path / "run", tmp_path / "out", "--formats=onnx", "--eval_videos=0") == 2
    assert "the predictions of 'model.onnx' would differ from the Keras model's" in capsys.readouterr().err
    assert (tmp_path / "out" / "export.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


def test_what_cannot_be_exported(tmp_path, capsys):
    write_run(tmp_path / "moe", "Moe", {}, level=VIDEO)
    write_run(tmp_path / "random", "FrameLevelLogistic", {}, selection=FrameSelection(K, sampling="random"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    cases = [
        ("moe", "out", [], "only models that take frames can be exported"),
        ("random", "out", [], "give --student_frames=3"),
        ("random", "mine", [], "exists, and 'thesis.txt' is not part of an export"),
        (
            "random",
            "out",
            ["--formats=saved_model,pmml"],
            "--formats must be one of saved_model,",
        ),
        ("random", "out", ["--litert_precisions=int8"], "--litert_precisions does nothing without litert"),
    ]
    for run, target, arguments, text in cases:
        assert export(tmp_path / run, tmp_path / target, *arguments) == 2
        assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_only_an_export_is_replaced(tmp_path, capsys):
    write_run(tmp_path / "run", "FrameLevelLogistic", {})
    write_run(tmp_path / "mine.old", "FrameLevelLogistic", {})  # a name that a user may choose for a copy
    assert export(tmp_path / "run", tmp_path / "mine", "--eval_videos=0") == 0
    (tmp_path / "mine" / "notes.txt").write_text("")
    assert export(tmp_path / "run", tmp_path / "mine", "--eval_videos=0") == 2
    assert "'notes.txt' is not part of an export, which would be lost" in capsys.readouterr().err
    assert (tmp_path / "mine" / "notes.txt").exists()
    (tmp_path / "mine" / "notes.txt").unlink()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "README.md").write_text("of something else")
    assert export(tmp_path / "run", tmp_path / "theirs", "--eval_videos=0") == 2
    assert "'README.md' is not part of an export" in capsys.readouterr().err
    assert export(tmp_path / "run", tmp_path / "mine", "--eval_videos=0") == 0
    assert (tmp_path / "mine.old" / "config.json").exists()


def test_videos_that_cannot_be_read(tmp_path, caplog, capsys):
    """The run's own may be gone; those that are asked for are needed."""
    data = tmp_path / "test.tfrecord"
    write_records(data, [record.SerializeToString() for record in videos()])
    data.write_bytes(data.read_bytes()[:-3])
    write_run(tmp_path / "run", "FrameLevelLogistic", {}, data_pattern=str(data))
    caplog.set_level("INFO")
    assert export(tmp_path / "run", tmp_path / "out") == 0
    assert "GAP@20 is not measured" in caplog.text
    assert read_manifest(tmp_path / "out").gap is None
    assert export(tmp_path / "run", tmp_path / "other", f"--eval_data_pattern={data}") == 2
    assert str(data) in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_vocabulary_of_other_classes_is_refused(tmp_path, capsys):
    write_run(tmp_path / "run", "FrameLevelLogistic", {})
    (tmp_path / "names.csv").write_text("index,name\n0,a\n5,b\n")
    arguments = [f"--vocabulary={tmp_path / 'names.csv'}", "--eval_videos=0"]
    assert export(tmp_path / "run", tmp_path / "out", *arguments) == 2
    assert "is for another model: it names class 5, and this model has 5 classes" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["saved_model/saved_model.pb", "litert/float32.tflite", "model.onnx"])
def test_damaged_files_are_named(exported, tmp_path, name):
    shutil.copytree(exported[0], tmp_path / "copy")
    file = tmp_path / "copy" / name
    file.write_bytes(file.read_bytes()[:100])
    chosen = name.partition("/")[0] if "saved_model" in name else name
    with pytest.raises(UserError, match=chosen):
        server.load(ServeConfig(str(tmp_path / "copy"), chosen))


@pytest.mark.parametrize(("key", "value"), [("top_k", 0), ("frames", -1), ("frames", 1_000_000_000)])
def test_damaged_descriptions_are_named(exported, tmp_path, key, value):
    described = json.loads((exported[0] / "export.json").read_text())
    (tmp_path / "export.json").write_text(json.dumps({**described, key: value}))
    with pytest.raises(UserError, match=rf"export\.json: {key} must be"):
        read_manifest(tmp_path)


def test_frames_counted_by_the_authors_are_chosen_by_the_saved_model(tmp_path):
    selection = FrameSelection(stride=5, counting="authors", longest_video=12)
    model = write_run(tmp_path / "run", "FrameLevelLogistic", {}, selection=selection)
    assert export(tmp_path / "run", tmp_path / "out", "--eval_videos=0") == 0
    serialized = tf.constant([record.SerializeToString() for record in videos()])
    outputs = tf.saved_model.load(str(tmp_path / "out/saved_model")).signatures["serialized"](serialized=serialized)
    for row, record in enumerate(videos()):
        frames = frames_of(record)[:12]
        count = int(len(frames) / 12 * (12 // 5))
        expected = predictions_of(model, frames[: 5 * count : 5])
        np.testing.assert_allclose(outputs["scores"][row], -np.sort(-expected), rtol=0, atol=1e-6)
    assert "`int(n / 12 * 2)` of them" in (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize("sampling", ["medoid", "k_center", "motion", "learned"])
@pytest.mark.parametrize("model_name", ["FrameLevelLogistic", pytest.param("HierarchicalRNN", marks=pytest.mark.long)])
def test_frames_are_chosen_by_the_exported_files(tmp_path, sampling, model_name):
    """All files take all frames and choose those that the reader, or the Keras model, chooses."""
    selection = FrameSelection(K, sampling=sampling)
    model_args = {"cells": 4, "layers": 1, "block_length": 2} if model_name == "HierarchicalRNN" else {}
    write_run(tmp_path / "run", model_name, model_args, selection=selection)
    assert export(tmp_path / "run", tmp_path / "out", "--eval_videos=0", "--formats=saved_model,onnx") == 0
    described = read_manifest(tmp_path / "out")
    assert described.frames == MAX_FRAMES
    assert "It chooses 3 of them by their features" in (tmp_path / "out/README.md").read_text()
    trained = loading.load(tmp_path / "run")
    records = [record.SerializeToString() for record in videos()]
    read = [read_video(record, trained.config.data) for record in records]
    expected = prediction_function(trained.model)(View(selection).batch(read, trained.config.data, seed=0))
    everything = View().batch(read, trained.config.data, seed=0)
    for file in ("saved_model", "model.onnx"):
        predicted = runners.load(tmp_path / "out" / file)(everything["frames"], everything["num_frames"])
        np.testing.assert_allclose(predicted, expected, rtol=0, atol=1e-6)
    serialized = tf.saved_model.load(str(tmp_path / "out/saved_model")).signatures["serialized"]
    scores = serialized(serialized=tf.constant(records))["scores"]
    np.testing.assert_allclose(scores, -np.sort(-expected), rtol=0, atol=1e-6)


def test_a_litert_file_chooses_no_frames(tmp_path, capsys):
    write_run(tmp_path / "run", "FrameLevelLogistic", {}, selection=FrameSelection(K, sampling="medoid"))
    assert export(tmp_path / "run", tmp_path / "out", "--eval_videos=0", "--formats=saved_model,litert") == 2
    assert "--student_frames=3 --frame_sampling=uniform, or as saved_model or onnx" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    uniform = ["--student_frames=3", "--frame_sampling=uniform", "--formats=litert"]
    assert export(tmp_path / "run", tmp_path / "out", "--eval_videos=0", *uniform) == 0
    assert read_manifest(tmp_path / "out").frames == K


def test_frames_of_a_function_are_not_chosen_by_the_saved_model(tmp_path):
    @register_frame_sampling("ends")
    def ends(num_frames, k, generator):
        return [*range(k - 1), num_frames - 1]

    try:
        selection = FrameSelection(K, sampling="ends")
        model = write_run(tmp_path / "run", "FrameLevelLogistic", {}, selection=selection)
        assert export(tmp_path / "run", tmp_path / "out", "--eval_videos=0") == 0
    finally:
        FRAME_SAMPLINGS._entries.pop("ends")
    loaded = tf.saved_model.load(str(tmp_path / "out/saved_model"))
    assert "serialized" not in loaded.signatures
    frames, num_frames = random_frames(K)
    expected = np.array(model({"frames": frames, "num_frames": num_frames})["predictions"])
    np.testing.assert_allclose(runners.load(tmp_path / "out/saved_model")(frames, num_frames), expected, atol=1e-5)
    text = (tmp_path / "out/README.md").read_text()
    assert "frame sampling `ends`" in text
    assert "has no signature `serialized`" in text


def test_a_model_of_segments_takes_frames_only(tmp_path):
    model = write_run(tmp_path / "run", "FrameLevelLogistic", {}, level=SEGMENT)
    assert export(tmp_path / "run", tmp_path / "out", "--eval_videos=0") == 0
    loaded = tf.saved_model.load(str(tmp_path / "out/saved_model"))
    assert "serialized" not in loaded.signatures
    frames, num_frames = random_frames(5)
    expected = np.array(model({"frames": frames, "num_frames": num_frames})["predictions"])
    np.testing.assert_allclose(runners.load(tmp_path / "out/saved_model")(frames, num_frames), expected, atol=1e-5)
