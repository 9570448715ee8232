"""What users add to this package: models, losses, frame samplings, input normalizations and backbones of their own.

A module of one's own registers them with the decorators here and is named by `--plugins=my_package.my_module`:

    from yt8m_distill.plugins import register_loss

    @register_loss("cosine")
    class CosineLoss(Loss):
        ...
"""

from typing import Any

from yt8m_distill.plugins.registry import Registry

_MODELS = "yt8m_distill.models"

# Subclasses of models.VideoModel.
MODELS: Registry[Any] = Registry(
    "model",
    {
        "HierarchicalRNN": f"{_MODELS}.hierarchical_rnn",
        "NetVLAD": f"{_MODELS}.netvlad",
        "NeXtVLAD": f"{_MODELS}.nextvlad",
        "MixNeXtVLAD": f"{_MODELS}.mix_nextvlad",
        "FrameLevelLogistic": f"{_MODELS}.average",
        "Dbof": f"{_MODELS}.dbof",
        "Lstm": f"{_MODELS}.lstm",
        "Logistic": f"{_MODELS}.average",
        "Moe": f"{_MODELS}.average",
    },
    suffix="Model",
)
# Subclasses of losses.Loss: the terms that a student is trained on.
LOSSES: Registry[Any] = Registry("loss", dict.fromkeys(("rep", "pred", "dist", "ce"), "yt8m_distill.losses.student"))
# Functions that choose frames; see data.frame_selection, and of those that look at features choosing.samplings.
FRAME_SAMPLINGS: Registry[Any] = Registry(
    "frame sampling",
    {
        **dict.fromkeys(
            ("uniform", "random", "first", "last", "middle", "first_middle_last", "jittered"),
            "yt8m_distill.data.frame_selection",
        ),
        **dict.fromkeys(("medoid", "k_center", "motion", "learned"), "yt8m_distill.choosing.samplings"),
    },
)
# Functions of dequantized frames; see models.input_normalization.
INPUT_NORMALIZATIONS: Registry[Any] = Registry(
    "input normalization", dict.fromkeys(("l2", "unwhiten", "none"), f"{_MODELS}.input_normalization")
)
# Classes of networks that make features of images; see video.backbones.backbone.
_BACKBONES = "yt8m_distill.video.backbones"
BACKBONES: Registry[Any] = Registry(
    "backbone",
    {"efficientnet_lite0": f"{_BACKBONES}.efficientnet_lite0", "youtube8m": f"{_BACKBONES}.inception_graph"},
)
# Classes that make features of sound; see video.audio_features.
AUDIO_FEATURES: Registry[Any] = Registry(
    "audio feature",
    {"logmel": "yt8m_distill.video.audio_features", "vggish": "yt8m_distill.video.vggish"},
)

register_model = MODELS.register
register_loss = LOSSES.register
register_frame_sampling = FRAME_SAMPLINGS.register
register_input_normalization = INPUT_NORMALIZATIONS.register
register_backbone = BACKBONES.register
register_audio_feature = AUDIO_FEATURES.register

__all__ = [
    "AUDIO_FEATURES",
    "BACKBONES",
    "FRAME_SAMPLINGS",
    "INPUT_NORMALIZATIONS",
    "LOSSES",
    "MODELS",
    "register_audio_feature",
    "register_backbone",
    "register_frame_sampling",
    "register_input_normalization",
    "register_loss",
    "register_model",
]
