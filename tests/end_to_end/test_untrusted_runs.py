"""Commands on run directories and packed models from elsewhere: nothing is written outside, sizes are bounded."""

import json
import os
import pathlib
import pickle
import resource
import shutil
import tarfile
import time

import h5py
import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.attempts import attempt
from tests.fuzz.records import CHANGES, mutated
from tests.helpers import TINY_FLAGS, learnable_videos, write_records
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.json import to_json
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import Distillation
from yt8m_distill.eval import main as eval_main
from yt8m_distill.inference import main as inference_main
from yt8m_distill.runs import checkpoints, weights
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.loading import load
from yt8m_distill.runs.packing import pack
from yt8m_distill.train import main as train_main

pytestmark = pytest.mark.slow

FEATURES = DatasetSpec("YouTube-8M 2018", "id", ("rgb", "audio"), (6, 2), 10, 300)
ARGUMENTS = {"clusters": 4, "hidden_size": 8}
MOST_MEMORY_MB = 250  # that a refusal may take; what is claimed is half a gigabyte and more
MOST_SECONDS = 20


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return write_records(tmp_path_factory.mktemp("data") / "test.tfrecord", learnable_videos(6))


@pytest.fixture(scope="module")
def original(tmp_path_factory, data) -> pathlib.Path:
    """A run directory as a training leaves it: best weights, one checkpoint, a report."""
    path = tmp_path_factory.mktemp("runs") / "run"
    assert train_main(_training(path, data)) == 0
    return path


@pytest.fixture
def run(original, tmp_path) -> RunDir:
    """A copy of it, in a folder beside which `outside` is not to be touched."""
    shutil.copytree(original, tmp_path / "run", ignore=shutil.ignore_patterns("checksums.json"))  # they could be forged
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "events.out.tfevents.1.x").write_text("theirs")
    return RunDir(tmp_path / "run")


@pytest.fixture
def refused(run, data, tmp_path, capsys):
    """Function that runs a command and returns its one sentence; nothing outside of the run directory may change."""

    def refused(main, *arguments: str) -> str:
        outside, begin = _content(tmp_path / "outside"), time.monotonic()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        capsys.readouterr()
        assert main([main.__name__, *arguments]) == 2
        message = capsys.readouterr().err
        assert "Traceback" not in message
        assert message.count("Error: ") == 1
        assert len(message) < 3000
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MOST_MEMORY_MB
        assert time.monotonic() - begin < MOST_SECONDS
        assert _content(tmp_path / "outside") == outside
        assert {path.name for path in tmp_path.iterdir()} <= {"run", "outside", "model.tgz", "out.csv.partial"}
        return message

    return refused


@pytest.fixture
def evaluated(run, data, refused):
    return lambda *arguments: refused(eval_main, f"--train_dir={run.path}", f"--eval_data_pattern={data}", *arguments)


def _training(path: pathlib.Path, data: str) -> list[str]:
    sizes = ",".join(f"{name}={value}" for name, value in ARGUMENTS.items())
    return [
        "train.py",
        "--model=NetVLAD",
        f"--model_args={sizes}",
        "--training_mode=baseline",
        "--student_frames=2",
        "--num_classes=10",
        *TINY_FLAGS,
        "--num_epochs=1",
        f"--train_data_pattern={data}",
        f"--eval_data_pattern={data}",
        f"--train_dir={path}",
    ]


