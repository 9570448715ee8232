"""The output layers of several branches, whose logits are mixed."""

from typing import Any

import keras
from keras import ops

from yt8m_distill.layers.classifiers import LogisticClassifier


@keras.saving.register_keras_serializable("yt8m_distill")
class BranchMixture(keras.layers.Layer):
    """A logistic classifier for each branch; their logits, weighted and summed up, are the mixture's.

    Args:
        num_classes: number of classes.
        branches: number of branches.
        l2_penalty: as for `LogisticClassifier`.
        regularize_bias: as for `LogisticClassifier`.

    Call arguments:
        inputs: (batch, branches * dim + branches): the branches' representations, one after the other, and numbers of
            which the softmax is the weight of each branch.

    Returns:
        `{"predictions": (batch, classes) in [0, 1], "logits": (batch, classes)}` of the mixture, and "branch_logits"
        (batch, branches, classes), float32.

    Source: NeXtVLAD, section 3.5, equations 12 and 13.
    """

    kind = "logistic"

    def __init__(
        self, num_classes: int, branches: int, l2_penalty: float = 1e-8, regularize_bias: bool = False, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.branches = branches
        self.l2_penalty = l2_penalty
        self.regularize_bias = regularize_bias
        for index in range(branches):
            layer = LogisticClassifier(
                num_classes, l2_penalty, regularize_bias, dtype=self.dtype_policy, name=f"branch_{index}"
            )
            # An attribute each, as tf.train.Checkpoint does not look into lists.
            setattr(self, f"branch_{index}", layer)

    @property
    def classifiers(self) -> list[LogisticClassifier]:
        """The classifier of each branch."""
        return [getattr(self, f"branch_{index}") for index in range(self.branches)]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        input_size: Any = input_shape[-1]
        self.input_size = input_size
        for classifier in self.classifiers:
            if not classifier.built:
                classifier.build((None, input_size // self.branches - 1))

    def call(self, inputs: Any) -> dict[str, Any]:
        representations, weights = inputs[:, : -self.branches], ops.softmax(inputs[:, -self.branches :])
        representations = ops.split(representations, self.branches, axis=-1)
        pairs = zip(self.classifiers, representations, strict=True)
        logits = ops.stack([classifier(inputs)["logits"] for classifier, inputs in pairs], axis=1)
        mixed = ops.sum(logits * weights[..., None], axis=1)
        return {"predictions": ops.sigmoid(mixed), "logits": mixed, "branch_logits": logits}

    def multiply_accumulates(self) -> int:
        """Multiply-accumulates for one video; the weighted sum is element-wise and not counted."""
        return sum(classifier.multiply_accumulates() for classifier in self.classifiers)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "branches": self.branches,
            "l2_penalty": self.l2_penalty,
            "regularize_bias": self.regularize_bias,
        }
