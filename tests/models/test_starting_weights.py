"""The weights that a model starts from, where one or both of the models choose their frames."""

import numpy as np
import pytest

from yt8m_distill.errors import UserError
from yt8m_distill.models import NetVLAD
from yt8m_distill.models.frame_scorer import FIRST_WEIGHT
from yt8m_distill.models.starting_weights import start_from_model


def new_model(*, chooses_frames: bool, hidden_size: int = 8) -> NetVLAD:
    model = NetVLAD((6, 2), 5, clusters=4, hidden_size=hidden_size, chooses_frames=chooses_frames)
    if chooses_frames:
        model.frame_scorer.typicality_weight.assign(1.5)
    return model


@pytest.mark.parametrize("start_chooses", [True, False])
@pytest.mark.parametrize("model_chooses", [True, False])
def test_the_scorer_is_taken_over_where_both_have_one(model_chooses, start_chooses):
    model, start = new_model(chooses_frames=model_chooses), new_model(chooses_frames=start_chooses)
    if model_chooses:
        model.frame_scorer.typicality_weight.assign(FIRST_WEIGHT)
    start_from_model(model, start, "init_from")
    np.testing.assert_array_equal(model.classifier.get_weights()[0], start.classifier.get_weights()[0])
    if model_chooses:
        assert float(model.frame_scorer.typicality_weight) == (1.5 if start_chooses else FIRST_WEIGHT)


def test_other_sizes_are_refused():
    with pytest.raises(UserError, match="init_from needs models with the same weights"):
        start_from_model(new_model(chooses_frames=True), new_model(chooses_frames=True, hidden_size=9), "init_from")
