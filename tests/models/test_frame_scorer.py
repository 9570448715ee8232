"""A student that chooses its frames by weights of its own."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.deployment.exports import write_run
from yt8m_distill.choosing.typicality import read_values
from yt8m_distill.cli.flags import parse
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.inference import EvalConfig
from yt8m_distill.data.batches import choices_of
from yt8m_distill.distiller import Distiller, LabelTrainer
from yt8m_distill.errors import UserError
from yt8m_distill.models import NetVLAD
from yt8m_distill.models.frame_scorer import FrameScorer
from yt8m_distill.models.starting_weights import start_from_teacher
from yt8m_distill.runs import loading

SIZES = (40, 8)
CLASSES = 5


def new_scorer(seed: int = 0) -> FrameScorer:
    """With random weights."""
    keras.utils.set_random_seed(seed)
    scorer = FrameScorer(SIZES)
    scorer.build()
    rng = np.random.default_rng(seed)
    for weight in scorer.trainable_variables:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    return scorer


def new_student(chooses: bool = True) -> NetVLAD:
    keras.utils.set_random_seed(1)
    return NetVLAD(SIZES, CLASSES, clusters=4, hidden_size=8, chooses_frames=chooses)


def batch_of(videos: int = 40, frames: int = 12, k: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    num_frames = rng.integers(0, frames + 1, videos).astype(np.int32)
    values = rng.integers(0, 256, (videos, frames, sum(SIZES)), np.uint8)
    return {"frames": values, "num_frames": num_frames, "choices": choices_of(np.minimum(num_frames, k))}


def plain_choice(scorer: FrameScorer, frames: np.ndarray, k: int) -> list[int]:
    """Scores in float64 with rounded weights; typicality as it is written down."""
    kernel, bias, output, typicality_weight = (
        np.round(np.clip(w.numpy().astype(float), -8, 8) * 2048) / 2048 for w in scorer.trainable_variables
    )
    values = read_values(frames[None], SIZES)[0].astype(float)
    distances = np.abs(values - np.floor(values.mean(axis=0)))
    hidden = np.maximum(np.concatenate([values - 128, distances], axis=1) / 128 @ kernel + bias, 0)
    centered = 2 * values - 255
    vectors = np.floor(centered * 2**16 / np.floor(2**8 * np.sqrt(np.linalg.norm(centered, axis=1, keepdims=True))))
    chosen = []
    for part in np.split(np.arange(len(frames)), [j * len(frames) // k for j in range(1, k)]):
        mean = np.floor(vectors[part].mean(axis=0))
        typical = vectors[part] @ np.floor(mean * 2**16 / np.floor(np.linalg.norm(mean)))
        scores = hidden[part] @ output + np.floor(typical / 2**12) / 2**15 * typicality_weight
        chosen.append(int(part[np.argmax(scores)]))
    return chosen


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_best_frame_of_each_part_is_chosen(k):
    scorer, batch = new_scorer(), batch_of(k=k)
    choice = scorer(batch["frames"], batch["num_frames"], batch["choices"])
    chosen = map(np.array, (choice.indices, choice.counts))
    for row, count, n, frames in zip(*chosen, batch["num_frames"], batch["frames"], strict=True):
        assert count == min(n, k)
        assert row[:count].tolist() == (plain_choice(scorer, frames[:n], k) if n > k else list(range(n)))


def test_batches_devices_and_padding_choose_alike():
    scorer, batch = new_scorer(), batch_of(videos=64, frames=30, k=4)
    together = scorer(batch["frames"], batch["num_frames"], batch["choices"]).indices.numpy()
    compiled = tf.function(lambda *arguments: scorer(*arguments).indices, jit_compile=True)
    arguments = batch["frames"], batch["num_frames"], batch["choices"]
    np.testing.assert_array_equal(compiled(*map(tf.constant, arguments)).numpy(), together)
    batch["frames"][np.arange(30) >= batch["num_frames"][:, None]] = 255
    for i in range(0, 64, 7):
        n = max(batch["num_frames"][i], 1)
        one = [batch["frames"][i : i + 1, :n], batch["num_frames"][i : i + 1], batch["choices"][i : i + 1]]
        np.testing.assert_array_equal(scorer(*one).indices.numpy()[0], together[i])


def test_the_model_sees_the_frames_that_its_scorer_chooses():
    student, batch = new_student(), batch_of()
    choice = student.frame_scorer(batch["frames"], batch["num_frames"], batch["choices"])
    few = np.take_along_axis(batch["frames"], choice.indices.numpy()[..., None], axis=1)
    expected = student({"frames": few, "num_frames": choice.counts})["predictions"]
    np.testing.assert_allclose(student(batch)["predictions"], expected, rtol=0, atol=1e-6)
    again = student({**batch, "frames": few, "num_frames": choice.counts.numpy()})["predictions"]
    np.testing.assert_array_equal(again, student(batch)["predictions"])  # frames that are chosen stay chosen


def test_videos_without_frames_are_predicted():
    student = new_student()
    batch = {"frames": np.zeros((2, 0, 48), np.uint8), "num_frames": np.zeros(2, np.int32)}
    outputs = student({**batch, "choices": np.zeros((2, 1), bool)})
    assert not np.array(outputs["representation"]).any()


def test_all_other_weights_are_those_of_a_model_without_scorer():
    chooses, plain = new_student(), new_student(chooses=False)
    for ours, theirs in zip(chooses.weights, plain.weights, strict=False):
        np.testing.assert_array_equal(ours, theirs)
    assert len(chooses.weights) == len(plain.weights) + 4
    assert chooses.model_args == plain.model_args
    assert NetVLAD.from_config(chooses.get_config()).frame_scorer is not None


def test_a_student_that_chooses_starts_from_a_teacher_that_does_not():
    student, teacher = new_student(), NetVLAD(SIZES, CLASSES, clusters=4, hidden_size=8)
    before = student.frame_scorer.kernel.numpy()
    start_from_teacher(student, teacher)
    np.testing.assert_array_equal(student.classifier.weights[0], teacher.classifier.weights[0])
    np.testing.assert_array_equal(student.frame_scorer.kernel, before)


def test_a_model_without_scorer_does_not_choose():
    with pytest.raises(UserError, match="NetVLAD has no scorer of frames"):
        new_student(chooses=False)(batch_of())


def test_candidates_are_different_frames_of_one_part():
    scorer, batch = new_scorer(), batch_of(videos=300, k=2)
    choice = scorer(batch["frames"], batch["num_frames"], batch["choices"], training=True)
    indices, there, sets = map(np.array, scorer.candidates(choice))
    firsts = set()
    for row, exists, n in zip(indices, there, batch["num_frames"], strict=True):
        real = row[exists]
        parts = set(((real + 1) * min(n, 2) - 1) // n if n else [])
        assert len(set(real)) == len(real)
        assert (real < n).all()
        assert len(parts) == (n > 0)
        firsts |= parts
    assert firsts == {0, 1}
    differ = sets != np.array(choice.indices)[:, None]
    assert (differ.sum(axis=-1) <= 1).all()  # the frames of the other parts stay
    assert (sets == indices[..., None]).any(axis=-1)[there].all()


def test_training_draws_frames_by_their_scores():
    scorer, batch = new_scorer(), batch_of(videos=1, k=1)
    arguments = [np.repeat(batch["frames"], 4000, axis=0), np.full(4000, 12), np.ones((4000, 1), bool)]
    choice = scorer(*arguments, training=True)
    shares = np.bincount(choice.indices.numpy()[:, 0], minlength=12) / 4000
    np.testing.assert_allclose(shares, tf.nn.softmax(choice.scores[0]), rtol=0, atol=0.03)


def test_the_scorer_learns_which_frames_say_something():
    """Frames are noise but one, which has the label's pattern."""
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    labels = np.eye(CLASSES, dtype=np.uint8)[rng.integers(0, CLASSES, 256)]
    patterns = rng.integers(0, 2, (CLASSES, sum(SIZES))) * 255
    frames = rng.integers(100, 156, (256, 6, sum(SIZES)))
    places = rng.integers(0, 6, 256)
    frames[np.arange(256), places] = patterns[labels.argmax(axis=1)]
    inputs = {
        "frames": frames.astype(np.uint8),
        "num_frames": np.full(256, 6, np.int32),
        "choices": np.ones((256, 1), bool),
    }
    student = new_student()
    student.frame_scorer.typicality_weight.assign(0.0)
    trainer = LabelTrainer(student)
    trainer.compile(optimizer=keras.optimizers.Adam(0.02))
    inputs = {name: tf.constant(value) for name, value in inputs.items()}
    step = tf.function(lambda: trainer.train_step((inputs, tf.constant(labels))))
    for _ in range(150):
        terms = step()
    choice = student.frame_scorer(*inputs.values())
    assert np.mean(choice.indices.numpy()[:, 0] == places) > 0.9
    assert set(terms) == {"loss", "ce", "frame_choice", "regularization"}


