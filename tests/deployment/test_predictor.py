"""`yt8m_distill.load`: the numbers of the commands, from arrays."""

import pathlib

import numpy as np
import pytest

import yt8m_distill
from tests.deployment.exports import CLASSES, FRAME_SIZE, MAX_FRAMES, K, export, write_run
from tests.helpers import write_records
from tests.helpers import write_run as write_random_run
from yt8m_distill.config.dataset import SEGMENT, VIDEO, DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.run import RunConfig
from yt8m_distill.data.frame_selection import frame_indices
from yt8m_distill.errors import UserError
from yt8m_distill.quantization import dequantize
from yt8m_distill.runs import loading, packing

LENGTHS = (0, 1, 3, 8, MAX_FRAMES)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[pathlib.Path, object]:
    folder = tmp_path_factory.mktemp("run")
    model = write_run(folder, "FrameLevelLogistic", {}, selection=FrameSelection(K))
    (folder / "vocabulary.csv").write_text("index,name\n0,Guitar\n1,Music\n3,Speech\n")
    return folder, model


def videos() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (length, FRAME_SIZE), np.uint8) for length in LENGTHS]


def expected(model, k: int = K) -> np.ndarray:
    rows = []
    for video in videos():
        frames = video[frame_indices(len(video), k=k)] if len(video) else np.zeros((1, FRAME_SIZE), np.uint8)
        rows.append(model({"frames": frames[None], "num_frames": np.array([min(len(video), k)])})["predictions"][0])
    return np.array(rows)


def test_lists_arrays_and_one_video_give_the_models_numbers(run):
    predictor = yt8m_distill.load(run[0])
    assert (predictor.role, predictor.selection.k, predictor.data.num_classes) == ("student", K, CLASSES)
    probabilities = predictor.predict(videos(), batch_size=2)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected(run[1]), atol=1e-6)
    padded = np.zeros((len(LENGTHS), MAX_FRAMES, FRAME_SIZE), np.uint8)
    for row, video in zip(padded, videos(), strict=True):
        row[: len(video)] = video
    np.testing.assert_allclose(predictor.predict(padded, num_frames=LENGTHS), probabilities, atol=1e-6)
    np.testing.assert_allclose(predictor.predict(videos()[3]), probabilities[3:4], atol=1e-6)
    np.testing.assert_allclose(predictor.predict(videos()[3].astype(int)), probabilities[3:4], atol=1e-6)
    floats = [np.asarray(dequantize(video)) - 4 / 512 for video in videos()]
    np.testing.assert_allclose(predictor.predict(floats), probabilities, atol=1e-6)
    assert predictor.predict([]).shape == (0, CLASSES)


def test_other_numbers_of_frames(run):
    predictor = yt8m_distill.load(run[0], student_frames=5)
    np.testing.assert_allclose(predictor.predict(videos()), expected(run[1], k=5), atol=1e-6)


def test_labels_are_the_runs_or_those_that_are_given(run, tmp_path):
    predictor = yt8m_distill.load(run[0])
    assert predictor.labels == ("Guitar", "Music", "2", "Speech", "4")
    assert predictor.top([[0.5, 0.75, 0.0, 0.25, 0.0]], k=2) == [[("Music", 0.75), ("Guitar", 0.5)]]
    (tmp_path / "names.csv").write_text("index,name\n4,Drum\n")
    assert yt8m_distill.load(run[0], vocabulary=tmp_path / "names.csv").labels[4] == "Drum"


def test_a_packed_model_is_the_same(run, tmp_path):
    packing.pack(loading.load(run[0]), str(tmp_path / "model.tgz"))
    predictor = yt8m_distill.load(tmp_path / "model.tgz")
    assert predictor.labels is None
    assert predictor.source == tmp_path / "model.tgz"
    assert predictor.top([[0.5, 0.75, 0.0, 0.25, 0.0]], k=1) == [[(1, 0.75)]]
    np.testing.assert_array_equal(predictor.predict(videos()), yt8m_distill.load(run[0]).predict(videos()))


