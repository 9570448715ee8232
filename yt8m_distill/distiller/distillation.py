"""The training step of a student that is matched to its teacher."""

from collections.abc import Iterable, Mapping, Sequence

import keras
import tensorflow as tf

from yt8m_distill.config.training import DISTILLING_MODES
from yt8m_distill.distiller.label_trainer import LabelTrainer, StepLosses, choice_names
from yt8m_distill.distiller.views import check_student_frames, stored_outputs, student_view, teacher_view
from yt8m_distill.errors import UserError
from yt8m_distill.losses import GradientShares, Loss, LossBatch, frame_choice_terms, student_losses


class Distiller(LabelTrainer):
    """Trains a student, who sees few frames, to match its teacher, who sees all.

    Args:
        teacher: VideoModel for all frames.
        student: VideoModel of the same representation size and classes.
        mode: "serial": the teacher is finished and does not change, batch-norm statistics included; "parallel": both
            learn in the same step, the teacher from the labels; `student.classifier` must then be `teacher.classifier`.
        losses: `Loss` objects, such as `RepresentationLoss()`, or names of registered ones: "rep" (representation),
            "pred" (predictions), "ce" (labels).
        loss_weights, prediction_distance, representation_matching, temperature: of the losses that are given by name,
            see `losses.student_losses`.
        shares: weights of the losses in place of their own, in the order of `student_losses`.
        label_loss: as of `LabelTrainer`; also that of the loss "ce", where it is given by name.
        **kwargs: as for `LabelTrainer`.

    `train_step` takes `({"frames", "num_frames", "student_indices", "student_num_frames"}, labels[, label_weights])`:
    frames (batch, frames, features), student_indices (batch, k) int32 into them, of which the first student_num_frames
    (batch,) count; or, instead of the latter two, the "choices" of `VideoModel`. `data.dataset` gives such batches. A
    batch without either is refused, as the student would see what its teacher does. It runs each model once, and
    returns running means of "loss", each student loss under its own name, not weighted, "regularization", and in
    parallel mode "teacher_ce". The teacher's outputs give no gradient to the teacher.

    In serial mode the inputs may hold teacher outputs, precomputed: "teacher_predictions" (batch, classes) and, where a
    loss reads it, "teacher_representation" (batch, dim). The teacher is not run then, and where there are no
    student_indices, the frames are the student's own.

    Raises:
        UserError: an unknown mode, loss or distance; models that do not fit each other or a loss.

    Source: Bhardwaj et al. section 4.

    Example:
        >>> from yt8m_distill.losses import LabelLoss, RepresentationLoss
        >>> from yt8m_distill.models import NetVLAD
        >>> teacher, student = (NetVLAD((6, 2), 5, clusters=4, hidden_size=8) for _ in range(2))
        >>> distiller = Distiller(teacher, student, losses=[RepresentationLoss(weight=2.0), LabelLoss()])
        >>> distiller.compile(optimizer=keras.optimizers.Adam(1e-3))
        >>> inputs = {
        ...     "frames": tf.zeros([2, 4, 8], tf.uint8),
        ...     "num_frames": tf.constant([4, 3]),
        ...     "student_indices": tf.constant([[0, 2], [0, 2]]),
        ...     "student_num_frames": tf.constant([2, 2]),
        ... }
        >>> sorted(distiller.train_step((inputs, tf.ones([2, 5]))))
        ['ce', 'loss', 'regularization', 'rep']
    """

    def __init__(
        self,
        teacher: keras.Model,
        student: keras.Model,
        *,
        mode: str = "serial",
        losses: Iterable[str | Loss] = ("rep", "pred", "ce"),
        loss_weights: Mapping[str, float] | None = None,
        prediction_distance: str = "kl",
        representation_matching: str = "final",
        label_loss: str = "CrossEntropyLoss",
        temperature: float = 1.0,
        shares: GradientShares | None = None,
        **kwargs,
    ):
        self.student_losses = student_losses(
            losses,
            loss_weights,
            prediction_distance=prediction_distance,
            representation_matching=representation_matching,
            label_loss=label_loss,
            temperature=temperature,
        )
        _check_models(teacher, student, mode)
        check_losses(self.student_losses, teacher, student)
        names = [loss.name for loss in self.student_losses]
        if shares is not None and list(shares.shares) != names:
            raise UserError(f"shares must be of the losses {', '.join(names)}, not of {', '.join(shares.shares)}.")
        self.mode = mode
        self.shares = shares
        intermediates = any(loss.needs_intermediates for loss in self.student_losses)
        self._call_options = {"return_intermediates": True} if intermediates else {}
        super().__init__(student, label_loss=label_loss, **kwargs)
        self.teacher = teacher

    @property
    def student(self) -> keras.Model:
        """The model that is matched to the teacher."""
        return self.model

    def _term_names(self) -> list[str]:
        teacher = choice_names(self.student) + (["teacher_ce"] if self.mode == "parallel" else [])
        return ["loss", *(loss.name for loss in self.student_losses), *teacher, "regularization"]

    def trained_variables(self) -> list:
        """The student's variables, in parallel mode the teacher's, too; no classifier that no loss reaches."""
        classifier_learns = reach_classifier(self.student_losses)
        student = self.student.trainable_variables if classifier_learns else self.student.encoder_variables
        teacher = self.teacher.trainable_variables if self.mode == "parallel" else []
        return list({id(variable): variable for variable in [*student, *teacher]}.values())

    def call(self, inputs, training=False):
        """The student's outputs for its own frames of a distillation batch."""
        return self.student(student_view(inputs), training=training)

    def constant_outputs(self, inputs) -> dict[str, tf.Tensor] | None:
        if self.mode == "parallel":
            return None
        if not read_teacher(self.student_losses):
            return {}
        return stored_outputs(inputs) or self._of_teacher(inputs, training=False)

    def _of_teacher(self, inputs, training: bool) -> dict[str, tf.Tensor]:
        check_student_frames(inputs)
        return self.teacher(teacher_view(inputs), training=training, **self._call_options)

    def loss_terms(self, constants, inputs, labels, label_weights) -> StepLosses:
        teacher_outputs = constants
        if self.mode == "parallel":
            teacher_outputs = self._of_teacher(inputs, training=True)
        student_outputs = self.student(student_view(inputs), training=True, **self._call_options)
        terms = self.student_terms(teacher_outputs, student_outputs, inputs, labels, label_weights)
        own = [loss.weight for loss in self.student_losses]
        weights = own if self.shares is None else tf.unstack(self.shares.weights())
        weighted = [weight * terms[loss.name] for weight, loss in zip(weights, self.student_losses, strict=True)]
        taught = any(loss.weight and loss.teacher_outputs for loss in self.student_losses)
        targets = teacher_outputs["predictions"] if taught else labels
        choice = frame_choice_terms(student_outputs, targets, label_weights)
        weighted += choice.values()
        terms |= choice
        if self.mode == "parallel":
            terms["teacher_ce"] = self.teacher.label_loss(self.label_loss, labels, teacher_outputs, label_weights)
            weighted.append(terms["teacher_ce"])
        return StepLosses(terms, weighted, student_outputs["predictions"])

    def student_terms(self, teacher_outputs, student_outputs, inputs, labels, label_weights=None) -> dict:
        """Each of the student's losses, not yet weighted, by name."""
        fixed = tf.nest.map_structure(tf.stop_gradient, teacher_outputs)
        batch = LossBatch(inputs, labels, label_weights, self.student)
        return {loss.name: loss(fixed, student_outputs, batch) for loss in self.student_losses}


