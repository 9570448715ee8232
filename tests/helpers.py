"""What several tests need: the reference cases and the places of real data."""

import pathlib

import numpy as np
import pytest

REFERENCE_DIR = pathlib.Path(__file__).parent / "reference"
SHARED_DIR = pathlib.Path(__file__).parents[2] / "shared"


def load_case(name: str) -> dict[str, np.ndarray]:
    """All arrays of the reference case `name`; `.npz` is appended."""
    with np.load(REFERENCE_DIR / f"{name}.npz") as arrays:
        return dict(arrays)


def case_weights(case: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights of a case under their TensorFlow 1 names (`w.` dropped)."""
    return {key[2:]: value for key, value in case.items() if key.startswith("w.")}


def shared_path(relative: str) -> pathlib.Path:
    """A file or folder of real data; skips the test where it is not on this machine."""
    path = SHARED_DIR / relative
    if not path.exists():
        pytest.skip(f"real data not here: {relative}")
    return path
