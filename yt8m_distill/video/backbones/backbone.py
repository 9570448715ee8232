"""What every backbone is: a network that makes features of images."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from yt8m_distill.video.backbones.images import prepared
from yt8m_distill.video.batches import in_fixed_batches

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
    """A network that makes features of images. Subclasses implement `compute`.

    The features of a frame do not depend on the frames beside it, not even in their last bits; see `in_fixed_batches`.

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
        return prepared(image, self.image_size, self.crop)

    def __call__(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Features of images.

        Args:
            images: as from `prepare`, any number of them.

        Returns:
            float32 (images, size).
        """
        return in_fixed_batches(self.compute, images, self.batch_size, self.size)

    @abc.abstractmethod
    def compute(self, batch: np.ndarray) -> np.ndarray:
        """Features (batch_size, size) of prepared images (batch_size, height, width, 3)."""
