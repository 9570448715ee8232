"""Keras callbacks in the training loop: to them, each stage of a training is a call of `fit`."""

import inspect
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from yt8m_distill.config.callbacks import callback_source
from yt8m_distill.devices.cluster import ONE_DEVICE, Devices
from yt8m_distill.distiller import LabelTrainer
from yt8m_distill.errors import UserError
from yt8m_distill.plugins.loading import imported
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.training.epoch_means import EpochMeans

log = logging.getLogger(__name__)

Callback = keras.callbacks.Callback
CallbackMakers = Sequence[Callable[[RunDir], Callback]]
_OF_BATCHES = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
_PLAIN = (bool, int, float, str, type(None))


def makers(callbacks: Sequence[str | Callback]) -> CallbackMakers:
    """Functions that make the callbacks of a run.

    Args:
        callbacks: objects, or texts as `config.callbacks.callback_source` reads them; "{train_dir}" in an argument is
            the run directory.

    Raises:
        UserError: a module cannot be imported, or has no such name.
    """
    return [_maker(item) if isinstance(item, str) else lambda run, item=item: item for item in callbacks]


def _maker(text: str) -> Callable[[RunDir], Callback]:
    source = callback_source(text)
    make = getattr(imported(source.module, "module of the callback"), source.name, None)
    if not callable(make):
        raise UserError(f"callbacks: '{source.module}' has no class or function '{source.name}'.")

    def made(run: RunDir) -> Callback:
        arguments = {
            name: value.replace("{train_dir}", str(run.path)) if isinstance(value, str) else value
            for name, value in source.arguments.items()
        }
        try:
            callback = make(**arguments)
        except Exception as error:  # whatever somebody else's code does
            raise UserError(f"callbacks: {text} cannot be made: {type(error).__name__}: {error}") from error
        if not isinstance(callback, Callback):
            kind = callback.__name__ if inspect.isclass(callback) else type(callback).__name__
            raise UserError(f"callbacks: {text} is not a keras.callbacks.Callback, but of the type {kind}.")
        return callback

    return made


