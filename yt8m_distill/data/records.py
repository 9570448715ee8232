"""All records of one file, one after another, whatever is wrong with some of them."""

import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from yt8m_distill.data.bad_records import BadRecord, BadRecords
from yt8m_distill.data.tfrecord import DamagedRecord, Frame, frames_of_file, place_problem, read_record

Content = TypeVar("Content")


def records_of_file(
    path: str, bad_records: BadRecords, read: Callable[[memoryview], Content]
) -> Iterator[tuple[Frame, memoryview, Content]]:
    """Every good record: its place, its data, and what `read` makes of it; valid until the next one is asked for.

    Args:
        path: of the file.
        bad_records: what happens to bad records, and what has happened. That the file is empty or cannot be read, to
            its end or at all, is a bad record, too.
        read: raises DamagedRecord where the record is bad.

    Raises:
        UserError: a bad record, where these are errors.
    """
    buffer, size, number, offset = np.empty(0, np.uint8), 0, 1, 0
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            bad_records.note_file(path, size)
            for frame in frames_of_file(path, read_ahead=True):
                number, offset = frame.number, frame.offset
                try:
                    if problem := place_problem(path, frame):
                        raise DamagedRecord(problem)
                    if len(buffer) < frame.num_bytes:  # fresh memory costs as much as reading into it
                        buffer = np.empty(frame.num_bytes, np.uint8)
                    data = read_record(file.fileno(), frame.offset, buffer[: frame.num_bytes])
                    yield frame, data, read(data)
                except DamagedRecord as error:
                    bad_records.note(path, BadRecord(number, frame.num_bytes, str(error)))
    except OSError as error:
        problem = f"the file cannot be read: {error.strerror or error}"
        bad_records.note(path, BadRecord(number, size - offset, problem))
