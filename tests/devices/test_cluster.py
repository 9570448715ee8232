"""Trainings on several devices and in several processes end as on one device; what is asked of TF_CONFIG."""

import json
import os
import pathlib
import socket
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest

from tests.devices.distribution_cases import CASES, train
from tests.helpers import learnable_videos, write_records
from yt8m_distill.config.dataset import SpecOverrides
from yt8m_distill.config.experiment import ExperimentConfig
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.settings import settings_of
from yt8m_distill.config.shard import Shard
from yt8m_distill.config.training import Learning, TrainConfig
from yt8m_distill.data import small_records
from yt8m_distill.data.batches import View, videos_in
from yt8m_distill.data.reading_order import position_after
from yt8m_distill.data.video_files import open_videos
from yt8m_distill.devices import cluster
from yt8m_distill.devices.cluster import ONE_DEVICE, Cluster, Devices, open_devices, read_cluster
from yt8m_distill.errors import UserError
from yt8m_distill.files.untrusted import read_json
from yt8m_distill.runs import loading
from yt8m_distill.runs.checkpoints import checkpoints
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.train import main as train_main

ROOT = pathlib.Path(__file__).parents[2]
SECONDS = 400  # that a process may take on a busy machine

OVERRIDES = SpecOverrides(("rgb", "audio"), (6, 2), 10)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
    """A folder with the videos."""
    folder = tmp_path_factory.mktemp("data")
    for count in (33, 37):
        write_records(folder / f"train{count}.tfrecord", learnable_videos(count, seed=count))
    write_records(folder / "test.tfrecord", learnable_videos(12, seed=99))
    return folder


@pytest.fixture(scope="module")
def of_one_device(data) -> pathlib.Path:
    """A folder with the runs on one device of all cases but "learned", which draws other frames on each device."""
    for case in CASES:
        if case != "learned":
            train(case, data, data / "one", ONE_DEVICE)
    return data / "one"


def start(*arguments: object, **environment: str) -> subprocess.Popen:
    """A process of distribution_cases."""
    command = [sys.executable, "-m", "tests.devices.distribution_cases", *map(str, arguments)]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, **output)


def start_workers(data: pathlib.Path, folder: pathlib.Path, case: str, kill_at: int = 0) -> list[tuple[int, str]]:
    """Two workers on the loopback address, of which the second is killed at a step; exit codes and outputs."""
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in (first, second)]
    workers = []
    for index, step in enumerate((0, kill_at)):
        tf_config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        workers.append(start("multiworker", data, folder, step, case, TF_CONFIG=json.dumps(tf_config)))
    try:
        outputs = [worker.communicate(timeout=SECONDS)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    return [(worker.returncode, output) for worker, output in zip(workers, outputs, strict=True)]


def states(run: pathlib.Path) -> list[dict[str, np.ndarray]]:
    """Everything that is in the checkpoints of a run, step by step."""
    return [checkpoint.arrays("") for checkpoint in checkpoints(RunDir(run))]


def assert_same_weights(run: pathlib.Path, expected: pathlib.Path):
    """Weights, statistics and optimizer after five steps of SGD; and the mean losses at each step."""
    own, of_one = states(run), states(expected)
    assert len(own) == len(of_one) == 5
    assert own[-1].keys() == of_one[-1].keys()
    for name, values in of_one[-1].items():
        if not name.startswith("metrics."):
            within = 3e-6 if "moving" in name else 1e-6  # means of activations, which are larger than weights
            np.testing.assert_allclose(own[-1][name], values, rtol=1e-6, atol=within, err_msg=name)
    assert_same_curve(own, of_one)
    learned = [name for name in of_one[-1] if name.startswith("student.")]
    assert max(np.abs(of_one[-1][name] - of_one[0][name]).max(initial=0) for name in learned) > 1e-3


def assert_same_curve(own: list[dict[str, np.ndarray]], of_one: list[dict[str, np.ndarray]]):
    for step, (mine, theirs) in enumerate(zip(own, of_one, strict=True), start=1):
        for name in (name for name in theirs if name.startswith("metrics.")):
            np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-4, err_msg=f"{name}, step {step}")