class TrainingCallbacks:
    """The callbacks of a run, and what they have to be told again after an interruption.

    They are called by the chief. Between two checkpoints they are told again what happened since the first of them;
    their plain attributes (numbers, texts, true and false), such as the patience that is left, are stored with every
    checkpoint.

    Args:
        callbacks: of `makers`, in the order in which they are called.
        run: of the training.
        devices: that it runs on.

    Raises:
        UserError: one cannot be made.
    """

    def __init__(self, callbacks: CallbackMakers, run: RunDir, devices: Devices = ONE_DEVICE):
        self._configured = bool(callbacks)
        self._callbacks = [make(run) for make in callbacks] if devices.is_chief else []
        self._run = run
        self._devices = devices
        self._of_batches = any(_overrides(callback, name) for callback in self._callbacks for name in _OF_BATCHES)
        self._stopped = False
        self._logs: dict[str, float] = {}
        self._list = keras.callbacks.CallbackList([])
        self._means: EpochMeans | None = None
        self._at_start: list[dict[str, Any]] = []

    @property
    def stopped(self) -> bool:
        """Whether one of them has ended the stage, by `model.stop_training`."""
        return self._stopped

    def begin_stage(self, step_model: LabelTrainer, name: str, epochs: int, state: str | None):
        """`on_train_begin`.

        Args:
            step_model: which is `model` to the callbacks.
            name: of the stage.
            epochs: at most.
            state: of `state`, where the stage is resumed.
        """
        self._stopped = False
        if not self._configured:
            return
        self._means = EpochMeans(step_model)
        step_model.stop_training = False
        self._list = keras.callbacks.CallbackList(self._callbacks, model=step_model)
        self._list.set_params(
            {"epochs": epochs, "steps": None, "verbose": 0, "stage": name, "train_dir": str(self._run.path)}
        )
        self._list.on_train_begin()
        self._at_start = [_plain_attributes(callback) for callback in self._callbacks]
        if state is not None:
            self._restore(json.loads(state))

    def begin_epoch(self, epoch: int, *, resumed: bool):
        """`on_epoch_begin`; the means of a resumed epoch go on."""
        if self._configured:
            if not resumed:
                self._means.start()
            self._list.on_epoch_begin(epoch)

    def begin_batch(self, batch: int):
        """`on_train_batch_begin`."""
        if self._of_batches:
            self._list.on_train_batch_begin(batch)

    def end_batch(self, batch: int):
        """`on_train_batch_end` with the means of the epoch so far."""
        if self._of_batches:
            self._list.on_train_batch_end(batch, self._means.result())
            if self._devices.workers == 1:  # several decide together, at the end of the epoch
                self._stopped = bool(self._means.step_model.stop_training)

    def before_reset(self):
        """To be called before the running means of the loss terms start again."""
        if self._configured:
            self._means.keep()

    def end_epoch(self, epoch: int, validation: Mapping[str, Mapping[str, float]], main_role: str):
        """`on_epoch_end`, which only the chief calls.

        Args:
            epoch: of the stage, from 0.
            validation: metrics by role.
            main_role: whose metrics are "val_GAP@20" and so on; another one's are "val_teacher_GAP@20".
        """
        if not self._callbacks:
            return
        step_model = self._means.step_model
        self._logs = {**self._means.result(), "learning_rate": float(step_model.optimizer.learning_rate)}
        for role, metrics in validation.items():
            prefix = "val" if role == main_role else f"val_{role}"
            self._logs |= {f"{prefix}_{name}": value for name, value in metrics.items() if name != "examples"}
        self._list.on_epoch_end(epoch, self._logs)
        self._stopped = bool(step_model.stop_training)

    def agree(self):
        """Lets all processes know, at the end of an epoch, whether a callback has ended the stage."""
        if self._configured:
            self._stopped = bool(self._devices.from_chief(self._stopped))
            if self._stopped:
                log.info("A callback has ended this stage of the training.")

    def end_stage(self):
        """`on_train_end`, with what `on_epoch_end` was told last."""
        if self._configured:
            self._list.on_train_end(self._logs)

    def state(self) -> str | None:
        """For a checkpoint: what `begin_stage` takes; None: there are no callbacks."""
        if not self._callbacks or self._means is None:
            return None
        states = []
        for callback, start in zip(self._callbacks, self._at_start, strict=True):
            now = _plain_attributes(callback)
            changed = {name: value for name, value in now.items() if name not in start or start[name] != value}
            states.append({"class": _class_name(callback), "attributes": changed})
        return json.dumps({"stopped": self._stopped, "callbacks": states, "means": self._means.state()})

    def _restore(self, state: Mapping[str, Any]):
        """Those of the same classes as when it was stored; others start anew."""
        self._stopped = state["stopped"]
        self._means.restore(state["means"])
        stored = list(state["callbacks"])
        for callback in self._callbacks:
            place = next((i for i, item in enumerate(stored) if item["class"] == _class_name(callback)), None)
            if place is not None:
                vars(callback).update(stored.pop(place)["attributes"])


def _class_name(callback: Callback) -> str:
    return f"{type(callback).__module__}.{type(callback).__qualname__}"


def _overrides(callback: Callback, name: str) -> bool:
    """Whether a method is not that of the base; some callbacks set functions instead."""
    return getattr(getattr(callback, name), "__func__", None) is not getattr(Callback, name)


def _plain_attributes(callback: Callback) -> dict[str, Any]:
    """What JSON can hold of a callback, numbers of numpy as Python's."""
    values = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in vars(callback).items()
        if not name.startswith("__")
    }
    return {name: value for name, value in values.items() if isinstance(value, _PLAIN) and not _is_nan(value)}


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
