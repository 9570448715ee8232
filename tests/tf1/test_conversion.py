"""Checkpoints of TensorFlow 1, written from the reference weights, as run directories that predict the same."""

import json
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import TINY_FLAGS, case_weights, learnable_videos, load_case, video_level, write_records
from yt8m_distill.config.models import ConversionConfig
from yt8m_distill.convert_checkpoint import main as conversion_main
from yt8m_distill.data.frame_selection import selected_indices
from yt8m_distill.eval import main as eval_main
from yt8m_distill.files.untrusted import read_json
from yt8m_distill.inference import main as inference_main
from yt8m_distill.models import NeXtVLAD
from yt8m_distill.runs import loading
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.tf1 import checkpoint as tf1_checkpoint
from yt8m_distill.tf1 import reader_process
from yt8m_distill.tf1.architectures import Architecture, find_original
from yt8m_distill.tf1.conversion import _spec
from yt8m_distill.tf1.weights import placements_in
from yt8m_distill.train import main as train_main


@pytest.fixture(autouse=True)
def reading_in_this_process(monkeypatch):
    """Saves every test the import of TensorFlow in another process; test_checkpoint.py has those that need it."""
    monkeypatch.setattr(tf1_checkpoint, "_read_in_process", reader_process.write_contents)


def write_checkpoint(
    folder: pathlib.Path,
    weights: dict[str, np.ndarray],
    scope: str = "tower/",
    step: int = 120,
    flags: dict | None = None,
) -> str:
    """A checkpoint as TensorFlow 1 writes it, with Adam's variables; returns the folder."""
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        v1 = tf.compat.v1
        for name, value in weights.items():
            full = scope + name.replace(".", "/")
            tf.Variable(value, name=full, use_resource=False)
            for slot in ("Adam", "Adam_1") if "moving_" not in name else ():
                tf.Variable(np.zeros_like(value), name=f"{full}/{slot}", use_resource=False)
        for name, value in (("global_step", step), ("beta1_power", np.float32(0.9)), ("beta2_power", np.float32(0.9))):
            tf.Variable(value, name=name, use_resource=False)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(folder / "model.ckpt"), global_step=step)
    if flags is not None:
        (folder / "model_flags.json").write_text(json.dumps(flags))
    return str(folder)


def convert(path: str, train_dir: pathlib.Path, *arguments: str) -> int:
    return conversion_main(["convert_checkpoint", f"--from={path}", f"--train_dir={train_dir}", *arguments])


