"""Means of the loss terms over an epoch, whose running means start again every few steps."""

from collections.abc import Mapping

from yt8m_distill.distiller import LabelTrainer


class EpochMeans:
    """Adds up the running means of a step model.

    Args:
        step_model: whose running means are read.
    """

    def __init__(self, step_model: LabelTrainer):
        self.step_model = step_model
        self._kept: dict[str, list[float]] = {}
        self.start()

    def start(self):
        """From here on an epoch is counted: what is in the running means is the one before."""
        self._kept = {name: [-total, -count] for name, (total, count) in self.step_model.sums().items()}

    def keep(self):
        """Before the running means start again."""
        self._kept = self._sums()

    def result(self) -> dict[str, float]:
        """The means so far; empty before the first step."""
        return {name: total / count for name, (total, count) in self._sums().items() if count > 0}

    def state(self) -> dict[str, list[float]]:
        """What `restore` takes, where the running means are stored as well."""
        return self._kept

    def restore(self, state: Mapping[str, list[float]]):
        """Goes on where `state` was."""
        self._kept = {name: list(sums) for name, sums in state.items()}

    def _sums(self) -> dict[str, list[float]]:
        running = self.step_model.sums()
        return {
            name: [kept + now for kept, now in zip(self._kept[name], running[name], strict=True)] for name in running
        }
