"""Several finished models as one teacher."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from yt8m_distill.models.video_model import VideoModel


class TeacherEnsemble(keras.Model):
    """Averages the predictions of finished models, which may be of different families; it is not trained.

    Args:
        members: at least one, for the same features and classes.
        matched: the place of the member whose representation and intermediates a student is matched to; None: there is
            none.

    Call arguments: as for `VideoModel`.

    Returns:
        "predictions" (batch, classes) in [0, 1], the members' mean, float32; with a matched member also its
        "representation", and its intermediates where they are asked for.

    Source: Bhardwaj et al., the conclusion, names ensembles of teachers as future work.
    """

    def __init__(self, members: Sequence[VideoModel], matched: int | None = None):
        super().__init__(dtype=members[0].dtype_policy)
        self.members = list(members)
        self.matched = None if matched is None else self.members[matched]
        self.feature_sizes = members[0].feature_sizes
        self.num_classes = members[0].num_classes
        self.video_level = members[0].video_level
        self.built = True  # the members are

    @property
    def model_args(self) -> dict[str, Any]:
        """A description of the members, and which of them is matched."""
        described = [(type(member).__name__, sorted(member.model_args.items())) for member in self.members]
        place = next((i for i, member in enumerate(self.members) if member is self.matched), None)
        return {"members": described, "matched": place}

    @property
    def representation_size(self) -> int | None:
        """Of the matched member; None where there is none."""
        return None if self.matched is None else self.matched.representation_size

    @property
    def frame_states_size(self) -> int | None:
        """Of the matched member; None where there is none."""
        return None if self.matched is None else self.matched.frame_states_size

    def multiply_accumulates(self, frames: int) -> dict[str, int] | None:
        """Of all members, for one video of `frames` frames; None where that of a member is unknown."""
        counts: dict[str, int] = {}
        for place, member in enumerate(self.members, start=1):
            by_layer = member.multiply_accumulates(frames)
            if by_layer is None:
                return None
            counts |= {f"{place} {type(member).__name__}/{layer}": count for layer, count in by_layer.items()}
        return counts

    def call(self, inputs: dict[str, Any], training: bool = False, return_intermediates: bool = False):
        outputs = {}
        predictions = []
        for member in self.members:
            matched = member is self.matched
            member_outputs = member(inputs, training=training, return_intermediates=return_intermediates and matched)
            predictions.append(member_outputs["predictions"])
            if matched:
                outputs = {
                    name: value for name, value in member_outputs.items() if name not in ("predictions", "logits")
                }
        return {**outputs, "predictions": ops.mean(ops.stack(predictions), axis=0)}
