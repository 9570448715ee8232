"""The classes of this package that `.keras` files name, known to Keras without being imported.

A file names its classes, "yt8m_distill>NetVLAD", and Keras finds those that are registered with it. The package's
register themselves when they are imported, which needs Keras. So that `import yt8m_distill` is enough, Keras is given a
stand-in for each of them: at once where it is imported, else at the end of its import. A stand-in imports the class
when a file asks for it.
"""

import importlib
import importlib.machinery
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

_PACKAGE = "yt8m_distill"
# By the module that registers them when it is imported.
CLASSES = {
    "layers": (
        *("BranchMixture", "ContextGating", "LogisticClassifier", "MaskedBatchNormalization", "MixtureOfExperts"),
        *("NeXtVLADPooling", "NetVLADPooling", "RandomFrames", "SEContextGating", "StackedLSTM"),
    ),
    "losses": ("CorrelationLoss", "LabelLoss", "PredictionLoss", "RepresentationLoss"),
    "metrics.keras_metrics": ("GlobalAveragePrecision", "MeanAveragePrecision"),
    "models": (
        *("Dbof", "FrameLevelLogistic", "FrameScorer", "HierarchicalRNN", "Logistic", "Lstm", "MixNeXtVLAD", "Moe"),
        *("NeXtVLAD", "NetVLAD"),
    ),
    "training.fused_adam": ("FusedAdam", "FusedAdamW"),
}


class StandIn:
    """Takes the place of a class that is not imported.

    Args:
        registered_name: of the class, for Keras.
        module: that registers it.
    """

    def __init__(self, registered_name: str, module: str):
        self._name = registered_name
        self._module = module

    def from_config(self, config: Mapping[str, Any]) -> Any:
        """An object of the class, which replaces the stand-in."""
        importlib.import_module(self._module)
        # Not `get_registered_object`, which may still give the stand-in to a file that is being loaded.
        return sys.modules["keras"].saving.get_custom_objects()[self._name].from_config(config)


class _AfterKeras:
    """Finds Keras as the other finders do, and announces the classes when it has been imported."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> Any:
        if name != "keras":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            loader.exec_module = _followed(loader.exec_module)
        return spec


def _followed(execute: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    def exec_module(module: ModuleType):
        execute(module)
        _announce(module)

    return exec_module


def announce_classes():
    """Lets Keras know the classes, now or when it is imported."""
    keras = sys.modules.get("keras")
    if hasattr(keras, "saving"):
        _announce(keras)
    elif _AfterKeras not in sys.meta_path:
        sys.meta_path.insert(0, _AfterKeras)


def _announce(keras: ModuleType):
    known = keras.saving.get_custom_objects()
    for module, names in CLASSES.items():
        for name in names:
            registered = f"{_PACKAGE}>{name}"
            known.setdefault(registered, StandIn(registered, f"{_PACKAGE}.{module}"))
