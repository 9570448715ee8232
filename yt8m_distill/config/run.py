"""The configuration of a run: what was asked for, resolved; the content of `config.json`."""

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from yt8m_distill.config.dataset import LONGEST_VIDEO, DatasetSpec
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.config.settings import setting
from yt8m_distill.config.training import TrainConfig, TrainingMode
from yt8m_distill.plugins import MODELS

TRAINED_ROLES = {
    "serial": ("student",),
    "parallel": ("teacher", "student"),
    "teacher": ("teacher",),
    "baseline": ("student",),
}


@dataclass(frozen=True)
class RunConfig(TrainConfig):
    """A training run with every setting resolved, as `config.json` of its directory holds it.

    `training.resolve` makes it from a `TrainConfig`, `RunDir.read_config` reads it.

    Attributes:
        training_mode: as in `TrainConfig`, but never None.
        data: the format of the records.
        working_directory: that relative paths are from, see `runs.locations`; None: there are none, or it is not known.

    Example:
        >>> data = DatasetSpec("my data", "id", ("rgb",), (4,), num_classes=3, max_frames=50)
        >>> run = RunConfig("NeXtVLAD", "baseline", selection=FrameSelection(k=10), data=data)
        >>> run.main_role, run.trained_roles, run.frames_of("student")
        ('student', ('student',), 10)
    """

    training_mode: TrainingMode = setting("serial", "Models that are trained.")
    data: DatasetSpec = field(kw_only=True)
    working_directory: str | None = field(default=None, kw_only=True, metadata={"newer": True})

    @classmethod
    def of(cls, config: TrainConfig, **resolved: Any) -> "RunConfig":
        """A configuration with its fields, but for those that are resolved."""
        values = {item.name: getattr(config, item.name) for item in dataclasses.fields(config)}
        return cls(**{**values, **resolved})

    @functools.cached_property
    def model_class(self) -> type[Any]:
        """The class of the models, a subclass of `models.VideoModel`.

        Raises:
            UserError: there is no such model.
        """
        return MODELS.get(self.model)

    @property
    def trained_roles(self) -> tuple[str, ...]:
        """The models that the run trains, "teacher" and "student"; the teacher of serial training is another run's."""
        return TRAINED_ROLES[self.training_mode]

    @property
    def main_role(self) -> str:
        """The student, or the teacher where there is no student."""
        return self.trained_roles[-1]

    def model_args_of(self, role: str) -> Mapping[str, Any]:
        """The constructor arguments of the "student" or "teacher"."""
        return {**self.model_args, **self.student_model_args} if role == "student" else self.model_args

    def selection_of(self, role: str) -> FrameSelection:
        """The frames that the "student" or "teacher" is trained with."""
        return ALL_FRAMES if role == "teacher" else self.selection

    def frames_of(self, role: str) -> int:
        """Frames that the "student" or "teacher" sees at most; unbounded videos are taken as YouTube-8M's longest."""
        return self.selection_of(role).frames(self.data.longest_example or LONGEST_VIDEO)
