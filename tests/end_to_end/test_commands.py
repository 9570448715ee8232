"""The scripts' mains on small fake records: train, then evaluate, then predict, as a user would."""

import csv
import gzip
import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.end_to_end.commands import evaluate, predict, scalars, train
from tests.helpers import sequence_example, shared_path, write_records
from yt8m_distill.files.untrusted import read_json
from yt8m_distill.runs.checkpoints import checkpoints
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.loading import load
from yt8m_distill.train import main as train_main
from yt8m_distill.training import run as training

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def serial_run(data, tmp_path_factory) -> pathlib.Path:
    """A finished serial run of NeXtVLAD with validation."""
    run = tmp_path_factory.mktemp("runs") / "serial"
    arguments = ["--student_frames=3", "--num_epochs=6", f"--validation_data_pattern={data}/validate*"]
    assert train(data, run, *arguments, model="NeXtVLAD") == 0
    return run


def test_serial_run_leaves_everything_in_its_place(serial_run):
    for name in ("config.json", "report.json", "best/student.weights.h5", "best/best.json", "eval/metrics.json"):
        assert (serial_run / name).is_file(), name
    for name in ("config.json", "best/teacher.weights.h5", "eval/metrics.json"):
        assert (serial_run / "teacher" / name).is_file(), name
    assert (serial_run / "eval" / "teacher" / "metrics.json").is_file()
    assert len(checkpoints(RunDir(serial_run))) == 2
    assert not list(serial_run.rglob("*.partial*"))


def test_models_learn_what_is_there_to_learn(serial_run):
    assert read_json(serial_run / "eval" / "metrics.json")["GAP@20"] > 0.6
    assert read_json(serial_run / "teacher" / "eval" / "metrics.json")["GAP@20"] > 0.6


def test_report_has_a_row_for_teacher_and_student(serial_run):
    teacher, student = read_json(serial_run / "report.json")["rows"]
    assert (teacher["role"], student["role"]) == ("teacher", "student")
    assert (teacher["frames"], student["frames"]) == (12, 3)  # the longest video has 12
    assert teacher["parameters"] == student["parameters"]
    assert teacher["multiply_accumulates"] > 2 * student["multiply_accumulates"]
    assert set(student["metrics"]) >= {"GAP@20", "mAP", "Hit@1", "PERR"}


def test_every_resolved_setting_is_in_the_configuration(serial_run):
    config = read_json(serial_run / "config.json")
    assert config["model_args"]["expansion"] == 2
    assert config["learning"]["learning_rate_decay"] == 0.8
    assert config["data"]["edition"] == "YouTube-8M 2018"


def test_curves_share_the_step_axis(serial_run):
    train_curves, validation = scalars(serial_run / "logs" / "train"), scalars(serial_run / "logs" / "validation")
    losses = {f"loss/{name}" for name in ("total", "rep", "pred", "ce", "regularization")}
    assert set(train_curves) >= {*losses, "metrics/GAP@20", "metrics/Hit@1", "train/learning_rate"}
    assert set(validation) >= {"metrics/GAP@20", "metrics/mAP", "metrics/Hit@1", "metrics/PERR", "loss/ce"}
    assert [step for step, _ in validation["metrics/GAP@20"]] == [4, 8, 12, 16, 20, 24]
    assert [step for step, _ in train_curves["loss/total"]] == [10, 20]


def test_histograms_of_gates_and_assignments(serial_run):
    events = EventAccumulator(str(serial_run / "logs" / "train"), size_guidance={"tensors": 0})
    events.Reload()
    assert {"student/gates", "student/assignment_0", "student/assignment_1"} <= set(events.Tags()["tensors"])


def test_the_best_epoch_is_kept(serial_run):
    best = read_json(serial_run / "best" / "best.json")
    curve = scalars(serial_run / "logs" / "validation")["metrics/GAP@20"]
    assert best["GAP@20"] == pytest.approx(max(value for _, value in curve), rel=1e-6)
    assert (best["step"], pytest.approx(best["GAP@20"], rel=1e-6)) in curve


