"""The models that see nothing but the mean of a video's frames."""

from collections.abc import Sequence
from typing import Any

from yt8m_distill.layers import mean_over_frames
from yt8m_distill.models.video_model import VideoModel
from yt8m_distill.plugins import register_model


class _AverageModel(VideoModel):
    """The representation is the mean of the real frames; all that learns is the classifier."""

    input_normalization = "l2"

    def __init__(self, feature_sizes: Sequence[int], num_classes: int, **kwargs: Any):
        super().__init__(feature_sizes, num_classes, model_args={}, **kwargs)

    def build_encoder(self) -> int:
        return sum(self.feature_sizes)

    def encode(self, frames: Any, mask: Any, training: bool, intermediates: dict[str, Any] | None) -> Any:
        del training, intermediates
        return mean_over_frames(frames, mask)

    def encoder_multiply_accumulates(self, frames: int) -> dict[str, int]:
        del frames
        return {}


@register_model()
class FrameLevelLogistic(_AverageModel):
    """A logistic regression for each class on the mean of the frames.

    Args:
        feature_sizes: as for `VideoModel`.
        num_classes: as for `VideoModel`.
        **kwargs: as for `VideoModel`.

    Call arguments, returns: as for `VideoModel`; the representation is the mean of the real frames.

    Source: `FrameLevelLogisticModel` of the starter code.
    Differs: padded frames enter no mean whatever they hold; a video without frames has mean 0, not NaN.
    """

    classifiers = ("logistic",)


@register_model()
class Logistic(_AverageModel):
    """A logistic regression for each class on one vector a video.

    Args:
        feature_sizes: as for `VideoModel`.
        num_classes: as for `VideoModel`.
        **kwargs: as for `VideoModel`.

    Call arguments, returns: as for `VideoModel`, the vector as a single frame; it is the representation.

    Source: `LogisticModel` of the starter code, on video-level data.
    """

    video_level = True
    classifiers = ("logistic",)


@register_model()
class Moe(_AverageModel):
    """A mixture of experts for each class on one vector a video.

    Args:
        feature_sizes: as for `VideoModel`.
        num_classes: as for `VideoModel`.
        **kwargs: as for `VideoModel`, with `mixtures` and, as WILLOW has them, the `moe_` arguments.

    Call arguments, returns: as for `VideoModel`, the vector as a single frame; it is the representation.

    Source: `MoeModel` of the starter code, and of WILLOW's, on video-level data.
    """

    video_level = True
    classifiers = ("moe",)
