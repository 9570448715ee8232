"""Files of image networks and projections with damage: they are read as arrays of finite numbers, or refused."""

import functools
import pathlib
import tempfile

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.fuzz.attempts import attempt
from tests.fuzz.records import CHANGES, mutated
from tests.video.backbones import torch_files
from yt8m_distill.video.backbones.torch_file import read_torch_weights
from yt8m_distill.video.projection import fit_pca
from yt8m_distill.video.projection_files import read_projection

KINDS = ("weights.pth", "projection.npz")
NETWORK_FILES = st.tuples(st.sampled_from(KINDS), st.lists(CHANGES, max_size=5))
INPUT_SIZE = 4


@functools.cache
def _content(name: str) -> bytes:
    values = np.random.default_rng(0).normal(size=(9, INPUT_SIZE)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = pathlib.Path(folder) / name
        if name == "weights.pth":
            torch_files.write(path, {"kernel": values, "count": np.array(3)}, patch)
        else:
            fit_pca(values, 2).save(path)
        return path.read_bytes()


def check_network_file(example: tuple[str, list]):
    """Reads a file with some changes."""
    name, changes = example
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / name
        path.write_bytes(mutated(_content(name), [change for some in changes for change in some]))
        if name == "weights.pth":
            weights, _ = attempt(lambda: read_torch_weights(path))
            assert weights is None or all(isinstance(array, np.ndarray) for array in weights.values())
            return
        projection, _ = attempt(lambda: read_projection(path))
        if projection is not None:
            values, _ = attempt(lambda: projection(np.zeros((3, INPUT_SIZE), np.float32)))
            assert values is None or (values.shape == (3, projection.size) and np.isfinite(values).all())