def reach_classifier(losses: Iterable[Loss]) -> bool:
    """Whether any of a student's losses trains its classifier; if not, it is trained on the labels afterwards."""
    return any(loss.reaches_classifier for loss in losses)


def read_teacher(losses: Iterable[Loss]) -> bool:
    """Whether any of a student's losses reads the teacher's outputs; if not, a finished teacher need not run."""
    return any(loss.teacher_outputs for loss in losses)


def check_losses(losses: Sequence[Loss], teacher: keras.Model, student: keras.Model):
    """Raises UserError where a loss does not fit the models, or the losses train none of the student's weights."""
    if not reach_classifier(losses) and not student.encoder_variables:
        names = ", ".join(loss.name for loss in losses)
        raise UserError(
            f"losses={names} alone trains nothing of {type(student).__name__}, whose only weights are the "
            "classifier's; add pred or ce."
        )
    for loss in losses:
        loss.check_models(teacher, student)


def _check_models(teacher: keras.Model, student: keras.Model, mode: str):
    if mode not in DISTILLING_MODES:
        raise UserError(f"mode '{mode}' is unknown; known are {', '.join(DISTILLING_MODES)}.")
    if teacher.num_classes != student.num_classes:
        raise UserError(f"the teacher has {teacher.num_classes} classes, the student {student.num_classes}.")
    if mode == "parallel" and student.classifier is not teacher.classifier:
        raise UserError("in parallel mode the student is built with classifier_layer=teacher.classifier.")
