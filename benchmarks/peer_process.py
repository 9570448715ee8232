"""The networks of other frameworks, each in a process of its own that stays: both ends of the pipe to it.

It runs in their environments, too, so that it imports numpy and nothing of this package.
"""

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]


class Peer:
    """This end: a process that computes when it is asked to, and otherwise waits.

    Args:
        python: of its environment.
        script: that calls `serve`, beside this file.
        folder: for the arrays that both exchange.
    """

    def __init__(self, python: str, script: str, folder: pathlib.Path):
        self._folder = folder
        path = pathlib.Path(__file__).with_name(script)
        self._process = subprocess.Popen([python, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version = self._answer()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._process.stdin.close()
        self._process.wait()

    def load(self, weights: Arrays, learning: Mapping[str, float]):
        """Builds the network in place of any former one.

        Args:
            weights: by their names in ours.
            learning: see `serve`.
        """
        self._ask("load", self._written(weights), dict(learning))

    def take(self, batch: Arrays):
        """The videos of what follows: frames, num_frames, labels."""
        self._ask("take", self._written(batch))

    def predict(self) -> np.ndarray:
        """(batch, classes)."""
        path = self._folder / "predictions.npy"
        self._ask("predict", str(path))
        return np.load(path)

    def run_inference(self, calls: int):
        """Predicts the videos so many times."""
        self._ask("run_inference", calls)

    def train(self, steps: int) -> float:
        """Makes so many steps of a training; returns the loss of the last one."""
        return self._ask("train", steps)

    def _written(self, arrays: Arrays) -> str:
        path = self._folder / "arrays.npz"
        np.savez(path, **arrays)
        return str(path)

    def _ask(self, name: str, *arguments: Any) -> Any:
        print(json.dumps([name, *arguments]), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self._process.args)} has ended; what it printed says why")
        return json.loads(line)


def serve(version: str, build: Callable[[Arrays, Mapping[str, float]], Any]):
    """The other end: answers requests until the pipe is closed.

    Args:
        version: of the framework.
        build: makes a network of weights and of "learning_rate", "dropout", "l2", the factor of half of the
            classifier's squared weights in the loss, and "clip_norm", to which each gradient is clipped. It has
            `predict(frames, num_frames)`, to predictions (batch, classes), and `train(frames, num_frames, labels)`,
            to the loss, all arrays numpy's.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    worker = _Worker(build)
    print(json.dumps(version), file=answers, flush=True)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(getattr(worker, name)(*arguments)), file=answers, flush=True)


class _Worker:
    """What `Peer` asks for, by the same names."""

    def __init__(self, build: Callable):
        self._build = build

    def load(self, weights: str, learning: Mapping[str, float]):
        self._network = self._build(dict(np.load(weights)), learning)

    def take(self, batch: str):
        self._batch = dict(np.load(batch))

    def predict(self, path: str):
        np.save(path, self._network.predict(self._batch["frames"], self._batch["num_frames"]))

    def run_inference(self, calls: int):
        for _ in range(calls):
            self._network.predict(self._batch["frames"], self._batch["num_frames"])

    def train(self, steps: int) -> float:
        return [self._network.train(**self._batch) for _ in range(steps)][-1]
