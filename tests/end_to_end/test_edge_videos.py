"""Videos at the edges of what is allowed, from the file to the predictions, for every model of the registry."""

import csv
import pathlib

import keras
import numpy as np
import pytest

from tests.helpers import TINY_FLAGS, learnable_videos, sequence_example, write_records
from tests.models.test_every_model import TINY, without_dropout
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.data.batches import View
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.eval import main as eval_main
from yt8m_distill.evaluation.evaluate import evaluate
from yt8m_distill.files.untrusted import read_json
from yt8m_distill.inference import main as inference_main
from yt8m_distill.metrics import EvaluationMetrics
from yt8m_distill.models.building import build_model
from yt8m_distill.models.video_model import VideoModel
from yt8m_distill.plugins import MODELS
from yt8m_distill.prediction.predict import prediction_function
from yt8m_distill.train import main as train_main

pytestmark = pytest.mark.slow

CLASSES, MAX_FRAMES, K = 10, 12, 4
SPEC = DatasetSpec("YouTube-8M 2018", "id", ("rgb", "audio"), (6, 2), CLASSES, MAX_FRAMES)
# What each edge video must be treated like: another one that is usual, or itself.
LENGTHS = {"empty": 0, "one": 1, "few": K - 1, "k": K, "usual": 9, "unlabelled": 7, "long": 3 * MAX_FRAMES}
VIEWS = {
    "all frames": View(),
    "k frames": View(FrameSelection(K)),
    "random": View(FrameSelection(K, sampling="random")),
    "stride": View(FrameSelection(stride=5)),
}


def record(video_id: str, num_frames: int, missing: str | None = None):
    """A video whose frames are those that a video of another length begins with; the last of one feature missing."""
    example = sequence_example(video_id, () if video_id == "unlabelled" else (3,), 3 * MAX_FRAMES, seed=7)
    for name in SPEC.feature_names:
        del example.feature_lists.feature_list[name].feature[num_frames - (name == missing) :]
    return example


FRAME_LEVEL = [name for name in MODELS.names() if not MODELS.get(name).video_level]
EDGE_VIDEOS = [
    *(record(name, length) for name, length in LENGTHS.items()),
    record("audio ends first", 6, missing="audio"),
    record("rgb ends first", 6, missing="rgb"),
    record("only rgb has a frame", 1, missing="audio"),
]
USUAL_VIDEOS = {
    "audio ends first": record("audio ends first", 5),
    "rgb ends first": record("rgb ends first", 5),
    "only rgb has a frame": record("only rgb has a frame", 0),
    "long": record("long", MAX_FRAMES),
}


@pytest.fixture(scope="module", params=FRAME_LEVEL)
def model(request) -> VideoModel:
    """A tiny model whose batch normalization has seen a batch, as a fresh one hides mistakes."""
    keras.utils.set_random_seed(3)
    model = build_model(
        request.param,
        feature_sizes=SPEC.feature_sizes,
        num_classes=CLASSES,
        **TINY[request.param],
        **without_dropout(request.param),
    )
    frames = np.random.default_rng(0).integers(0, 256, (6, 9, SPEC.frame_size), np.uint8)
    model({"frames": frames, "num_frames": np.array([9, 8, 5, 3, 2, 1], np.int32)}, training=True)
    return model


@pytest.fixture(scope="module")
def predict(model):
    return prediction_function(model)


def predicted(predict, path: str, view: View, batch_size: int) -> dict[str, np.ndarray]:
    """The predictions for each video of a file, by id, in the order of the file."""
    found = {}
    for batch in VideoFiles((path,), SPEC).ordered_batches(view, batch_size, seed=5):
        found |= zip([video_id.decode() for video_id in batch["video_id"]], predict(batch), strict=True)
    return found


