"""What is done with the outputs of a backbone before they are bytes: PCA with whitening, or standardization."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic
from yt8m_distill.quantization import Range, fit_range, quantize
from yt8m_distill.video.checksums import checksum_of_arrays

PUBLISHED_RANGE = Range(-2.0, 2.0)
_EPSILON = 1e-5  # of the largest variance; of Google's PCA it is 0.7e-5
_CONSTANT = 1e-6  # of the mean: a smaller deviation is that of rounding


@dataclass(frozen=True, eq=False)
class Projection:
    """`(x - mean) @ components / deviations`, and the range in which that is quantized.

    Attributes:
        method: "pca", or "standardize" where every value stays by itself.
        mean: float32 (input size,).
        components: float32 (input size, size); None: each value by itself.
        deviations: float32 (size,).
        range: the numbers that bytes 0 and 255 stand for.
        explained_variance: share of the variance of the sample that is left; None: not known.
    """

    method: Literal["pca", "standardize"]
    mean: np.ndarray
    components: np.ndarray | None
    deviations: np.ndarray
    range: Range = PUBLISHED_RANGE
    explained_variance: float | None = None

    @property
    def input_size(self) -> int:
        """Values of a feature before."""
        return len(self.mean)

    @property
    def size(self) -> int:
        """Values of a feature behind it."""
        return len(self.deviations)

    @functools.cached_property
    def identity(self) -> str:
        """A checksum of everything that the bytes depend on."""
        arrays = [self.mean, *([] if self.components is None else [self.components]), self.deviations]
        return checksum_of_arrays(f"{self.method}, {self.range!r}", arrays)

    @functools.cached_property
    def _exact(self) -> tuple[np.ndarray | None, ...]:
        """The arrays as float64, so that the number of rows of a matrix product does not show in its results."""
        arrays = self.mean, self.components, self.deviations
        return tuple(None if array is None else array.astype(np.float64) for array in arrays)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Projected features.

        Args:
            features: (frames, input size).

        Returns:
            float32 (frames, size).

        Raises:
            UserError: they have another size.
        """
        return self._projected(features).astype(np.float32)

    def to_bytes(self, features: np.ndarray) -> np.ndarray:
        """Projected and quantized features, rounded half to even.

        Args:
            features: (frames, input size).

        Returns:
            uint8 (frames, size).

        Raises:
            UserError: they have another size.
        """
        low, high = self.range
        return quantize(self._projected(features), high, low)

    def clipped_share(self, features: np.ndarray) -> float:
        """The share of the projected values that are outside of the range, which bytes cannot tell.

        Args:
            features: (frames, input size), at least one.
        """
        low, high = self.range
        projected = self(features)
        return float(np.mean((projected < low) | (projected > high)))

    def describe(self) -> dict[str, Any]:
        """What `features.json` says of it, beside the range."""
        return {
            "projection": self.method,
            "input_size": self.input_size,
            "size": self.size,
            "explained_variance": self.explained_variance,
            "identity": self.identity,
        }

    def save(self, path: pathlib.Path):
        """Writes an `.npz` file for `projection_files.read_projection`; a kill leaves all of it or nothing."""
        with atomic.file_written_beside(path, binary=True) as file:
            np.savez(file, **self._arrays())

    def _arrays(self) -> Mapping[str, np.ndarray]:
        arrays = {"mean": self.mean, "deviations": self.deviations, "range": np.array(self.range)}
        if self.components is not None:
            arrays["components"] = self.components
        if self.explained_variance is not None:
            arrays["explained_variance"] = np.array(self.explained_variance)
        return arrays

    def _projected(self, features: np.ndarray) -> np.ndarray:
        if features.shape[1:] != self.mean.shape:
            raise UserError(
                f"the projection takes features of {self.input_size} values, not of {features.shape[-1]}: it was made "
                "for another backbone."
            )
        mean, components, deviations = self._exact
        centered = features.astype(np.float64) - mean
        return (centered if components is None else centered @ components) / deviations


def fit_pca(sample: np.ndarray, size: int | None = None) -> Projection:
    """The principal components of a sample, whitened, and the range that they fill.

    Args:
        sample: features (frames, input size) of many videos.
        size: components to keep; None: all.

    Raises:
        UserError: the sample has too few frames for so many components, or a value that is not finite.
    """
    frames, input_size = _checked(sample)
    most = min(input_size, frames - 1)
    size = most if size is None else size
    if not 1 <= size <= most:
        reason = f"the backbone has {input_size} values" if most == input_size else f"the sample has {frames} frames"
        raise UserError(
            f"a PCA with {size} components is not possible, as {reason}: at most {most}. Give a smaller "
            "--pca_size, more films, or --pca=none."
        )
    mean = sample.mean(axis=0, dtype=np.float64)
    centered = sample.astype(np.float64) - mean
    variances, vectors = np.linalg.eigh(centered.T @ centered / (frames - 1))
    variances, vectors = np.maximum(variances[::-1], 0.0), vectors[:, ::-1][:, :size]
    largest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.where(vectors[largest, np.arange(size)] < 0, -1.0, 1.0)  # their signs are arbitrary
    total = variances.sum()
    deviations = np.sqrt(variances[:size] + _EPSILON * variances[0]) if total else np.ones(size)
    explained = float(variances[:size].sum() / total) if total else 1.0
    return _with_range(Projection("pca", *_as_float32(mean, vectors, deviations), explained_variance=explained), sample)


def fit_standardization(sample: np.ndarray) -> Projection:
    """The mean and deviation of each value of a sample, and the range that standardized values fill.

    Args:
        sample: features (frames, size) of many videos.

    Raises:
        UserError: the sample has fewer than two frames, or a value that is not finite.
    """
    _checked(sample)
    mean, deviations = sample.mean(axis=0, dtype=np.float64), sample.std(axis=0, dtype=np.float64)
    deviations[deviations <= _CONSTANT * np.abs(mean)] = 1.0
    return _with_range(Projection("standardize", *_as_float32(mean, None, deviations), explained_variance=1.0), sample)


def _checked(sample: np.ndarray) -> tuple[int, int]:
    if sample.ndim != 2 or len(sample) < 2:
        raise UserError(f"the sample that a projection is fitted to has {len(sample)} frames; two are the least.")
    if not np.isfinite(sample).all():
        raise UserError("the backbone gives a value that is not finite.")
    return sample.shape


def _as_float32(*arrays: np.ndarray | None) -> list[np.ndarray | None]:
    """As they are stored, so that a projection that is read again gives the same."""
    return [None if array is None else array.astype(np.float32) for array in arrays]


def _with_range(projection: Projection, sample: np.ndarray) -> Projection:
    return dataclasses.replace(projection, range=fit_range(projection(sample)))
