"""The order in which records are read: groups of files, windows of shuffled records, and positions to resume from."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from yt8m_distill.data.batches import Batch

FILES_READ_AT_ONCE = 8
WINDOW_RECORDS = 2048  # shuffled together; about 470 MB of full-size YouTube-8M records, which are not held in memory

# The file's index, the record's number in it, its offset and its bytes.
Place = tuple[int, int, int, int]


@dataclass(frozen=True)
class Position:
    """A place in the order in which records are read; all records before it are done.

    Attributes:
        group: files that are read together; in the order of the files, each is a group.
        window: of the group, in which the records are shuffled together; 0 where nothing is shuffled.
        record: of the window, in the order in which it is read.
    """

    group: int = 0
    window: int = 0
    record: int = 0


BEGINNING = Position()


def position_after(batch: Batch) -> Position:
    """Where reading resumes after a batch."""
    return Position(*batch["position"][-1].tolist())


@dataclass(frozen=True)
class ReadingOrder:
    """An order of the records of all files.

    Attributes:
        groups: indices of the files that are read together, group after group.
        seed: of the shuffling within windows; None: records are read in the order of the files.
    """

    groups: Sequence[Sequence[int]]
    seed: int | None = None

    @classmethod
    def of_files(cls, num_files: int) -> "ReadingOrder":
        """File after file, record after record."""
        return cls([[file] for file in range(num_files)])

    @classmethod
    def of_epoch(cls, num_files: int, seed: int, epoch: int) -> "ReadingOrder":
        """A random order that is a function of (seed, epoch) alone.

        Files in random order are read in groups of up to 8. The next records of all files of a group, the same number
        of each, are a window of about 2048 records, in which they are shuffled.
        """
        epoch_seed = int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])
        order = np.random.default_rng(epoch_seed).permutation(num_files)
        return cls(np.array_split(order, -(-num_files // FILES_READ_AT_ONCE)), epoch_seed)

    def windows(
        self, records_of: Callable[[int, int], Iterator[Place]], start: Position = BEGINNING
    ) -> Iterator[np.ndarray]:
        """Windows of places, int64 (records, 7): a `Place`, and the `Position` after each record.

        Args:
            records_of: the places of a file's records, by its index, without the first ones.
            start: leave out all records before it.
        """
        records_each = WINDOW_RECORDS // max(map(len, self.groups))
        for group in range(start.group, len(self.groups)):
            first = start.window if group == start.group else 0
            streams = [records_of(int(file), first * records_each) for file in self.groups[group]]
            for window in itertools.count(first):
                places = [place for stream in streams for place in itertools.islice(stream, records_each)]
                if not places:
                    break
                done = start.record if (group, window) == (start.group, start.window) else 0
                yield self._shuffled(places, group, window)[done:]

    def _shuffled(self, places: Sequence[Place], group: int, window: int) -> np.ndarray:
        order = np.arange(len(places))
        if self.seed is not None:
            np.random.default_rng((self.seed, group, window)).shuffle(order)
        rows = np.empty((len(places), 7), np.int64)
        numbers = np.fromiter(itertools.chain.from_iterable(places), np.int64, 4 * len(places))
        rows[:, :4] = numbers.reshape(-1, 4)[order]
        rows[:, 4:6] = group, window
        rows[:, 6] = np.arange(1, len(places) + 1)
        return rows


def in_batches(windows: Iterator[np.ndarray], batch_size: int) -> Iterator[np.ndarray]:
    """The rows of all windows in parts of `batch_size`; the last one may be smaller."""
    return itertools.chain.from_iterable(batches_of_windows(windows, batch_size))


def batches_of_windows(windows: Iterator[np.ndarray], batch_size: int) -> Iterator[list[np.ndarray]]:
    """The batches of `in_batches`, together with those that are known as soon as they are."""
    rest = None
    for window in windows:
        rows = window if rest is None else np.concatenate([rest, window])
        whole = len(rows) - len(rows) % batch_size
        if whole:
            yield [rows[begin : begin + batch_size] for begin in range(0, whole, batch_size)]
        rest = rows[whole:]
    if rest is not None and len(rest):
        yield [rest]
