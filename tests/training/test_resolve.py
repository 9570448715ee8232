"""Settings of a resumed run."""

import dataclasses

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.run import RunConfig
from yt8m_distill.plugins import MODELS
from yt8m_distill.training.opening import changed_settings

DATA = DatasetSpec("YouTube-8M 2018", "id", ("rgb", "audio"), (6, 2), 4, 12)


def test_arguments_newer_than_the_run_had_their_defaults():
    args = {**MODELS.get("NetVLAD").argument_defaults(), "clusters": 8}
    now = RunConfig("NetVLAD", training_mode="teacher", model_args=args, data=DATA)
    older = dataclasses.replace(now, model_args={name: args[name] for name in ("clusters", "hidden_size")})
    assert changed_settings(older, now) == []
    other = dataclasses.replace(now, model_args={**args, "lightvlad": True, "clusters": 4})
    assert changed_settings(older, other) == [
        "model_args.clusters: 8 in the run, 4 now",
        "model_args.lightvlad: False in the run, True now",
    ]
