"""The header of a model card is what hubs of models read: YAML, whose values are JSON."""

import dataclasses
import json

from yt8m_distill.config.dataset import AUDIOSET, DatasetSpec
from yt8m_distill.runs.model_card import header, license_of_data

SPEC = DatasetSpec(AUDIOSET.name, "video_id", ("audio_embedding",), (128,), 527, 10)


def read(text: str) -> dict:
    first, *lines, last = text.splitlines()
    assert (first, last) == ("---", "---")
    return {name: json.loads(value) for name, _, value in (line.partition(": ") for line in lines)}


def test_of_a_published_data_set():
    values = read(header("NeXtVLAD", SPEC, {"GAP@20": 0.5, "mAP": 0.25, "loss": 3.0, "examples": 9}, ["onnx"]))
    assert (values["license"], values["datasets"], values["metrics"]) == ("cc-by-4.0", ["audioset"], ["GAP@20", "mAP"])
    assert {"yt8m_distill", "nextvlad", "onnx"} <= set(values["tags"])
    (model,) = values["model-index"]
    (result,) = model["results"]
    assert model["name"] == "NeXtVLAD"
    assert result["dataset"] == {"name": "AudioSet", "type": "audioset"}
    assert result["metrics"] == [{"type": "GAP@20", "value": 0.5}, {"type": "mAP", "value": 0.25}]
    assert "CC BY 4.0" in license_of_data(SPEC)


def test_of_other_data_nothing_is_claimed():
    own = dataclasses.replace(SPEC, edition="custom")
    values = read(header("Dbof", own, {}))
    assert values["license"] == "unknown"
    assert not values.keys() & {"datasets", "metrics", "model-index"}
    assert "not known" in license_of_data(own)
