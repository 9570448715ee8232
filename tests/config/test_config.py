"""Configurations: validation, and JSON there and back."""

import dataclasses
import json

import pytest

from yt8m_distill.config.dataset import DatasetSpec, SpecOverrides
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.inference import EvalConfig, InferenceConfig
from yt8m_distill.config.json import from_json, to_json
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import Checkpointing, Distillation, Learning, TrainConfig
from yt8m_distill.errors import UserError

CONFIG = RunConfig(
    "NeXtVLAD",
    model_args={"clusters": 4, "dropout": 0.5, "classifier": "moe"},
    selection=FrameSelection(3, sampling="random"),
    distillation=Distillation(("ce", "rep"), {"rep": 2}),
    train_data_pattern="x*",
    train_dir="runs/x",
    recipe="paper",
    data=DatasetSpec("AudioSet", "video_id", ("audio_embedding",), (128,), 527, 10),
    learning=Learning(batch_size=8, base_learning_rate=0.1),
)


def test_json_there_and_back():
    assert from_json(to_json(CONFIG), "config.json") == CONFIG


def test_defaults_of_a_teacher():
    teacher = RunConfig("NetVLAD", training_mode="teacher", data=CONFIG.data)
    assert from_json(to_json(teacher), "x") == teacher


def test_losses_are_kept_in_one_order_with_all_weights():
    assert CONFIG.distillation.losses == ("rep", "ce")
    assert CONFIG.distillation.loss_weights == {"rep": 2.0, "ce": 1.0}


def changed(path: str, value) -> str:
    """The JSON of CONFIG with one value replaced or added; `...`: left out."""
    values = json.loads(to_json(CONFIG))
    *folders, name = path.split(".")
    inner = values
    for folder in folders:
        inner = inner[folder]
    inner[name] = value
    if value is ...:
        del inner[name]
    return json.dumps(values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be an object"),
        ("{}", r"setting model is missing"),
        (changed("data", None), "data. must be an object"),
        (changed("data.feature_names", ...), r"setting data\.feature_names is missing"),
        (changed("training_mode", None), "training_mode must be str, not None"),
        ("[" * 100_000, "not valid JSON"),
        (changed("learning.batch_size", "many"), r"learning\.batch_size must be int, not 'many'"),
        (changed("learning.batch_size", True), "must be int"),
        (changed("learning.batch_size", 0), "at least 1"),
        (changed("learning.momentum", 1), r"unknown setting learning\.momentum"),
        (changed("data.feature_sizes", ["a"]), "must be int"),
        (changed("data.feature_sizes", 3), "must be list"),
        (changed("training_mode", "both"), "training_mode must be one of serial"),
        (changed("selection", None), "do not go together"),
        (changed("model_args", [1]), "must be dict"),
        (changed("model_args.clusters", {"class_name": "Lambda"}), r"clusters must be bool or int or float or str"),
        (changed("model_args.dropout", float("nan")), "must be bool or int or float or str, not nan"),
        (changed("learning.base_learning_rate", float("inf")), "must be a finite number"),
        (changed("learning.base_learning_rate", 10**400), "must be a finite number, not 1000"),
        (changed("learning.base_learning_rate", "x" * 10**6), r"must be a number, not 'x+\.\.\.x+'\."),
        (changed("learning.base_learning_rate", True), "must be a number, not True"),
        (changed("selection.k", 2**31), "at most 1000000000"),
    ],
)
def test_wrong_files_are_refused_by_name(text, message):
    with pytest.raises(UserError, match=message) as caught:
        from_json(text, "run/config.json")
    assert str(caught.value).startswith("run/config.json")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Learning(base_learning_rate=0.0), "above 0"),
        (lambda: Learning(learning_rate_decay=1.5), "at most 1"),
        (lambda: Learning(clip_gradient_norm=-1.0), "at least 0"),
        (lambda: Learning(regularization_penalty=float("nan")), "at least 0"),
        (lambda: Learning(label_loss="L1"), "label_loss must be one of CrossEntropyLoss"),
        (lambda: Checkpointing(every_steps=0), "at least 1"),
        (lambda: Checkpointing(every_minutes=0.0), "above 0"),
        (lambda: Checkpointing(keep=0), "at least 1"),
        (lambda: EvalConfig("x", which="both"), "which must be one of student, teacher, not both"),
        (lambda: EvalConfig("x", batch_size=0), "at least 1"),
        (lambda: InferenceConfig("x.csv"), "just one of train_dir, input_model_tgz and export_dir"),
        (lambda: InferenceConfig("x.csv", "run", "model.tgz"), "just one of train_dir, input_model_tgz and export_dir"),
        (
            lambda: dataclasses.replace(CONFIG, teacher_dir="t", training_mode="parallel"),
            "teacher_dir goes with training_mode=serial",
        ),
        (lambda: DatasetSpec("x", "id", ("rgb",), (4, 5), 10, 3), "as many"),
        (lambda: DatasetSpec("x", "id", ("rgb", "rgb"), (4, 5), 10, 3), "differ"),
        (lambda: DatasetSpec("x", "id", ("rgb",), (4,), 1, 3), "at least 2"),
        (lambda: DatasetSpec("x", "id", ("rgb",), (4,), 10, -1), "max_frames must be 0"),
        (lambda: SpecOverrides(None, (4,)), "feature_sizes needs feature_names"),
        (lambda: SpecOverrides(("rgb", "audio"), (4,)), "equally many"),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_parallel_rep_on_intermediate_states_alone_is_refused():
    few = FrameSelection(3)
    losses = Distillation(("rep",), representation_matching="intermediate")
    with pytest.raises(UserError, match="add ce or pred"):
        TrainConfig("HierarchicalRNN", training_mode="parallel", selection=few, distillation=losses)
    more = dataclasses.replace(losses, losses=("rep", "ce"), loss_weights={})
    assert TrainConfig("HierarchicalRNN", training_mode="parallel", selection=few, distillation=more)
    assert TrainConfig("HierarchicalRNN", training_mode="serial", selection=few, distillation=losses)
