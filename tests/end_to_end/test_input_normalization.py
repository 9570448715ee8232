"""What becomes of frames before the network: each family's own way, and `--input_normalization`, `--eigenvalues`."""

import pathlib

import keras
import numpy as np
import pytest

from tests.end_to_end.commands import evaluate, predict, train
from tests.helpers import learnable_videos, load_case, shared_path, write_records
from tests.models.test_every_model import FEATURE_SIZES, TINY
from yt8m_distill.errors import UserError
from yt8m_distill.files.untrusted import read_json
from yt8m_distill.models import NeXtVLAD, building
from yt8m_distill.plugins import INPUT_NORMALIZATIONS, MODELS
from yt8m_distill.quantization import dequantize, read_eigenvalues, reverse_whitening
from yt8m_distill.runs import loading

pytestmark = pytest.mark.slow

EIGENVALUES = np.array([4.0, 2.0, 1.0, 0.5, 0.25, 0.0])  # of "rgb"


def build_small(name: str, **options):
    return building.build_model(name, feature_sizes=FEATURE_SIZES, num_classes=7, **TINY[name], **options)


def test_reverse_whitening_equals_the_original():
    case = load_case("c_unwhitening_aux_loss")
    rgb = reverse_whitening(dequantize(case["raw_bytes"])[..., :1024], case["eigenvals_1024"])
    for video, frames in enumerate(case["num_frames"]):
        np.testing.assert_allclose(rgb[video, :frames], case["model_input"][video, :frames, :1024], rtol=1e-5)


def test_the_model_prepares_frames_as_the_original_but_for_padding():
    case = load_case("c_unwhitening_aux_loss")
    model = NeXtVLAD((1024, 128), 9, clusters=4, groups=2, hidden_size=8, input_normalization="unwhiten")
    model.set_eigenvalues(case["eigenvals_1024"])
    mask = np.arange(3) < case["num_frames"][:, None]
    prepared = model.prepare_frames(case["raw_bytes"], mask)
    np.testing.assert_allclose(prepared, np.where(mask[..., None], case["model_input"], 0.0), rtol=1e-5, atol=1e-7)


def test_the_published_eigenvalues_are_those_of_the_original():
    path = shared_path("data/yt8m_pca/eigenvals.npy")
    np.testing.assert_array_equal(
        read_eigenvalues(str(path), 1024), load_case("c_unwhitening_aux_loss")["eigenvals_1024"]
    )


@pytest.mark.parametrize("normalization", [None, "l2", "unwhiten", "none"])
@pytest.mark.parametrize("name", [name for name in MODELS.names() if not MODELS.get(name).video_level])
def test_bytes_equal_floats_prepared_in_that_way(name, normalization):
    own = "none" if "NeXtVLAD" in name else "l2"
    model = build_small(name, **({} if normalization is None else {"input_normalization": normalization}))
    assert model.model_args["input_normalization"] == model.input_normalization == (normalization or own)
    frames = np.random.default_rng(0).integers(0, 256, (3, 7, sum(FEATURE_SIZES)), dtype=np.uint8)
    inputs = {"frames": frames, "num_frames": np.array([7, 3, 1])}
    values = frames.astype(np.float32) * (4 / 255) + (4 / 512 - 2)
    if model.input_normalization == "l2":
        values /= np.linalg.norm(values, axis=-1, keepdims=True)
    if model.input_normalization == "unwhiten":
        eigenvalues = np.linspace(0.0, 3.0, FEATURE_SIZES[0])
        model.set_eigenvalues(eigenvalues)
        values[..., : FEATURE_SIZES[0]] = (values[..., : FEATURE_SIZES[0]] - 4 / 512) * (np.sqrt(eigenvalues) + 1e-4)
    for key, value in model({**inputs, "frames": values}).items():
        np.testing.assert_allclose(model(inputs)[key], value, rtol=1e-5, atol=1e-5, err_msg=key)


def test_a_users_own_is_a_function_of_masked_frames(monkeypatch):
    seen = []

    def shifted(frames, model):
        seen.append((frames, model))
        return frames + 1.0

    monkeypatch.setitem(INPUT_NORMALIZATIONS._entries, "shifted", shifted)
    model = build_small("NetVLAD", input_normalization="shifted")
    frames = np.full((1, 2, sum(FEATURE_SIZES)), 255, np.uint8)
    mask = np.array([[True, False]])
    prepared = model.prepare_frames(frames, mask)
    assert seen[0][1] is model
    np.testing.assert_allclose(seen[0][0][0, 1], 0.0)
    np.testing.assert_allclose(prepared[0, 0], dequantize(frames)[0, 0] + 1.0)
    np.testing.assert_allclose(prepared[0, 1], 0.0)
    assert type(model).from_config(model.get_config()).input_normalization == "shifted"
    with pytest.raises(UserError, match="input_normalization=shifted is for frames"):
        build_small("Moe", input_normalization="shifted")


