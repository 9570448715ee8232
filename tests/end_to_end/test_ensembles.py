"""Several finished teachers of one student: `--teacher_dir=a,b,c`."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from tests.end_to_end.commands import evaluate, predict, train
from tests.helpers import learnable_videos, write_records
from yt8m_distill.config.dataset import SpecOverrides
from yt8m_distill.data.batches import View
from yt8m_distill.data.video_files import open_videos
from yt8m_distill.errors import UserError
from yt8m_distill.files.untrusted import read_json
from yt8m_distill.flops import main as flops_main
from yt8m_distill.models.ensemble import TeacherEnsemble
from yt8m_distill.runs import loading

pytestmark = pytest.mark.slow

FAMILIES = ("HierarchicalRNN", "NetVLAD", "NeXtVLAD")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("data")
    for index, (part, count) in enumerate([("train0", 30), ("test0", 20)]):
        write_records(folder / f"{part}.tfrecord", learnable_videos(count, seed=100 * index))
    return folder


@pytest.fixture(scope="module")
def teachers(data, tmp_path_factory) -> pathlib.Path:
    """A folder with a teacher of each family, and a second NetVLAD in "other"."""
    folder = tmp_path_factory.mktemp("teachers")
    for name in FAMILIES:
        assert train(data, folder / name, "--training_mode=teacher", "--num_epochs=1", model=name) == 0
    assert train(data, folder / "other", "--training_mode=teacher", "--num_epochs=1", "--seed=1") == 0
    return folder


def of(teachers: pathlib.Path, *names: str) -> str:
    return f"--teacher_dir={','.join(str(teachers / name) for name in names)}"


@pytest.fixture(scope="module")
def run(data, teachers, tmp_path_factory) -> pathlib.Path:
    """A NetVLAD student of all three families."""
    folder = tmp_path_factory.mktemp("runs") / "student"
    arguments = ["--student_frames=3", "--num_epochs=2", "--deterministic", "--optimizer=SGD"]
    assert train(data, folder, *arguments, of(teachers, *FAMILIES)) == 0
    return folder


def test_the_teacher_is_the_mean_and_its_representation_that_of_the_students_family(data, teachers):
    members = [loading.load(str(teachers / name)).model for name in FAMILIES]
    ensemble = TeacherEnsemble(members, matched=1)
    videos = open_videos(f"{data}/test*", "x", SpecOverrides(("rgb", "audio"), (6, 2), 10))
    batch = next(videos.ordered_batches(View(), 8))
    inputs = {name: batch[name] for name in ("frames", "num_frames")}
    found, each = ensemble(inputs), [member(inputs) for member in members]
    np.testing.assert_allclose(found["predictions"], sum(np.array(e["predictions"]) for e in each) / 3, rtol=1e-5)
    np.testing.assert_array_equal(found["representation"], each[1]["representation"])
    assert "gates" in ensemble(inputs, return_intermediates=True)
    assert set(TeacherEnsemble(members)(inputs)) == {"predictions"}


def test_the_run_of_its_student(data, teachers, run, tmp_path, capsys):
    assert read_json(run / "config.json")["teacher_dir"] == [str(teachers / name) for name in FAMILIES]
    teacher, student = read_json(run / "report.json")["rows"]
    single = [read_json(teachers / name / "report.json")["rows"][0] for name in FAMILIES]
    for count in ("parameters", "multiply_accumulates"):
        assert teacher[count] == sum(row[count] for row in single)
    assert teacher["metrics"]["examples"] == student["metrics"]["examples"] == 20
    assert (teacher["role"], teacher["frames"]) == ("teacher", 12)
    assert evaluate(f"--train_dir={run}", "--which=teacher", f"--output_file={tmp_path / 'm.json'}") == 0
    found = read_json(tmp_path / "m.json")
    assert found["GAP@20"] == pytest.approx(teacher["metrics"]["GAP@20"], abs=1e-6)
    assert found["model"] == "HierarchicalRNN + NetVLAD + NeXtVLAD"
    output = [f"--train_dir={run}", "--which=teacher", f"--output_file={tmp_path / 'p.csv'}"]
    assert predict(*output) == 0
    assert predict(*output, f"--output_model_tgz={tmp_path / 'm.tgz'}") == 2
    assert "an ensemble of teachers cannot be packed" in capsys.readouterr().err
    assert predict(*output, "--branch=0") == evaluate(f"--train_dir={run}", "--which=teacher", "--branch=0") == 2
    assert capsys.readouterr().err.count("is an ensemble; give a run of its own") == 2
    assert flops_main(["flops", f"--train_dir={run}", "--which=teacher"]) == 2
    assert str(teachers / "NetVLAD") in capsys.readouterr().err
    assert train(data, run, "--student_frames=3", "--num_epochs=2", "--deterministic", "--optimizer=SGD") == 2


def test_a_student_of_the_cached_ensemble_is_the_same(data, teachers, run, tmp_path):
    arguments = ["--student_frames=3", "--num_epochs=2", "--deterministic", "--optimizer=SGD"]
    arguments += [of(teachers, *FAMILIES), f"--teacher_cache={tmp_path / 'cache'}"]
    assert train(data, tmp_path / "run", *arguments) == 0
    assert read_json(tmp_path / "cache/cache.json")["dim"] == 8
    plain, cached = (loading.load(str(path)).model.get_weights() for path in (run, tmp_path / "run"))
    for one, other in zip(plain, cached, strict=True):
        np.testing.assert_allclose(other, one, atol=2e-4)
    arguments[4] = of(teachers, *FAMILIES[:2])
    assert train(data, tmp_path / "another", *arguments) == 2


@pytest.mark.parametrize(
    ("names", "arguments"),
    [
        (("HierarchicalRNN", "NeXtVLAD"), []),
        (("NetVLAD", "NeXtVLAD"), ["--student_model_args=classifier=moe"]),
        (("HierarchicalRNN",), ["--student_model_args=hidden_size=9"]),
    ],
)
def test_a_student_unlike_all_of_them_learns_predictions(data, teachers, tmp_path, caplog, names, arguments):
    arguments = [*arguments, "--student_frames=3", "--max_steps=2", of(teachers, *names)]
    assert train(data, tmp_path / "run", *arguments, "--student_losses=pred,ce") == 0
    assert "the student's classifier starts from random weights" in caplog.text


def test_the_classifier_is_that_of_the_own_family(data, teachers, tmp_path):
    arguments = ["--student_frames=3", "--max_steps=1", "--base_learning_rate=1e-30", "--recipe=paper"]
    assert train(data, tmp_path / "run", *arguments, of(teachers, *FAMILIES)) == 0
    student = loading.load(str(tmp_path / "run")).model
    for own, other in ((True, "NetVLAD"), (False, "other")):
        teacher = loading.load(str(teachers / other)).model
        pairs = zip(student.classifier.get_weights(), teacher.classifier.get_weights(), strict=True)
        assert all(np.allclose(*pair, atol=1e-6) for pair in pairs) == own


@pytest.mark.parametrize(
    ("names", "arguments", "message"),
    [
        (("HierarchicalRNN", "NeXtVLAD"), [], "--student_losses with rep needs a teacher in --teacher_dir"),
        (("HierarchicalRNN", "NeXtVLAD"), ["--student_losses=pred", "--student_init=teacher"], "init=teacher needs"),
        (("NetVLAD", "NeXtVLAD"), ["--student_model_args=hidden_size=9"], "a representation of 9 values"),
        (("NetVLAD", "NetVLAD"), [], "names a teacher twice"),
        (("NetVLAD", "nowhere"), [], "has no finished run"),
        (("NetVLAD", "NeXtVLAD"), ["--training_mode=parallel"], "--teacher_dir does nothing"),
        (("NetVLAD", "NeXtVLAD"), ["--num_classes=12"], "and 10 classes; this data has"),
        (("HierarchicalRNN",), ["--student_model_args=hidden_size=9"], "must have the same classifier and"),
        (("HierarchicalRNN",), ["--representation_matching=intermediate"], "for every frame; NetVLAD has none"),
    ],
)
def test_refused(data, teachers, tmp_path, capsys, names, arguments, message):
    assert train(data, tmp_path / "run", "--student_frames=3", of(teachers, *names), *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_run_that_names_itself_as_a_member_is_refused(teachers, run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    config = read_json(folder / "config.json")
    config["teacher_dir"] = [str(folder), str(teachers / "NetVLAD")]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="is itself an ensemble"):
        loading.load(str(folder), "teacher")