def _content(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _changed_config(run: RunDir, **changes):
    values = json.loads(run.config_file.read_text())
    for name, value in changes.items():
        *folders, last = name.split("__")
        inner = values
        for folder in folders:
            inner = inner[folder]
        inner[last] = value
    run.config_file.write_text(json.dumps(values))


def test_the_unchanged_copy_is_accepted(run, data, tmp_path):
    assert eval_main(["eval.py", f"--train_dir={run.path}", f"--eval_data_pattern={data}"]) == 0
    pack(load(str(run.path)), str(tmp_path / "model.tgz"))
    out = f"--output_file={tmp_path / 'out.csv'}"
    packed = f"--input_model_tgz={tmp_path / 'model.tgz'}"
    assert inference_main(["inference.py", packed, f"--input_data_pattern={data}", out]) == 0


# Packed models; tests/files/test_archives.py has more.


def test_a_packed_model_with_a_link(run, data, tmp_path, refused):
    link = tarfile.TarInfo("config.json")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(tmp_path / "model.tgz", "w:gz") as archive:
        archive.addfile(link)
    where = [f"--input_data_pattern={data}", f"--output_file={tmp_path / 'out.csv'}"]
    message = refused(inference_main, f"--input_model_tgz={tmp_path / 'model.tgz'}", *where)
    assert "it holds 'config.json', not as a regular file" in message


def test_a_packed_model_without_a_configuration(run, data, tmp_path, refused):
    with tarfile.open(tmp_path / "model.tgz", "w:gz"):
        pass
    where = [f"--input_data_pattern={data}", f"--output_file={tmp_path / 'out.csv'}"]
    message = refused(inference_main, f"--input_model_tgz={tmp_path / 'model.tgz'}", *where)
    assert "it has no config.json" in message


# Configurations.


HOSTILE_CONFIGS = {
    "an unknown model": ({"model": "Lambda"}, "Unknown model"),
    "a layer with code": ({"model_args__clusters": {"class_name": "Lambda", "config": {}}}, "model_args.clusters"),
    "a layer by its argument": ({"model_args__classifier_layer": "x"}, "classifier_layer"),
    "an argument that is none": ({"model_args__dtype": "x"}, "dtype"),
    "half a gigabyte": ({"data__num_classes": 1 << 24}, "bytes of weights, more than there are"),
    "terabytes": ({"model_args__hidden_size": 1 << 22}, "bytes of weights, more than there are"),
    "a size beyond all numbers": ({"model_args__hidden_size": 10**30}, "at most"),
    "sizes whose product is": ({"model_args": {"clusters": 1 << 24}, "data__feature_sizes": [1 << 24] * 2}, "does not"),
    "a billion layers": ({"model": "HierarchicalRNN", "model_args": {"layers": 10**9}}, "layers must be at most"),
    "a block of years": ({"model": "HierarchicalRNN", "model_args": {"block_length": 10**6}}, "block_length must be"),
    "a million features": (
        {"data__feature_names": [str(i) for i in range(10**5)], "data__feature_sizes": [1] * 10**5},
        "feature_sizes must",
    ),
    "frames beyond 32 bits": ({"selection__k": 1 << 40}, "k must be at least 1 and at most"),
    "no format": ({"data": None}, "data. must be an object"),
    "a number that is not": ({"model_args__dropout": float("nan")}, "model_args.dropout"),
    "nested lists": ({"recipe": [[[[]]]]}, "recipe must be str"),
}


@pytest.mark.parametrize(("changes", "message"), HOSTILE_CONFIGS.values(), ids=HOSTILE_CONFIGS)
def test_hostile_configurations(run, data, tmp_path, refused, changes, message):
    _changed_config(run, **changes)
    where = [f"--input_data_pattern={data}", f"--output_file={tmp_path / 'out.csv'}"]
    assert message in refused(inference_main, f"--train_dir={run.path}", *where)
    with keras.StatelessScope():  # what a refused model has left behind must not get memory now
        pass


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe{}", "UTF-8"),
        (b"[" * 50_000, "not valid JSON"),
        (b'{"model": 1' + b"0" * 5000 + b"}", "not valid JSON"),
    ],
)
def test_configurations_that_are_no_text(run, evaluated, content, message):
    run.config_file.write_bytes(content)
    assert message in evaluated()


def test_a_configuration_of_a_terabyte(run, evaluated):
    os.truncate(run.config_file, 1 << 40)
    assert "more than 16,777,216 are not read" in evaluated()


def test_a_run_that_is_its_own_teacher(run, evaluated):
    serial = RunConfig(
        "NetVLAD",
        model_args=ARGUMENTS,
        selection=FrameSelection(2),
        distillation=Distillation(),
        teacher_dir=str(run.path),
        data=FEATURES,
    )
    run.config_file.write_text(to_json(serial))
    assert "as the run of its teacher" in evaluated("--which=teacher")


# Weights.


def _rewrite_weights(run: RunDir, change):
    """Replaces one array of the weights' file."""
    with h5py.File(weights.weights_file(run.best, "student"), "a") as file:
        name = "classifier/dense/vars/0"
        del file[name]
        change(file, name)


def _link(target) -> callable:
    def change(file: h5py.File, name: str):
        file[name] = target

    return change


# tests/files/test_array_files.py has more.
HOSTILE_WEIGHTS = {
    "a link to another file": _link(h5py.ExternalLink("/etc/passwd", "/x")),
    "another shape": lambda file, name: file.create_dataset(name, (8, 11), np.float32),
    "nothing": lambda file, name: None,
}


@pytest.mark.parametrize("change", HOSTILE_WEIGHTS.values(), ids=HOSTILE_WEIGHTS)
def test_hostile_weights(run, evaluated, change):
    _rewrite_weights(run, change)
    assert "student.weights.h5" in evaluated()


def test_weights_of_another_format(run, evaluated):
    weights.weights_file(run.best, "student").write_bytes(b"garbage" * 100)
    assert "is not a weights file, or damaged" in evaluated()


def test_missing_weights(run, evaluated):
    weights.weights_file(run.best, "student").unlink()
    assert "there are no weights" in evaluated()


