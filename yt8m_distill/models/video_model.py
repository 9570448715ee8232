"""What every model of this package has in common: inputs, outputs, classifier, configuration."""

import abc
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from yt8m_distill.errors import UserError
from yt8m_distill.layers import (
    LogisticClassifier,
    MaskedLayer,
    MixtureOfExperts,
    RandomFrames,
    frame_mask,
    l2_normalize,
)
from yt8m_distill.models.argument_checks import (
    checked_choice,
    checked_count,
    checked_feature_sizes,
    checked_flag,
    keyword_defaults,
)
from yt8m_distill.quantization import dequantize, reverse_whitening

INPUT_NORMALIZATIONS = ("l2", "unwhiten", "none")
MOE_GATINGS = ("none", "input", "prob")


class VideoModel(keras.Model, abc.ABC):
    """Encodes the frames of a video into one vector and classifies that.

    A model is built as soon as it is constructed, works for any number of frames, and does not know whether it is
    teacher or student. A model of one's own subclasses this, has its hyper-parameters as keyword arguments of its
    constructor, hands all others on to this one, and implements `build_encoder` and `encode`.

    Args:
        feature_sizes: length of each feature of a frame, in the order in which they stand in `frames`.
        num_classes: number of classes.
        model_args: the hyper-parameters of the subclass, resolved.
        classifier_layer: the output layer to use, for instance another model's `classifier`, so that the two share
            it; decides over those of the arguments below. It is built here unless it is already.
        input_normalization: what becomes of dequantized frames: "l2", each frame to 2-norm 1 over all its features;
            "unwhiten", the first feature gets its variances back, by the `eigenvalues` that are a weight of the model
            then, to be set by `set_eigenvalues`; or "none". None: the family's own. Of a video-level model it only
            says what its reader has done.
        classifier: one of `classifiers`, "logistic" or "moe" (mixture of experts); None: the first.
        mixtures: experts for each class of "moe".
        moe_gating: "prob" or "input": the probabilities of "moe" are gated by themselves or by the representation.
        moe_gating_remove_diag: with "prob", no class gates itself.
        moe_gate_rank: the experts' gates are made by a product of two matrices of this inner size; 0: by one matrix.

    Call arguments:
        inputs: `{"frames": (batch, frames, features), "num_frames": int (batch,)}`. Frames are one a second, features
            the sum of `feature_sizes`. uint8 frames are dequantized, masked, and normalized as
            `input_normalization` says; float frames are taken as prepared and only masked. The frames of a video
            after its first `num_frames` are padding: whatever they hold, it has no effect.
        training: whether dropout is active and batch statistics are used and learned.
        return_intermediates: also return the model's named intermediate tensors.

    Returns:
        `{"representation": (batch, dim), "predictions": (batch, classes) in [0, 1]}`, float32; also "logits" where
        the classifier has them, and the intermediates. A video without frames has representation 0.

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
        input_normalization: str | None = None,
        classifier: str | None = None,
        mixtures: int = 2,
        moe_gating: str = "none",
        moe_gating_remove_diag: bool = False,
        moe_gate_rank: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.feature_sizes = checked_feature_sizes(feature_sizes)
        self.num_classes = checked_count("num_classes", num_classes)
        self.input_normalization = self._checked_normalization(input_normalization)
        # Draws the frames that are trained on; None: all. For `build_encoder` to set.
        self.frame_sampler: RandomFrames | None = None
        self._model_args = dict(model_args)
        of_classifier = {
            "classifier": classifier or self.classifiers[0],
            "mixtures": checked_count("mixtures", mixtures),
            "moe_gating": checked_choice("moe_gating", moe_gating, MOE_GATINGS),
            "moe_gating_remove_diag": checked_flag("moe_gating_remove_diag", moe_gating_remove_diag),
            "moe_gate_rank": checked_count("moe_gate_rank", moe_gate_rank, least=0),
        }
        if classifier_layer is None:
            classifier_layer = self.new_classifier(**of_classifier)
        self.classifier = _checked_classifier(classifier_layer, num_classes)
        # The layer is what counts where both it and the arguments are given.
        of_classifier |= getattr(classifier_layer, "model_args", {})
        known = self.argument_defaults()
        shared = {"input_normalization": self.input_normalization, **of_classifier}
        self._model_args = {**{name: shared[name] for name in shared if name in known}, **model_args}
        self.build()

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

    @classmethod
    def args_for_frames(cls, frames: int) -> dict[str, Any]:
        """The model arguments that follow from the number of frames that the model gets."""
        del frames
        return {}

    @classmethod
    def argument_defaults(cls) -> dict[str, Any]:
        """Names and defaults of the hyper-parameters, from the constructor's signature and this class's."""
        own = {"input_normalization": cls.input_normalization, "classifier": cls.classifiers[0]}
        of_classifier = {**keyword_defaults(VideoModel.__init__), **own}
        if "moe" not in cls.classifiers:
            of_classifier = own
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

    @abc.abstractmethod
    def encoder_multiply_accumulates(self, frames: int) -> dict[str, int]:
        """`multiply_accumulates` without the classifier."""

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
            UserError: there is no such one.
        """
        raise UserError(f"--branch={index}: {type(self).__name__} has no branches; it goes with MixNeXtVLAD.")

    def multiply_accumulates(self, frames: int) -> dict[str, int]:
        """Multiply-accumulates, by layer, for one video of `frames` frames; element-wise work is not counted."""
        return {
            **self.encoder_multiply_accumulates(frames),
            "classifier": self.classifier.multiply_accumulates(),
        }

    def build(self, input_shape: Any = None) -> None:
        """Creates all variables; the input's shape is not needed. Called by the constructor."""
        if self.built:
            return
        self.eigenvalues = None
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
        expected = _classifier_input_size(self.classifier)
        if expected not in (None, dim):
            raise UserError(
                f"The shared classifier takes representations of {expected} numbers, but {type(self).__name__} with "
                f"these arguments makes {dim}: teacher and student need representations of one size."
            )

    def call(
        self, inputs: dict[str, Any], training: bool = False, return_intermediates: bool = False
    ) -> dict[str, Any]:
        frames, num_frames = inputs["frames"], inputs["num_frames"]
        if training and self.frame_sampler is not None:
            frames, num_frames = self.frame_sampler(frames, num_frames)
        mask = frame_mask(num_frames, ops.shape(frames)[1])
        intermediates = {} if return_intermediates else None
        representation = self.encode(self.prepare_frames(frames, mask), mask, training, intermediates)
        # Batch normalization makes something of nothing; a video without frames shall stay nothing.
        has_frames = ops.any(mask, axis=1)
        representation = ops.where(has_frames[:, None], ops.cast(representation, "float32"), ops.cast(0.0, "float32"))
        options = {"mask": has_frames, "training": training} if isinstance(self.classifier, MaskedLayer) else {}
        outputs = self.classifier(self.classifier_input(representation, training), **options)
        return {"representation": representation, **outputs, **(intermediates or {})}

    def prepare_frames(self, frames: Any, mask: Any) -> Any:
        """Frames as the network takes them: zero on padding; uint8 ones dequantized and normalized before."""
        raw = keras.backend.standardize_dtype(frames.dtype) == "uint8"
        if raw:
            frames = dequantize(frames)
        if raw and self.eigenvalues is not None:
            first, *others = self.split_features(frames)
            frames = ops.concatenate([reverse_whitening(first, self.eigenvalues), *others], axis=-1)
        frames = ops.where(mask[..., None], frames, ops.cast(0.0, frames.dtype))
        if raw and self.input_normalization == "l2":
            frames = l2_normalize(frames)
        return ops.cast(frames, self.compute_dtype)

    def set_eigenvalues(self, values: Any):
        """Sets what "unwhiten" multiplies by: (size of the first feature,), at least 0."""
        self.eigenvalues.assign(values)

    def _checked_normalization(self, given: str | None) -> str:
        if self.video_level and given == "unwhiten":
            raise UserError("input_normalization=unwhiten is for frames; video-level features are means of them.")
        return checked_choice("input_normalization", given or self.input_normalization, INPUT_NORMALIZATIONS)

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
            **self.model_args,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "VideoModel":
        del custom_objects
        layer = keras.saving.deserialize_keras_object(config["classifier_layer"])
        policy = keras.saving.deserialize_keras_object(config["dtype"])
        return cls(**{**config, "classifier_layer": layer, "dtype": policy})

    def new_classifier(
        self,
        classifier: str,
        mixtures: int,
        moe_gating: str,
        moe_gating_remove_diag: bool,
        moe_gate_rank: int,
    ) -> keras.layers.Layer:
        """The output layer that the arguments describe; `model_args` are the subclass's own by then."""
        if classifier not in self.classifiers:
            raise UserError(f"Unknown classifier {classifier!r}. Allowed: {', '.join(self.classifiers)}.")
        # float32 in every precision policy: losses need it.
        options = {"l2_penalty": self.classifier_l2, "dtype": "float32", "name": "classifier"}
        if classifier == "logistic":
            if moe_gating != "none" or moe_gate_rank or moe_gating_remove_diag:
                raise UserError("arguments that begin with moe_ go with classifier=moe only.")
            return LogisticClassifier(self.num_classes, regularize_bias=self.regularize_classifier_bias, **options)
        if moe_gating_remove_diag and moe_gating != "prob":
            raise UserError("moe_gating_remove_diag goes with moe_gating=prob only.")
        return MixtureOfExperts(
            self.num_classes,
            mixtures,
            gating=moe_gating,
            remove_diagonal=moe_gating_remove_diag,
            gate_rank=moe_gate_rank,
            **options,
        )


def stream_share(count: int, stream: int) -> int:
    """A feature's part of `count` clusters or groups: the first has all, each further one half, at least 1."""
    return count if stream == 0 else max(count // 2, 1)


def _checked_classifier(layer: keras.layers.Layer, num_classes: int) -> keras.layers.Layer:
    classes = getattr(layer, "num_classes", num_classes)
    if classes != num_classes:
        raise UserError(f"The shared classifier has {classes} classes, the model is to have {num_classes}.")
    return layer


def _classifier_input_size(layer: keras.layers.Layer) -> int | None:
    """Length of the vectors that a built classifier takes, where that can be known."""
    if hasattr(layer, "input_size"):
        return layer.input_size
    matrices = [variable for variable in layer.trainable_variables if len(variable.shape) == 2]
    return matrices[0].shape[0] if matrices else None


def _offsets(sizes: Sequence[int]) -> list[int]:
    """Where each feature but the first begins."""
    return [sum(sizes[:index]) for index in range(1, len(sizes))]
