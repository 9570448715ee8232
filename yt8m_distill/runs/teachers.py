"""Several finished teachers as one."""

import dataclasses
from collections.abc import Sequence

from yt8m_distill.config.frames import ALL_FRAMES
from yt8m_distill.errors import UserError
from yt8m_distill.models.ensemble import TeacherEnsemble
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.trained_model import TrainedModel, data_format, described


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
    for each in members:
        data = each.config.data
        if data_format(data) != data_format(first):
            raise UserError(
                f"--teacher_dir: the teachers do not go together: that in '{members[0].run_path}' was trained on "
                f"{described(first)}, that in '{each.run_path}' on {described(data)}."
            )
    place = next((i for i, each in enumerate(members) if each is matched), None)
    model = TeacherEnsemble([each.model for each in members], place)
    name = " + ".join(each.config.model for each in members)
    config = dataclasses.replace(members[0].config, model=name)
    return TrainedModel(model, config, "teacher", ALL_FRAMES, run.path, run.path, None)
