"""Projections in files: this package's own, Google's PCA of YouTube-8M and that of VGGish."""

import io
import os
import pathlib
import tarfile
from collections.abc import Mapping

import numpy as np

from yt8m_distill.errors import UserError
from yt8m_distill.files.untrusted import in_short
from yt8m_distill.quantization import WHITENING_EPSILON, Range
from yt8m_distill.video.projection import Projection

YOUTUBE8M_SIZE = 1024
_ARCHIVE = "yt8m_pca.tgz"
_MEAN, _VALUES, _VECTORS = _GOOGLE = "mean.npy", "eigenvals.npy", "eigenvecs.npy"
_VGGISH_VECTORS, _VGGISH_MEANS = "pca_eigen_vectors", "pca_means"
_MOST_BYTES = 1 << 30  # the largest of Google's has 17 MB


def read_projection(path: str | os.PathLike, size: int | None = None) -> Projection:
    """A projection that somebody has fitted.

    Args:
        path: an `.npz` file by `Projection.save`; `vggish_pca_params.npz`; `yt8m_pca.tgz`; or a folder of the latter,
            or of the three files in it.
        size: components to keep of Google's PCA of YouTube-8M; None: 1024, as published. Others are what they are.

    Raises:
        UserError: it cannot be read, or is something else.

    Source: `feature_extractor.py` of the starter code, and `vggish_postprocess.py`.
    Differs: VGGish's own code truncates to bytes where this package, like that of YouTube-8M, rounds.
    """
    path = pathlib.Path(path)
    if path.is_dir() and (path / _ARCHIVE).is_file() and not (path / _MEAN).is_file():
        path = path / _ARCHIVE
    try:
        if path.is_dir():
            return _of_youtube8m({name: _array((path / name).read_bytes()) for name in _GOOGLE}, size)
        if path.name.endswith((".tgz", ".tar.gz")):
            return _of_youtube8m(_unpacked(path), size)
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored) if isinstance(stored, Mapping) else {}
        return _of_vggish(arrays) if _VGGISH_VECTORS in arrays else _own(arrays)
    except FileNotFoundError as error:
        raise UserError(f"the projection '{path}' cannot be read: there is no '{error.filename}'.") from error
    except Exception as error:  # of zip and tar files, and of numpy
        raise UserError(f"'{path}' is not a projection, or damaged: {in_short(error)}.") from error


def _array(content: bytes) -> np.ndarray:
    return np.load(io.BytesIO(content), allow_pickle=False)


def _unpacked(path: pathlib.Path) -> Mapping[str, np.ndarray]:
    arrays = {}
    with tarfile.open(path) as archive:
        for member in archive:
            name = pathlib.PurePosixPath(member.name).name
            if member.isfile() and name in _GOOGLE and member.size <= _MOST_BYTES:
                arrays[name] = _array(archive.extractfile(member).read())
    return arrays


def _of_youtube8m(arrays: Mapping[str, np.ndarray], size: int | None) -> Projection:
    mean, variances = (arrays[name].reshape(-1).astype(np.float64) for name in (_MEAN, _VALUES))
    size = size or min(YOUTUBE8M_SIZE, len(variances))
    deviations = np.sqrt(variances[:size] + WHITENING_EPSILON)
    explained = float(variances[:size].sum() / variances.sum())
    return _checked("pca", mean, arrays[_VECTORS].T[:, :size], deviations, explained=explained)


def _of_vggish(arrays: Mapping[str, np.ndarray]) -> Projection:
    vectors = arrays[_VGGISH_VECTORS].T  # whitening is in them
    return _checked("pca", arrays[_VGGISH_MEANS].reshape(-1), vectors, np.ones(vectors.shape[-1]))


def _own(arrays: Mapping[str, np.ndarray]) -> Projection:
    components = arrays.get("components")
    method = "standardize" if components is None else "pca"
    explained = arrays.get("explained_variance")
    ends = Range(*map(float, arrays["range"]))
    explained = None if explained is None else float(explained)
    return _checked(method, arrays["mean"], components, arrays["deviations"], ends, explained)


def _checked(
    method: str,
    mean: np.ndarray,
    components: np.ndarray | None,
    deviations: np.ndarray,
    ends: Range | None = None,
    explained: float | None = None,
) -> Projection:
    arrays = [array for array in (mean, components, deviations) if array is not None]
    shape = (len(mean), len(deviations)) if components is not None else None
    if any(array.dtype.kind not in "fiu" or not np.isfinite(array).all() for array in arrays):
        raise ValueError("it holds something other than finite numbers")
    if mean.ndim != 1 or deviations.ndim != 1 or not len(mean) or not len(deviations):
        raise ValueError("its mean and deviations must be rows of numbers")
    if (len(mean) != len(deviations)) if shape is None else (components.shape != shape):
        raise ValueError(f"its arrays do not fit to each other: {[array.shape for array in arrays]}")
    if deviations.min() <= 0 or (ends and not ends.min_value < ends.max_value):
        raise ValueError("its deviations and its range must be above 0")
    mean, deviations = mean.astype(np.float32), deviations.astype(np.float32)
    components = None if components is None else np.ascontiguousarray(components, np.float32)
    options = {"range": ends} if ends else {}
    return Projection(method, mean, components, deviations, explained_variance=explained, **options)