@pytest.mark.slow
def test_two_devices_of_one_process_end_as_one_device(data, of_one_device, tmp_path):
    process = start("mirrored", data, tmp_path, 0, "parallel", "teacher", "learned")
    output = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 0, output
    assert_same_weights(tmp_path / "parallel", of_one_device / "parallel")
    # With Adam, whose steps do not become smaller with gradients that are nothing but rounding.
    assert_same_curve(states(tmp_path / "teacher"), states(of_one_device / "teacher"))
    batch = next(open_videos(str(data / "test.tfrecord"), "x", OVERRIDES).ordered_batches(View(), 12))
    predicted = [
        loading.load(str(folder / "teacher")).model({"frames": batch["frames"], "num_frames": batch["num_frames"]})[
            "predictions"
        ]
        for folder in (tmp_path, of_one_device)
    ]
    np.testing.assert_allclose(*predicted, atol=1e-4)
    assert np.ptp(predicted[0]) > 0.01
    before, *_, after = states(tmp_path / "learned")
    (scorer,) = (name for name in after if name.startswith("student.") and name.endswith("typicality_weight"))
    assert after[scorer] != before[scorer]
    assert all(np.isfinite(values).all() for values in after.values() if values.dtype.kind == "f")
    first, second, again = np.load(tmp_path / "dropped.npy")
    assert (first[0] != first[1]).any()  # every device drops others
    np.testing.assert_array_equal(second, again)  # and after a restart the same
    assert (first != second).any()


@pytest.mark.long
@pytest.mark.slow
def test_two_processes_end_as_one_device_also_when_one_is_killed(data, of_one_device, tmp_path):
    (code, output), (killed, _) = start_workers(data, tmp_path, "serial", kill_at=3)
    assert killed < 0
    assert code == 1, output
    assert "Worker 0 has lost another one" in output
    assert "Start all of them again with the same command" in output
    assert not (tmp_path / "serial" / "report.json").exists()
    before = len(states(tmp_path / "serial"))
    assert 2 <= before <= 4
    (code, output), (code_of_other, output_of_other) = start_workers(data, tmp_path, "serial")
    assert (code, code_of_other) == (0, 0), output + output_of_other
    assert f"Resuming {tmp_path / 'serial'} after step {before}" in output
    assert "This worker is done" in output_of_other
    assert_same_weights(tmp_path / "serial", of_one_device / "serial")
    reports = [read_json(folder / "serial" / "report.json")["rows"] for folder in (tmp_path, of_one_device)]
    assert reports[0] == reports[1]
    assert len(list((tmp_path / "serial" / "logs" / "train").iterdir())) == 2  # the chief's, of two starts


def test_parts_are_the_whole_batch(data):
    videos = open_videos(f"{data}/train*", "x", OVERRIDES)
    view = View(FrameSelection(3, sampling="random"), with_all_frames=True)
    whole = list(videos.training_batches(view, 4, seed=1, epoch=2))
    parts = [list(videos.training_batches(view, 4, seed=1, epoch=2, shard=Shard(i, 3))) for i in range(3)]
    assert len(whole[-1]["num_frames"]) == 2  # fewer than parts
    for batch, *own in zip(whole, *parts, strict=True):
        for each in own:
            assert position_after(each) == position_after(batch)
            assert videos_in(each) == videos_in(batch) == len(batch["num_frames"])
        if videos_in(batch) == 4:
            for name in ("video_id", "num_frames", "labels", "student_num_frames"):
                np.testing.assert_array_equal(np.concatenate([each[name] for each in own]), batch[name])
            assert [len(each["num_frames"]) for each in own] == [1, 1, 2]
    # Of two videos the first process has none: it gets the first one, which counts nothing.
    assert [each[-1]["video_id"].tolist() for each in parts] == [
        whole[-1]["video_id"].tolist()[:1],
        whole[-1]["video_id"].tolist()[:1],
        whole[-1]["video_id"].tolist()[1:],
    ]


def test_parts_are_of_the_videos_that_are_left_where_bad_records_are_skipped(data, tmp_path):
    path = tmp_path / "bad.tfrecord"
    content = bytearray((data / "train33.tfrecord").read_bytes())
    content[40] ^= 4
    path.write_bytes(content)
    videos = open_videos(str(path), "x", OVERRIDES, skip_bad_records=True)
    whole = list(videos.training_batches(View(), 11, seed=1, epoch=0))
    parts = [list(videos.training_batches(View(), 11, seed=1, epoch=0, shard=Shard(i, 2))) for i in range(2)]
    assert sum(videos_in(batch) for batch in whole) == 32
    for batch, *own in zip(whole, *parts, strict=True):
        assert [videos_in(each) for each in own] == [len(batch["num_frames"])] * 2
        np.testing.assert_array_equal(np.concatenate([each["video_id"] for each in own]), batch["video_id"])


