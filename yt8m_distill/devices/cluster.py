"""The devices of a training: one, all of one machine, or those of several machines.

With several machines each runs one process (a worker), and all workers do the same in the same order. The first one is
the chief: only the chief writes, and where a decision depends on the content of the disk, the others follow it.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from yt8m_distill.config.json import to_json
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.shard import Shard
from yt8m_distill.errors import LostWorker, UserError

log = logging.getLogger(__name__)

# What TensorFlow raises in the other workers after the loss of one.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)
_HELP = "docs/scaling.md shows how to start several workers"


@dataclass(frozen=True)
class Cluster:
    """The workers of a training.

    Attributes:
        addresses: "host:port" of each worker, the chief's first.
        index: index of this process among them.
    """

    addresses: tuple[str, ...]
    index: int


def read_cluster(environment: Mapping[str, str]) -> Cluster:
    """Reads TF_CONFIG.

    Raises:
        UserError: it is missing, not valid JSON, or does not describe workers.
    """
    text = environment.get("TF_CONFIG", "")
    if not text.strip():
        raise UserError(f"--distribution=multiworker needs the environment variable TF_CONFIG; {_HELP}.")
    try:
        values = json.loads(text)
        jobs = {name: tuple(addresses) for name, addresses in values["cluster"].items()}
        kind, index = values["task"]["type"], values["task"]["index"]
        is_worker = kind in jobs and type(index) is int and 0 <= index < len(jobs[kind])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            'TF_CONFIG must be JSON of the form {"cluster": {"worker": ["host:port", ...]}, '
            f'"task": {{"type": "worker", "index": 0}}}}; it is {text[:200]!r}. {_HELP}.'
        ) from error
    if set(jobs) - {"chief", "worker"} or len(jobs.get("chief", ())) > 1:
        raise UserError(f"TF_CONFIG: a cluster has workers and at most one chief, not {', '.join(sorted(jobs))}.")
    addresses = jobs.get("chief", ()) + jobs.get("worker", ())
    for address in addresses:
        if not isinstance(address, str) or not re.fullmatch(r".+:[0-9]{1,5}", address):
            raise UserError(f"TF_CONFIG: {address!r} is not an address of the form 'host:port'.")
    if len(set(addresses)) < len(addresses):
        raise UserError("TF_CONFIG names an address twice; each worker needs its own, on one machine its own port.")
    if not is_worker:
        described = ", ".join(f"{name} 0 to {len(jobs[name]) - 1}" for name in jobs) or "no workers"
        raise UserError(f"TF_CONFIG: this process would be {kind} {index!r}; the cluster has {described}.")
    return Cluster(addresses, index if kind == "chief" else index + len(jobs.get("chief", ())))


@dataclass(frozen=True)
class Devices:
    """The devices of a training, from the view of one of its processes.

    Attributes:
        strategy: of the distribution; None: one device, no distribution.
        worker: index of this process; 0 is the chief.
        workers: number of processes.
    """

    strategy: tf.distribute.Strategy | None = None
    worker: int = 0
    workers: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.worker == 0

    @property
    def replicas(self) -> int:
        """Number of devices of all workers."""
        return 1 if self.strategy is None else self.strategy.num_replicas_in_sync

    @property
    def shard(self) -> Shard | None:
        """The part of every batch that this process reads; None: all of it."""
        return None if self.workers == 1 else Shard(self.worker, self.workers)

    def scope(self) -> AbstractContextManager:
        """The context in which models and optimizers are built."""
        return contextlib.nullcontext() if self.strategy is None else self.strategy.scope()

    def rows(self, videos: tf.Tensor, read: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The rows of a batch that belong to the calling replica, within `Strategy.run`.

        Args:
            videos: number of videos in the whole batch.
            read: number of videos that this process has read, its shard of the batch.

        Returns:
            First row and end of at least one row, and the number of rows that count: 0 where there are fewer videos
            than replicas, else all.
        """
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)
        first = videos * (self.worker * (self.replicas // self.workers)) // self.replicas
        begin, end = videos * replica // self.replicas, videos * (replica + 1) // self.replicas
        row = tf.minimum(begin - first, read - 1)
        return row, tf.maximum(end - first, row + 1), end - begin

    def from_chief(self, number: int) -> int:
        """The chief's number, in every worker. All workers must call it, and wait for each other."""
        return self._sum(int(number) if self.is_chief else 0)

    def wait(self):
        """Waits for all workers."""
        self._sum(0)

    @contextlib.contextmanager
    def chief_first(self) -> Iterator[None]:
        """The other workers enter the context when the chief has left it, as they need what it writes there."""
        if not self.is_chief:
            self.wait()
        yield
        if self.is_chief:
            self.wait()

    def check_same(self, descriptions: Mapping[str, str]):
        """Checks that all workers were started with the same settings and input.

        Args:
            descriptions: texts that must be the same, by name.

        Raises:
            UserError: in every worker, if one differs.
        """
        for name, text in descriptions.items():
            checksum = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])
            if self._sum(int(self.from_chief(checksum) != checksum)):
                raise UserError(f"the workers do not all have the same {name}; start them with the same command.")

    def separate_random_states(self, variables: Iterable[Any]):
        """Gives every replica random numbers of its own, where all have the states of the first one.

        The states of the first replica, which a checkpoint stores, do not change.

        Args:
            variables: of a model; those of random generators are found by name.
        """
        if self.replicas == 1:
            return
        per_worker = self.replicas // self.workers
        for variable in variables:
            if variable.name == "seed_generator_state":
                for place, state in enumerate(self.strategy.experimental_local_results(variable.value)):
                    state.assign_add(tf.constant([self.worker * per_worker + place, 0], state.dtype))

    def _sum(self, number: int) -> int:
        """Sums a number over all workers."""
        if self.workers == 1:
            return number

        def value(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
            first = context.replica_id_in_sync_group % (self.replicas // self.workers) == 0
            return tf.constant(number if first else 0, tf.int64)

        values = self.strategy.experimental_distribute_values_from_function(value)
        return int(self.strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None))


ONE_DEVICE = Devices()


def open_devices(name: str) -> Devices:
    """The devices of a distribution; several workers are connected when this returns.

    Args:
        name: "none", "mirrored" or "multiworker".

    Raises:
        UserError: TF_CONFIG is missing or wrong, or names several workers for another distribution; or the connection
            fails.
    """
    if name != "multiworker":
        _check_alone(name)
    if name == "none":
        return ONE_DEVICE
    devices = _mirrored() if name == "mirrored" else _workers()
    if devices.replicas > 1:
        log.info("Training on %d devices in %d process(es)", devices.replicas, devices.workers)
    return devices


def _check_alone(name: str):
    """Several workers without a connection would all write into one run directory."""
    try:
        cluster = json.loads(os.environ.get("TF_CONFIG", "{}"))["cluster"]
        workers = sum(len(cluster.get(job, ())) for job in ("chief", "master", "worker"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # TF_CONFIG is for something else
    if workers > 1:
        raise UserError(
            f"--distribution={name}, but TF_CONFIG names {workers} workers: give --distribution=multiworker, or unset "
            "TF_CONFIG."
        )


def _mirrored() -> Devices:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) == 1:
        log.warning("There is only one device, %s: training as with --distribution=none.", devices[0].name)
        return ONE_DEVICE
    return Devices(tf.distribute.MirroredStrategy([device.name for device in devices]))


def _workers() -> Devices:
    cluster = read_cluster(os.environ)
    if len(cluster.addresses) == 1:
        return _mirrored()
    log.info("Worker %d of %s waits for the others", cluster.index, ", ".join(cluster.addresses))
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise UserError(
            f"worker {cluster.index} of {', '.join(cluster.addresses)} cannot start ({_in_short(error)}); check "
            "that every address of TF_CONFIG is that of its machine, and that its port is free and can be reached."
        ) from error
    return Devices(strategy, cluster.index, len(cluster.addresses))


@contextlib.contextmanager
def loss_of_workers_named(devices: Devices) -> Iterator[None]:
    """Raises LostWorker where TensorFlow raises errors after the loss of another worker."""
    try:
        yield
    except _LOST as error:
        if devices.workers == 1:
            raise
        raise LostWorker(
            f"Worker {devices.worker} has lost another one ({_in_short(error)}); the output of the first that stopped "
            "has the reason. Start all of them again with the same command: the training resumes from its checkpoint."
        ) from error


def _in_short(error: Exception) -> str:
    """The most useful line of a message of TensorFlow."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return next((line for line in lines if "aborted by" in line), lines[0])[:200].rstrip(": ")


def check_batch_size(config: RunConfig, devices: Devices):
    """Raises UserError where a batch has fewer videos than there are devices."""
    if config.learning.batch_size < devices.replicas:
        raise UserError(
            f"--batch_size={config.learning.batch_size} is the number of videos on all {devices.replicas} devices "
            "together; give at least one for each."
        )


def described(config: RunConfig, train_files: Any) -> dict[str, str]:
    """What all workers of a training must have in common, for `Devices.check_same`."""
    return {
        "settings": to_json(config),
        "training files": json.dumps(train_files),
    }
