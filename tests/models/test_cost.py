"""Multiply-accumulates against executed products and published figures, parameters against counts, the command."""

import contextlib
import math
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import op_callbacks

from tests.helpers import load_case
from tests.models.test_every_model import TINY
from yt8m_distill import flops
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.json import to_json
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import Distillation
from yt8m_distill.flops import main as flops_main
from yt8m_distill.models import HierarchicalRNN, NetVLAD, NeXtVLAD, VideoModel, cost
from yt8m_distill.models.building import build_model
from yt8m_distill.models.cost import multiply_accumulates, paper_convention, parameter_count, weight_bytes
from yt8m_distill.models.ensemble import TeacherEnsemble
from yt8m_distill.plugins import MODELS
from yt8m_distill.runs.directory import RunDir

ROOT = pathlib.Path(__file__).parents[2]
PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
OPAQUE = ("Einsum", "Conv", "Cudnn", "Xla")  # beginnings of names of operations in which products would hide


@contextlib.contextmanager
def _recorded_products() -> Iterator[list[tuple[int, int, int]]]:
    """Sizes (rows, inner, columns) of the products that graphs traced within execute, those of each turn of a loop."""
    executed = []

    def note(left, product):
        *rows, columns = product.shape
        executed.append((math.prod(rows), left.size // math.prod(rows), columns))
        return product

    def instrument(kind, inputs, attributes, outputs, op_name=None, graph=None):
        del attributes, op_name
        kind = kind.decode() if isinstance(kind, bytes) else kind
        assert not kind.startswith(OPAQUE), f"the products within {kind} are not seen"
        if kind not in PRODUCTS:
            return None
        assert graph is not None, "a product outside of a graph"
        # Stateless: a product that nothing depends on is not executed, and must not be noted.
        noted = tf.numpy_function(note, [inputs[0], outputs[0]], outputs[0].dtype, stateful=False)
        noted.set_shape(outputs[0].shape)
        return [noted]

    op_callbacks.add_op_callback(instrument)
    try:
        yield executed
    finally:
        op_callbacks.remove_op_callback(instrument)


def _products_of_a_video(model: VideoModel, frames: int) -> list[tuple[int, int, int]]:
    """The products of classifying one video without padding."""
    for stack in (getattr(model, name, None) for name in ("lower", "upper", "rnn")):
        for lstm in stack.lstms if stack else ():
            lstm.use_cudnn = False  # else an LSTM on a GPU is one operation
    inputs = {
        "frames": np.zeros((1, frames, sum(model.feature_sizes)), np.uint8),
        "num_frames": np.array([frames], np.int32),
    }
    with _recorded_products() as products:
        tf.function(lambda inputs: model(inputs)["predictions"])(tf.nest.map_structure(tf.constant, inputs))
    return products


MODELS = [
    *(build_model(name, feature_sizes=(12, 4), num_classes=7, **TINY[name]) for name in MODELS.names()),
    build_model("HierarchicalRNN", feature_sizes=(6, 2, 3), num_classes=7, cells=5, layers=3, classifier="moe"),
    NeXtVLAD((12, 6), 5, clusters=6, groups=4, hidden_size=8, gating_reduction=2),
    NeXtVLAD((12,), 5, clusters=6, groups=4, hidden_size=8, expansion=3, classifier="moe", mixtures=3),
    NetVLAD((12, 6), 5, clusters=6, hidden_size=8, gating=False, activation="none", classifier="moe"),
    NetVLAD((12,), 5, clusters=6, hidden_size=8, lightvlad=True, batch_norm=False, gating_remove_diag=True),
    build_model("Moe", feature_sizes=(12,), num_classes=5, moe_gating="prob", moe_gate_rank=3),
]


@pytest.mark.parametrize("frames", [1, 7, 30])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_count_equals_the_executed_products(model, frames):
    products = _products_of_a_video(model, frames)

    total, by_layer = multiply_accumulates(model, frames)

    assert total == sum(by_layer.values()) == sum(map(math.prod, products))


def test_every_turn_of_a_loop_is_noted():
    lstm = keras.layers.LSTM(3, use_cudnn=False)
    lstm.build((None, None, 2))

    with _recorded_products() as products:
        tf.function(lstm)(tf.zeros((1, 5, 2)))

    # two products in each of five steps
    assert sorted(products) == [(1, 2, 12)] * 5 + [(1, 3, 12)] * 5


def test_products_that_would_not_be_noted_are_refused():
    with _recorded_products(), pytest.raises(AssertionError, match="within Einsum are not seen"):
        tf.function(lambda x: tf.einsum("ij,jk->ik", x, x))(tf.eye(2))


def test_lstm_counts_every_step():
    model = HierarchicalRNN((6, 2), 10, cells=4, layers=2, block_length=5)

    total, by_layer = multiply_accumulates(model, 12)

    # 3 blocks of 5 steps below, 3 steps above; 4 gates, each from a cell's input and its own state
    lower = 15 * (4 * 4 * (8 + 4) + 4 * 4 * (4 + 4))
    upper = 3 * (4 * 4 * (16 + 4) + 4 * 4 * (4 + 4))
    assert by_layer == {"lower": lower, "upper": upper, "classifier": 16 * 10}
    assert total == lower + upper + 160


def _full_size(name: str, num_classes: int, feature_sizes: tuple[int, ...] = (1024, 128), **model_args) -> VideoModel:
    """A model of full size whose variables have shapes but no values, so that it needs no memory."""
    try:
        with keras.StatelessScope(initialize_variables=False):
            return build_model(name, feature_sizes=feature_sizes, num_classes=num_classes, **model_args)
    finally:
        # Else Keras keeps the variables in mind, to be initialized later.
        keras.utils.clear_session()


@pytest.mark.parametrize(
    ("case", "name", "num_classes", "model_args"),
    [
        ("nextvlad_8g_128k_2048h_logistic_r8", "NeXtVLAD", 3862, {}),
        ("nextvlad_16g_128k_2048h_logistic_r8", "NeXtVLAD", 3862, {"groups": 16}),
        ("nextvlad_8g_112k_2048h_logistic_r16", "NeXtVLAD", 3862, {"clusters": 112, "gating_reduction": 16}),
        ("netvlad_128k_2048h_gating_logistic", "NetVLAD", 3862, {"clusters": 128, "hidden_size": 2048}),
        (
            "netvlad_128k_2048h_nogating_logistic",
            "NetVLAD",
            3862,
            {"clusters": 128, "hidden_size": 2048, "gating": False},
        ),
        ("hlstm_teacher_1024x2_4716_moe2", "HierarchicalRNN", 4716, {"classifier": "moe"}),
    ],
)
def test_parameters_equal_the_originals(case, name, num_classes, model_args):
    counts = load_case("h_param_counts")

    assert parameter_count(_full_size(name, num_classes, **model_args)) == counts[f"{case}.trainable"]


def test_weights_take_four_bytes_each():
    model = NeXtVLAD((12, 6), 5, clusters=6, groups=4, hidden_size=8, gating_reduction=2)

    assert weight_bytes(model) == sum(each.nbytes for each in model.get_weights() if each.dtype == np.float32)
    assert weight_bytes(model) > 4 * parameter_count(model)  # moving averages


def _paper_sized(name: str, frames: int, feature_sizes: tuple[int, ...]) -> VideoModel:
    model_args = HierarchicalRNN.args_for_frames(frames) if name == "HierarchicalRNN" else {}
    return _full_size(name, 3862, feature_sizes, **model_args)


@pytest.mark.parametrize("feature_sizes", [(1024,), (1024, 128)])
@pytest.mark.parametrize(
    ("name", "frames", "published"),
    [
        ("HierarchicalRNN", 300, "5.058"),
        ("HierarchicalRNN", 30, "0.520"),
        ("HierarchicalRNN", 20, "0.268"),
        ("HierarchicalRNN", 10, "0.167"),
        ("NeXtVLAD", 300, "1.337"),
        ("NeXtVLAD", 30, "0.134"),
    ],
)
def test_convention_gives_the_published_figures(name, frames, published, feature_sizes):
    model = _paper_sized(name, frames, feature_sizes)
    convention = paper_convention(model)

    assert f"{sum(convention.parts(model, frames).values()) / 1e9:.3f}" == published
    assert f"{convention.published_for(model)[frames]:.3f}" == published


@pytest.mark.parametrize(("frames", "published"), [(300, "5.042"), (30, "0.504"), (20, "0.252"), (10, "0.151")])
def test_without_the_output_layer_it_gives_the_figures_of_the_earlier_version(frames, published):
    model = _paper_sized("HierarchicalRNN", frames, (1024,))
    parts = paper_convention(model).parts(model, frames)

    assert f"{(sum(parts.values()) - parts['output layer']) / 1e9:.3f}" == published


@pytest.mark.parametrize(("published", "steps"), [("0.268", 15), ("0.167", 9), ("0.520", 30), ("5.058", 300)])
def test_only_these_steps_give_the_figures_of_the_hierarchical_rnn(published, steps):
    # two LSTMs, each 4 gates of 1024 from 2 * 1024 numbers; 28 * 1024 element-wise operations; 4096 * 3862 at the end
    figures = [n * (2 * 4 * 1024 * 2048 + 28 * 1024) + 4096 * 3862 for n in range(301)]

    assert [n for n, figure in enumerate(figures) if f"{figure / 1e9:.3f}" == published] == [steps]


def test_figures_are_published_for_the_sizes_of_the_paper_only():
    smaller = NeXtVLAD((1024, 128), 3862, clusters=64, hidden_size=8)

    assert paper_convention(smaller).published_for(smaller) == {}
    assert paper_convention(NetVLAD((12, 6), 5, clusters=6, hidden_size=8)) is None


def _run(*arguments: str) -> int:
    return flops_main(["flops", *arguments])


def _tables(text: str) -> list[dict[str, list[str]]]:
    """The Markdown tables of a text: the cells of each row by its name."""
    tables = []
    for block in text.split("\n\n"):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines() if line[:1] == "|"]
        if rows:
            assert len({len(line) for line in block.splitlines()}) == 1, "columns are not aligned"
            tables.append({name: cells for name, *cells in rows})
    return tables


def _numbers(cells: list[str]) -> list[int]:
    return [int(cell.replace(",", "")) for cell in cells]


def test_command_shows_whole_model_and_published_figures(capsys):
    assert _run("--model=HierarchicalRNN", "--frames=300,30,20,10,6") == 0

    text = capsys.readouterr().out
    whole, convention = _tables(text)
    assert "block_length, by frames: 300: 20, 30: 5, 20: 5, 10: 5, 6: 3\n" in text
    assert whole["layer"] == ["300 frames", "30 frames", "20 frames", "10 frames", "6 frames"]
    layers = [_numbers(whole[name]) for name in ("lower", "upper", "classifier")]
    assert _numbers(whole["total"]) == [sum(column) for column in zip(*layers, strict=True)]
    # 20 frames in blocks of 5: 20 steps below, 4 above
    assert layers[0][2] == 20 * 4 * 1024 * (1152 + 1024 + 1024 + 1024)
    assert layers[1][2] == 4 * 4 * 1024 * (4096 + 1024 + 1024 + 1024)
    assert convention["published"] == ["5.058", "0.520", "0.268", "0.167", "-"]
    assert convention["total, in 10^9"][:4] == convention["published"][:4]
    assert "does not count the whole model" in " ".join(text.split())


def test_command_shows_parameters_and_memory(capsys):
    assert _run() == 0

    text = capsys.readouterr().out
    assert "Trainable parameters: 88,889,378\n" in text
    # and two moving averages for everything that batch normalization sees
    statistics = 2 * (8 * 128 + 4 * 64 + 256 * 128 + 64 * 64 + 2048 + 256)
    assert f": {4 * (88_889_378 + statistics):,} bytes" in text
    assert _tables(text)[1]["published"] == ["1.337", "0.134", "-", "-", "-"]


def test_command_counts_other_sizes_without_figures(capsys):
    arguments = ["--model=HierarchicalRNN", "--feature_names=audio_embedding", "--model_args=cells=4,block_length=2"]
    assert _run(*arguments, "--frames=3,1") == 0

    text = capsys.readouterr().out
    whole, convention = _tables(text)
    assert "features of 128 values per frame; 527 classes" in text
    assert "block_length=2" in text
    assert _numbers(whole["lower"]) == [steps * 16 * (128 + 4 + 4 + 4) for steps in (4, 2)]
    assert whole["layer"] == ["3 frames", "1 frame"]
    assert "published" not in convention
    assert "another model size" in text


def test_command_says_that_nothing_is_published(capsys):
    assert _run("--model=NetVLAD", "--feature_names=clip", "--feature_sizes=8", "--num_classes=3", "--frames=2") == 0
    assert "No compute is published for NetVLAD." in capsys.readouterr().out


@pytest.fixture
def run(tmp_path) -> pathlib.Path:
    """Run directory of a student for 6, 10 and 30 frames, of which only the configuration is there, and its teacher."""
    teacher = RunConfig(
        model="HierarchicalRNN",
        model_args={"cells": 4, "layers": 1, "block_length": 20},
        training_mode="teacher",
        data=DatasetSpec("own features", "id", ("clip",), (8,), 3, 100),
    )
    student = RunConfig(
        model="HierarchicalRNN",
        model_args=teacher.model_args,
        student_model_args={"block_length": 5},
        selection=FrameSelection(30, drawn_from=(6, 10, 30)),
        distillation=Distillation(),
        data=teacher.data,
    )
    for directory, config in ((RunDir(tmp_path), student), (RunDir(tmp_path).teacher, teacher)):
        directory.path.mkdir(exist_ok=True)
        directory.config_file.write_text(to_json(config))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "frames", "lower_steps"),
    [
        ([], ["6 frames", "10 frames", "30 frames"], [10, 10, 30]),
        (["--frames=100"], ["100 frames"], [100]),
        (["--which=teacher"], ["100 frames"], [100]),
        (["--which=teacher", "--frames=30"], ["30 frames"], [40]),
    ],
)
def test_command_counts_the_models_of_a_run(run, arguments, frames, lower_steps, capsys):
    assert _run(f"--train_dir={run}", *arguments) == 0

    whole = _tables(capsys.readouterr().out)[0]
    assert whole["layer"] == frames
    assert _numbers(whole["lower"]) == [steps * 4 * 4 * (8 + 4) for steps in lower_steps]


