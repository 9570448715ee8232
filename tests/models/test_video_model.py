"""The base class: preparation of frames, checks of arguments and of shared classifiers."""

import keras
import numpy as np
import pytest

from tests.helpers import load_case
from tests.models.test_every_model import TINY
from yt8m_distill.errors import UserError
from yt8m_distill.layers import LogisticClassifier
from yt8m_distill.models import HierarchicalRNN, NetVLAD, NeXtVLAD
from yt8m_distill.models.building import build_model
from yt8m_distill.plugins import MODELS
from yt8m_distill.quantization import quantize, range_of_each_value


def test_l2_input_equals_what_the_starter_code_feeds():
    case = load_case("a_frame_reader_1152")
    model = HierarchicalRNN((1024, 128), 3, cells=2)
    num_frames = int(case["num_frames"][0])
    mask = np.arange(300)[None, :] < num_frames

    prepared = np.array(model.prepare_frames(quantize(case["video_matrix"]), mask))

    np.testing.assert_allclose(prepared, case["model_input_l2"], rtol=0, atol=1e-6)
    assert np.all(prepared[:, num_frames:] == 0)


def test_nextvlad_input_is_dequantized_and_no_more():
    case = load_case("a_frame_reader_1152")
    model = NeXtVLAD((1024, 128), 3, clusters=2, hidden_size=8)
    mask = np.arange(300)[None, :] < case["num_frames"][:, None]

    prepared = model.prepare_frames(quantize(case["video_matrix"]), mask)

    np.testing.assert_allclose(prepared, case["video_matrix"], rtol=0, atol=3e-7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"feature_sizes": ()}, "at least one feature size"),
        ({"feature_sizes": (8, 0)}, "each of feature_sizes must be an integer of at least 1, not 0"),
        ({"num_classes": 0}, "num_classes must be an integer of at least 1"),
        ({"classifier": "svm"}, "Unknown classifier 'svm'. Allowed: logistic, moe"),
        ({"classifier": "moe", "mixtures": 0}, "mixtures must be an integer of at least 1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        NetVLAD(**{"feature_sizes": (8,), "num_classes": 3, "clusters": 2, "hidden_size": 4, **arguments})


def test_a_shared_classifier_decides_over_the_arguments():
    teacher = NetVLAD((8,), 3, classifier="moe", mixtures=4, clusters=2, hidden_size=4)

    student = NetVLAD((8,), 3, classifier_layer=teacher.classifier, clusters=2, hidden_size=4)

    assert student.model_args["classifier"] == "moe"
    assert student.model_args["mixtures"] == 4


def test_a_shared_classifier_of_other_sizes_is_refused():
    teacher = NetVLAD((8,), 3, clusters=2, hidden_size=4)

    with pytest.raises(UserError, match="takes representations of 4 numbers, but NetVLAD with these arguments makes 5"):
        NetVLAD((8,), 3, classifier_layer=teacher.classifier, clusters=2, hidden_size=5)
    with pytest.raises(UserError, match="has 3 classes, the model is to have 9"):
        NetVLAD((8,), 9, classifier_layer=teacher.classifier, clusters=2, hidden_size=4)


def test_a_classifier_that_is_not_built_yet_is_built():
    layer = LogisticClassifier(3, l2_penalty=0.5)

    model = NetVLAD((8,), 3, classifier_layer=layer, clusters=2, hidden_size=4)

    assert layer.built
    assert model.classifier is layer
    assert layer.dense.kernel.shape == (4, 3)


def test_config_names_every_argument():
    model = NetVLAD((8, 4), 3, clusters=2, hidden_size=4, name="mine")

    config = model.get_config()

    assert set(NetVLAD.argument_defaults()) == set(model.model_args)
    assert config["feature_sizes"] == [8, 4]
    assert config["name"] == "mine"
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    assert restored.get_config() == config


RANGES = ((-0.5, 0.5), (0.0, 8.0))


@pytest.mark.parametrize("name", [name for name in MODELS.names() if not MODELS.get(name).video_level])
def test_bytes_stand_for_the_numbers_of_the_features_ranges(name, tmp_path):
    """Bytes in fitted ranges give what the floats give; so does the model that is saved and loaded by Keras."""
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.uniform(-0.5, 0.5, (3, 5, 6)), rng.uniform(0, 8, (3, 5, 2))], axis=-1)
    high, low = range_of_each_value((6, 2), RANGES)
    frames, mask = quantize(values, high, low), np.ones((3, 5), bool)
    options = {"feature_sizes": (6, 2), "num_classes": 4, "input_normalization": "none", **TINY[name]}
    model = build_model(name, feature_ranges=RANGES, **options)
    np.testing.assert_allclose(model.prepare_frames(frames, mask), values, atol=0.04)
    assert np.abs(np.array(build_model(name, **options).prepare_frames(frames, mask)) - values).max() > 1
    inputs = {"frames": frames, "num_frames": np.array([5, 5, 2])}
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(inputs)["predictions"], model(inputs)["predictions"])
    if name == "MixNeXtVLAD":
        assert model.branch_model(0).feature_ranges == RANGES


@pytest.mark.parametrize("ranges", [((0, 1),), ((0, 1), (1, 0)), ((0, 1), (0, float("inf")))])
def test_wrong_ranges_are_refused(ranges):
    with pytest.raises(UserError, match="feature_ranges must be a lowest and a highest number"):
        NetVLAD((6, 2), 3, clusters=2, hidden_size=4, feature_ranges=ranges)