@pytest.mark.slow
def test_files_of_an_export_are_the_same(run, tmp_path):
    options = ["--formats=saved_model,onnx,litert", "--litert_precisions=float32", "--onnx_precisions=float32"]
    assert export(run[0], tmp_path / "out", *options, f"--vocabulary={run[0] / 'vocabulary.csv'}") == 0
    files = ("saved_model", "model.onnx", "litert/float32.tflite")
    for path in (tmp_path / "out", *(tmp_path / "out" / name for name in files)):
        predictor = yt8m_distill.load(path)
        np.testing.assert_allclose(predictor.predict(videos()), expected(run[1]), atol=1e-5)
        assert predictor.labels[:2] == ("Guitar", "Music")
    with pytest.raises(UserError, match=r"role='teacher': the export in .* is of a student"):
        yt8m_distill.load(tmp_path / "out", role="teacher")
    with pytest.raises(UserError, match="sees 3 frames; export the run again"):
        yt8m_distill.load(tmp_path / "out", student_frames=2)
    with pytest.raises(UserError, match="is not a file of the export"):
        yt8m_distill.load(tmp_path / "out" / "export.json")


def test_random_frames_follow_from_the_ids(tmp_path):
    model = write_run(tmp_path, "FrameLevelLogistic", {}, selection=FrameSelection(2, sampling="random"))
    predictor = yt8m_distill.load(tmp_path)
    same = predictor.predict([videos()[4]] * 3, ids=["a", "b", "a"])
    np.testing.assert_array_equal(same[0], same[2])
    assert np.abs(same[0] - same[1]).max() > 1e-4
    assert model.num_classes == CLASSES


def test_models_of_records_of_other_levels(tmp_path):
    data = DatasetSpec("own features", "id", ("mean_rgb",), (4,), 3, 0, level=VIDEO)
    write_random_run(tmp_path / "video", RunConfig("Logistic", "teacher", data=data, recipe="paper"))
    predictor = yt8m_distill.load(tmp_path / "video")
    assert predictor.predict(np.ones((2, 4), np.float32)).shape == (2, 3)
    with pytest.raises(UserError, match="video-level records"):
        predictor.predict(np.ones((2, 4), np.uint8))
    data = DatasetSpec("own features", "id", ("rgb",), (4,), 3, 300, level=SEGMENT)
    write_random_run(tmp_path / "segment", RunConfig("FrameLevelLogistic", "teacher", data=data, recipe="paper"))
    predictor = yt8m_distill.load(tmp_path / "segment")
    assert predictor.predict(np.ones((2, 5, 4), np.uint8)).shape == (2, 3)
    with pytest.raises(UserError, match="video 0 has 6 frames, and the model was trained on segments of 5"):
        predictor.predict(np.ones((2, 6, 4), np.uint8))


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        (np.zeros((2, 3, 7), np.uint8), {}, r"rgb \(6\) \+ audio \(2\) in this order; not of the shape \(3, 7\)"),
        (np.zeros(8, np.uint8), {}, r"not of the shape \(8,\)"),
        (np.full((2, 3, 8), np.nan), {}, "video 0: a value is not finite"),
        (np.full((2, 3, 8), 256), {}, "bytes, from 0 to 255"),
        (np.zeros((2, 3, 8), np.uint8), {"num_frames": [1, 4]}, "num_frames must be one whole number"),
        (np.zeros((2, 3, 8), np.uint8), {"batch_size": 0}, "batch_size must be at least 1"),
        (np.zeros((2, 3, 8), np.uint8), {"ids": ["a"]}, "ids must be one for each of 2 videos"),
    ],
)
def test_wrong_frames(run, frames, options, message):
    with pytest.raises(UserError, match=message):
        yt8m_distill.load(run[0]).predict(frames, **options)


def test_floats_that_are_bytes_are_told(run, caplog):
    yt8m_distill.load(run[0]).predict(np.full((2, 3, 8), 200.0))
    assert "100 % of the first video's values are outside of [-2, 2]" in caplog.text
    assert len(caplog.records) == 1


def test_what_is_no_model(run, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        yt8m_distill.load(tmp_path / "none")
    with pytest.raises(UserError, match=r"has no config\.json"):
        yt8m_distill.load(tmp_path)
    with pytest.raises(UserError, match="'student' or 'teacher'"):
        yt8m_distill.load(run[0], role="both")
    with pytest.raises(UserError, match="has no teacher"):
        yt8m_distill.load(run[0], role="teacher")
    with pytest.raises(UserError, match=r"^student_frames must be at least 1"):
        yt8m_distill.load(run[0], student_frames=0)
    (tmp_path / "model.keras").touch()
    with pytest.raises(UserError, match=r"keras\.models\.load_model\("):
        yt8m_distill.load(tmp_path / "model.keras")
    path = write_records(tmp_path / "records", [b"none"])
    with pytest.raises(UserError, match="records"):
        yt8m_distill.load(path)