def test_a_run_from_elsewhere_ends_in_a_sentence(run, capsys):
    config = RunDir(run).config_file
    config.write_text(config.read_text().replace('"layers": 1', '"layers": 1, "classifier_layer": 5'))

    assert _run(f"--train_dir={run}") == 2
    assert f"Error: the model of '{config}' cannot be built" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frames=30,0"], "--frames must be at least 1"),
        (["--frames=all"], "--frames must be a whole number, not 'all'"),
        (["--model=Dbof3"], "Unknown model 'Dbof3'"),
        (["--model_args=clusters=many"], "clusters must be of type int"),
        (["--model_args=groups=7"], "do not divide"),
        (["--feature_names=clip", "--num_classes=3"], "also give --feature_sizes and --num_classes"),
        (["--feature_sizes=8"], "--feature_sizes needs --feature_names"),
        (["--which=teacher"], "--which does nothing without --train_dir"),
        (["--train_dir=x", "--model=NeXtVLAD"], "--model does nothing with --train_dir"),
        (["--train_dir=nowhere"], "not a run directory"),
    ],
)
def test_command_refuses_what_makes_no_sense(arguments, message, capsys):
    assert _run(*arguments) == 2
    assert message in capsys.readouterr().err


def test_help_needs_no_tensorflow():
    code = """
import runpy, sys
sys.argv = ["flops", "--help"]
try:
    runpy.run_module("yt8m_distill.flops", run_name="__main__")
except SystemExit as end:
    assert end.code == 0
assert "keras" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "--frames" in done.stdout


def test_imported_the_module_of_the_command_has_the_counts():
    assert flops.multiply_accumulates is cost.multiply_accumulates
    assert flops.parameter_count is cost.parameter_count


class Uncounted(VideoModel):
    """A user's model that does not say what it computes."""

    def __init__(self, feature_sizes, num_classes, **kwargs):
        super().__init__(feature_sizes, num_classes, model_args={}, **kwargs)

    def build_encoder(self):
        return sum(self.feature_sizes)

    def encode(self, frames, mask, training, intermediates):
        return keras.ops.sum(frames, axis=1)