def assert_equal(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]):
    assert set(ours) == set(theirs)
    for name, scores in ours.items():
        np.testing.assert_allclose(scores, theirs[name], rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_predictions_do_not_depend_on_batch_size_or_order(predict, tmp_path, view):
    path = write_records(tmp_path / "a.tfrecord", EDGE_VIDEOS)
    reversed_path = write_records(tmp_path / "b.tfrecord", EDGE_VIDEOS[::-1])

    alone = predicted(predict, path, view, 1)

    assert len(alone) == len(EDGE_VIDEOS)
    assert all(np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1 for scores in alone.values())
    for batch_size in (3, 512):
        assert_equal(predicted(predict, path, view, batch_size), alone)
        assert_equal(predicted(predict, reversed_path, view, batch_size), alone)


def test_predictions_do_not_depend_on_padding(predict, tmp_path):
    path = write_records(tmp_path / "a.tfrecord", EDGE_VIDEOS)
    batch = next(VideoFiles((path,), SPEC).ordered_batches(View(), 512))
    expected = predict(batch)

    rows, frames, features = batch["frames"].shape
    longer = np.full((rows, frames + 5, features), 255, np.uint8)
    real = np.arange(frames + 5)[None] < batch["num_frames"][:, None]
    longer[real] = batch["frames"][real[:, :frames]]

    np.testing.assert_allclose(predict({**batch, "frames": longer}), expected, rtol=0, atol=1e-5)


def test_frames_that_do_not_count_change_nothing(predict, tmp_path):
    """Those beyond max_frames, and those of one feature for which the other has none."""
    edge = write_records(tmp_path / "edge.tfrecord", EDGE_VIDEOS)
    usual = write_records(tmp_path / "usual.tfrecord", USUAL_VIDEOS.values())
    for view in VIEWS.values():
        found = predicted(predict, edge, view, 512)
        assert_equal({name: found[name] for name in USUAL_VIDEOS}, predicted(predict, usual, view, 512))


def test_a_video_of_at_most_k_frames_is_seen_whole(predict, tmp_path):
    path = write_records(tmp_path / "a.tfrecord", EDGE_VIDEOS)
    whole, few = (predicted(predict, path, VIEWS[name], 512) for name in ("all frames", "k frames"))
    short = ("empty", "one", "few", "k")
    assert_equal({name: few[name] for name in short}, {name: whole[name] for name in short})
    assert np.abs(few["usual"] - whole["usual"]).max() > 1e-4
    assert np.abs(whole["one"] - whole["few"]).max() > 1e-4


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_video_without_frames_is_a_representation_of_zeros(model, predict, tmp_path, view):
    size = model({"frames": np.zeros((1, 1, SPEC.frame_size), np.uint8), "num_frames": np.zeros(1, np.int32)})
    zeros = np.zeros((1, size["representation"].shape[1]), np.float32)
    expected = model.classifier(model.classifier_input(zeros, training=False))["predictions"]

    found = predicted(predict, write_records(tmp_path / "a.tfrecord", EDGE_VIDEOS), view, 3)

    for name in ("empty", "only rgb has a frame"):
        np.testing.assert_allclose(found[name], np.array(expected)[0], rtol=0, atol=1e-6)


def test_every_video_counts_in_the_metrics(predict, tmp_path):
    path = write_records(tmp_path / "a.tfrecord", EDGE_VIDEOS)
    metrics = EvaluationMetrics(CLASSES)
    videos = VideoFiles((path,), SPEC)

    result = evaluate(predict, videos, FrameSelection(K), metrics, batch_size=4, seed=0, description="")

    assert result["examples"] == len(EDGE_VIDEOS)
    assert all(np.isfinite(value) for value in result.values())
    assert [row.positives for row in metrics.per_class()] == [0, 0, 0, len(EDGE_VIDEOS) - 1, *[0] * 6]


def train_evaluate_predict(folder: pathlib.Path, name: str, path: str, *arguments: str) -> tuple[dict, list[list[str]]]:
    """The metrics and the submission file's rows, all by the mains of the scripts."""
    run, output = folder / "run", folder / "out.csv"
    sizes = ",".join(f"{key}={value}" for key, value in TINY[name].items())
    data = [f"--train_data_pattern={path}", f"--eval_data_pattern={path}"]
    options = [f"--model={name}", f"--model_args={sizes}", f"--train_dir={run}", "--student_frames=4", "--batch_size=4"]
    options.append("--optimizer=SGD")  # compiles sooner than Adam
    assert (
        train_main(["train.py", *options, f"--num_classes={CLASSES}", "--num_epochs=1", *TINY_FLAGS, *data, *arguments])
        == 0
    )
    assert eval_main(["eval.py", f"--train_dir={run}", "--batch_size=3"]) == 0
    assert inference_main(["inference.py", f"--train_dir={run}", f"--output_file={output}", "--batch_size=3"]) == 0
    with open(output, newline="") as file:
        return read_json(run / "eval" / "metrics.json"), list(csv.reader(file))[1:]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name.startswith("Ne") else pytest.mark.long) for name in FRAME_LEVEL],
)
def test_edge_videos_through_the_scripts(tmp_path, name):
    videos = [*EDGE_VIDEOS, *learnable_videos(3)]
    path = write_records(tmp_path / "a.tfrecord", videos)
    arguments = ["--training_mode=parallel", f"--max_frames={MAX_FRAMES}"]
    # The first video has no frames that would show these.
    arguments += ["--feature_names=rgb,audio", "--feature_sizes=6,2"]

    metrics, rows = train_evaluate_predict(tmp_path, name, path, *arguments)

    assert metrics["examples"] == len(videos)
    assert all(np.isfinite(metrics[key]) for key in ("GAP@20", "mAP", "Hit@1", "PERR", "loss"))
    assert [row[0] for row in rows] == [each.context.feature["id"].bytes_list.value[0].decode() for each in videos]
    assert all(np.isfinite([float(number) for number in row[1].split()]).all() for row in rows)


def test_a_data_set_without_audio_through_the_scripts(tmp_path):
    videos = [sequence_example(f"v{i}", (i % CLASSES,), 6 - i, sizes={"rgb": 6}, seed=i) for i in range(7)]
    path = write_records(tmp_path / "a.tfrecord", videos)
    sizes = ["--feature_names=rgb", "--feature_sizes=6"]
    metrics, rows = train_evaluate_predict(tmp_path, "NetVLAD", path, "--training_mode=baseline", *sizes)

    config = read_json(tmp_path / "run" / "config.json")
    assert (config["data"]["feature_names"], config["data"]["feature_sizes"]) == (["rgb"], [6])
    assert metrics["examples"] == len(rows) == 7
    assert np.isfinite(metrics["loss"])
