"""Settings of a run that is gone on with."""

import dataclasses

from yt8m_distill.config.training import TrainConfig
from yt8m_distill.models.registry import model_class
from yt8m_distill.training.opening import changed_settings


def test_arguments_newer_than_the_run_had_their_defaults():
    args = {**model_class("NetVLAD").argument_defaults(), "clusters": 8}
    now = TrainConfig("NetVLAD", training_mode="teacher", model_args=args)
    older = dataclasses.replace(now, model_args={name: args[name] for name in ("clusters", "hidden_size")})
    assert changed_settings(older, now) == []
    other = dataclasses.replace(now, model_args={**args, "lightvlad": True, "clusters": 4})
    assert changed_settings(older, other) == [
        "model_args.clusters: 8 in the run, 4 now",
        "model_args.lightvlad: False in the run, True now",
    ]
