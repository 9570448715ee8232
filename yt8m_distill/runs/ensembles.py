"""Several finished teachers as one model."""

import dataclasses
from collections.abc import Sequence

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.frames import ALL_FRAMES
from yt8m_distill.errors import UserError
from yt8m_distill.models.ensemble import TeacherEnsemble
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.teachers import data_format
from yt8m_distill.runs.trained_model import TrainedModel


def join(members: Sequence[TrainedModel], run: RunDir, matched: TrainedModel | None = None) -> TrainedModel:
    """Several finished teachers as one, of a student's run.

    Args:
        members: at least two; of the same features and classes.
        run: the student's.
        matched: the one of them whose representation the student is matched to.

    Raises:
        UserError: they are not of the same data format.
    """
    first = members[0].config.data
    for member in members:
        data = member.config.data
        if data_format(data) != data_format(first):
            raise UserError(
                f"--teacher_dir: the teachers do not go together: that in '{members[0].run_path}' was trained on "
                f"{_features_text(first)}, that in '{member.run_path}' on {_features_text(data)}."
            )
    place = next((i for i, member in enumerate(members) if member is matched), None)
    model = TeacherEnsemble([member.model for member in members], place)
    name = " + ".join(member.config.model for member in members)
    config = dataclasses.replace(members[0].config, model=name)
    return TrainedModel(model, config, "teacher", ALL_FRAMES, run.path, run.path, None)


def _features_text(data: DatasetSpec) -> str:
    sizes = zip(data.feature_names, data.feature_sizes, strict=True)
    ranges = f" in {data.describe_ranges()}" if data.feature_ranges else ""
    return f"{', '.join(f'{name} ({size})' for name, size in sizes)}{ranges} and {data.num_classes} classes"
