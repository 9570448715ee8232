"""Whether a killed command ends as one that was never stopped: the part "kills" of reliability.py.

    python benchmarks/reliability.py --parts=kills --kills=200 --seed=0

A trial starts a command, kills it (SIGKILL) at a random moment of the time that it takes, once to three times, and
starts it again until it is done. Then every file that it was to write is compared with that of a command that was
never stopped, byte for byte. Event files of TensorBoard have times and the name of the host in their content and their
names: their curves are compared, point by point and bit by bit, but for the two that measure speed. `logs.json` of a
checkpoint, which has the names and sizes of these files, must only be there.

Commands are `train.py` (serial, parallel and baseline training, the loss rep, which is followed by fine-tuning, and a
teacher cache; with --deterministic, and a checkpoint after every step) and `inference.py`, on a few tiny videos. To
import TensorFlow takes longer than they do. So each worker imports the package once, and every start of a command is a
fork of that worker, which has run nothing of TensorFlow itself. Within it, progress of predictions and caches is saved
after every batch, not every ten seconds, which are more than all of it takes; nothing else differs from a user's start.
"""

import argparse
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

TRAINING = [
    "--model=NetVLAD",
    "--model_args=clusters=4,hidden_size=8,dropout=0.1",
    "--num_classes=10",
    "--feature_names=rgb,audio",
    "--feature_sizes=6,2",
    "--batch_size=8",
    "--base_learning_rate=0.01",
    "--student_frames=3",
    "--deterministic",
    "--checkpoint_every_steps=1",
]
COMMANDS: Mapping[str, Sequence[str]] = {
    "serial": ("--student_losses=pred,ce", "--num_epochs=2"),
    "parallel": ("--training_mode=parallel", "--num_epochs=3"),
    "baseline": ("--training_mode=baseline", "--num_epochs=4", "--ema_momentum=0.9"),
    "rep": ("--student_losses=rep", "--num_epochs=2", "--max_steps=6"),
    "cached": ("--student_losses=rep,pred,ce", "--num_epochs=2", "--teacher_cache={folder}/cache"),
    "inference": (),
}
JOBS_OF_A_COMMAND = 2  # each with a command of its own that is never stopped
TIMES = ("train/videos_per_second", "train/share_of_time_waiting_for_input", "_hparams_/session_start_info")
VIDEOS = {"train0": 20, "train1": 12, "validate": 8, "test": 400}


@dataclass(frozen=True)
class Outcome:
    """What has become of the trials of a job.

    Attributes:
        command: that was killed.
        kills: that it has met.
        trials: how often it was compared.
        differing: names of the files that differ, with their trial.
    """

    command: str
    kills: int
    trials: int
    differing: tuple[str, ...]


