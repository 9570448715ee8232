"""What every test starts from."""

import keras
import pytest


@pytest.fixture(autouse=True)
def same_weights_every_time() -> None:
    """A model that a test makes starts from the same weights in every run."""
    keras.utils.set_random_seed(1)