def test_a_finished_run_started_again_prints_its_table(data, serial_run, capsys):
    before = (serial_run / "best" / "student.weights.h5").stat().st_mtime_ns
    arguments = ["--student_frames=3", "--num_epochs=6", f"--validation_data_pattern={data}/validate*"]
    assert train(data, serial_run, *arguments, model="NeXtVLAD") == 0
    assert (serial_run / "best" / "student.weights.h5").stat().st_mtime_ns == before
    printed = capsys.readouterr().out
    assert "multiply-accumulates" in printed
    assert f"tensorboard --logdir={serial_run}" in printed


def test_other_settings_are_refused_by_name(data, serial_run, capsys):
    assert train(data, serial_run, "--student_frames=4", model="NeXtVLAD") == 2
    message = capsys.readouterr().err
    assert "selection.k: 3 in the run, 4 now" in message
    assert "--start_new_model" in message


def test_eval_agrees_with_the_end_of_training(data, serial_run, tmp_path):
    output = tmp_path / "metrics.json"
    per_class = tmp_path / "classes.csv"
    arguments = [f"--train_dir={serial_run}", f"--output_file={output}", "--batch_size=3", "--full_map"]
    assert evaluate(*arguments, f"--per_class_file={per_class}") == 0
    result, expected = read_json(output), read_json(serial_run / "eval" / "metrics.json")
    for name in ("GAP@20", "mAP", "Hit@1", "PERR", "loss"):
        assert result[name] == pytest.approx(expected[name], abs=1e-5)
    assert result["examples"] == 20
    assert 0 < result["mAP_full"] <= 1
    assert len(list(csv.DictReader(per_class.open()))) == 10


def test_bfloat16_changes_next_to_nothing(data, serial_run, tmp_path):
    results, tables = {}, {}
    for precision in ("float32", "bfloat16"):
        metrics, table = tmp_path / f"{precision}.json", tmp_path / f"{precision}.csv"
        arguments = [f"--train_dir={serial_run}", f"--precision={precision}"]
        assert evaluate(*arguments, f"--output_file={metrics}") == 0
        assert predict(*arguments, "--top_k=10", f"--output_file={table}") == 0
        results[precision] = read_json(metrics)
        rows = [line.partition(",")[2].split() for line in table.read_text().splitlines()[1:]]
        tables[precision] = np.array([[float(p) for _, p in sorted(zip(r[::2], r[1::2], strict=True))] for r in rows])
    assert results["bfloat16"]["precision"] == "bfloat16"
    assert results["bfloat16"]["GAP@20"] == pytest.approx(results["float32"]["GAP@20"], abs=0.01)
    differences = np.abs(tables["bfloat16"] - tables["float32"])
    assert 0 < differences.max() < 0.02


def test_eval_of_the_teacher_and_with_other_frames(data, serial_run, tmp_path):
    output = tmp_path / "metrics.json"
    assert evaluate(f"--train_dir={serial_run}", "--which=teacher", f"--output_file={output}") == 0
    teacher = read_json(serial_run / "teacher" / "eval" / "metrics.json")
    assert read_json(output)["GAP@20"] == pytest.approx(teacher["GAP@20"], abs=1e-6)
    assert evaluate(f"--train_dir={serial_run}", "--student_frames=1", f"--output_file={output}") == 0
    assert read_json(output)["frames"] == "1"


def test_follow_evaluates_the_checkpoints_of_a_finished_run(serial_run, tmp_path, capsys):
    assert evaluate(f"--train_dir={serial_run}", "--follow", f"--output_file={tmp_path / 'm.json'}") == 0
    steps = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Step")]
    assert steps == ["Step 20", "Step 24"]


