"""Weights of losses by the share of the gradient that each of them is to have."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from yt8m_distill.errors import UserError

MEASURED_STEPS = 20


class GradientShares:
    """Weights that give each of several losses a share of the gradient, by what is measured in the first steps.

    A loss has the weight share * (sum of all norms) / (its own norm), so that the weighted norms have the ratios of the
    shares, and the sum of those of losses of weight 1. Norms are summed over `MEASURED_STEPS` steps; the weights follow
    from those that were measured until then, and no longer change afterwards.

    Args:
        shares: of each loss, by name; only their ratios count.

    Attributes:
        shares: as given, with the sum 1.
        variables: what a checkpoint has to store.

    Raises:
        UserError: a share is not above 0, or there are none.

    Example:
        >>> shares = GradientShares({"rep": 1, "ce": 3})
        >>> shares.add(ops.array([0.5, 1.5]))
        >>> shares.by_name()
        {'rep': 1.0, 'ce': 1.0}
        >>> shares.add(ops.array([0.5, 0.5]))  # the sums are 1 and 2
        >>> shares.by_name()
        {'rep': 0.75, 'ce': 1.125}
    """

    def __init__(self, shares: Mapping[str, float]):
        total = sum(shares.values())
        if not shares or not all(share > 0 for share in shares.values()):
            raise UserError(f"loss_shares must be one number above 0 for each loss, not {dict(shares)}.")
        self.shares = {name: share / total for name, share in shares.items()}
        self._norms = keras.Variable([0.0] * len(shares), trainable=False, name="gradient_norms")
        self._steps = keras.Variable(0, trainable=False, dtype="int32", name="measured_steps")
        self._done = False

    @property
    def variables(self) -> list[keras.Variable]:
        """The sums of the norms, and of how many steps."""
        return [self._norms, self._steps]

    @property
    def done(self) -> bool:
        """Whether the weights no longer change."""
        self._done = self._done or int(self._steps.numpy()) >= MEASURED_STEPS
        return self._done

    def add(self, norms: Any):
        """Counts the norms of a step, (losses,); a step with one that is not finite measures nothing."""
        finite = ops.all(ops.isfinite(norms))
        self._norms.assign(self._norms + ops.where(finite, norms, ops.zeros_like(norms)))
        self._steps.assign(self._steps + 1)

    def weights(self) -> Any:
        """The weight of each loss, (losses,); as if all norms were equal before anything is measured."""
        norms = self._norms + ops.cast(ops.all(self._norms == 0), "float32")
        shares = ops.convert_to_tensor(list(self.shares.values()), "float32")
        # A loss that has had no gradient, such as a distance of equals, gets a weight once it has one.
        return ops.where(norms > 0, shares * ops.sum(norms) / ops.where(norms > 0, norms, 1.0), 0.0)

    def by_name(self) -> dict[str, float]:
        """The weights as numbers."""
        return dict(zip(self.shares, map(float, self.weights()), strict=True))
