"""What every backbone is: a network that makes features of images."""

import abc
import hashlib
import pathlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from yt8m_distill.video.backbones.images import cropped, resized

BATCH_SIZE = 4  # the fastest on a CPU
CROP = 0.875  # the square that networks of ImageNet are evaluated on
Pixels = Literal["bytes", "unit", "signed", "imagenet"]
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ImageOptions:
    """How frames become the input of a network that does not say so itself.

    Attributes:
        image_size: height and width, for networks that take any; None: 224.
        pixels: what a network of floats takes: bytes [0, 255]; unit [0, 1]; signed [-1, 1]; imagenet: unit minus the
            mean, divided by the deviation of each color.
        crop: side of the square in the middle of a frame that the network sees, as a share of the frame's shorter side;
            0: it sees the whole frame, distorted to a square.
    """

    image_size: int | None = None
    pixels: Pixels = "bytes"
    crop: float = CROP

    def scaled(self, pixels: np.ndarray) -> np.ndarray:
        """float32 of bytes."""
        values = pixels.astype(np.float32)
        if self.pixels == "bytes":
            return values
        if self.pixels == "signed":
            return values / np.float32(127.5) - np.float32(1)
        values /= np.float32(255)
        mean, deviation = np.array(_IMAGENET, np.float32)
        return values if self.pixels == "unit" else (values - mean) / deviation


class Backbone(abc.ABC):
    """A network that makes features of images. Subclasses implement `_features`.

    The network always computes `batch_size` images, some of them empty where there are fewer: the last bits of a
    convolution depend on how many images it gets, and the features of a frame must not depend on the frames beside it.

    Args:
        name: what `backbone_named` knows it by.
        size: values of a feature.
        image_size: height and width of the images that the network takes; None: of any.
        identity: a checksum of weights and preprocessing. Features with the same one can be used together.
        crop: as in `ImageOptions`.
        batch_size: images that the network computes at a time.
    """

    def __init__(
        self,
        name: str,
        size: int,
        image_size: tuple[int, int] | None,
        identity: str,
        crop: float = CROP,
        batch_size: int = BATCH_SIZE,
    ):
        self.name = name
        self.size = size
        self.image_size = image_size
        self.identity = identity
        self.crop = crop
        self.batch_size = batch_size

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """An image as the network takes it; meant for the thread that decodes.

        Args:
            image: uint8 RGB (height, width, 3).

        Returns:
            uint8 RGB (*image_size, 3); the image itself where the network takes any.
        """
        if self.image_size is None:
            return image
        return resized(cropped(image, self.crop) if self.crop else image, self.image_size)

    def __call__(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Features of images.

        Args:
            images: as from `prepare`, any number of them.

        Returns:
            float32 (images, size).
        """
        parts = [
            self._of_part(images[start : start + self.batch_size]) for start in range(0, len(images), self.batch_size)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.size), np.float32)

    def _of_part(self, images: Sequence[np.ndarray]) -> np.ndarray:
        batch = np.zeros((self.batch_size, *images[0].shape), images[0].dtype)
        batch[: len(images)] = images
        return np.asarray(self._features(batch), np.float32)[: len(images)]

    @abc.abstractmethod
    def _features(self, batch: np.ndarray) -> np.ndarray:
        """Features (batch_size, size) of prepared images (batch_size, height, width, 3)."""


def checksum_of_arrays(description: str, arrays: Iterable[np.ndarray]) -> str:
    """The identity of a network that is made of arrays.

    Args:
        description: its architecture and preprocessing.
        arrays: its weights, in a fixed order.

    Returns:
        The first 16 hexadecimal digits of a SHA-256.
    """
    digest = hashlib.sha256(description.encode())
    for array in arrays:
        digest.update(repr((array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def checksum_of_files(description: str, path: pathlib.Path) -> str:
    """The identity of a network that is one file, or all files of a folder.

    Args:
        description: as for `checksum_of_arrays`.
        path: of the file or folder.

    Returns:
        The first 16 hexadecimal digits of a SHA-256.
    """
    digest = hashlib.sha256(description.encode())
    for file in sorted(filter(pathlib.Path.is_file, path.rglob("*"))) if path.is_dir() else [path]:
        digest.update(file.relative_to(path).as_posix().encode())
        with open(file, "rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]