def test_inference_writes_every_video_once_in_order(data, serial_run, tmp_path):
    vocabulary = tmp_path / "vocabulary.csv"
    vocabulary.write_text("Index,Name\n" + "".join(f"{i},class {i}\n" for i in range(10)))
    output = tmp_path / "out.csv"
    arguments = [f"--train_dir={serial_run}", f"--input_data_pattern={data}/test*,{data}/validate*", "--top_k=3"]
    assert predict(*arguments, f"--output_file={output}", f"--vocabulary={vocabulary}") == 0
    header, *rows = output.read_text().splitlines()
    assert header == "VideoId,LabelConfidencePairs"
    expected = [f"v300_{i}" for i in range(20)] + [f"v200_{i}" for i in range(16)]
    assert [row.split(",")[0] for row in rows] == expected
    assert all(len(row.split(",")[1].split()) == 6 for row in rows)
    assert "class " in (tmp_path / "out.csv.txt").read_text()
    zipped = tmp_path / "out.csv.gz"
    assert predict(*arguments, f"--output_file={zipped}", "--batch_size=1") == 0
    text = gzip.decompress(zipped.read_bytes()).decode()
    assert [line.split(",")[0] for line in text.splitlines()[1:]] == expected


def test_a_packed_model_predicts_the_same(data, serial_run, tmp_path):
    packed, first, second = tmp_path / "model.tgz", tmp_path / "first.csv", tmp_path / "second.csv"
    where = f"--input_data_pattern={data}/test*"
    assert predict(f"--train_dir={serial_run}", where, f"--output_file={first}", f"--output_model_tgz={packed}") == 0
    assert predict(f"--input_model_tgz={packed}", where, f"--output_file={second}") == 0
    assert first.read_text() == second.read_text()


def test_keras_files_of_a_trained_model_load_to_equal_predictions(serial_run, tmp_path):
    model = load(str(serial_run)).model
    model.save(tmp_path / "student.keras")
    loaded = keras.models.load_model(tmp_path / "student.keras")
    rng = np.random.default_rng(0)
    inputs = {"frames": rng.integers(0, 256, (3, 5, 8), np.uint8), "num_frames": np.array([5, 2, 1], np.int32)}
    np.testing.assert_allclose(loaded(inputs)["predictions"], model(inputs)["predictions"], atol=1e-6)


@pytest.mark.parametrize(
    ("model", "arguments", "steps", "roles"),
    [
        ("HierarchicalRNN", ["--training_mode=parallel", "--student_frames=3"], 4, ["teacher", "student"]),
        ("NetVLAD", ["--training_mode=baseline", "--student_stride=4"], 4, ["baseline"]),
        (
            "HierarchicalRNN",
            ["--student_losses=rep", "--finetune_epochs=2", "--frame_sampling=random", "--student_frames=2"],
            12,
            ["teacher", "student"],
        ),
    ],
)
def test_other_modes_train_evaluate_and_predict(data, tmp_path, model, arguments, steps, roles):
    run = tmp_path / "run"
    assert train(data, run, *arguments, "--num_epochs=1", model=model) == 0
    assert checkpoints(RunDir(run))[-1].step == steps
    assert [row["role"] for row in read_json(run / "report.json")["rows"]] == roles
    assert evaluate(f"--train_dir={run}") == 0
    assert predict(f"--train_dir={run}", f"--output_file={tmp_path / 'out.csv'}") == 0
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 21


def test_intermediate_matching_trains(data, tmp_path):
    arguments = ["--representation_matching=intermediate", "--student_frames=3", "--num_epochs=1"]
    assert train(data, tmp_path / "run", *arguments, model="HierarchicalRNN") == 0
    config = read_json(tmp_path / "run" / "config.json")
    assert config["model_args"]["block_length"] == 20
    assert config["student_model_args"]["block_length"] == 3