def kills(arguments: argparse.Namespace) -> list[tuple[str, int, float, str, float]]:
    """Rows of the table: trials, how often, what was measured, what that is, and what it must not exceed."""
    names = list(COMMANDS) * JOBS_OF_A_COMMAND
    shares = [arguments.kills * (i + 1) // len(names) - arguments.kills * i // len(names) for i in range(len(names))]
    jobs = [(arguments.seed, number, *job) for number, job in enumerate(zip(names, shares, strict=True)) if job[1]]
    with multiprocessing.get_context("spawn").Pool(min(os.cpu_count() or 1, len(jobs))) as pool:
        outcomes = []
        for outcome in pool.imap_unordered(job_of_trials, jobs, chunksize=1):
            print(f"{outcome.command}: {outcome.kills} kills, {len(outcome.differing)} files differ", file=sys.stderr)
            outcomes.append(outcome)
    rows = []
    for name in COMMANDS:
        of_command = [outcome for outcome in outcomes if outcome.command == name]
        differing = [file for outcome in of_command for file in outcome.differing]
        for file in differing[:20]:
            print(f"{name}: {file}", file=sys.stderr)
        number, trials = (sum(getattr(outcome, count) for outcome in of_command) for count in ("kills", "trials"))
        if number:
            rows.append((f"kills, {name}", number, float(len(differing)), f"files that differ, {trials} ends", 0.0))
    return rows


def job_of_trials(job: tuple[int, int, str, int]) -> Outcome:
    """Runs trials of one command until it has been killed often enough; seed and number decide all of them."""
    seed, number, command, wanted = job
    chance = random.Random(f"{seed} {number}")
    with tempfile.TemporaryDirectory() as name:
        start = _prepared(command, pathlib.Path(name))
        folder, whole = start.folder, start.folder.with_name("whole")
        duration = start.to_the_end()
        os.rename(folder, whole)
        met, trials, differing = 0, 0, []
        while met < wanted:
            met += _killed(start, chance, duration, min(chance.choice((1, 1, 2, 3)), wanted - met))
            differing += [f"trial {trials}: {file}" for file in differences(folder, whole)]
            shutil.rmtree(folder)
            trials += 1
    return Outcome(command, met, trials, tuple(differing))


def _killed(start: "Start", chance: random.Random, duration: float, times: int) -> int:
    """Starts a command, and kills it so many times; returns how often it was still running."""
    met = sum(start.killed_after(chance.uniform(0, duration)) for _ in range(times))
    start.to_the_end()
    return met


@dataclass(frozen=True)
class Start:
    """A command that is to be started.

    Attributes:
        main: of the command.
        flags: of the command.
        folder: for all that it writes.
        log: file for its output.
    """

    main: Callable[[Sequence[str]], int]
    flags: Sequence[str]
    folder: pathlib.Path
    log: pathlib.Path

    def to_the_end(self) -> float:
        """Starts it and waits for its end, which must be a good one; returns the seconds that it took."""
        began = time.monotonic()
        _, status = os.waitpid(self._fork(), 0)
        if status:
            raise RuntimeError(f"a command ended with {status}:\n{self.log.read_text(errors='replace')[-3000:]}")
        return time.monotonic() - began

    def killed_after(self, seconds: float) -> bool:
        """Starts it, and kills it; False where it has ended before."""
        process, end = self._fork(), time.monotonic() + seconds
        while time.monotonic() < end:
            done, status = os.waitpid(process, os.WNOHANG)
            if done and status:
                raise RuntimeError(f"a command ended with {status}:\n{self.log.read_text(errors='replace')[-3000:]}")
            if done:
                return False
            time.sleep(0.002)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        return True

    def _fork(self) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        if process := os.fork():
            return process
        code = 70
        try:
            with open(self.log, "w") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            code = self.main(self.flags)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # nothing of the worker's own is to happen twice


def _prepared(command: str, place: pathlib.Path) -> Start:
    """The start of a command, with its input; imports what all starts share."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from yt8m_distill import inference, train
    from yt8m_distill.prediction import run as prediction
    from yt8m_distill.training import run as _  # noqa: F401 - and with it, all that a training imports
    from yt8m_distill.training import teacher_cache

    prediction.SECONDS_BETWEEN_SAVES = teacher_cache.SECONDS_BETWEEN_SAVES = 0.0
    folder, data = place / "work", place / "data"
    write_videos(data)
    training = ["train.py", *TRAINING, f"--train_data_pattern={data}/train*", f"--eval_data_pattern={data}/validate*"]
    training.append(f"--validation_data_pattern={data}/validate*")
    if command != "inference":
        own = (flag.format(folder=folder) for flag in COMMANDS[command])
        return Start(train.main, [*training, f"--train_dir={folder}/run", *own], folder, place / "log")
    model = place / "model"
    flags = [*training, f"--train_dir={model}", *COMMANDS["baseline"]]
    Start(train.main, flags, folder, place / "log").to_the_end()
    flags = ["inference.py", f"--train_dir={model}", f"--input_data_pattern={data}/test*", "--batch_size=4"]
    return Start(inference.main, [*flags, f"--output_file={folder}/predictions.csv"], folder, place / "log")


def write_videos(folder: pathlib.Path):
    """Tiny videos with random labels and bytes."""
    from yt8m_distill.data.tfrecord import framed

    folder.mkdir()
    for part, (name, count) in enumerate(VIDEOS.items()):
        content = b"".join(framed(_record(random.Random(1000 * part + i), f"{name}-{i}")) for i in range(count))
        (folder / f"{name}.tfrecord").write_bytes(content)


def _record(chance: random.Random, video_id: str) -> bytes:
    import tensorflow as tf

    frames = chance.randrange(1, 12)
    example = tf.train.SequenceExample()
    example.context.feature["id"].bytes_list.value.append(video_id.encode())
    example.context.feature["labels"].int64_list.value.append(chance.randrange(10))
    for name, size in (("rgb", 6), ("audio", 2)):
        rows = example.feature_lists.feature_list[name].feature
        for _ in range(frames):
            rows.add().bytes_list.value.append(chance.randbytes(size))
    return example.SerializeToString(deterministic=True)


# --- comparison ---


def differences(folder: pathlib.Path, whole: pathlib.Path) -> list[str]:
    """Names of files, and folders of curves, that are not in both or differ."""
    ours, theirs = contents(folder), contents(whole)
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def contents(folder: pathlib.Path) -> dict[str, bytes | list[tuple]]:
    """What a folder holds: bytes by the names of files, and curves by those of folders with event files."""
    files = sorted(path for path in folder.rglob("*") if not path.is_dir())
    held: dict[str, bytes | list[tuple]] = {}
    for path in files:
        name = str(path.relative_to(folder))
        if path.name.startswith("events.out.tfevents."):
            curves = held.setdefault(f"{path.parent.relative_to(folder)}/ (curves)", [])
            curves += _points(path.read_bytes())
        else:
            held[name] = b"" if path.name == "logs.json" else path.read_bytes()
    return {name: sorted(value) if isinstance(value, list) else value for name, value in held.items()}


def _points(content: bytes) -> list[tuple]:
    """Points of curves that are no measurements of speed: curve, step, and the bytes of the value."""
    import tensorflow as tf

    from yt8m_distill.data.tfrecord import records_of_bytes

    events = (tf.compat.v1.Event.FromString(bytes(record)) for record in records_of_bytes(content))
    return [
        (value.tag, event.step, value.SerializeToString(deterministic=True))
        for event in events
        for value in event.summary.value
        if value.tag not in TIMES
    ]