def test_a_distiller_trains_a_student_that_chooses():
    student, teacher = new_student(), NetVLAD(SIZES, CLASSES, clusters=4, hidden_size=8)
    distiller = Distiller(teacher, student)
    distiller.compile(optimizer=keras.optimizers.SGD(0.1))
    inputs = {name: tf.constant(value) for name, value in batch_of().items()}
    before = student.frame_scorer.typicality_weight.numpy()
    terms = distiller.train_step((inputs, tf.ones([40, CLASSES])))
    assert sorted(terms) == ["ce", "frame_choice", "loss", "pred", "regularization", "rep"]
    total = sum(float(value) for name, value in terms.items() if name != "loss")
    assert float(terms["loss"]) == pytest.approx(total, rel=1e-5)
    assert student.frame_scorer.typicality_weight.numpy() != before


def test_with_labels_alone_no_teacher_says_which_frames_are_good():
    inputs, terms = {name: tf.constant(value) for name, value in batch_of().items()}, []
    for seed in (1, 2):
        keras.utils.set_random_seed(0)
        student = new_student()
        keras.utils.set_random_seed(seed)
        teacher = NetVLAD(SIZES, CLASSES, clusters=4, hidden_size=8)
        distiller = Distiller(teacher, student, losses=["ce"])
        distiller.compile(optimizer=keras.optimizers.SGD(0.1))
        terms.append(float(distiller.train_step((inputs, tf.ones([40, CLASSES])))["frame_choice"]))
    assert terms[0] == pytest.approx(terms[1], rel=1e-5)