class OtherEncoder(NetVLAD):
    """Computes something else than the model whose count it inherits."""

    def encode(self, frames, mask, training, intermediates):
        return super().encode(keras.ops.concatenate([frames, frames], axis=1), None, training, intermediates)


class OtherDefaults(NetVLAD):
    """Computes what the model computes that it inherits from."""

    def __init__(self, feature_sizes, num_classes, *, clusters=3, **kwargs):
        super().__init__(feature_sizes, num_classes, clusters=clusters, hidden_size=4, **kwargs)


class OtherClassifier(NetVLAD):
    """Has a classifier that does not say what it computes."""

    def new_classifier(self, args):
        return keras.layers.Dense(self.num_classes, activation="sigmoid")

    def encoder_multiply_accumulates(self, frames):
        return super().encoder_multiply_accumulates(frames)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_model_of_the_package_states_its_compute(model):
    assert cost.multiply_accumulates(model, 4)[0] > 0


@pytest.mark.parametrize("model_class", [Uncounted, OtherEncoder, OtherClassifier])
def test_what_is_not_stated_is_unknown(model_class):
    args = {} if model_class is Uncounted else {"clusters": 3, "hidden_size": 4}
    model = model_class((6, 2), 5, **args)
    assert cost.multiply_accumulates(model, 4) == (None, {})
    assert cost.multiply_accumulates(TeacherEnsemble([model]), 4) == (None, {})