def test_a_process_reads_its_own_records_only(data, monkeypatch):
    videos = open_videos(f"{data}/train37.tfrecord", "x", OVERRIDES)
    read = []
    monkeypatch.setattr(small_records, "SMALL_BYTES", 0)  # so that each is read by itself
    monkeypatch.setattr("yt8m_distill.data.reading.read_record", lambda *place: read.append(place) or _record(*place))
    own = list(videos.training_batches(View(), 8, seed=1, epoch=0, shard=Shard(1, 2)))
    assert len(read) == sum(len(batch["num_frames"]) for batch in own) == 4 * 4 + 3


def _record(*place):
    from yt8m_distill.data import tfrecord

    return tfrecord.read_record(*place)


def tf_config(workers: object, kind: object = "worker", index: object = 0, **jobs: object) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": {"worker": workers, **jobs}, "task": {"type": kind, "index": index}})}


def test_a_cluster_is_read():
    assert read_cluster(tf_config(["a:1", "b:1"], index=1)) == Cluster(("a:1", "b:1"), 1)
    assert read_cluster(tf_config(["b:1"], chief=["a:1"])) == Cluster(("a:1", "b:1"), 1)
    assert read_cluster(tf_config(["b:1"], "chief", chief=["a:1"])) == Cluster(("a:1", "b:1"), 0)


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({}, "needs the environment variable TF_CONFIG"),
        ({"TF_CONFIG": "{'cluster'"}, "must be JSON of the form"),
        ({"TF_CONFIG": "[1]"}, "must be JSON of the form"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}}'}, "must be JSON of the form"),
        ({"TF_CONFIG": '{"cluster": {"worker": 3}, "task": {}}'}, "must be JSON of the form"),
        (tf_config(["a:1"], ps=["b:1"]), "a cluster has workers and at most one chief, not ps, worker"),
        (tf_config(["a:1"], chief=["b:1", "c:1"]), "at most one chief"),
        (tf_config(["a:1", "b"]), "'b' is not an address"),
        (tf_config(["a:1", 7]), "7 is not an address"),
        (tf_config(["a:1", "a:1"]), "names an address twice"),
        (tf_config(["a:1", "b:1"], index=2), "would be worker 2; the cluster has worker 0 to 1"),
        (tf_config(["a:1", "b:1"], index="1"), "would be worker '1'"),
        (tf_config(["a:1", "b:1"], "evaluator"), "would be evaluator 0"),
        (tf_config(["a:1", "b:1"], ["x"]), "must be JSON of the form"),
    ],
)
def test_what_is_wrong_with_a_cluster_is_said(environment, problem):
    with pytest.raises(UserError, match=problem):
        read_cluster(environment)


def test_multiworker_without_tf_config_is_refused(data, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert train_main(["train.py", "--distribution=multiworker", f"--train_dir={tmp_path / 'run'}"]) == 2
    assert "docs/scaling.md" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_one_device_is_no_distribution(monkeypatch, caplog):
    assert open_devices("none") == ONE_DEVICE
    assert open_devices("mirrored") == ONE_DEVICE
    assert "There is only one device" in caplog.text
    monkeypatch.setenv("TF_CONFIG", tf_config(["127.0.0.1:1"])["TF_CONFIG"])
    assert open_devices("multiworker") == ONE_DEVICE


@pytest.mark.parametrize("name", ["none", "mirrored"])
def test_workers_that_are_not_asked_for_are_refused(monkeypatch, name):
    for wrong in ({}, {"index": "0"}, {"ps": ["127.0.0.1:3"]}):  # several they are, whatever else may be wrong
        monkeypatch.setenv("TF_CONFIG", tf_config(["127.0.0.1:1", "127.0.0.1:2"], **wrong)["TF_CONFIG"])
        with pytest.raises(UserError, match="TF_CONFIG names 2 workers: give --distribution=multiworker"):
            open_devices(name)


def test_experiments_do_not_take_it():
    assert "distribution" not in settings_of(ExperimentConfig)


def test_every_device_has_a_video():
    config = TrainConfig("NetVLAD", "teacher", learning=Learning(batch_size=1))
    cluster.check_batch_size(config, ONE_DEVICE)
    with mock.patch.object(Devices, "replicas", 2), pytest.raises(UserError, match="--batch_size=1 is the number"):
        cluster.check_batch_size(config, Devices())


def test_one_device_has_all_the_say():
    devices = Devices()
    assert devices.is_chief
    assert devices.shard is None
    assert devices.from_chief(7) == 7
    devices.check_same({"settings": "x"})
