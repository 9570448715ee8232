"""The measured share of each loss in a student's gradient, against gradients of one loss at a time."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from yt8m_distill.distiller import Distiller
from yt8m_distill.errors import UserError
from yt8m_distill.losses import GradientShares
from yt8m_distill.models import NetVLAD
from yt8m_distill.training.gradient_shares import gradient_norms

LOSSES = ("rep", "pred", "ce")
SHARES = {"rep": 0.2, "pred": 0.5, "ce": 0.3}


def models(batch_norm: bool = False) -> tuple[keras.Model, keras.Model]:
    keras.utils.set_random_seed(0)
    sizes = {"clusters": 4, "hidden_size": 8, "batch_norm": batch_norm}
    return NetVLAD((6, 2), 5, **sizes), NetVLAD((6, 2), 5, **sizes)


def data():
    rng = np.random.default_rng(0)
    inputs = {
        "frames": tf.constant(rng.integers(0, 256, (6, 4, 8), np.uint8)),
        "num_frames": tf.constant([4, 4, 3, 4, 2, 4]),
        "student_indices": tf.constant([[0, 2]] * 6),
        "student_num_frames": tf.constant([2, 2, 2, 2, 1, 2]),
    }
    return inputs, tf.constant((rng.uniform(size=(6, 5)) < 0.3).astype(np.uint8))


def norm_of(weights: dict[str, float], variables: str) -> float:
    """The norm of the step of SGD that one distiller of weighted losses does, of the encoder or of all."""
    teacher, student = models()
    distiller = Distiller(teacher, student, losses=LOSSES, loss_weights=weights, clip_gradient_norm=0.0)
    distiller.regularization_penalty = 0.0
    distiller.compile(optimizer=keras.optimizers.SGD(1.0))
    before = [variable.numpy() for variable in getattr(student, variables)]
    distiller.train_step(data())
    steps = [b - v.numpy() for b, v in zip(before, getattr(student, variables), strict=True)]
    return float(np.sqrt(sum(np.sum(np.square(step)) for step in steps)))


@pytest.mark.parametrize("scaled", [False, True])
def test_norms_are_those_of_each_loss_alone(scaled):
    teacher, student = models()
    shares = GradientShares(SHARES)
    distiller = Distiller(teacher, student, losses=LOSSES, shares=shares)
    optimizer = keras.optimizers.SGD(1.0)
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    distiller.compile(optimizer=optimizer)
    optimizer.build(distiller.trained_variables())
    norms = gradient_norms(distiller, data())
    expected = [norm_of({other: float(name == other) for other in LOSSES}, "encoder_variables") for name in LOSSES]
    np.testing.assert_allclose(norms, expected, rtol=1e-4)
    shares.add(norms)
    weighted = np.array(list(shares.by_name().values())) * expected
    np.testing.assert_allclose(weighted / weighted.sum(), list(SHARES.values()), rtol=1e-4)


def test_the_weights_are_those_of_the_step():
    shares = GradientShares(SHARES)
    shares.add(np.array([0.1, 2.0, 5.0], np.float32))
    totals = []
    for arguments in ({"shares": shares}, {"loss_weights": shares.by_name()}):
        teacher, student = models()
        distiller = Distiller(teacher, student, losses=LOSSES, **arguments)
        distiller.compile(optimizer=keras.optimizers.SGD(1.0))
        totals.append(float(distiller.train_step(data())["loss"]))
    assert totals[0] == pytest.approx(totals[1], rel=1e-6)


def test_measuring_leaves_no_trace():
    distiller = Distiller(*models(batch_norm=True), losses=LOSSES, shares=GradientShares(SHARES))
    distiller.compile(optimizer=keras.optimizers.SGD(1.0))
    before = [variable.numpy() for variable in distiller.student.variables]
    gradient_norms(distiller, data())
    for variable, value in zip(distiller.student.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value, err_msg=variable.path)


def test_shares_of_other_losses_are_refused():
    with pytest.raises(UserError, match="shares must be of the losses rep, ce, not of rep, pred, ce"):
        Distiller(*models(), losses=("rep", "ce"), shares=GradientShares(SHARES))
