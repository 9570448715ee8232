"""Training steps: `LabelTrainer` for one model on labels, `Distiller` for a student that is matched to its teacher."""

from collections.abc import Iterable, Mapping

import keras
import tensorflow as tf

from yt8m_distill import losses as loss_functions
from yt8m_distill.config.training import DISTILLING_MODES, STUDENT_LOSSES, Distillation
from yt8m_distill.devices import collectives
from yt8m_distill.errors import UserError


class LabelTrainer(keras.Model):
    """Trains one model on the labels: a teacher on all frames, a baseline or a fine-tuned student on k.

    Args:
        model: a VideoModel.
        label_loss: "CrossEntropyLoss", "HingeLoss" or "SoftmaxLoss".
        regularization_penalty: factor of the model's own regularization terms.
        clip_gradient_norm: each variable's gradient is clipped to this norm by itself; 0 does not clip.

    `train_step` takes `({"frames", "num_frames"}, labels[, label_weights])` and returns the running means of "loss" and
    its terms since the last `reset_metrics()`. Works in `fit` after `compile(optimizer=...)`.

    Under a `tf.distribute` strategy each replica calls `learn` on its own videos of a batch. Gradients are then those
    of the mean over the whole batch, and are clipped after they have been added up.
    """

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
        self.label_loss = loss_functions.label_loss(label_loss)
        self.regularization_penalty = regularization_penalty
        self.clip_gradient_norm = clip_gradient_norm
        self.built = True  # the models are
        self._term_means = {name: keras.metrics.Mean(name=name) for name in self._term_names()}

    def _term_names(self) -> list[str]:
        return ["loss", "ce", "regularization"]

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
        inputs, labels, label_weights = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            outputs = self.model(inputs, training=True)
            terms = {"ce": self.model.label_loss(self.label_loss, labels, outputs, label_weights)}
            terms["regularization"] = self.regularization_penalty * _regularization(self.trained_variables())
            total = tf.add_n(list(terms.values()))
            objective = total if share is None else share * total
        self._apply_gradients(tape, objective)
        return {"loss": total, **terms}

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
        losses: any of "rep" (representation), "pred" (predictions) and "ce" (labels).
        loss_weights: factor of each loss; 1 where missing.
        prediction_distance: "kl", "squared" or "categorical_kl".
        representation_matching: "final", or "intermediate": states at the student's frames, where the model has any.
        **kwargs: as `LabelTrainer`.

    `train_step` takes `({"frames", "num_frames", "student_indices", "student_num_frames"}, labels[, label_weights])`:
    frames (batch, frames, features), student_indices (batch, k) int32 into them, of which the first student_num_frames
    (batch,) count. It runs each model once, and returns running means of "loss", each student loss under its own name,
    "regularization", and in parallel mode "teacher_ce". The teacher's outputs give no gradient to the teacher.

    In serial mode the inputs may hold what the teacher has said of these videos, "teacher_predictions" (batch, classes)
    and for the loss rep "teacher_representation" (batch, dim); the teacher is not run then, and where there are no
    student_indices, the frames are the student's own.

    Raises:
        UserError: an unknown mode, loss or distance; models that do not fit each other.

    Source: Bhardwaj et al. section 4.
    """

    def __init__(
        self,
        teacher: keras.Model,
        student: keras.Model,
        *,
        mode: str = "serial",
        losses: Iterable[str] = STUDENT_LOSSES,
        loss_weights: Mapping[str, float] | None = None,
        prediction_distance: str = "kl",
        representation_matching: str = "final",
        **kwargs,
    ):
        settings = Distillation(tuple(losses), loss_weights or {}, prediction_distance, representation_matching)
        _check_models(teacher, student, mode)
        check_has_encoder(student, settings.losses)
        self.mode = mode
        self.losses_used = settings.losses
        self.loss_weights = settings.loss_weights
        self.prediction_distance = loss_functions.PREDICTION_DISTANCES[prediction_distance]
        self.match_frame_states = representation_matching == "intermediate"
        if self.match_frame_states:
            check_frame_states(student, teacher)
        super().__init__(student, **kwargs)
        self.teacher = teacher

    @property
    def student(self) -> keras.Model:
        """The model that is matched to the teacher."""
        return self.model

    def _term_names(self) -> list[str]:
        teacher = ["teacher_ce"] if self.mode == "parallel" else []
        return ["loss", *self.losses_used, *teacher, "regularization"]

    def trained_variables(self) -> list:
        """The student's variables, in parallel mode the teacher's, too; no classifier that no loss reaches."""
        student = self.student.encoder_variables if self.losses_used == ("rep",) else self.student.trainable_variables
        teacher = self.teacher.trainable_variables if self.mode == "parallel" else []
        return list({id(variable): variable for variable in [*student, *teacher]}.values())

    def call(self, inputs, training=False):
        """The student's outputs for its own frames of a distillation batch."""
        return self.student(student_view(inputs), training=training)

    def learn(self, data, share: float | tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        inputs, labels, label_weights = keras.utils.unpack_x_y_sample_weight(data)
        video = {"frames": inputs["frames"], "num_frames": inputs["num_frames"]}
        options = {"return_intermediates": True} if self.match_frame_states else {}
        if self.mode == "serial":  # outside of the tape: nothing of the finished teacher is kept for gradients
            teacher_outputs = _stored_outputs(inputs) or self.teacher(video, training=False, **options)
        with tf.GradientTape() as tape:
            if self.mode == "parallel":
                teacher_outputs = self.teacher(video, training=True, **options)
            student_outputs = self.student(student_view(inputs), training=True, **options)
            terms = self.student_terms(teacher_outputs, student_outputs, inputs, labels, label_weights)
            weighted = [self.loss_weights[name] * value for name, value in terms.items()]
            if self.mode == "parallel":
                terms["teacher_ce"] = self.teacher.label_loss(self.label_loss, labels, teacher_outputs, label_weights)
                weighted.append(terms["teacher_ce"])
            terms["regularization"] = self.regularization_penalty * _regularization(self.trained_variables())
            total = tf.add_n([*weighted, terms["regularization"]])
            objective = total if share is None else share * total
        self._apply_gradients(tape, objective)
        return {"loss": total, **terms}

    def student_terms(self, teacher_outputs, student_outputs, inputs, labels, label_weights=None) -> dict:
        """Each of the student's losses, not yet weighted, by name."""
        fixed = tf.nest.map_structure(tf.stop_gradient, teacher_outputs)
        terms = {}
        if "rep" in self.losses_used:
            terms["rep"] = self._representation_loss(fixed, student_outputs, inputs)
        if "pred" in self.losses_used:
            terms["pred"] = self.prediction_distance(fixed, student_outputs)
        if "ce" in self.losses_used:
            terms["ce"] = self.student.label_loss(self.label_loss, labels, student_outputs, label_weights)
        return terms

    def _representation_loss(self, teacher_outputs, student_outputs, inputs):
        if self.match_frame_states:
            at_student_frames = tf.gather(teacher_outputs["frame_states"], inputs["student_indices"], batch_dims=1)
            return loss_functions.frame_states_distance(
                at_student_frames, student_outputs["frame_states"], inputs["student_num_frames"]
            )
        shapes = teacher_outputs["representation"].shape[-1], student_outputs["representation"].shape[-1]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"the loss rep needs representations of one size; the teacher's has {shapes[0]} "
                f"and the student's {shapes[1]} values. Choose --student_model_args that keep it."
            )
        return loss_functions.representation_distance(
            teacher_outputs["representation"], student_outputs["representation"]
        )


