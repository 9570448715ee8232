"""The scripts' mains as a user calls them, ways to stop them, and what they leave; for the tests of whole commands."""

import pathlib

import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers import TINY_FLAGS
from yt8m_distill.data.record_files import frames_of_file
from yt8m_distill.eval import main as eval_main
from yt8m_distill.inference import main as inference_main
from yt8m_distill.train import main as train_main
from yt8m_distill.training import loop

ROOT = pathlib.Path(__file__).parents[2]
SMALL = {
    "HierarchicalRNN": "cells=4,layers=1",
    "NetVLAD": "clusters=4,hidden_size=8",
    "NeXtVLAD": "clusters=4,groups=2,hidden_size=8,gating_reduction=2,dropout=0.1",
}


def train(data: pathlib.Path, train_dir: pathlib.Path, *arguments: str, model: str = "NetVLAD") -> int:
    return train_main(
        [
            "train.py",
            f"--model={model}",
            f"--model_args={SMALL[model]}",
            f"--train_data_pattern={data}/train*",
            f"--eval_data_pattern={data}/test*",
            f"--train_dir={train_dir}",
            "--num_classes=10",
            *TINY_FLAGS,
            "--batch_size=16",
            "--base_learning_rate=0.01",
            *arguments,
        ]
    )


def evaluate(*arguments: str) -> int:
    return eval_main(["eval.py", *arguments])


def predict(*arguments: str) -> int:
    return inference_main(["inference.py", *arguments])


def scalars(folder: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
    """Curves of a TensorBoard folder: (step, value) by name."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    curves = {}
    for name in events.Tags()["tensors"]:
        points = events.Tensors(name)
        if all(tf.make_ndarray(point.tensor_proto).ndim == 0 for point in points):
            curves[name] = [(p.step, float(tf.make_ndarray(p.tensor_proto))) for p in points]
    return curves


def stop_after(monkeypatch, step: int):
    """Makes the loop see a signal once it has done `step` steps."""
    count = loop.TrainingLoop._count

    def counting(self, *arguments):
        count(self, *arguments)
        self.stop_requests.here = self.progress.step == step

    monkeypatch.setattr(loop.TrainingLoop, "_count", counting)


def kill_after(monkeypatch, step: int):
    """Makes the loop end once it has done `step` steps, with nothing saved at this point, as in a kill."""
    count = loop.TrainingLoop._count

    def killed(self, *arguments):
        count(self, *arguments)
        if self.progress.step == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop.TrainingLoop, "_count", killed)


def damage(path: pathlib.Path, number: int, kind: str) -> int:
    """Damages a record; returns the bytes that are lost with it."""
    frame = list(frames_of_file(path))[number - 1]
    content = bytearray(path.read_bytes())
    lost = frame.num_bytes
    if kind == "data":
        content[frame.offset + 20] ^= 4
    elif kind == "length":
        content[frame.offset + 1] ^= 4
        lost = len(content) - frame.offset
    elif kind == "cut":
        lost = 30
        del content[frame.offset + lost :]
    path.write_bytes(content)
    return lost
