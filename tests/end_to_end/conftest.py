"""Videos for the tests of whole commands."""

import pathlib

import pytest

from tests.helpers import learnable_videos, write_records


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> pathlib.Path:
    """A folder with training, validation and test files of learnable videos."""
    folder = tmp_path_factory.mktemp("data")
    for index, (part, count) in enumerate([("train0", 30), ("train1", 34), ("validate0", 16), ("test0", 20)]):
        write_records(folder / f"{part}.tfrecord", learnable_videos(count, seed=100 * index))
    return folder
