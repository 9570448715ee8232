"""Models by name."""

from typing import Any

from yt8m_distill.models.arguments import check_argument_names, typed_model_args
from yt8m_distill.models.video_model import VideoModel
from yt8m_distill.plugins import MODELS


def model_names() -> tuple[str, ...]:
    """Names of all models."""
    return MODELS.names()


def model_class(name: str) -> type[VideoModel]:
    """The class of the model `name`."""
    return MODELS.get(name)


def build_model(
    name: str, *, feature_sizes: tuple[int, ...], num_classes: int, dtype: str | None = None, **model_args: Any
) -> VideoModel:
    """Constructs the model `name`.

    Args:
        name: in `plugins.MODELS`; a trailing "Model", as the starter code writes it, is accepted.
        feature_sizes: as for `VideoModel`.
        num_classes: as for `VideoModel`.
        dtype: Keras's dtype policy; None: its default one.
        **model_args: the model's own arguments, and `classifier_layer` where the classifier is shared.

    Raises:
        UserError: unknown model, unknown argument, or a value that the model refuses.
    """
    model = MODELS.get(name)
    check_argument_names(model, [argument for argument in model_args if argument != "classifier_layer"])
    return model(feature_sizes, num_classes, dtype=dtype, **model_args)


def parse_model_args(name: str, text: str) -> dict[str, Any]:
    """Model arguments out of "clusters=64,hidden_size=512"."""
    parts = [part.partition("=") for part in text.split(",") if part.strip()]
    return typed_model_args(MODELS.get(name), {name.strip(): value.strip() for name, _, value in parts})
