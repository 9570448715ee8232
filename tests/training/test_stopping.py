"""Requests to stop a training."""

import os
import signal

import pytest
import tensorflow as tf

from yt8m_distill.training.stopping import StopRequests


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_handlers_are_restored(number):
    former, requests = signal.getsignal(number), StopRequests(workers=1)
    with requests.noted():
        assert not requests.pending()
        os.kill(os.getpid(), number)
        assert requests.pending()
    assert signal.getsignal(number) == former


def test_handlers_are_restored_after_an_error():
    former = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="x"), StopRequests(workers=1).noted():
        raise ValueError("x")
    assert signal.getsignal(signal.SIGTERM) == former


def test_several_processes_decide_by_votes_of_the_step_before():
    requests = StopRequests(workers=2)
    requests.here = True  # not yet known to the others
    assert not requests.pending()
    requests.add_votes(tf.constant(1.0))
    assert not requests.pending()
    assert requests.pending(at_end=True)
    requests.add_votes(tf.constant(1.0))
    assert requests.pending()
