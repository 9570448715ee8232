"""Requests to stop a training: SIGTERM and Ctrl-C, in this process or in another one of the same training."""

import contextlib
import logging
import signal
from collections import deque
from collections.abc import Iterator

import tensorflow as tf

log = logging.getLogger(__name__)


class StopRequests:
    """Whether the training is to end after this step, which all of its processes decide alike.

    Args:
        workers: processes of the training.

    Attributes:
        here: whether this process was asked to stop.
    """

    def __init__(self, workers: int):
        self.here = False
        self._workers = workers
        self._votes: deque[tf.Tensor] = deque(maxlen=2)

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """While it lasts, a signal is noted, so that the loop can save its state, instead of ending the process."""
        former = {}
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                former[number] = signal.signal(number, self._note)
        except ValueError:  # not the main thread
            pass
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def add_votes(self, votes: tf.Tensor):
        """Notes how many processes were asked to stop before a step, as the step has summed it up."""
        self._votes.append(votes)

    def pending(self, at_end: bool = False) -> bool:
        """Whether the training ends here.

        Several processes look at the votes of the step before, which they need not wait for.

        Args:
            at_end: of an epoch, where they also look at those of the last step.
        """
        if self._workers == 1:
            return self.here
        votes = list(self._votes) if at_end else list(self._votes)[:-1]
        return any(int(number) > 0 for number in votes)

    def _note(self, number, frame):
        log.info("Signal %s: saving the state after this step", signal.Signals(number).name)
        self.here = True