TWO = "--feature_names=rgb,audio"
ONE = "--feature_names=own"
PROB = "--model_args=moe_gating_remove_diag=true"
# by case: flags of the conversion, flags of the original, the inputs
CASES = {
    "e_nextvlad_logistic": ([TWO], None, "inputs"),
    "e_nextvlad_moe": ([TWO], None, "inputs"),
    "e_willow_netvlad_relu_gating": ([TWO], None, "sampled_inputs"),
    "e_willow_netvlad_relu_gating_removediag": ([TWO], {"gating_remove_diag": True}, "sampled_inputs"),
    "e_willow_netvlad_lightvlad": ([TWO], {"gating_remove_diag": True}, "sampled_inputs"),
    "e_willow_netvlad_norelu_gating_gatedmoe": ([TWO], None, "sampled_inputs"),
    "e_dbof_bn_random_sigmoid_max": ([ONE], {"feature_names": "rgb"}, "sampled_inputs"),
    "e_dbof_nobn_sequence_relu6_average": (
        ["--model_args=activation=relu6,pooling=average"],
        {"feature_names": "rgb, audio", "feature_sizes": "6, 3", "dbof_activation": "sigmoid"},
        "sampled_inputs",
    ),
    "e_lstm": ([ONE], None, "inputs"),
    "e_frame_level_logistic": ([ONE], {"model": "FrameLevelLogisticModel"}, "inputs"),
    "e_logistic": ([ONE, "--model=LogisticModel"], None, "inputs"),
    "e_moe": ([ONE], None, "inputs"),
    "e_gated_moe_input": ([ONE], None, "inputs"),
    "e_gated_moe_prob": ([ONE], None, "inputs"),
    "e_gated_moe_prob_removediag": ([ONE, PROB], None, "inputs"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_converted_model_predicts_as_the_original(name, tmp_path, capsys):
    arguments, flags, key = CASES[name]
    case = load_case(name)
    checkpoint = write_checkpoint(tmp_path, case_weights(case), flags=flags)

    assert convert(checkpoint, tmp_path / "run", *arguments) == 0

    trained = loading.load(str(tmp_path / "run"))
    frames = case[key] if case[key].ndim == 3 else case[key][:, None]
    all_frames = np.full(len(frames), frames.shape[1])
    num_frames = case.get("num_frames", all_frames) if key == "inputs" else all_frames
    predictions = trained.model({"frames": frames, "num_frames": num_frames})["predictions"]
    np.testing.assert_allclose(predictions, case["predictions"], rtol=1e-4, atol=2e-5)
    assert trained.role == "teacher"
    assert trained.config.data.level == ("video" if frames.shape[1] == 1 else "frame")
    said = capsys.readouterr().out
    slots = 2 * sum("moving_" not in weight for weight in case_weights(case)) + 2
    assert f"{len(case_weights(case))} variables in the scope tower are in their places" in said
    assert f"Left out: {slots} (optimizer), 1 (step)." in said


def test_the_mixture_and_one_of_its_branches(tmp_path):
    case = load_case("e_mix_nextvlad")
    checkpoint = write_checkpoint(tmp_path, case_weights(case))
    assert convert(checkpoint, tmp_path / "mixture", TWO) == 0
    assert convert(checkpoint, tmp_path / "branch", TWO, "--scope=branch_1") == 0

    mixture, branch = (loading.load(str(tmp_path / name)).model for name in ("mixture", "branch"))

    inputs = {"frames": case["inputs"], "num_frames": case["num_frames"]}
    full = case["num_frames"] == case["inputs"].shape[1]
    outputs = mixture(inputs)
    np.testing.assert_allclose(outputs["predictions"][full], case["predictions"][full], rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(outputs["branch_logits"], case["branch_logits"], rtol=1e-4, atol=2e-5)
    assert type(branch) is NeXtVLAD
    np.testing.assert_allclose(branch(inputs)["predictions"], case["branch_predictions"][:, 1], rtol=1e-4, atol=2e-5)


def test_teacher_and_student_by_scope(tmp_path, capsys):
    case = load_case("e_hlstm")
    checkpoint = write_checkpoint(tmp_path, case_weights(case), scope="")
    assert convert(checkpoint, tmp_path / "run", ONE) == 2
    assert "several scopes: model, model_student. Choose by --scope." in capsys.readouterr().err

    # A teacher has 20 blocks, a student 5: here of 4 and of 2 frames.
    options = [ONE, "--max_frames=80"]
    assert convert(checkpoint, tmp_path / "teacher", *options, "--scope=model") == 0
    assert convert(checkpoint, tmp_path / "student", *options, "--scope=model_student", "--student_stride=8") == 0

    teacher, student = (loading.load(str(tmp_path / name)) for name in ("teacher", "student"))
    assert (teacher.role, teacher.model.model_args["block_length"]) == ("teacher", 4)
    assert (student.role, student.model.model_args["block_length"]) == ("student", 2)
    assert student.selection.stride == 8
    for trained, scope in ((teacher, "model"), (student, "model_student")):
        expected = case[f"w.{scope}.classifier.experts.weights"]
        np.testing.assert_array_equal(trained.model.classifier.experts.kernel.numpy(), expected)
    assert "(other scopes)" in capsys.readouterr().out


@pytest.mark.parametrize(("counting", "agreeing"), [("authors", 8), ("ceil", 3)])
def test_a_student_counts_frames_as_the_authors_do(tmp_path, counting, agreeing):
    """Of 8 videos, 5 have fewer frames for the authors than every 2nd one; of a single frame none is left."""
    case = load_case("e_hlstm")
    checkpoint = write_checkpoint(tmp_path, case_weights(case), scope="")
    options = [ONE, "--max_frames=24", "--scope=model_student", "--student_stride=2", "--model_args=block_length=4"]
    assert convert(checkpoint, tmp_path / "run", *options, f"--frame_counting={counting}") == 0

    student = loading.load(str(tmp_path / "run"))
    video_ids = [b""] * len(case["num_frames"])
    indices, counts = selected_indices(student.selection, case["num_frames"], video_ids, seed=0)
    frames = np.take_along_axis(case["model_input"], indices[:, :, np.newaxis], axis=1)
    outputs = student.model({"frames": frames, "num_frames": counts})

    same = counts == case["student_num_frames"]
    assert same.sum() == agreeing
    for name in ("predictions", "representation"):
        expected = case["student_state" if name == "representation" else f"student_{name}"]
        close = np.isclose(outputs[name], expected, rtol=1e-4, atol=1e-5).all(axis=1)
        np.testing.assert_array_equal(close, same)


def test_authors_counting_goes_with_a_stride(tmp_path, capsys):
    assert convert("nowhere", tmp_path / "run", "--frame_counting=authors") == 2
    assert "--frame_counting=authors goes with --student_stride only" in capsys.readouterr().err


@pytest.fixture(scope="module")
def nextvlad(tmp_path_factory) -> pathlib.Path:
    """A folder with a checkpoint of NeXtVLAD for features of the small videos, and these."""
    folder = tmp_path_factory.mktemp("nextvlad")
    model = NeXtVLAD((6, 2), 10, clusters=4, groups=2, hidden_size=8, gating_reduction=2)
    weights = dict(_original_names(model))
    write_checkpoint(folder, weights, flags={"model": "NeXtVLADModel", "feature_names": "rgb,audio", "label_loss": "x"})
    write_records(folder / "a.tfrecord", learnable_videos(20))
    return folder


def _original_names(model: NeXtVLAD):
    case = load_case("e_nextvlad_logistic")
    for name in case_weights(case):
        yield name, np.random.default_rng(len(name)).uniform(0.1, 0.5, _shape(model, name)).astype(np.float32)


def _shape(model: NeXtVLAD, name: str) -> tuple[int, ...]:
    return placements_in(model)[name].shape


@pytest.mark.slow
def test_a_converted_run_is_evaluated_applied_and_a_teacher(nextvlad, tmp_path):
    run, videos = tmp_path / "run", f"{nextvlad}/a.tfrecord"

    assert convert(str(nextvlad), run) == 0

    assert read_json(run / "best" / "best.json") == {"step": 120}
    assert eval_main(["eval.py", f"--train_dir={run}", f"--eval_data_pattern={videos}"]) == 0
    metrics = read_json(run / "eval" / "metrics.json")
    assert (metrics["step"], metrics["examples"]) == (120, 20)
    output = f"--output_file={tmp_path / 'out.csv'}"
    assert inference_main(["inference.py", f"--train_dir={run}", f"--input_data_pattern={videos}", output]) == 0
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 21
    sizes = "clusters=4,groups=2,hidden_size=8,gating_reduction=2"
    options = ["--model=NeXtVLAD", f"--model_args={sizes}", f"--teacher_dir={run}", "--num_classes=10", *TINY_FLAGS]
    options += ["--student_frames=3", "--num_epochs=1", "--batch_size=10", f"--train_dir={tmp_path / 'student'}"]
    before = (run / "best" / "teacher.weights.h5").read_bytes()
    assert train_main(["train.py", *options, f"--train_data_pattern={videos}", f"--eval_data_pattern={videos}"]) == 0
    assert [row["role"] for row in read_json(tmp_path / "student" / "report.json")["rows"]] == ["teacher", "student"]
    assert (run / "best" / "teacher.weights.h5").read_bytes() == before


@pytest.mark.parametrize("name", ["e_nextvlad_logistic", "e_mix_nextvlad"])
def test_eigenvalues_become_a_weight(name, tmp_path, capsys):
    case = load_case(name)
    checkpoint = write_checkpoint(tmp_path, case_weights(case))
    values = np.linspace(0.1, 2.0, 32).astype(np.float32)
    np.save(tmp_path / "eigenvals.npy", values)
    assert convert(checkpoint, tmp_path / "run", TWO, f"--eigenvalues={tmp_path / 'eigenvals.npy'}") == 0
    bytes_of = np.random.default_rng(0).integers(0, 256, (2, 3, 40), np.uint8)
    prepared = bytes_of * np.float32(4 / 255) + np.float32(4 / 512 - 2)
    prepared[..., :32] = (prepared[..., :32] - 4 / 512) * (np.sqrt(values) + 1e-4)

    model = loading.load(str(tmp_path / "run")).model

    for each in (model, model.branch_model(1)) if "mix" in name else (model,):
        outputs, expected = (each({"frames": x, "num_frames": np.array([3, 2])}) for x in (bytes_of, prepared))
        np.testing.assert_allclose(outputs["predictions"], expected["predictions"], rtol=1e-4, atol=1e-5)
    assert "input_normalization=unwhiten" in capsys.readouterr().out


LOGISTIC = {"weights": (8, 10), "biases": (10,)}


def test_a_converted_video_level_model_is_evaluated(tmp_path, capsys):
    weights = {f"fully_connected.{name}": np.ones(shape, np.float32) for name, shape in LOGISTIC.items()}
    flags = {"model": "LogisticModel", "feature_names": "mean_rgb, mean_audio", "feature_sizes": "6, 2"}
    checkpoint = write_checkpoint(tmp_path, weights, flags=flags)
    features = {"mean_rgb": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "mean_audio": [1.0, 0.0]}
    path = write_records(tmp_path / "a.tfrecord", [video_level(features, f"v{i}", (i,)) for i in range(4)])
    assert convert(checkpoint, tmp_path / "run", "--student_frames=3") == 2
    assert "it takes one vector a video" in capsys.readouterr().err

    assert convert(checkpoint, tmp_path / "run") == 0

    assert eval_main(["eval.py", f"--train_dir={tmp_path / 'run'}", f"--eval_data_pattern={path}"]) == 0
    assert read_json(tmp_path / "run" / "eval" / "metrics.json")["examples"] == 4


def test_variables_without_a_place_are_named(nextvlad, tmp_path, capsys):
    model = NeXtVLAD((6, 2), 10, clusters=4, groups=2, hidden_size=8, gating_reduction=2)
    weights = {**dict(_original_names(model)), "attention_2.weights": np.ones((3, 4), np.float32)}
    checkpoint = write_checkpoint(tmp_path, weights)

    assert convert(checkpoint, tmp_path / "run", TWO) == 1

    said = capsys.readouterr().out
    assert "Without a place in the model" in said
    assert "  tower/attention_2/weights (3, 4)" in said
    assert RunDir(tmp_path / "run").report_file.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train_dir={folder}"], "is not empty; give a new one"),
        (["--from={folder}/nothing"], "there is no checkpoint of this name"),
        (["--from={folder}/empty"], "there is no checkpoint in this folder"),
        (["--from={folder}/a.tfrecord"], "is not a TensorFlow 1 checkpoint"),
        (["--model=Dbof"], "the checkpoint has no variables of a Dbof"),
        (["--model=Lstm"], "the checkpoint has no variables of a Lstm"),
        (["--model=Nothing"], "Unknown model 'Nothing'"),
        (["--scope=elsewhere"], "in the scope elsewhere"),
        (["--model_args=clusters=5"], "These weights do not fit the model"),
        (["--model_args=cells=5"], "NeXtVLAD has no argument 'cells'"),
        (["--feature_names=rgb"], "features rgb are not as many as the checkpoint's, of sizes 6, 2"),
        (["--feature_names=rgb,audio", "--feature_sizes=4,4"], r"do not fit the checkpoint, whose model takes 6 \+ 2"),
        (["--student_frames=0"], "--student_frames must be at least 1"),
    ],
)
def test_wrong_conversions_are_one_sentence(nextvlad, tmp_path, capsys, arguments, message):
    (nextvlad / "empty").mkdir(exist_ok=True)
    given = [argument.format(folder=nextvlad) for argument in arguments]
    flags = [f"--from={nextvlad}/model.ckpt-120", f"--train_dir={tmp_path / 'run'}", *given]

    assert conversion_main(["convert_checkpoint", *flags]) == 2

    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_is_one_sentence(nextvlad, tmp_path, capsys):
    for file in nextvlad.glob("model.ckpt-120.*"):
        content = file.read_bytes()
        (tmp_path / file.name).write_bytes(content[: len(content) // 2] if "data" in file.name else content)

    assert convert(str(tmp_path), tmp_path / "run", TWO) == 2
    assert "is damaged" in capsys.readouterr().err


def test_the_logistic_models_cannot_be_told_apart(tmp_path, capsys):
    checkpoint = write_checkpoint(tmp_path, case_weights(load_case("e_logistic")))

    assert convert(checkpoint, tmp_path / "run", ONE) == 2
    assert "have the same variables; choose one by --model" in capsys.readouterr().err


def test_the_checkpoint_with_the_most_steps_is_taken(tmp_path):
    weights = case_weights(load_case("e_moe"))
    for step in (90, 120, 100):
        write_checkpoint(tmp_path, weights, step=step)

    assert convert(str(tmp_path), tmp_path / "run", ONE) == 0
    assert read_json(tmp_path / "run" / "best" / "best.json") == {"step": 120}


@pytest.mark.parametrize(
    ("sizes", "classes", "edition", "names"),
    [
        ((1024, 128), 3862, "YouTube-8M 2018", ("rgb", "audio")),
        ((1024, 128), 4716, "YouTube-8M 2017", ("rgb", "audio")),
        ((1024,), 3862, "YouTube-8M 2018", ("rgb",)),
        ((128,), 527, "AudioSet", ("audio_embedding",)),
    ],
)
def test_known_features_need_no_flags(sizes, classes, edition, names):
    spec = _spec(ConversionConfig("x", "y"), Architecture({}, sizes, classes), "frame", {})

    assert (spec.edition, spec.feature_names, spec.feature_sizes) == (edition, names, sizes)
    together = _spec(ConversionConfig("x", "y"), Architecture({}, (sum(sizes),), classes), "frame", {})
    assert together == spec


def test_the_published_models_are_found_by_their_variables():
    """The names and shapes of the originals at full size."""
    counts = load_case("h_param_counts")
    expected = {
        "nextvlad_8g_128k": "NeXtVLAD",
        "mix3": "MixNeXtVLAD",
        "netvlad": "NetVLAD",
        "hlstm": "HierarchicalRNN",
        "dbof": "Dbof",
        "lstm": "Lstm",
        "frame": "FrameLevelLogistic",
    }
    for beginning, model in expected.items():
        key = next(key for key in counts if key.startswith(beginning) and key.endswith(".variables"))
        pairs = [line.rsplit(" ", 1) for line in bytes(counts[key]).decode().splitlines()]
        shapes = {name: tuple(map(int, shape.split("x"))) for name, shape in pairs}
        found = find_original(shapes, None, None, {"model": "FrameLevelLogisticModel"})
        assert (found.model, found.scope) == (model, "")