@settings(max_examples=80, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(changes=CHANGES)
def test_damaged_weights(original, tmp_path_factory, changes):
    copy = tmp_path_factory.mktemp("damaged") / "run"
    shutil.copytree(original, copy)
    path = weights.weights_file(RunDir(copy).best, "student")
    path.write_bytes(mutated(path.read_bytes(), changes))
    _, message = attempt(lambda: load(str(copy)))
    assert message is None or "weights" in message


# Checkpoints.


class _Payload:
    """Writes a file as soon as it is unpickled."""

    def __init__(self, path: pathlib.Path):
        self._path = path

    def __reduce__(self):
        return (pathlib.Path.write_text, (self._path, "code has run"))


def _state(run: RunDir) -> pathlib.Path:
    """The state of the only checkpoint, which is also the only model."""
    shutil.rmtree(run.best)
    (stored,) = checkpoints.checkpoints(run)
    return stored.state_file


def test_pickled_objects_in_a_checkpoint_are_not_loaded(run, evaluated, tmp_path):
    state = _state(run)
    with np.load(state) as arrays:
        names = [name for name in arrays.files if name.startswith("student.")]
    payload = np.array([_Payload(tmp_path / "outside" / "written")], object)
    assert b"write_text" in pickle.dumps(payload)
    np.savez(state, **dict.fromkeys(names, payload), allow_pickle=True)
    assert "does not hold numbers" in evaluated()


def test_a_checkpoint_of_another_format(run, evaluated):
    _state(run).write_bytes(b"garbage")
    assert "step-" in evaluated()


@settings(max_examples=80, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(changes=CHANGES)
def test_damaged_checkpoints(original, tmp_path_factory, changes):
    copy = tmp_path_factory.mktemp("damaged") / "run"
    shutil.copytree(original, copy)
    state = _state(RunDir(copy))
    state.write_bytes(mutated(state.read_bytes(), changes))
    _, message = attempt(lambda: load(str(copy)))
    assert message is None or "step-" in message


@pytest.mark.parametrize(
    "changes",
    [
        {"stage": "a"},
        {"step": -1},
        {"step": 10**40},
        {"position": [0, 0]},
        {"position": ["0", 0, 0]},
        {"position": {"a": 1}},
        {"best": [1]},
        {"train_files": 3},
        {"unknown": 1},
    ],
)
def test_positions_of_another_kind(run, data, refused, changes):
    run.report_file.unlink()  # as if the training had been stopped
    (stored,) = checkpoints.checkpoints(run)
    position = stored.path / "progress.json"
    position.write_text(json.dumps({**stored.progress(), **changes}))
    arguments = _training(run.path, data)[1:]
    assert "progress.json" in refused(train_main, *arguments)


def test_sizes_of_event_files_never_lengthen_one(run, data):
    run.report_file.unlink()
    (stored,) = checkpoints.checkpoints(run)
    sizes = dict.fromkeys(stored.log_sizes(), 1 << 50)
    assert sizes
    (stored.path / "logs.json").write_text(json.dumps(sizes))
    assert train_main(_training(run.path, data)) == 0
    assert all(path.stat().st_size < 1 << 20 for path in run.logs.rglob("events*"))


# Links and special files.


@pytest.mark.parametrize("name", ["best", "checkpoints", "logs", "eval", "teacher", "config.json", "best/best.json"])
@pytest.mark.parametrize("main", [eval_main, inference_main, train_main])
def test_links_out_of_the_run_directory(run, data, tmp_path, refused, name, main):
    inside, outside = run.path / name, tmp_path / "outside" / pathlib.Path(name).name
    if inside.exists():
        shutil.move(inside, outside)
    else:
        outside.mkdir()
    inside.symlink_to(os.path.relpath(outside, inside.parent))
    arguments = {
        eval_main: [f"--train_dir={run.path}", f"--eval_data_pattern={data}"],
        inference_main: [f"--train_dir={run.path}", f"--output_file={tmp_path / 'out.csv'}"],
        train_main: _training(run.path, data)[1:],
    }[main]
    assert "leads out of" in refused(main, *arguments)


def test_logs_of_others_are_not_cleared_by_a_new_training(run, data, tmp_path, refused):
    shutil.rmtree(run.path)
    run.logs.mkdir(parents=True)
    (run.logs / "train").symlink_to(tmp_path / "outside")
    assert "leads out of" in refused(train_main, *_training(run.path, data)[1:])


def test_links_within_are_followed(run, data):
    run.best.rename(run.path / "weights")
    run.best.symlink_to("weights")
    assert eval_main(["eval.py", f"--train_dir={run.path}", f"--eval_data_pattern={data}"]) == 0


@pytest.mark.parametrize("name", ["report.json", "config.json", "best/best.json"])
def test_pipes_are_not_waited_for(run, data, refused, name):
    (run.path / name).unlink()
    os.mkfifo(run.path / name)
    message = refused(train_main, *_training(run.path, data)[1:])
    assert "neither a file nor a folder" in message


@pytest.mark.parametrize("step", ["a", -1, 1 << 80, [1]])
def test_best_weights_of_no_step(run, evaluated, step):
    (run.best / "best.json").write_text(json.dumps({"step": step}))
    assert "has no valid step" in evaluated()


@pytest.mark.parametrize("rows", [3, [[]], [{"role": 1}], [{"role": "x", "frames": "many"}]])
def test_reports_of_another_kind(run, data, refused, rows):
    run.report_file.write_text(json.dumps({"train_dir": "x", "eval_data_pattern": None, "rows": rows}))
    assert "report.json" in refused(train_main, *_training(run.path, data)[1:])
