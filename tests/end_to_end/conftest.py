"""Videos for the tests of whole commands."""

import pathlib
from collections.abc import Iterator

import pytest

from tests.helpers import learnable_videos, write_records
from yt8m_distill.training import report


@pytest.fixture(scope="package", autouse=True)
def short_measurements() -> Iterator[None]:
    """The report of a student for several k measures its speeds for 3 seconds each; here for an instant."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "SECONDS", 0.01)
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> pathlib.Path:
    """A folder with training, validation and test files of learnable videos."""
    folder = tmp_path_factory.mktemp("data")
    for index, (part, count) in enumerate([("train0", 30), ("train1", 34), ("validate0", 16), ("test0", 20)]):
        write_records(folder / f"{part}.tfrecord", learnable_videos(count, seed=100 * index))
    return folder
