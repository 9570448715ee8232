"""The teacher cache: the same student, no teacher pass, and nothing taken that is of something else."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from tests.end_to_end.commands import damage, predict, stop_after, train
from tests.helpers import TINY_FLAGS, learnable_videos, sequence_example, write_records
from yt8m_distill.data.batches import View
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.files import resumable
from yt8m_distill.files.resumable import ResumableFiles
from yt8m_distill.files.untrusted import read_json
from yt8m_distill.runs import loading
from yt8m_distill.runs.checkpoints import checkpoints
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.thin import main as thin_main
from yt8m_distill.training import teacher_cache

pytestmark = pytest.mark.slow

STUDENT = ["--student_frames=3", "--num_epochs=2", "--deterministic"]


@pytest.fixture(scope="module")
def teacher(data, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    assert train(data, folder, "--training_mode=teacher", "--num_epochs=2") == 0
    return folder


@pytest.fixture(scope="module")
def cache(data, teacher, tmp_path_factory) -> pathlib.Path:
    """A dense cache, and the run that wrote it beside it."""
    folder = tmp_path_factory.mktemp("cached")
    assert train(data, folder / "run", *STUDENT, f"--teacher_dir={teacher}", f"--teacher_cache={folder / 'cache'}") == 0
    return folder / "cache"


def student_weights(run: pathlib.Path) -> list[np.ndarray]:
    return loading.load(str(run), "student").model.get_weights()


def test_dense_cache_holds_what_the_teacher_says(data, teacher, cache):
    trained = loading.load(str(teacher))
    files = tuple(map(str, sorted(data.glob("train*"))))
    contents = read_json(cache / "cache.json")
    assert contents["videos"] == 64
    stored = teacher_cache.TeacherCache(cache, teacher_cache.Contents(**contents))
    videos = VideoFiles(files[::-1], trained.config.data)  # in another order, and in other batches
    for batch in videos.ordered_batches(View(), 7):
        expected = trained.model({name: batch[name] for name in ("frames", "num_frames")})
        found = stored.of(batch["video_id"])
        np.testing.assert_allclose(found["teacher_predictions"], expected["predictions"], rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(found["teacher_representation"], expected["representation"], rtol=1e-3, atol=1e-4)
    with pytest.raises(teacher_cache.UserError, match="video 'other' is not in the teacher cache"):
        stored.of([b"other"])


@pytest.mark.parametrize(("model", "losses"), [("NeXtVLAD", "rep,pred,ce"), ("NetVLAD", "rep")])
def test_the_student_is_that_without_a_cache(data, tmp_path, model, losses):
    arguments = [*STUDENT, f"--student_losses={losses}", "--frame_sampling=jittered", "--optimizer=SGD"]
    assert train(data, tmp_path / "plain", *arguments, model=model) == 0
    arguments.append(f"--teacher_dir={tmp_path / 'plain' / 'teacher'}")
    assert train(data, tmp_path / "run", *arguments, f"--teacher_cache={tmp_path / 'cache'}", model=model) == 0
    for plain, cached in zip(student_weights(tmp_path / "plain"), student_weights(tmp_path / "run"), strict=True):
        np.testing.assert_allclose(cached, plain, atol=2e-4)


def test_a_second_student_needs_no_teacher_pass(data, teacher, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_cache, "_write", None)
    before = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    read = []
    batch_of = View.batch

    def noted(self, videos, spec, seed):
        batch = batch_of(self, videos, spec, seed)
        read.append((self.stored is not None, batch["frames"].shape[1]))
        return batch

    monkeypatch.setattr(View, "batch", noted)
    arguments = ["--student_frames=2", "--student_losses=pred,ce", "--num_epochs=1", "--train_fraction=0.5"]
    cached = [f"--teacher_dir={teacher}", f"--teacher_cache={cache}", "--student_model_args=dropout=0.3"]
    assert train(data, tmp_path / "run", *arguments, *cached) == 0
    assert {frames for with_cache, frames in read if with_cache} == {2}
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == before


def test_thin_shards_do_for_a_student_with_a_cache(data, teacher, cache, tmp_path):
    assert (
        thin_main(["thin", "--frames=3", "--num_classes=10", *TINY_FLAGS, f"{data}/train*", str(tmp_path / "thin")])
        == 0
    )
    arguments = [*STUDENT, f"--teacher_dir={teacher}", f"--train_data_pattern={tmp_path / 'thin'}/train*"]
    assert train(data, tmp_path / "thin_run", *arguments, f"--teacher_cache={cache}") == 0
    for plain, thin in zip(student_weights(cache.parent / "run"), student_weights(tmp_path / "thin_run"), strict=True):
        np.testing.assert_array_equal(thin, plain)
    assert train(data, tmp_path / "other", *arguments, f"--teacher_cache={tmp_path / 'new'}") == 2
    assert not (tmp_path / "new").exists()


def test_stopped_training_is_resumed_to_the_same_student(data, teacher, cache, tmp_path, monkeypatch):
    arguments = [*STUDENT, f"--teacher_dir={teacher}", f"--teacher_cache={cache}"]
    with monkeypatch.context() as patched:
        stop_after(patched, 5)
        assert train(data, tmp_path / "run", *arguments) == 1
    shutil.copytree(cache, tmp_path / "moved")
    arguments[-1] = f"--teacher_cache={tmp_path / 'moved'}"  # where it lies is no setting of the run
    assert train(data, tmp_path / "run", *arguments) == 0
    whole, stopped = (checkpoints(RunDir(path))[-1].arrays("") for path in (cache.parent / "run", tmp_path / "run"))
    for name, values in whole.items():
        np.testing.assert_array_equal(stopped[name], values, err_msg=name)
    assert train(data, tmp_path / "run", *arguments, "--teacher_cache_top=2", "--eval_data_pattern=") == 2


def test_top_cache_from_the_command_line(data, teacher, tmp_path, caplog, capsys):
    arguments = [*STUDENT, f"--teacher_dir={teacher}", f"--teacher_cache={tmp_path / 'top'}", "--teacher_cache_top=3"]
    assert train(data, tmp_path / "a", *arguments, "--student_losses=pred,ce") == 0
    assert read_json(tmp_path / "top/cache.json")["dim"] is None
    assert {path.name: path.stat().st_size for path in (tmp_path / "top").glob("*.bin")} == {
        "keys.bin": 64 * 8,
        "top_classes.bin": 64 * 12,
        "top_predictions.bin": 64 * 6,
        "mean_of_others.bin": 64 * 2,
        "checksums.bin": 64 * 4,
    }
    assert train(data, tmp_path / "b", *arguments) == 0
    assert "has no representations" in caplog.text
    assert read_json(tmp_path / "top/cache.json")["dim"] == 8
    assert train(data, tmp_path / "c", *arguments, "--teacher_cache_top=10") == 2
    assert "must be below the number of classes, 10" in capsys.readouterr().err
    assert train(data, tmp_path / "c", *arguments[:-1]) == 2
    assert "other settings (top: 3, not None)" in capsys.readouterr().err


def test_caches_of_something_else_are_refused(data, teacher, cache, tmp_path, capsys):
    def attempt(*more) -> str:
        assert train(data, tmp_path / "run", *STUDENT, f"--teacher_cache={cache}", *more) == 2
        return capsys.readouterr().err

    other = tmp_path / "teacher"
    assert train(data, other, "--training_mode=teacher", "--num_epochs=1") == 0
    assert "of another teacher" in attempt(f"--teacher_dir={other}")
    own = f"--teacher_dir={teacher}"
    assert "max_frames: 300, not 5" in attempt(own, "--max_frames=5")
    assert "--training_mode=serial" in attempt("--training_mode=parallel")
    more = write_records(tmp_path / "more.tfrecord", learnable_videos(3, seed=7))
    assert "'more.tfrecord' is not among them" in attempt(own, f"--train_data_pattern={data}/train*,{more}")
    hollow = tmp_path / "cache"
    shutil.copytree(cache, hollow)
    (hollow / "predictions.bin").write_bytes(b"")
    assert "the teacher cache is damaged" in attempt(own, f"--teacher_cache={hollow}")
    (hollow / "cache.json").write_text(json.dumps({**read_json(cache / "cache.json"), "videos": -1}))
    assert "how many videos" in attempt(own, f"--teacher_cache={hollow}")


def test_frame_states_are_not_stored(data, tmp_path, capsys):
    arguments = ["--student_frames=3", "--representation_matching=intermediate", f"--teacher_cache={tmp_path / 'c'}"]
    assert train(data, tmp_path / "run", *arguments, model="HierarchicalRNN") == 2
    assert "--representation_matching=intermediate" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_killed_writing_is_resumed(data, teacher, cache, tmp_path, monkeypatch, caplog):
    arguments = [*STUDENT, f"--teacher_dir={teacher}", f"--teacher_cache={tmp_path / 'cache'}"]
    monkeypatch.setattr(teacher_cache, "WRITING_BATCH_SIZE", 10)
    monkeypatch.setattr(teacher_cache, "SECONDS_BETWEEN_SAVES", -1.0)
    rows_of, batches = teacher_cache.Contents.rows_of, []

    def stopped(self, keys, outputs):
        batches.append(len(outputs["predictions"]))
        if len(batches) == 4:
            raise KeyboardInterrupt  # as a kill: nothing more is written
        return rows_of(self, keys, outputs)

    monkeypatch.setattr(teacher_cache.Contents, "rows_of", stopped)
    assert train(data, tmp_path / "run", *arguments) == 1
    assert not (tmp_path / "cache/cache.json").exists()
    assert train(data, tmp_path / "run", *arguments) == 0
    assert "Resuming the teacher cache after 30 videos" in caplog.text
    assert sum(batches) == 64 + batches[3]
    assert (tmp_path / "cache/keys.bin").read_bytes() == (cache / "keys.bin").read_bytes()
    for name in ("predictions", "representation"):
        again, once = (np.fromfile(folder / f"{name}.bin", "<f2") for folder in (tmp_path / "cache", cache))
        np.testing.assert_allclose(again, once, atol=1e-3)
    assert not list((tmp_path / "cache").glob("*partial*"))


def test_killed_before_the_last_rename_is_no_cache(data, teacher, tmp_path, monkeypatch):
    arguments = [*STUDENT, f"--teacher_dir={teacher}", f"--teacher_cache={tmp_path / 'cache'}"]
    with monkeypatch.context() as patched:
        patched.setattr(teacher_cache, "SECONDS_BETWEEN_SAVES", -1.0)
        replace, renamed = resumable.os.replace, []

        def killed(source, target):
            if str(target).endswith(".bin"):
                renamed.append(target)
                if len(renamed) == 2:
                    raise KeyboardInterrupt
            replace(source, target)

        patched.setattr(resumable.os, "replace", killed)
        assert train(data, tmp_path / "run", *arguments) == 1
    assert (tmp_path / "cache/keys.bin").exists()
    assert not (tmp_path / "cache/cache.json").exists()
    assert train(data, tmp_path / "run", *arguments) == 0


def test_full_disk_is_a_user_error(data, teacher, tmp_path, monkeypatch, capsys):
    arguments = [*STUDENT, f"--teacher_dir={teacher}", f"--teacher_cache={tmp_path / 'cache'}"]
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10))
        assert train(data, tmp_path / "run", *arguments) == 2
    assert "--teacher_cache_top=20" in capsys.readouterr().err

    def full(self, content, file=0):
        raise teacher_cache.UserError("x cannot be written: No space left on device.")

    with monkeypatch.context() as patched:
        patched.setattr(ResumableFiles, "write", full)
        assert train(data, tmp_path / "run", *arguments) == 2
    assert not (tmp_path / "cache/cache.json").exists()
    assert train(data, tmp_path / "run", *arguments) == 0


def test_videos_that_are_twice_in_the_files(data, teacher, tmp_path, capsys):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    shutil.copy(folder / "train0.tfrecord", folder / "train2.tfrecord")
    arguments = [*STUDENT, f"--teacher_dir={teacher}"]
    assert train(folder, tmp_path / "a", *arguments, f"--teacher_cache={tmp_path / 'a_cache'}") == 0
    others = [sequence_example(f"v0_{i}", (1,), 9, seed=500 + i) for i in range(3)]
    write_records(folder / "train2.tfrecord", others)
    assert train(folder, tmp_path / "b", *arguments, f"--teacher_cache={tmp_path / 'b_cache'}") == 2
    assert "have the same id but are not the same" in capsys.readouterr().err


def test_bad_records_are_left_out_of_the_cache(data, teacher, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    damage(folder / "train0.tfrecord", 5, "data")
    arguments = [*STUDENT, f"--teacher_dir={teacher}", f"--teacher_cache={tmp_path / 'cache'}"]
    assert train(folder, tmp_path / "a", *arguments) == 2
    assert train(folder, tmp_path / "a", *arguments, "--on_bad_record=skip", "--max_bad_fraction=0.5") == 0
    assert read_json(tmp_path / "cache/cache.json")["videos"] == 63


def test_the_packed_student_stands_alone(data, cache, tmp_path):
    run = cache.parent / "run"
    packed = [f"--input_data_pattern={data}/test*", f"--output_file={tmp_path / 'a.csv'}"]
    assert predict(f"--train_dir={run}", *packed, f"--output_model_tgz={tmp_path / 'm.tgz'}") == 0
    packed[-1] = f"--output_file={tmp_path / 'b.csv'}"
    assert predict(f"--input_model_tgz={tmp_path / 'm.tgz'}", *packed) == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