def test_a_keras_file_holds_the_eigenvalues(tmp_path):
    model = build_small("NeXtVLAD", input_normalization="unwhiten")
    model.set_eigenvalues(np.arange(FEATURE_SIZES[0]))
    assert model.eigenvalues is not None
    assert not model.eigenvalues.trainable
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.eigenvalues, np.arange(FEATURE_SIZES[0]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(5), "one for each of its 6 values"),
        (np.ones((3, 4)), "one column of numbers"),
        (np.array([1.0, np.nan, 1, 1, 1, 1]), "not finite"),
        (np.array([1.0, -1, 1, 1, 1, 1]), "negative"),
        (np.array(["a"] * 6), "one column of numbers"),
        (None, "No such file"),
        (b"no numbers", "not a .npy file"),
        (b"PK\x03\x04", "not a .npy file"),  # the beginning of an archive
    ],
)
def test_eigenvalues_are_checked(tmp_path, values, message):
    path = tmp_path / "e.npy"
    if isinstance(values, bytes):
        path.write_bytes(values)
    elif values is not None:
        np.save(path, values)
    with pytest.raises(UserError, match=message):
        read_eigenvalues(str(path), 6)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("data")
    for index, (part, count) in enumerate([("train0", 30), ("test0", 20)]):
        write_records(folder / f"{part}.tfrecord", learnable_videos(count, seed=100 * index))
    np.save(folder / "eigenvals.npy", EIGENVALUES[:, None])
    np.save(folder / "others.npy", EIGENVALUES + 1)
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> pathlib.Path:
    """A serial run with whitening reversed, whose file of eigenvalues is no longer there."""
    folder = tmp_path_factory.mktemp("runs")
    given = folder / "e.npy"
    given.write_bytes((data / "eigenvals.npy").read_bytes())
    arguments = ["--student_frames=3", "--num_epochs=1", "--input_normalization=unwhiten", f"--eigenvalues={given}"]
    assert train(data, folder / "run", *arguments, model="NeXtVLAD") == 0
    given.unlink()
    return folder / "run"


def test_eigenvalues_travel_with_teacher_and_student(data, run, tmp_path):
    for role in ("teacher", "student"):
        trained = loading.load(str(run), role)
        np.testing.assert_allclose(trained.model.eigenvalues, EIGENVALUES)
        assert trained.config.model_args["input_normalization"] == "unwhiten"
    assert evaluate(f"--train_dir={run}") == 0
    assert evaluate(f"--train_dir={run}", "--which=teacher") == 0
    output = [f"--input_data_pattern={data}/test*", f"--output_file={tmp_path / 'a.csv'}"]
    assert predict(f"--train_dir={run}", *output, f"--output_model_tgz={tmp_path / 'm.tgz'}") == 0
    output[-1] = f"--output_file={tmp_path / 'b.csv'}"
    assert predict(f"--input_model_tgz={tmp_path / 'm.tgz'}", *output) == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_teacher_and_student_have_one_input(data, run, tmp_path, capsys):
    def attempt(*more: str) -> str:
        arguments = ["--student_frames=2", "--max_steps=1", f"--teacher_dir={run / 'teacher'}"]
        code = train(data, tmp_path / "run", *arguments, *more, model="NeXtVLAD")
        return capsys.readouterr().err if code else "done"

    unwhiten = "--input_normalization=unwhiten"
    assert "trained with --input_normalization=unwhiten, this one is to have none" in attempt()
    assert "other --eigenvalues" in attempt(unwhiten, f"--eigenvalues={data / 'others.npy'}")
    assert attempt(unwhiten, f"--eigenvalues={data / 'eigenvals.npy'}") == "done"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input_normalization=unwhiten"], "needs --eigenvalues"),
        (["--eigenvalues=x.npy"], "does nothing without --input_normalization=unwhiten"),
        (["--input_normalization=unwhiten", "--eigenvalues=/nowhere.npy"], "cannot be read"),
        (["--input_normalization=l2", "--student_model_args=input_normalization=none"], "have one"),
        (["--input_normalization=l3"], "input_normalization"),
    ],
)
def test_refused(data, tmp_path, capsys, arguments, message):
    assert train(data, tmp_path / "run", "--student_frames=3", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "teacher").exists()


def test_the_familys_own_is_in_the_configuration(data, tmp_path):
    arguments = ["--student_frames=3", "--max_steps=1", "--training_mode=baseline"]
    assert train(data, tmp_path / "own", *arguments) == 0
    assert read_json(tmp_path / "own" / "config.json")["model_args"]["input_normalization"] == "l2"
    assert train(data, tmp_path / "other", *arguments, "--input_normalization=none") == 0
    assert loading.load(str(tmp_path / "other")).model.input_normalization == "none"
