"""Training steps: `LabelTrainer` for one model on labels, `Distiller` for a student that is matched to its teacher."""

from collections.abc import Iterable, Mapping, Sequence

import keras
import tensorflow as tf

from yt8m_distill.config.training import DISTILLING_MODES
from yt8m_distill.devices import collectives
from yt8m_distill.errors import UserError
from yt8m_distill.losses import GradientShares, Loss, LossBatch, frame_choice_terms, student_losses
from yt8m_distill.losses import label_loss as label_loss_named


class LabelTrainer(keras.Model):
    """Trains one model on the labels: a teacher on all frames, a baseline or a fine-tuned student on k.

    Args:
        model: a VideoModel.
        label_loss: "CrossEntropyLoss", "HingeLoss" or "SoftmaxLoss".
        regularization_penalty: factor of the model's own regularization terms.
        clip_gradient_norm: each variable's gradient is clipped to this norm by itself; 0 does not clip.

    `train_step` takes `({"frames", "num_frames"}, labels[, label_weights])` and returns the running means of "loss" and
    its terms since the last `reset_metrics()`. Works in `fit` after `compile(optimizer=...)`.

    Attributes:
        shares: None: the losses have fixed weights.

    Under a `tf.distribute` strategy each replica calls `learn` on its own videos of a batch. Gradients are then those
    of the mean over the whole batch, and are clipped after they have been added up.
    """

    shares: GradientShares | None = None

    def __init__(
        self,
        model: keras.Model,
        *,
        label_loss: str = "CrossEntropyLoss",
        regularization_penalty: float = 1.0,
        clip_gradient_norm: float = 1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.model = model
        self.label_loss = label_loss_named(label_loss)
        self.regularization_penalty = regularization_penalty
        self.clip_gradient_norm = clip_gradient_norm
        self.built = True  # the models are
        self._term_means = {name: keras.metrics.Mean(name=name) for name in self._term_names()}

    def _term_names(self) -> list[str]:
        return ["loss", "ce", *_choice_names(self.model), "regularization"]

    @property
    def metrics(self):
        return list(self._term_means.values())

    def means(self) -> dict:
        """Means of "loss" and its terms since the last `reset_metrics()`."""
        return {name: mean.result() for name, mean in self._term_means.items()}

    def trained_variables(self) -> list:
        """The variables that the optimizer changes."""
        return self.model.trainable_variables

    def call(self, inputs, training=False):
        return self.model(inputs, training=training)

    def train_step(self, data):
        terms = self.learn(data, collectives.even_share())
        return self.track(terms, tf.shape(keras.utils.unpack_x_y_sample_weight(data)[1])[0])

    def learn(self, data, share: float | tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """One step of the optimizer.

        Args:
            data: as of `train_step`.
            share: of this replica's videos in the whole batch; the replicas' shares add up to 1. None: on one device.

        Returns:
            "loss" and its terms, means over this replica's videos.
        """
        batch = keras.utils.unpack_x_y_sample_weight(data)
        # 1. A finished teacher runs outside of the tape: nothing of it is kept for gradients.
        constants = self.constant_outputs(batch[0])
        with tf.GradientTape() as tape:
            # 2. The forward passes of what is trained, and their loss terms.
            terms, weighted = self.loss_terms(constants, *batch)
            # 3. Each variable is regularized once, also one that two models share.
            terms["regularization"] = self.regularization_penalty * _regularization(self.trained_variables())
            total = tf.add_n([*weighted, terms["regularization"]])
            # 4. Of several replicas, each has its part of the mean over the whole batch.
            objective = total if share is None else share * total
        # 5. Gradients are summed over the replicas, clipped, and applied.
        self._apply_gradients(tape, objective)
        return {"loss": total, **terms}

    def constant_outputs(self, inputs) -> dict[str, tf.Tensor] | None:
        """Outputs that the losses read and that are not trained."""
        del inputs

    def loss_terms(self, constants, inputs, labels, label_weights) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
        """The loss terms by name, and the weighted ones, which add up to the total."""
        del constants
        outputs = self.model(inputs, training=True)
        loss = self.model.label_loss(self.label_loss, labels, outputs, label_weights)
        choice = frame_choice_terms(outputs, labels, label_weights)
        return {"ce": loss, **choice}, [loss, *choice.values()]

    def test_step(self, data):
        inputs, labels, label_weights = keras.utils.unpack_x_y_sample_weight(data)
        outputs = self(inputs, training=False)
        return self.track({"loss": self.label_loss(labels, outputs, label_weights)}, tf.shape(labels)[0])

    def _apply_gradients(self, tape: tf.GradientTape, objective: tf.Tensor):
        variables = self.trained_variables()
        scale = self.optimizer.scale_loss(tf.ones([]))  # 1 but in float16
        # Zero for what no loss reaches, such as the upper LSTM when the lower one's states are all that is matched.
        gradients = tape.gradient(
            objective, [variable.value for variable in variables], output_gradients=scale, unconnected_gradients="zero"
        )
        gradients = collectives.summed(gradients)
        if self.clip_gradient_norm:
            gradients = [_clipped(gradient, self.clip_gradient_norm, scale) for gradient in gradients]
        collectives.apply_sums(self.optimizer, gradients, variables)

    def track(self, terms: Mapping[str, tf.Tensor], videos: tf.Tensor) -> dict:
        """Adds the means over so many videos to the running means, and returns these."""
        for name, value in terms.items():
            # A weight that depends on the data, as Keras has it: the last, empty step of a data set counts nothing.
            self._term_means[name].update_state(value, sample_weight=videos)
        return {name: self._term_means[name].result() for name in terms}


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
    (batch,) count; or, instead of the latter two, the "choices" of `VideoModel`. It runs each model once, and returns
    running means of "loss", each student loss under its own name, not weighted, "regularization", and in parallel mode
    "teacher_ce". The teacher's outputs give no gradient to the teacher.

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
        teacher = _choice_names(self.student) + (["teacher_ce"] if self.mode == "parallel" else [])
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
        return _stored_outputs(inputs) or self.teacher(_teacher_view(inputs), training=False, **self._call_options)

    def loss_terms(self, constants, inputs, labels, label_weights) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
        teacher_outputs = constants
        if self.mode == "parallel":
            teacher_outputs = self.teacher(_teacher_view(inputs), training=True, **self._call_options)
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
        return terms, weighted

    def student_terms(self, teacher_outputs, student_outputs, inputs, labels, label_weights=None) -> dict:
        """Each of the student's losses, not yet weighted, by name."""
        fixed = tf.nest.map_structure(tf.stop_gradient, teacher_outputs)
        batch = LossBatch(inputs, labels, label_weights, self.student)
        return {loss.name: loss(fixed, student_outputs, batch) for loss in self.student_losses}


def _choice_names(model: keras.Model) -> list[str]:
    return ["frame_choice"] if getattr(model, "chooses_frames", False) else []


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


def _stored_outputs(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Teacher outputs that a batch holds, precomputed; empty where it holds none."""
    prefix = "teacher_"
    return {name.removeprefix(prefix): value for name, value in inputs.items() if name.startswith(prefix)}


def _teacher_view(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The teacher's input out of a distillation batch: all frames."""
    return {"frames": inputs["frames"], "num_frames": inputs["num_frames"]}


def student_view(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The student's input out of a distillation batch: (batch, k, features) of its (batch, frames, features).

    Places beyond `student_num_frames` hold some frame or other and are masked by the model. A batch without
    "student_indices" has the student's frames only.
    With "choices" it gets all frames, and chooses by itself.
    """
    if "choices" in inputs:
        return {**_teacher_view(inputs), "choices": inputs["choices"]}
    if "student_indices" not in inputs:
        return _teacher_view(inputs)
    return {
        "frames": _chosen_frames(inputs["frames"], inputs["student_indices"]),
        "num_frames": inputs["student_num_frames"],
    }


def _chosen_frames(frames: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """(batch, k, features) of (batch, frames, features)."""
    if frames.dtype == tf.uint8 and tf.config.list_physical_devices("GPU"):
        # TensorFlow gathers bytes on the CPU only, and would copy all frames back there; float16 holds them exactly.
        return tf.cast(tf.gather(tf.cast(frames, tf.float16), indices, batch_dims=1), tf.uint8)
    return tf.gather(frames, indices, batch_dims=1)


def _clipped(gradient: tf.Tensor, norm: float, scale: tf.Tensor) -> tf.Tensor:
    """What `tf.clip_by_norm` gives, without the two tensors of the gradient's size that it makes on the way.

    Args:
        norm: of the gradient without its scale.
        scale: that the gradient has been multiplied by.
    """
    length, norm = tf.sqrt(2.0 * tf.nn.l2_loss(gradient)), scale * norm
    # A scaled gradient whose length overflows is to be left out as any that does; without this it would become 0.
    overflow = tf.where(scale > 1.0, length - length, 0.0)
    return gradient * (norm / tf.maximum(length, norm) + overflow)


def _regularization(variables: Iterable) -> tf.Tensor:
    """The sum of the variables' own regularization terms; each variable counts once, also when two models share it."""
    terms = [v.regularizer(v) for v in variables if getattr(v, "regularizer", None) is not None]
    return tf.add_n(terms) if terms else tf.constant(0.0)