def test_other_defaults_change_no_rule():
    inherited = cost.multiply_accumulates(OtherDefaults((6, 2), 5), 4)
    assert inherited == cost.multiply_accumulates(NetVLAD((6, 2), 5, clusters=3, hidden_size=4), 4)


def test_the_table_shows_what_choosing_takes(capsys):
    assert flops_main(["flops", "--model=NeXtVLAD", "--frames=1,300", "--frame_sampling=medoid"]) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines()]
    (choosing,) = (row for row in rows if "choosing of 300 by medoid" in "".join(row))
    (share,) = (row for row in rows if "its share of the total" in "".join(row))
    assert [int(cell.replace(",", "")) for cell in choosing[2:4]] == [300 * 64 * 3, 0]
    assert [cell.strip() for cell in share[2:4]] == [f"{100 * 300 * 64 * 3 / 89_043_968:.2g} %", "0 %"]
    assert flops_main(["flops", "--model=NeXtVLAD", "--frames=1"]) == 0
    assert "choosing" not in capsys.readouterr().out
    assert flops_main(["flops", "--model=NeXtVLAD", "--frames=1", "--video_frames=20"]) == 2
    assert "--video_frames does nothing with --frame_sampling=uniform" in capsys.readouterr().err


def test_choosing_is_counted_among_the_frames_of_a_runs_videos(tmp_path, capsys):
    data = DatasetSpec("AudioSet", "id", ("audio_embedding",), (128,), 5, 10)
    args = {"clusters": 4, "hidden_size": 8}
    config = RunConfig(
        "NetVLAD", "baseline", args, selection=FrameSelection(2, sampling="learned"), data=data, recipe="paper"
    )
    (tmp_path / "config.json").write_text(to_json(config))
    for arguments, products in (
        ([], 10 * (64 * (1 + 2 + 1) + 128 * 8 + 8)),
        (["--frame_sampling=motion", "--video_frames=20"], 20 * 64),
    ):
        assert flops_main(["flops", f"--train_dir={tmp_path}", *arguments]) == 0
        assert f"{products:,}" in capsys.readouterr().out