def test_one_student_for_several_k_from_all_of_the_teachers_weights(data, serial_run, tmp_path):
    run = tmp_path / "run"
    arguments = [f"--teacher_dir={serial_run / 'teacher'}", "--student_frames=4,1,2", "--frame_sampling=jittered"]
    few_steps = ["--num_epochs=1", "--base_learning_rate=0.0000001", "--batch_size=64"]
    assert train(data, run, *arguments, "--student_init=teacher", *few_steps, model="NeXtVLAD") == 0
    config = read_json(run / "config.json")
    assert (config["selection"]["k"], config["selection"]["drawn_from"]) == (4, [1, 2, 4])
    student, teacher = load(str(run)).model, load(str(serial_run), "teacher").model
    for ours, theirs in zip(student.trainable_variables, teacher.trainable_variables, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, err_msg=ours.path)
    assert read_json(run / "eval" / "metrics.json")["frames"] == "4"
    for k in (1, 2):
        assert evaluate(f"--train_dir={run}", f"--student_frames={k}", f"--output_file={tmp_path / 'm.json'}") == 0
        assert read_json(tmp_path / "m.json")["frames"] == str(k)


def test_selections_for_training_are_refused_elsewhere(serial_run, capsys):
    for flags in (["--student_frames=1,2"], ["--student_frames=2", "--frame_sampling=jittered"]):
        assert evaluate(f"--train_dir={serial_run}", *flags) == 2
        assert "are for training; give one k here" in capsys.readouterr().err


def test_a_student_of_another_size_cannot_start_from_the_teacher(data, tmp_path, capsys):
    arguments = ["--student_init=teacher", "--student_model_args=clusters=2", "--student_frames=2"]
    assert train(data, tmp_path / "run", *arguments) == 2
    assert "student_init=teacher needs models with the same weights; '" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_finished_teacher_is_only_read(data, serial_run, tmp_path):
    teacher = serial_run / "teacher"
    before = {path: path.stat().st_mtime_ns for path in teacher.rglob("*")}
    arguments = [f"--teacher_dir={teacher}", "--student_frames=2", "--num_epochs=1"]
    assert train(data, tmp_path / "run", *arguments, model="NeXtVLAD") == 0
    assert {path: path.stat().st_mtime_ns for path in teacher.rglob("*")} == before
    assert not (tmp_path / "run" / "teacher").exists()


def test_start_new_model_moves_the_old_run_aside(data, tmp_path):
    arguments = ["--training_mode=baseline", "--student_frames=2", "--max_steps=1"]
    assert train(data, tmp_path / "run", *arguments) == 0
    assert train(data, tmp_path / "run", *arguments, "--seed=1", "--start_new_model") == 0
    assert json.loads((tmp_path / "run.old-1" / "config.json").read_text())["learning"]["seed"] == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["learning"]["seed"] == 1


def wrong_label(folder: pathlib.Path) -> str:
    return write_records(folder / "wrong.tfrecord", [sequence_example("bad one", labels=(11,))])


def test_a_model_that_does_not_fit_into_memory(data, tmp_path, capsys, monkeypatch):
    def too_large(*arguments, **options):
        raise tf.errors.ResourceExhaustedError(None, None, "out of memory")

    monkeypatch.setattr(training.building, "build_models", too_large)
    assert train(data, tmp_path / "run") == 2
    assert "NetVLAD does not fit into memory; give smaller sizes by --model_args" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train_data_pattern=/nowhere/*"], "no file matches '/nowhere/*'"),
        (["--student_frames=0"], "at least 1"),
        (["--student_frames=2", "--student_stride=2"], "not both"),
        (["--model=MegaVLAD"], "HierarchicalRNN, NetVLAD, NeXtVLAD"),
        (["--model_args=cluster=2"], "clusters=256"),
        (["--model_args=clusters=two"], "must be of type int"),
        (["--optimizer=Magic"], "not a Keras optimizer"),
        (["--recipe=cake"], "--recipe=cake: value should be one of <paper|sample>"),
        (["--teacher_dir=/nowhere"], "no finished run"),
        (["--representation_matching=intermediate"], "needs a state for every frame; NetVLAD has none"),
        (["--student_model_args=hidden_size=4"], "same classifier"),
        (["--loss_weights=rep=0,pred=0,ce=0"], "above 0"),
        (["--num_classes=0"], "at least 2"),
        (["--seed=5000000000"], "below 4294967296"),
        (["--feature_names=flow", "--feature_sizes=6"], "no feature list 'flow'"),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_code_2(data, tmp_path, capsys, arguments, message):
    assert train(data, tmp_path / "run", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.glob("run/**/step-*"))  # found before anything was trained