def _check_models(teacher: keras.Model, student: keras.Model, mode: str):
    if mode not in DISTILLING_MODES:
        raise UserError(f"mode '{mode}' is unknown; known are {', '.join(DISTILLING_MODES)}.")
    if teacher.num_classes != student.num_classes:
        raise UserError(f"the teacher has {teacher.num_classes} classes, the student {student.num_classes}.")
    if mode == "parallel" and student.classifier is not teacher.classifier:
        raise UserError("in parallel mode the student is built with classifier_layer=teacher.classifier.")


def _stored_outputs(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """What the teacher has said of the videos of a batch before; empty where the batch does not hold it."""
    prefix = "teacher_"
    return {name.removeprefix(prefix): value for name, value in inputs.items() if name.startswith(prefix)}


def student_view(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The student's input out of a distillation batch: (batch, k, features) of its (batch, frames, features).

    Places beyond `student_num_frames` hold some frame or other and are masked by the model. A batch without
    "student_indices" has the student's frames only.
    """
    if "student_indices" not in inputs:
        return {"frames": inputs["frames"], "num_frames": inputs["num_frames"]}
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


def start_from_classifier(student: keras.Model, teacher: keras.Model):
    """Gives the student the teacher's classifier weights.

    Raises:
        UserError: the classifiers do not have the same variables.

    Source: Bhardwaj et al. section 4, serial training.
    """
    check_classifiers(student, teacher)
    student.classifier.set_weights(teacher.classifier.get_weights())


def start_from_teacher(student: keras.Model, teacher: keras.Model):
    """Gives the student all of the teacher's weights.

    Raises:
        UserError: the models do not have the same variables.
    """
    check_same_weights(student, teacher)
    student.set_weights(teacher.get_weights())


def check_same_weights(student: keras.Model, teacher: keras.Model):
    """Raises UserError where the models do not have the same variables."""
    given, wanted = (
        [(v.path.partition("/")[2], tuple(v.shape)) for v in model.weights] for model in (teacher, student)
    )
    if [shape for _, shape in given] != [shape for _, shape in wanted]:
        different = next((f"'{name}'" for name, shape in wanted if (name, shape) not in given), "their number")
        raise UserError(
            f"--student_init=teacher needs a student with the teacher's weights; {different} differs. "
            "Leave out --student_model_args, or take --student_init=classifier."
        )


def check_has_encoder(student: keras.Model, losses: Iterable[str]):
    """Raises UserError where the representation is all that is to be learned, and nothing learns it."""
    if tuple(losses) == ("rep",) and not student.encoder_variables:
        raise UserError(
            f"--student_losses=rep alone trains nothing of {type(student).__name__}, whose only weights are the "
            "classifier's; add pred or ce."
        )


def check_classifiers(student: keras.Model, teacher: keras.Model):
    """Raises UserError where the classifiers do not have the same variables."""
    given, wanted = _classifier_shapes(teacher), _classifier_shapes(student)
    if given != wanted:
        raise UserError(
            "teacher and student must have the same classifier and representation size to share the output layer; "
            f"the teacher's weights are {given}, the student's {wanted}."
        )


def have_same_classifier(student: keras.Model, teacher: keras.Model) -> bool:
    """Whether the classifiers have the same variables."""
    return _classifier_shapes(teacher) == _classifier_shapes(student)


def _classifier_shapes(model: keras.Model) -> list[tuple[int, ...]]:
    return [tuple(variable.shape) for variable in model.classifier.weights]


def check_frame_states(student: keras.Model, teacher: keras.Model):
    """Raises UserError where the models do not both have a state for every frame, of one size."""
    needs = "--representation_matching=intermediate needs a state for every frame"
    for model in (teacher, student):
        if model.frame_states_size is None:
            raise UserError(f"{needs}; {type(model).__name__} has none. HierarchicalRNN and Lstm do.")
    if teacher.frame_states_size != student.frame_states_size:
        raise UserError(
            f"{needs} of one size; the teacher's have {teacher.frame_states_size} values, the student's "
            f"{student.frame_states_size}."
        )


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
