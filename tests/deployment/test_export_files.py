"""Files of exports: which one predicts, its predictions by inference.py, and that none of that needs TensorFlow."""

import csv
import dataclasses
import pathlib
import pickle

import numpy as np
import pytest

from tests.deployment.exports import CLASSES, K, frames_of, videos
from tests.deployment.lite_environment import run_lite
from tests.deployment.onnx_exports import expected, write_export
from tests.helpers import write_records
from yt8m_distill.cli.flags import parse
from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.config.inference import InferenceConfig
from yt8m_distill.deployment import export_files
from yt8m_distill.deployment.export_files import chosen_file
from yt8m_distill.deployment.manifest import ExportedFile, read_manifest
from yt8m_distill.errors import UserError
from yt8m_distill.inference import main

BOTH = ("float32", "int8")


@pytest.fixture
def data(tmp_path) -> str:
    return write_records(tmp_path / "videos.tfrecord", [record.SerializeToString() for record in videos()])


def flags_of(folder: pathlib.Path, data: str) -> list[str]:
    output = folder.parent / "predictions.csv"
    return [f"--export_dir={folder}", f"--input_data_pattern={data}", f"--output_file={output}", f"--top_k={CLASSES}"]


def check_predictions(path: pathlib.Path, precision: str):
    with open(path, encoding="utf-8") as file:
        rows = {row["VideoId"]: row["LabelConfidencePairs"].split() for row in csv.DictReader(file)}
    assert len(rows) == len(videos())
    for index, record in enumerate(videos()):
        frames = frames_of(record)
        n = len(frames)
        seen = frames[[(2 * i + 1) * n // (2 * K) for i in range(K)]] if n > K else frames
        scores = np.zeros(CLASSES)
        scores[[int(number) for number in rows[f"v{index}"][::2]]] = [float(score) for score in rows[f"v{index}"][1::2]]
        np.testing.assert_allclose(scores, expected(seen, precision), atol=1e-6, err_msg=f"v{index}")


@pytest.mark.parametrize(("flags", "precision"), [([], "float32"), (["--precision=int8"], "int8")])
def test_predictions_of_records(tmp_path, data, flags, precision):
    folder = write_export(tmp_path / "export", BOTH)
    assert main(["inference.py", *flags_of(folder, data), *flags]) == 0
    check_predictions(tmp_path / "predictions.csv", precision)


def test_a_file_travels_to_other_processes(tmp_path):
    config = parse(InferenceConfig, ["i", *flags_of(write_export(tmp_path / "export"), "x")])
    travel = export_files.opened_file(config).travel
    travel.write(str(tmp_path / travel.name))
    predict = pickle.loads(pickle.dumps(travel.load))(str(tmp_path / travel.name))
    frames = np.random.default_rng(0).integers(0, 256, (2, K, 8), np.uint8)
    scores = predict({"frames": frames, "num_frames": np.full(2, K, np.int32)})
    np.testing.assert_allclose(scores, [expected(video) for video in frames], rtol=1e-6)


def test_the_file_that_is_asked_for(tmp_path, monkeypatch):
    manifest = read_manifest(write_export(tmp_path / "export", BOTH))
    saved = ExportedFile("saved_model", "saved_model", "float32", None, 1, 0.0, 0.0, 0.0)
    lite = dataclasses.replace(saved, path="litert/int8.tflite", format="litert", precision="int8")
    manifest = dataclasses.replace(manifest, files=(saved, lite, *manifest.files))

    def chosen(*asked) -> str:
        return chosen_file(manifest, tmp_path, *asked).path

    assert chosen(None, None) == "saved_model"
    assert chosen("onnxruntime", None) == "model.onnx"
    assert chosen("onnxruntime", "int8") == "model_int8.onnx"
    assert chosen(None, "int8") == "litert/int8.tflite"
    assert chosen(None, None, "model.onnx") == "model.onnx"
    monkeypatch.setitem(export_files._PACKAGES, "tensorflow", "no_such_package")
    assert chosen(None, None) == "litert/int8.tflite"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            ("onnxruntime", "int8"),
            r"has only model\.onnx \(float32 of onnxruntime\)\. .*--formats=onnx --onnx_precisions=",
        ),
        (("litert", None), "--engine=litert: .*--formats=litert --litert_precisions=float32 writes such a file"),
        (("tensorflow", None), "--formats=saved_model writes such a file"),
        ((None, "float16"), "--precision=float16: .*--formats=litert --litert_precisions=float16"),
        ((None, None, "x.onnx"), r"--file=x\.onnx: the export in '.*' has only model\.onnx"),
    ],
)
def test_exports_without_such_a_file(tmp_path, asked, message):
    folder = write_export(tmp_path / "export")
    with pytest.raises(UserError, match=message):
        chosen_file(read_manifest(folder), folder, *asked)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--file=model.onnx", "--engine=onnxruntime"], "--file names the file, so --engine and --precision"),
        (["--engine=tensorflow", "--precision=int8"], "--engine=tensorflow computes in float32, not in"),
        (["--engine=keras"], "--engine=keras: value should be one of"),
    ],
)
def test_flags_of_the_service_that_make_no_sense_together(flags, message):
    with pytest.raises(UserError, match=message):
        parse(ServeConfig, ["serve", "--model_dir=x", *flags])


PREDICTS_AND_SERVES = """
import sys
import numpy as np
import yt8m_distill
from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.inference import main
from yt8m_distill.serving import app, connections, parser_process, server
assert main(["inference.py", *sys.argv[2:]]) == 0
server.load(ServeConfig(sys.argv[1]))
assert yt8m_distill.load(sys.argv[1]).predict(np.zeros((1, 4, 8), np.uint8)).shape == (1, 5)
"""


def test_exports_predict_and_are_served_without_tensorflow(tmp_path, data):
    folder = write_export(tmp_path / "export")
    result = run_lite(PREDICTS_AND_SERVES, str(folder), *flags_of(folder, data))
    assert result.returncode == 0, result.stderr
    check_predictions(tmp_path / "predictions.csv", "float32")


def test_what_needs_tensorflow_says_so(tmp_path):
    main_of = "import sys; from yt8m_distill.flops import main; sys.exit(main(['flops', '--model=NeXtVLAD']))"
    result = run_lite(main_of)
    assert result.returncode == 2
    assert "needs keras, which is not installed" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_damaged_file_is_not_loaded(tmp_path, data, capsys):
    folder = write_export(tmp_path / "export")
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert main(["inference.py", *flags_of(folder, data)]) == 2
    assert "is damaged" in capsys.readouterr().err