def test_a_start_that_failed_does_not_lock_the_directory(data, tmp_path):
    assert train(data, tmp_path / "run", "--optimizer=Magic", "--training_mode=baseline") == 2
    assert train(data, tmp_path / "run", "--training_mode=baseline", "--student_frames=2", "--max_steps=1") == 0


def test_a_label_beyond_the_class_count_names_the_video(data, tmp_path, capsys):
    pattern = f"--train_data_pattern={wrong_label(tmp_path)}"
    assert train(data, tmp_path / "run", pattern, "--training_mode=teacher") == 2
    assert "video 'bad one': label 11 is outside [0, 10)" in capsys.readouterr().err


def test_a_directory_without_a_model(data, tmp_path, capsys):
    assert evaluate(f"--train_dir={tmp_path}", f"--eval_data_pattern={data}/test*") == 2
    assert "not a run directory" in capsys.readouterr().err


def test_data_of_other_sizes_are_refused_in_evaluation(serial_run, tmp_path, capsys):
    path = write_records(tmp_path / "x.tfrecord", [sequence_example(sizes={"rgb": 7, "audio": 2})])
    assert evaluate(f"--train_dir={serial_run}", f"--eval_data_pattern={path}") == 2
    assert "feature 'rgb' has 7 bytes a frame, not 6" in capsys.readouterr().err


def test_records_of_another_edition_are_refused_in_evaluation_only(data, tmp_path, capsys, caplog):
    run = tmp_path / "run"
    big = {"rgb": 1024, "audio": 128}
    of_2018 = write_records(tmp_path / "2018.tfrecord", [sequence_example("a", sizes=big)])
    of_2017 = write_records(tmp_path / "2017.tfrecord", [sequence_example("a", sizes=big, id_key="video_id")])
    arguments = ["--training_mode=baseline", "--model=NetVLAD", "--model_args=clusters=2,hidden_size=2"]
    arguments += [f"--train_data_pattern={of_2018}", f"--train_dir={run}", "--max_steps=1"]
    assert train_main(["train.py", *arguments]) == 0
    assert evaluate(f"--train_dir={run}", f"--eval_data_pattern={of_2017}") == 2
    assert "YouTube-8M 2017 with 4716 classes; the model was trained on YouTube-8M 2018" in capsys.readouterr().err
    output = f"--output_file={tmp_path / 'x.csv'}"
    assert predict(f"--train_dir={run}", f"--input_data_pattern={of_2017}", output) == 0
    assert "The predictions have the numbers of YouTube-8M 2018" in caplog.text


def test_the_real_youtube_8m_video_without_a_special_flag(tmp_path):
    path = shared_path("data/yt8m_frame/SjJ3.tfrecord")
    run = tmp_path / "run"
    arguments = [f"--train_data_pattern={path}", f"--eval_data_pattern={path}", f"--train_dir={run}"]
    sizes = "--model_args=clusters=4,hidden_size=8"
    assert train_main(["train.py", "--model=NetVLAD", sizes, "--student_frames=30", "--num_epochs=1", *arguments]) == 0
    assert evaluate(f"--train_dir={run}") == 0
    assert predict(f"--train_dir={run}", f"--output_file={tmp_path / 'out.csv'}") == 0
    assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith("SjJ3,")
