"""Input normalizations: what becomes of dequantized frames before the network.

Each is a function of (frames, model), registered by its name as a value of `input_normalization`:

    @register_input_normalization("centered")
    def centered(frames, model):
        return frames - 0.5

`frames` are float32 (batch, frames, features), dequantized, and 0 on padding; what it returns on padding is set to 0.
`model` is the `VideoModel` that takes them. Video-level records are normalized by their reader: "l2" or "none".
"""

from typing import Any

import keras
from keras import ops

from yt8m_distill.layers import l2_normalize
from yt8m_distill.plugins import INPUT_NORMALIZATIONS, register_input_normalization
from yt8m_distill.quantization import dequantize, range_of_each_value, reverse_whitening


@register_input_normalization("l2")
def l2(frames: Any, model: keras.Model) -> Any:
    """Each frame to 2-norm 1 over all its features."""
    del model
    return l2_normalize(frames)


@register_input_normalization("unwhiten")
def unwhiten(frames: Any, model: keras.Model) -> Any:
    """The first feature gets its variances back, by the model's `eigenvalues`."""
    first, *others = model.split_features(frames)
    return ops.concatenate([reverse_whitening(first, model.eigenvalues), *others], axis=-1)


@register_input_normalization("none")
def none(frames: Any, model: keras.Model) -> Any:
    """Frames as they are after dequantizing."""
    del model
    return frames


def prepared(frames: Any, mask: Any, model: keras.Model) -> Any:
    """Frames as a network takes them: 0 on padding; uint8 ones are dequantized and normalized.

    Args:
        frames: (batch, frames, features), uint8, or floats that are already prepared.
        mask: bool (batch, frames), True for real frames.
        model: names its input normalization.
    """
    raw = keras.backend.standardize_dtype(frames.dtype) == "uint8"
    if raw:
        frames = _dequantized(frames, model)
    frames = _masked(frames, mask)
    if raw:
        normalized = INPUT_NORMALIZATIONS.get(model.input_normalization)(frames, model)
        frames = frames if normalized is frames else _masked(normalized, mask)
    return ops.cast(frames, model.compute_dtype)


def _dequantized(frames: Any, model: keras.Model) -> Any:
    if model.feature_ranges is None:
        return dequantize(frames)
    return dequantize(frames, *range_of_each_value(model.feature_sizes, model.feature_ranges))


def _masked(frames: Any, mask: Any) -> Any:
    return ops.where(mask[..., None], frames, ops.cast(0.0, frames.dtype))