def test_only_students_that_were_trained_to_choose_are_asked_to(tmp_path):
    write_run(tmp_path / "uniform", "NetVLAD", {"clusters": 4, "hidden_size": 8}, selection=FrameSelection(2))
    trained = loading.load(tmp_path / "uniform")
    assert trained.selection_for(FrameSelection(1, sampling="medoid")).sampling == "medoid"
    with pytest.raises(UserError, match="this model was not trained to choose its frames"):
        trained.selection_for(FrameSelection(1, sampling="learned"))
    selection = FrameSelection(2, sampling="learned")
    write_run(tmp_path / "learned", "NetVLAD", {"clusters": 4, "hidden_size": 8}, selection=selection)
    assert loading.load(tmp_path / "learned").selection_for(None) == selection


@pytest.mark.parametrize(
    ("sampling", "flags", "expected"),
    [
        ("learned", ["--student_frames=1"], "learned"),
        ("medoid", ["--student_frames=1"], "medoid"),
        ("medoid", ["--student_frames=1", "--frame_sampling=uniform"], "uniform"),
        ("medoid", ["--student_stride=2"], "uniform"),
        ("first", ["--student_frames=1"], "uniform"),
    ],
)
def test_another_k_alone_leaves_the_choice_as_it_was(tmp_path, sampling, flags, expected):
    selection = FrameSelection(2, sampling=sampling)
    write_run(tmp_path, "NetVLAD", {"clusters": 4, "hidden_size": 8}, selection=selection)
    asked = parse(EvalConfig, ["eval.py", f"--train_dir={tmp_path}", *flags]).selection
    selection = loading.load(tmp_path).selection_for(asked)
    assert selection == dataclasses.replace(asked, sampling=expected)
    assert not selection.sampling_is_open
