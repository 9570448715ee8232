"""TensorBoard curves of a training, which after a kill go on as if nothing had happened."""

import os
import pathlib
from collections.abc import Iterable, Mapping

import tensorflow as tf


class TrainingLogs:
    """The event files of a training: a writer for each curve folder.

    Args:
        folder: `logs` of the run directory.
        names: the folders in it that the training writes; others, such as those of eval.py, are left alone.
        silent: nothing is written, and what is there is left alone.
    """

    def __init__(self, folder: pathlib.Path, names: Iterable[str], *, silent: bool = False):
        self._folder = folder
        self._names = tuple(names)
        self._silent = silent
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def writer(self, name: str) -> tf.summary.SummaryWriter:
        """The one writer of a folder."""
        assert name in self._names
        if self._silent:
            return tf.summary.create_noop_writer()
        if name not in self._writers:
            self._writers[name] = tf.summary.create_file_writer(str(self._folder / name))
        return self._writers[name]

    def sizes(self) -> dict[str, int]:
        """Bytes of every event file, with all that was logged until now."""
        for writer in self._writers.values():
            writer.flush()
        return {str(path.relative_to(self._folder)): path.stat().st_size for path in self._files()}

    def cut_back(self, sizes: Mapping[str, int]):
        """Takes the event files back to the state in which they had these sizes; others are removed."""
        for path in () if self._silent else self._files():
            size = sizes.get(str(path.relative_to(self._folder)))
            if size is None:
                path.unlink()
            else:
                os.truncate(path, min(size, path.stat().st_size))

    def close(self):
        """Closes all writers."""
        for writer in self._writers.values():
            writer.close()

    def _files(self) -> list[pathlib.Path]:
        return [path for name in self._names for path in sorted((self._folder / name).glob("events.out.tfevents.*"))]
