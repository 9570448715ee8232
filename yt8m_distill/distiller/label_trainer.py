"""The training step of one model on labels, which is also the base of distillation's."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from yt8m_distill.devices import collectives
from yt8m_distill.errors import UserError
from yt8m_distill.losses import GradientShares, frame_choice_terms
from yt8m_distill.losses import label_loss as label_loss_named


class StepLosses(NamedTuple):
    """What the forward passes of a training step give.

    Attributes:
        terms: the loss terms by name.
        weighted: those that are trained, weighted; they add up to the total.
        predictions: (batch, classes) of the trained model.
    """

    terms: dict[str, tf.Tensor]
    weighted: list[tf.Tensor]
    predictions: tf.Tensor


class LabelTrainer(keras.Model):
    """Trains one model on the labels: a teacher on all frames, a baseline or a fine-tuned student on k.

    Args:
        model: a VideoModel.
        label_loss: "CrossEntropyLoss", "HingeLoss" or "SoftmaxLoss".
        regularization_penalty: factor of the model's own regularization terms.
        clip_gradient_norm: each variable's gradient is clipped to this norm by itself; 0 does not clip.

    `train_step` takes `({"frames", "num_frames"}, labels[, label_weights])` and returns the running means of "loss" and
    its terms since the last `reset_metrics()`. Works in `fit` and `evaluate` after
    `compile(optimizer=..., metrics=[...])`.

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
        return ["loss", "ce", *choice_names(self.model), "regularization"]

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Sequence[Any] | None = None,
        weighted_metrics: Any = None,
        **kwargs: Any,
    ):
        """Sets the optimizer, and what `fit` and `evaluate` measure beside the loss terms.

        Args:
            optimizer: as of `keras.Model.compile`.
            loss, loss_weights, weighted_metrics: None.
            metrics: of the labels and the predictions of the trained model, such as `metrics.GlobalAveragePrecision()`.
                Of rated segments the classes that are not rated are predicted 0, as in evaluation.
            **kwargs: as of `keras.Model.compile`; with metrics, `jit_compile` is False unless it is given.

        Raises:
            UserError: losses are given here, where they would do nothing, or metrics with weights.
        """
        if loss is not None or loss_weights is not None:
            raise UserError(
                f"compile(loss=, loss_weights=): {type(self).__name__} has its losses from its constructor "
                "(label_loss; of a Distiller also losses and loss_weights): give them there, and here only optimizer "
                "and metrics."
            )
        if weighted_metrics:
            raise UserError("compile(weighted_metrics=): every video counts alike; give them as metrics.")
        if metrics:
            kwargs.setdefault("jit_compile", False)  # RankingMetric is computed outside of the graph
        super().compile(optimizer=optimizer, metrics=metrics, **kwargs)

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """As of `keras.Model`; after a step that was refused, the next call builds it anew."""
        try:
            return super().fit(*args, **kwargs)
        except Exception:
            self.train_function = None  # whose graph was not finished, and could not create the optimizer's variables
            raise

    @property
    def metrics(self):
        compiled = self._compile_metrics  # Keras has no public way to them
        return [*self._term_means.values(), *([] if compiled is None else [compiled])]

    def get_metrics_result(self) -> dict:
        """All results since the last reset; training counts every term, evaluation "loss" alone."""
        counted = {name: mean.result() for name, mean in self._term_means.items() if float(mean.count)}
        compiled = self._compile_metrics
        return {**counted, **(compiled.result() if compiled is not None and compiled.built else {})}

    def means(self) -> dict:
        """Means of "loss" and its terms since the last `reset_metrics()`."""
        return {name: mean.result() for name, mean in self._term_means.items()}

    def sums(self) -> dict[str, tuple[float, float]]:
        """Of "loss" and its terms, the sum over the videos since the last `reset_metrics()`, and their number."""
        return {name: (float(mean.total), float(mean.count)) for name, mean in self._term_means.items()}

    def trained_variables(self) -> list:
        """The variables that the optimizer changes."""
        return self.model.trainable_variables

    def call(self, inputs, training=False):
        return self.model(inputs, training=training)

    def train_step(self, data):
        _, labels, label_weights = keras.utils.unpack_x_y_sample_weight(data)
        terms, predictions = self.learn_and_predict(data, collectives.even_share())
        means = self.track(terms, tf.shape(labels)[0])
        return {**means, **self._measured(labels, predictions, label_weights)}

    def learn(self, data, share: float | tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """One step of the optimizer.

        Args:
            data: as of `train_step`.
            share: of this replica's videos in the whole batch; the replicas' shares add up to 1. None: on one device.

        Returns:
            "loss" and its terms, means over this replica's videos.
        """
        return self.learn_and_predict(data, share)[0]

    def learn_and_predict(self, data, share: float | tf.Tensor | None = None) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """`learn`, and the predictions (batch, classes) of the trained model in the step."""
        batch = keras.utils.unpack_x_y_sample_weight(data)
        # 1. A finished teacher runs outside of the tape: nothing of it is kept for gradients.
        constants = self.constant_outputs(batch[0])
        with tf.GradientTape() as tape:
            # 2. The forward passes of what is trained, and their loss terms.
            terms, weighted, predictions = self.loss_terms(constants, *batch)
            # 3. Each variable is regularized once, also one that two models share.
            terms["regularization"] = self.regularization_penalty * _regularization(self.trained_variables())
            total = tf.add_n([*weighted, terms["regularization"]])
            # 4. Of several replicas, each has its part of the mean over the whole batch.
            objective = total if share is None else share * total
        # 5. Gradients are summed over the replicas, clipped, and applied.
        self._apply_gradients(tape, objective)
        return {"loss": total, **terms}, predictions

    def constant_outputs(self, inputs) -> dict[str, tf.Tensor] | None:
        """Outputs that the losses read and that are not trained."""
        del inputs
        return {}

    def loss_terms(self, constants, inputs, labels, label_weights) -> StepLosses:
        """The forward passes of what is trained, and their losses."""
        del constants
        outputs = self.model(inputs, training=True)
        loss = self.model.label_loss(self.label_loss, labels, outputs, label_weights)
        choice = frame_choice_terms(outputs, labels, label_weights)
        return StepLosses({"ce": loss, **choice}, [loss, *choice.values()], outputs["predictions"])

    def test_step(self, data):
        inputs, labels, label_weights = keras.utils.unpack_x_y_sample_weight(data)
        outputs = self(inputs, training=False)
        means = self.track({"loss": self.label_loss(labels, outputs, label_weights)}, tf.shape(labels)[0])
        return {**means, **self._measured(labels, outputs["predictions"], label_weights)}

    def _measured(self, labels, predictions, label_weights) -> dict:
        """Adds a batch to the metrics of `compile`, and returns these."""
        if self._compile_metrics is None:
            return {}
        if label_weights is not None:
            predictions, labels = predictions * tf.cast(label_weights, predictions.dtype), labels > 0
        self._compile_metrics.update_state(labels, predictions)
        return self._compile_metrics.result()

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


def choice_names(model: keras.Model) -> list[str]:
    """Names of the loss terms that a model which chooses its frames has."""
    return ["frame_choice"] if getattr(model, "chooses_frames", False) else []


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
