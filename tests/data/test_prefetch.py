"""Prefetching: the same batches in the same order, made ahead; errors and the end are passed on."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from yt8m_distill.data.device_copies import copied_ahead
from yt8m_distill.data.prefetch import prefetched
from yt8m_distill.errors import UserError


def test_batches_are_made_ahead_in_their_order():
    third_is_made = threading.Event()

    def batches():
        for number in range(4):
            if number == 2:
                third_is_made.set()
            yield {"number": number}

    ahead = prefetched(batches())
    assert next(ahead) == {"number": 0}
    assert third_is_made.wait(timeout=60)  # though only one was asked for
    assert [batch["number"] for batch in ahead] == [1, 2, 3]


def test_an_error_comes_after_the_batches_before_it():
    def batches():
        yield {"number": 0}
        raise UserError("a bad record")

    ahead = prefetched(batches())
    assert next(ahead) == {"number": 0}
    with pytest.raises(UserError, match="a bad record"):
        next(ahead)


def test_no_thread_stays_when_reading_is_stopped():
    ahead = prefetched({"number": number} for number in range(100))
    next(ahead)
    ahead.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reader")]


def test_frames_are_copied_ahead_as_bytes_and_the_source_is_closed():
    closed, third_is_read = [], threading.Event()

    def batches():
        try:
            for number in range(5):
                if number == 2:
                    third_is_read.set()
                yield {"frames": np.full((2, 3, 4), number, np.uint8), "video_id": number}
        finally:
            closed.append(True)

    copies = copied_ahead(batches(), "/CPU:0")
    for number in range(2):
        batch = next(copies)
        assert isinstance(batch["frames"], tf.Tensor)
        assert batch["frames"].dtype == tf.uint8
        assert (batch["frames"].numpy() == number).all()
        assert batch["video_id"] == number
    assert third_is_read.wait(timeout=60)  # though only two were asked for
    copies.close()
    assert closed == [True]
    assert [batch["video_id"] for batch in copied_ahead(batches())] == [0, 1, 2, 3, 4]  # where there is no GPU
