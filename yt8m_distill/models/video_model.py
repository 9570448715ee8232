"""The contract of all models: inputs, outputs, classifier, configuration."""

import abc
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from yt8m_distill.errors import UserError
from yt8m_distill.layers import MaskedLayer, RandomFrames, append_frames, frame_mask
from yt8m_distill.models import classifier_choice, input_normalization
from yt8m_distill.models.argument_checks import checked_choice, checked_count, checked_feature_sizes, checked_ranges
from yt8m_distill.models.arguments import keyword_defaults
from yt8m_distill.models.frame_scorer import Choice, FrameScorer, scores_of
from yt8m_distill.plugins import INPUT_NORMALIZATIONS


class VideoModel(keras.Model, abc.ABC):
    """Encodes the frames of a video into one vector and classifies that.

    A model is built as soon as it is constructed, works for any number of frames, and does not know whether it is
    teacher or student. A user's own model subclasses this, has its hyper-parameters as keyword arguments of its
    constructor, hands all others on to this one, and implements `build_encoder` and `encode`, and
    `encoder_multiply_accumulates` if its compute is to be known. `plugins.register_model` gives it a name. Keras files
    refer to it by its name and its top-level package.

    Args:
        feature_sizes: length of each feature of a frame, in the order in which they stand in `frames`.
        num_classes: number of classes.
        model_args: the hyper-parameters of the subclass, resolved.
        classifier_layer: the output layer to use, for instance another model's `classifier`, so that the two share
            it; decides over those of the arguments below. It is built here unless it is already.
        feature_ranges: lowest and highest number that the bytes of each feature stand for; None: -2 and 2.
        input_normalization: what becomes of dequantized frames, a name in `plugins.INPUT_NORMALIZATIONS`: "l2", each
            frame to 2-norm 1 over all its features; "unwhiten", the first feature gets its variances back, by the
            `eigenvalues` that are a weight of the model then, to be set by `set_eigenvalues`; "none"; or a registered
            function. None: the family's own. Of a video-level model it only says what its reader has done.
        classifier: one of `classifiers`, "logistic" or "moe" (mixture of experts); None: the first.
        mixtures: experts for each class of "moe".
        moe_gating: "prob" or "input": the probabilities of "moe" are gated by themselves or by the representation.
        moe_gating_remove_diag: with "prob", no class gates itself.
        moe_gate_rank: the experts' gates are made by a product of two matrices of this inner size; 0: by one matrix.
        chooses_frames: whether the model has a `frame_scorer`, by which it chooses frames where "choices" are given.

    Call arguments:
        inputs: `{"frames": (batch, frames, features), "num_frames": int (batch,)}`. Frames are one a second, features
            the sum of `feature_sizes`. uint8 frames are dequantized, masked, and normalized as
            `input_normalization` says; float frames are taken as prepared and only masked. The frames of a video
            after its first `num_frames` are padding: whatever they hold, it has no effect. With "choices", bool
            (batch, k), the model sees only as many of the (uint8) frames as there are True ones, of its own choice.
        training: whether dropout is active and batch statistics are used and learned.
        return_intermediates: also return the model's named intermediate tensors.

    Returns:
        `{"representation": (batch, dim), "predictions": (batch, classes) in [0, 1]}`, float32; also "logits" where
        the classifier has them, and the intermediates. A video without frames has representation 0. Training with
        "choices" also gives what `losses.frame_choice_loss` takes: "candidate_scores", "candidate_predictions".

    Raises:
        UserError: an argument is outside its range, or `classifier_layer` is for other sizes.
    """

    # The family's own; of an instance, what it was constructed with.
    input_normalization: str = "none"
    # Whether it takes one float vector a video, of video-level records, instead of frames.
    video_level: ClassVar[bool] = False
    # The kinds of classifier that the model may have; the first is the default one.
    classifiers: ClassVar[tuple[str, ...]] = ("logistic", "moe")
    classifier_l2: ClassVar[float] = 1e-8
    regularize_classifier_bias: ClassVar[bool] = False

    def __init__(
        self,
        feature_sizes: Sequence[int],
        num_classes: int,
        *,
        model_args: dict[str, Any],
        classifier_layer: keras.layers.Layer | None = None,
        feature_ranges: Sequence[Sequence[float]] | None = None,
        input_normalization: str | None = None,
        classifier: str | None = None,
        mixtures: int = 2,
        moe_gating: str = "none",
        moe_gating_remove_diag: bool = False,
        moe_gate_rank: int = 0,
        chooses_frames: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.feature_sizes = checked_feature_sizes(feature_sizes)
        self.num_classes = checked_count("num_classes", num_classes)
        self.feature_ranges = checked_ranges(feature_ranges, self.feature_sizes)
        self.input_normalization = self._checked_normalization(input_normalization)
        # Draws the frames that are trained on; None: all. For `build_encoder` to set.
        self.frame_sampler: RandomFrames | None = None
        # Chooses the frames of a video where the caller leaves that to the model.
        self.frame_scorer: FrameScorer | None = None
        self.chooses_frames = chooses_frames
        self._model_args = dict(model_args)
        classifier_args = classifier_choice.checked_classifier_args(
            classifier or self.classifiers[0], mixtures, moe_gating, moe_gating_remove_diag, moe_gate_rank
        )
        self.classifier = self.new_classifier(classifier_args) if classifier_layer is None else classifier_layer
        classifier_choice.check_shared_classifier(self.classifier, num_classes)
        # The layer is what counts where both it and the arguments are given.
        classifier_args |= getattr(self.classifier, "model_args", {})
        shared = {"input_normalization": self.input_normalization, **classifier_args}
        defaults = self.argument_defaults()
        self._model_args = {**{name: shared[name] for name in shared if name in defaults}, **model_args}
        self.build()

    def __init_subclass__(cls, **kwargs: Any):
        """Registers the class for `.keras` files: "yt8m_distill>NetVLAD", "my_package>MyModel"."""
        super().__init_subclass__(**kwargs)
        keras.saving.register_keras_serializable(cls.__module__.partition(".")[0])(cls)

    @property
    def model_args(self) -> dict[str, Any]:
        """Every hyper-parameter with its resolved value; with it, the constructor gives the same architecture."""
        return dict(self._model_args)

    @property
    def frame_states_size(self) -> int | None:
        """Length of each of the "frame_states", an intermediate that a student can be matched to; None: no such one."""
        return None

    @property
    def encoder_variables(self) -> list[keras.Variable]:
        """The trainable variables without the classifier's."""
        classifier = {id(variable) for variable in self.classifier.variables}
        return [variable for variable in self.trainable_variables if id(variable) not in classifier]

    @property
    def video_kernels(self) -> list[keras.Variable]:
        """Large matrices that multiply one vector of each video, so that a few videos take as long as reading them."""
        return []

    @classmethod
    def args_for_frames(cls, frames: int) -> dict[str, Any]:
        """The model arguments that follow from the number of frames that the model gets."""
        del frames
        return {}

    @classmethod
    def argument_defaults(cls) -> dict[str, Any]:
        """Names and defaults of the hyper-parameters, from the constructor's signature and this class's."""
        class_defaults = {"input_normalization": cls.input_normalization, "classifier": cls.classifiers[0]}
        of_classifier = {**keyword_defaults(VideoModel.__init__), **class_defaults}
        if "moe" not in cls.classifiers:
            of_classifier = class_defaults
        if len(cls.classifiers) == 1:
            del of_classifier["classifier"]
        return {**of_classifier, **keyword_defaults(cls.__init__)}

    @abc.abstractmethod
    def build_encoder(self) -> int:
        """Creates and builds all layers but the classifier; returns the representation's dim."""

    @abc.abstractmethod
    def encode(self, frames: Any, mask: Any, training: bool, intermediates: dict[str, Any] | None) -> Any:
        """Computes the representation, (batch, dim).

        Args:
            frames: (batch, frames, features), zero on padding.
            mask: bool (batch, frames), True for real frames.
            training: as for the call.
            intermediates: to be filled with named tensors, or None where none are wanted.
        """

    def encoder_multiply_accumulates(self, frames: int) -> dict[str, int] | None:
        """`multiply_accumulates` without the classifier; None: unknown."""
        del frames
        return None

    def label_loss(self, loss: Callable, labels: Any, outputs: dict[str, Any], label_weights: Any = None) -> Any:
        """What training on the labels minimizes; a model may add terms of its own.

        Args:
            loss: function of (labels, outputs, label_weights), averaged over the videos.
            labels: (batch, classes).
            outputs: of the call.
            label_weights: (batch, classes), or None.
        """
        return loss(labels, outputs, label_weights)

    def branch_model(self, index: int) -> "VideoModel":
        """One of the models that this one is a mixture of, with the same weights.

        Raises:
            UserError: it does not exist.
        """
        raise UserError(f"branch={index}: {type(self).__name__} has no branches; MixNeXtVLAD has.")

    def multiply_accumulates(self, frames: int) -> dict[str, int] | None:
        """Multiply-accumulates, by layer, for one video of `frames` frames; element-wise work is not counted.

        None where they are unknown: the model or its classifier does not state them, or a class that computes something
        else than the one that states them inherits them.
        """
        encoder = self.encoder_multiply_accumulates(frames) if _states_compute(type(self)) else None
        of_classifier = getattr(self.classifier, "multiply_accumulates", None)
        classifier = None if of_classifier is None else of_classifier()
        if encoder is None or classifier is None:
            return None
        return {**encoder, "classifier": classifier}

    def build(self, input_shape: Any = None) -> None:
        """Creates all variables; the input's shape is not needed. Called by the constructor."""
        if self.built:
            return
        self.eigenvalues: Any = None
        if self.input_normalization == "unwhiten":  # a weight, so that it travels with the model
            self.eigenvalues = self.add_weight(
                shape=(self.feature_sizes[0],),
                initializer="ones",
                trainable=False,
                dtype="float32",
                autocast=False,
                name="eigenvalues",
            )
        dim = self.representation_size = self.build_encoder()
        if not self.classifier.built:
            self.classifier.build((None, dim))
        if self.chooses_frames:  # the last variables: the others are those of a model without it
            self.frame_scorer = FrameScorer(self.feature_sizes, name="frame_scorer")
            self.frame_scorer.build()
        expected = classifier_choice.input_size(self.classifier)
        if expected not in (None, dim):
            raise UserError(
                f"The shared classifier takes representations of {expected} numbers, but {type(self).__name__} with "
                f"these arguments makes {dim}: teacher and student need representations of one size."
            )

    def call(
        self, inputs: dict[str, Any], training: bool = False, return_intermediates: bool = False
    ) -> dict[str, Any]:
        frames, num_frames = inputs["frames"], inputs["num_frames"]
        more_outputs: dict[str, Any] = {}
        if "choices" in inputs:
            frames, num_frames, more_outputs = self._chosen(inputs, training)
        if training and self.frame_sampler is not None:
            frames, num_frames = self.frame_sampler(frames, num_frames)
        mask = frame_mask(num_frames, ops.shape(frames)[1])
        intermediates: dict[str, Any] | None = {} if return_intermediates else None
        representation = self.encode(self.prepare_frames(frames, mask), mask, training, intermediates)
        # Batch normalization makes something of nothing; a video without frames shall stay nothing.
        has_frames = ops.any(mask, axis=1)
        representation = ops.where(has_frames[:, None], ops.cast(representation, "float32"), ops.cast(0.0, "float32"))
        options = {"mask": has_frames, "training": training} if isinstance(self.classifier, MaskedLayer) else {}
        outputs = self.classifier(self.classifier_input(representation, training), **options)
        return {"representation": representation, **outputs, **(intermediates or {}), **more_outputs}

    def prepare_frames(self, frames: Any, mask: Any) -> Any:
        """Frames as the network takes them: zero on padding; uint8 ones dequantized and normalized before."""
        return input_normalization.prepared(frames, mask, self)

    def _chosen(self, inputs: dict[str, Any], training: bool) -> tuple[Any, Any, dict[str, Any]]:
        """The frames that the scorer chooses, and their number; in training also what the scorer learns from."""
        if self.frame_scorer is None:
            raise UserError(f"{type(self).__name__} has no scorer of frames: it was not trained to choose them.")
        # A video may have fewer frames than choices.
        frames = append_frames(inputs["frames"], ops.shape(inputs["choices"])[1])
        choice = self.frame_scorer(frames, inputs["num_frames"], inputs["choices"], training=training)
        candidates = self._candidates(frames, choice, self.frame_scorer) if training else {}
        return ops.take_along_axis(frames, choice.indices[..., None], axis=1), choice.counts, candidates

    def _candidates(self, frames: Any, choice: Choice, scorer: FrameScorer) -> dict[str, Any]:
        """Scores of a few frames of one part of each video, and what the model predicts with each of them."""
        indices, there, sets = scorer.candidates(choice)
        flat = ops.reshape(sets, (ops.shape(sets)[0], -1))
        seen = ops.reshape(
            ops.take_along_axis(frames, flat[..., None], axis=1), (-1, ops.shape(sets)[2], frames.shape[-1])
        )
        counts = ops.reshape(ops.where(there, choice.counts[:, None], 0), (-1,))
        outputs = self({"frames": seen, "num_frames": counts}, training=False)
        predictions = ops.stop_gradient(outputs["predictions"])
        return {
            "candidate_scores": scores_of(choice, indices, there),
            "candidate_predictions": ops.reshape(predictions, (-1, indices.shape[1], self.num_classes)),
        }

    @property
    def chosen_by(self) -> list[keras.Variable]:
        """The variables of the scorer of frames."""
        return [] if self.frame_scorer is None else self.frame_scorer.variables

    def set_eigenvalues(self, values: Any):
        """Sets what "unwhiten" multiplies by: (size of the first feature,), at least 0."""
        self.eigenvalues.assign(values)

    def _checked_normalization(self, name: str | None) -> str:
        if self.video_level and name not in (None, "l2", "none"):
            raise UserError(f"input_normalization={name} is for frames; video-level features are means of them.")
        return checked_choice("input_normalization", name or self.input_normalization, INPUT_NORMALIZATIONS.names())

    def classifier_input(self, representation: Any, training: bool) -> Any:
        """What the classifier sees of the representation; a model may add dropout here."""
        del training
        return representation

    def split_features(self, frames: Any) -> list[Any]:
        """One tensor (batch, frames, size) for each feature."""
        return ops.split(frames, _offsets(self.feature_sizes), axis=-1) if len(self.feature_sizes) > 1 else [frames]

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "feature_sizes": list(self.feature_sizes),
            "num_classes": self.num_classes,
            "classifier_layer": keras.saving.serialize_keras_object(self.classifier),
            **({} if self.feature_ranges is None else {"feature_ranges": [list(ends) for ends in self.feature_ranges]}),
            **({"chooses_frames": True} if self.chooses_frames else {}),
            **self.model_args,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "VideoModel":
        del custom_objects
        layer = keras.saving.deserialize_keras_object(config["classifier_layer"])
        policy = keras.saving.deserialize_keras_object(config["dtype"])
        return cls(**{**config, "classifier_layer": layer, "dtype": policy})

    def new_classifier(self, args: dict[str, Any]) -> keras.layers.Layer:
        """The output layer that the classifier's arguments describe; `model_args` are the subclass's own by then."""
        return classifier_choice.make_classifier(self, args)


def _states_compute(model_class: type[VideoModel]) -> bool:
    """Whether no class overrides methods below the one whose count of multiply-accumulates it has."""
    for each in model_class.__mro__:
        methods = {name for name, value in vars(each).items() if inspect.isfunction(value)}
        if VideoModel.encoder_multiply_accumulates.__name__ in methods:
            return True
        if methods - {"__init__", "label_loss", "set_eigenvalues", "get_config", "branch_model"}:
            return False
    return False


def stream_share(count: int, stream: int) -> int:
    """A feature's part of `count` clusters or groups: the first has all, each further one half, at least 1."""
    return count if stream == 0 else max(count // 2, 1)


def _offsets(sizes: Sequence[int]) -> list[int]:
    """Where each feature but the first begins."""
    return [sum(sizes[:index]) for index in range(1, len(sizes))]
