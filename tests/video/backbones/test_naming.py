"""Backbones and audio features of plugins: those of docs/extending.md."""

import pathlib
import re

import numpy as np
import pytest

from yt8m_distill.plugins import AUDIO_FEATURES, BACKBONES, register_audio_feature, register_backbone
from yt8m_distill.video.audio_features import AudioFeature, audio_feature_named
from yt8m_distill.video.backbones.backbone import Backbone, ImageOptions
from yt8m_distill.video.backbones.naming import backbone_named

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "extending.md"


@pytest.fixture
def plugin(monkeypatch):
    """The classes of the page, registered for one test."""
    for registry in (BACKBONES, AUDIO_FEATURES):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    text = PAGE.read_text(encoding="utf-8").partition("## Features of films")[2]
    names = {
        "AudioFeature": AudioFeature,
        "Backbone": Backbone,
        "ImageOptions": ImageOptions,
        "register_audio_feature": register_audio_feature,
        "register_backbone": register_backbone,
    }
    exec(re.search(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[1], names)


@pytest.mark.usefixtures("plugin")
def test_a_backbone_of_a_plugin_is_found():
    image = np.full((40, 80, 3), (10, 20, 30), np.uint8)
    image[:, :20] = 250  # outside of the square in the middle
    backbone = backbone_named("mean_color", options=ImageOptions(crop=1.0))
    np.testing.assert_allclose(backbone([backbone.prepare(image)] * 9), [[10, 20, 30]] * 9)
    whole = backbone_named("mean_color", options=ImageOptions(crop=0))
    assert whole([whole.prepare(image)])[0, 0] == pytest.approx(70, abs=1)
    assert whole.identity != backbone.identity


@pytest.mark.usefixtures("plugin")
def test_an_audio_feature_of_a_plugin_is_found():
    feature = audio_feature_named("loudness")
    np.testing.assert_allclose(feature(np.full(24000, 0.5)), [[0.25], [0.125]])
