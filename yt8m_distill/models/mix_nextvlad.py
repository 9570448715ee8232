"""Several NeXtVLAD models side by side, whose mixture teaches each of them."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from yt8m_distill.errors import UserError
from yt8m_distill.layers import BranchMixture, MaskedBatchNormalization, mean_over_frames
from yt8m_distill.models.argument_checks import checked_count, checked_number
from yt8m_distill.models.nextvlad import NeXtVLAD
from yt8m_distill.models.video_model import VideoModel
from yt8m_distill.plugins import register_model

SMALLEST_TEMPERATURE = 0.01


@register_model()
class MixNeXtVLAD(VideoModel):
    """NeXtVLAD models with weights of their own; the mean frame decides how their logits are mixed.

    Training on labels has the loss of the mixture, that of each branch, and the divergence of each branch from the
    mixture; see `label_loss`.

    Args:
        feature_sizes: as for `VideoModel`.
        num_classes: as for `VideoModel`.
        branches: number of NeXtVLAD models.
        temperature: T, which divides the logits before the divergence is taken.
        kl_weight: factor of T^2 times the divergence; 1 is the paper's, 0 leaves it out.
        clusters, groups, hidden_size, expansion, gating_reduction, dropout: of each branch, as for `NeXtVLAD`.
        **kwargs: as for `VideoModel`.

    Call arguments, returns: as for `VideoModel`, and "branch_logits" (batch, branches, classes). The representation is
    what the branches' classifiers and their mixture see: the branches' representations one after the other, and the
    logits of the mixture's weights, branches * (hidden_size + 1) numbers. Intermediates: those of each branch, their
    names with "_branch_i" at the end.

    Raises:
        UserError: an argument is outside its range.

    Source: NeXtVLAD (Lin et al., 2018), section 3.5, and the authors' code.
    Differs: padded frames enter no mean frame; they do in the original, which averages all 300.
    """

    classifiers = ("logistic",)
    classifier_l2 = NeXtVLAD.classifier_l2
    regularize_classifier_bias = NeXtVLAD.regularize_classifier_bias

    def __init__(
        self,
        feature_sizes: Sequence[int],
        num_classes: int,
        *,
        branches: int = 3,
        temperature: float = 3.0,
        kl_weight: float = 1.0,
        clusters: int = 112,
        groups: int = 8,
        hidden_size: int = 2048,
        expansion: int = 2,
        gating_reduction: int = 16,
        dropout: float = 0.5,
        **kwargs: Any,
    ):
        super().__init__(
            feature_sizes,
            num_classes,
            model_args={
                "branches": checked_count("branches", branches),
                "temperature": checked_number("temperature", temperature, SMALLEST_TEMPERATURE),
                "kl_weight": checked_number("kl_weight", kl_weight, 0.0),
                # checked by the branches
                "clusters": clusters,
                "groups": groups,
                "hidden_size": hidden_size,
                "expansion": expansion,
                "gating_reduction": gating_reduction,
                "dropout": dropout,
            },
            **kwargs,
        )

    def new_classifier(self, args: dict[str, Any]) -> keras.layers.Layer:
        super().new_classifier(args)  # for its checks
        return BranchMixture(
            self.num_classes,
            self.model_args["branches"],
            self.classifier_l2,
            self.regularize_classifier_bias,
            dtype="float32",
            name="classifier",
        )

    def build_encoder(self) -> int:
        args, policy = self.model_args, {"dtype": self.dtype_policy}
        mixture_args = ("branches", "temperature", "kl_weight")
        of_branch = {name: value for name, value in args.items() if name not in mixture_args}
        if getattr(self.classifier, "branches", None) != args["branches"]:
            raise UserError(f"The shared classifier must be that of a MixNeXtVLAD with {args['branches']} branches.")
        for index, classifier in enumerate(self.classifier.classifiers):
            branch = NeXtVLAD(
                self.feature_sizes,
                self.num_classes,
                classifier_layer=classifier,
                feature_ranges=self.feature_ranges,
                name=f"branch_{index}",
                **policy,
                **of_branch,
            )
            # An attribute each, as tf.train.Checkpoint does not look into lists.
            setattr(self, f"branch_{index}", branch)
        self.mixture_bn = MaskedBatchNormalization(unbiased=True, name="mix_weights_bn", **policy)
        self.mixture_bn.build((None, sum(self.feature_sizes)))
        self.mixture = keras.layers.Dense(
            args["branches"], kernel_initializer=keras.initializers.VarianceScaling(2.0), name="mix_weights", **policy
        )
        self.mixture.build((None, sum(self.feature_sizes)))
        return args["branches"] * (args["hidden_size"] + 1)

    @property
    def branches(self) -> list[NeXtVLAD]:
        """The branches, each a model that can be used by itself."""
        return [getattr(self, f"branch_{index}") for index in range(self.model_args["branches"])]

    @property
    def video_kernels(self) -> list[keras.Variable]:
        """Those of the branches."""
        return [kernel for branch in self.branches for kernel in branch.video_kernels]

    def branch_model(self, index: int) -> NeXtVLAD:
        if not 0 <= index < len(self.branches):
            raise UserError(f"branch={index}: the model has the branches 0 to {len(self.branches) - 1}.")
        return self.branches[index]

    def set_eigenvalues(self, values: Any):
        super().set_eigenvalues(values)
        for branch in self.branches:
            branch.set_eigenvalues(values)

    def encode(self, frames: Any, mask: Any, training: bool, intermediates: dict[str, Any] | None) -> Any:
        parts = []
        for branch in self.branches:
            of_branch: dict[str, Any] = {}
            parts.append(branch.encode(frames, mask, training, None if intermediates is None else of_branch))
            if intermediates is not None:
                intermediates |= {f"{name}_{branch.name}": value for name, value in of_branch.items()}
        mean = self.mixture_bn(mean_over_frames(frames, mask), mask=ops.any(mask, axis=1), training=training)
        return ops.concatenate([*parts, self.mixture(mean)], axis=-1)

    def label_loss(self, loss: Callable, labels: Any, outputs: dict[str, Any], label_weights: Any = None) -> Any:
        """The loss of the mixture, of each branch, and their divergences.

        That is L(mixture) + sum_m L(branch m) + kl_weight * T^2 * sum_m KL(p || p_m), p the softmax over the classes of
        the mixture's logits divided by T, p_m that of the branch's; averaged over the videos. Gradients also pass
        through p.

        Source: NeXtVLAD, equation 16; the authors' cl_lambda is kl_weight * T^2.
        Differs: no epsilon in the logarithms.
        """
        total = loss(labels, outputs, label_weights)
        for logits in ops.unstack(outputs["branch_logits"], len(self.branches), axis=1):
            total += loss(labels, {"logits": logits, "predictions": ops.sigmoid(logits)}, label_weights)
        temperature = self.model_args["temperature"]
        mixed = ops.log_softmax(outputs["logits"] / temperature)[:, None]
        branches = ops.log_softmax(outputs["branch_logits"] / temperature)
        divergence = ops.mean(ops.sum(ops.exp(mixed) * (mixed - branches), axis=(1, 2)))
        return total + self.model_args["kl_weight"] * temperature**2 * divergence

    def encoder_multiply_accumulates(self, frames: int) -> dict[str, int]:
        counts = {
            f"{branch.name}/{step}": count
            for branch in self.branches
            for step, count in branch.encoder_multiply_accumulates(frames).items()
        }
        return {**counts, "mixture": math.prod(self.mixture.kernel.shape)}
