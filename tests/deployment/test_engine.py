"""inference.py --engine=onnxruntime: predictions of Keras by an export that is made once for the same weights."""

import csv
import pathlib

import numpy as np
import pytest

from tests.deployment.exports import CLASSES, K, videos, write_run
from tests.helpers import write_records
from yt8m_distill.cli.flags import parse
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.config.inference import InferenceConfig
from yt8m_distill.deployment import export_cache
from yt8m_distill.errors import UserError
from yt8m_distill.inference import main
from yt8m_distill.runs import weights
from yt8m_distill.runs.directory import RunDir

LSTM = {"cells": 12, "layers": 1, "block_length": 2}


@pytest.fixture
def data(tmp_path) -> str:
    return write_records(tmp_path / "videos.tfrecord", [record.SerializeToString() for record in videos()])


def predict(run: pathlib.Path, data: str, *arguments: str, model: str = "train_dir") -> dict[str, np.ndarray]:
    """Predictions (classes,) by video id."""
    output = run.parent / "predictions.csv"
    output.unlink(missing_ok=True)
    flags = [f"--{model}={run}", f"--input_data_pattern={data}", f"--output_file={output}", f"--top_k={CLASSES}"]
    assert main(["inference.py", *flags, *arguments]) == 0
    predictions = {}
    with open(output, encoding="utf-8") as file:
        for row in csv.DictReader(file):
            numbers = row["LabelConfidencePairs"].split()
            scores = np.zeros(CLASSES)
            scores[[int(index) for index in numbers[::2]]] = [float(score) for score in numbers[1::2]]
            predictions[row["VideoId"]] = scores
    return predictions


def check_equal(predictions: dict[str, np.ndarray], expected: dict[str, np.ndarray], bound: float):
    assert list(predictions) == list(expected)
    for video, scores in expected.items():
        np.testing.assert_allclose(predictions[video], scores, rtol=0, atol=bound, err_msg=video)


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["uniform", "medoid", pytest.param("learned", marks=pytest.mark.long), "all"])
def test_predictions_are_those_of_keras(tmp_path, data, sampling):
    selection = ALL_FRAMES if sampling == "all" else FrameSelection(K, sampling=sampling)
    args = {"cells": 12, "layers": 1} if sampling == "all" else LSTM
    name = "Lstm" if sampling == "all" else "HierarchicalRNN"
    write_run(tmp_path / "run", name, args, selection=selection)
    expected = predict(tmp_path / "run", data)
    assert np.ptp(np.stack(list(expected.values())), axis=0).max() > 0.01
    check_equal(predict(tmp_path / "run", data, "--engine=onnxruntime"), expected, 1e-5)
    by_int8 = predict(tmp_path / "run", data, "--engine=onnxruntime", "--precision=int8")
    check_equal(by_int8, expected, 0.05)
    assert any(np.abs(by_int8[video] - scores).max() > 1e-5 for video, scores in expected.items())


@pytest.mark.slow
def test_exports_are_made_once(tmp_path, data, monkeypatch, capsys):
    model = write_run(tmp_path / "run", "HierarchicalRNN", LSTM, selection=FrameSelection(K))
    first = predict(tmp_path / "run", data, "--engine=onnxruntime")
    exports = RunDir(tmp_path / "run").exports
    predict(tmp_path / "run", data, "--engine=onnxruntime", "--student_frames=2")
    assert len(list(exports.iterdir())) == 2
    run_export = export_cache.run_export
    monkeypatch.setattr(export_cache, "run_export", None)
    check_equal(predict(tmp_path / "run", data, "--engine=onnxruntime"), first, 0)

    monkeypatch.setattr(export_cache, "run_export", run_export)
    before = {path.name for path in exports.iterdir()}
    for variable in model.classifier.trainable_variables:
        variable.assign(-variable.numpy())
    model.save_weights(weights.weights_file(RunDir(tmp_path / "run").best, "student"))
    changed = predict(tmp_path / "run", data, "--engine=onnxruntime")
    check_equal(changed, predict(tmp_path / "run", data), 1e-5)
    assert any(np.abs(changed[video] - scores).max() > 0.01 for video, scores in first.items())
    assert len(before & {path.name for path in exports.iterdir()}) == 1  # that of other frames
    assert len(list(exports.iterdir())) == 2

    for path in exports.rglob("model.onnx"):
        path.write_bytes(path.read_bytes()[:-1])
    flags = [f"--train_dir={tmp_path / 'run'}", f"--input_data_pattern={data}", f"--output_file={tmp_path / 'x.csv'}"]
    assert main(["inference.py", *flags, "--engine=onnxruntime"]) == 2
    assert "is damaged" in (message := capsys.readouterr().err)
    assert "and it is exported again" in message


@pytest.mark.slow
def test_packed_models_are_exported(tmp_path, data):
    write_run(tmp_path / "run", "HierarchicalRNN", LSTM, selection=FrameSelection(K))
    packed = tmp_path / "model.tgz"
    expected = predict(tmp_path / "run", data, f"--output_model_tgz={packed}")
    check_equal(predict(packed, data, "--engine=onnxruntime", model="input_model_tgz"), expected, 1e-5)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--precision=int8"], r"--precision=int8 is for --engine=onnxruntime"),
        (["--engine=onnxruntime", "--precision=bfloat16"], "--engine=onnxruntime computes in float32 or int8, not in"),
        (["--engine=onnxruntime", "--xla"], "--xla compiles the Keras model"),
        (["--engine=onnxruntime", "--segment_labels"], "--segment_labels does not go with --engine=onnxruntime"),
        (["--engine=tensorrt"], "--engine=tensorrt: value should be one of"),
        (["--engine=litert"], "--engine=litert runs a file of an export: give --export_dir"),
        (["--export_dir=z"], "give just one of --train_dir, --input_model_tgz and --export_dir"),
    ],
)
def test_flags_that_make_no_sense_together(flags, text):
    with pytest.raises(UserError, match=text):
        parse(InferenceConfig, ["inference.py", "--train_dir=x", "--output_file=y", *flags])


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ([], "--input_data_pattern is required with --export_dir"),
        (["--input_data_pattern=x", "--engine=keras"], "--engine=keras needs --train_dir"),
        (["--input_data_pattern=x", "--engine=tensorflow", "--precision=int8"], "computes in float32, not in"),
        (["--input_data_pattern=x", "--student_frames=3"], "--student_frames does not go with --export_dir"),
        (["--input_data_pattern=x", "--which=student"], "--which does not go with --export_dir"),
        (["--input_data_pattern=x", "--xla"], "--xla does not go with --export_dir"),
        (["--input_data_pattern=x", "--output_model_tgz=m"], "--output_model_tgz does not go with --export_dir"),
    ],
)
def test_flags_that_make_no_sense_with_exports(flags, text):
    with pytest.raises(UserError, match=text):
        parse(InferenceConfig, ["inference.py", "--export_dir=x", "--output_file=y", *flags])
