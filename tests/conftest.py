"""What every test starts from."""

import logging

import keras
import pytest

# As commands leave it. pytest's caplog watches a logger that does not propagate only from the start of a test on.
logging.getLogger("yt8m_distill").propagate = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of slow tests come first, so that at the end no process waits for another one's."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def same_weights_every_time() -> None:
    """A model that a test makes starts from the same weights in every run."""
    keras.utils.set_random_seed(1)
