"""The base class: preparation of frames, checks of arguments and of shared classifiers."""

import keras
import numpy as np
import pytest

from tests.helpers import load_case
from yt8m_distill.errors import UserError
from yt8m_distill.layers import LogisticClassifier
from yt8m_distill.models import HierarchicalRNN, NetVLAD, NeXtVLAD
from yt8m_distill.quantization import quantize


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
