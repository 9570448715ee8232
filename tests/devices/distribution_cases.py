"""Small trainings on two devices, for test_cluster, which starts this module in processes of their own.

    python -m tests.devices.distribution_cases KIND DATA FOLDER STEP CASE...

KIND is mirrored (two devices of this process) or multiworker (a worker of TF_CONFIG). Each case is trained in
FOLDER/CASE; at step STEP this process is killed (0: never). DATA is the folder of `test_cluster.data`.
"""

import os
import pathlib
import signal
import sys
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from tests.helpers import TINY_FLAGS
from yt8m_distill.cli.flags import parse
from yt8m_distill.config.training import TrainConfig
from yt8m_distill.devices import cluster
from yt8m_distill.devices.cluster import Devices
from yt8m_distill.runs import weights
from yt8m_distill.runs.checkpoints import Checkpoint, save_checkpoint
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.train import main as train_main
from yt8m_distill.training import loop, report, run

# Five batches each. Of 33 videos the last batch has one, so that a device has none; of 37 it has five.
CASES = {
    "teacher": (
        37,
        "--model=NetVLAD --model_args=clusters=4,hidden_size=8 --training_mode=teacher --ema_momentum=0.9 "
        "--weight_decay=0.01",
    ),
    "serial": (
        37,
        "--model=NetVLAD --model_args=clusters=4,hidden_size=8 --student_frames=3 --optimizer=SGD "
        "--teacher_dir={data}/one/teacher",
    ),
    "learned": (
        33,
        "--model=FrameLevelLogistic --training_mode=baseline --student_frames=1,3 --frame_sampling=learned",
    ),
    "parallel": (
        33,
        "--model=NeXtVLAD --model_args=clusters=4,groups=2,hidden_size=8,dropout=0 --training_mode=parallel "
        "--student_frames=1,3 --optimizer=SGD --mixup=0.4 --student_losses=rep,ce --loss_shares=rep=.6,ce=.4 "
        "--learning_rate_schedule=cosine",
    ),
}


def flags(case: str, data: pathlib.Path, folder: pathlib.Path) -> list[str]:
    """The flags of train.py that describe a case."""
    videos, own = CASES[case]
    return [
        f"--train_data_pattern={data}/train{videos}.tfrecord",
        f"--eval_data_pattern={data}/test.tfrecord",
        f"--train_dir={folder / case}",
        "--num_classes=10",
        *TINY_FLAGS,
        "--batch_size=8",
        "--base_learning_rate=0.01",
        "--num_epochs=1",
        "--checkpoint_every_steps=1",
        "--keep_checkpoints=9",
        *own.format(data=data).split(),
    ]


def train(case: str, data: pathlib.Path, folder: pathlib.Path, devices: Devices):
    """Trains on devices that are open already, as several trainings of one process need it."""
    with mock.patch.object(report, "SECONDS", 0.01):
        run.run_training(parse(TrainConfig, ["train.py", *flags(case, data, folder)]), devices=devices)


def open_two_devices():
    """Takes this process's processor for two devices."""
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)


def killed_at(step: int):
    """Kills this process when it has done so many steps."""
    count = loop.TrainingLoop._count

    def counting(self, *arguments):
        count(self, *arguments)
        if self.progress.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return mock.patch.object(loop.TrainingLoop, "_count", counting)


def dropped(devices: Devices, folder: pathlib.Path) -> np.ndarray:
    """What dropout leaves on each device in two steps, and in the second one after a restart: (3, devices, values)."""
    with devices.scope():
        layer = keras.layers.Dropout(0.5)
        layer.build((None, 64))
    devices.separate_random_states(layer.variables)

    @tf.function(autograph=False)
    def step():
        return devices.strategy.run(lambda: layer(tf.ones((1, 64)), training=True))

    def masks() -> np.ndarray:
        return np.concatenate([mask.numpy() for mask in devices.strategy.experimental_local_results(step())])

    first = masks()
    save_checkpoint(RunDir(folder), 1, weights.model_arrays(layer, "x"), 1, progress={}, log_sizes={})
    second = masks()
    stored = Checkpoint(RunDir(folder).checkpoints / "step-00000001", 1)
    weights.load_arrays(layer, stored, "x")
    devices.separate_random_states(layer.variables)
    return np.stack([first, second, masks()])


def main(kind: str, data: str, folder: str, step: str, *cases: str):
    paths = pathlib.Path(data), pathlib.Path(folder)
    if kind == "multiworker":  # through the script's main, which says what went wrong
        with killed_at(int(step)):
            sys.exit(train_main(["train.py", "--distribution=multiworker", *flags(cases[0], *paths)]))
    open_two_devices()
    devices = cluster.open_devices(kind)
    for case in cases:
        train(case, *paths, devices)
    np.save(paths[1] / "dropped.npy", dropped(devices, paths[1] / "dropout"))


if __name__ == "__main__":
    main(*sys.argv[1:])
