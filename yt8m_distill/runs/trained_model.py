"""A trained model, ready to predict."""

import dataclasses
import pathlib
from dataclasses import dataclass

import keras

from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.run import RunConfig
from yt8m_distill.data.frame_selection import needs_all_frames
from yt8m_distill.errors import UserError
from yt8m_distill.runs.requests import check_selection


@dataclass(frozen=True)
class TrainedModel:
    """A model out of a run, with its weights.

    Attributes:
        model: a `VideoModel`, or a `TeacherEnsemble`.
        config: of the run it is from.
        role: "student" or "teacher".
        selection: the frames it sees.
        run_path: the run directory it is from.
        source: the folder of the weights.
        step: training steps done; None where the best epoch's weights do not say.
        branch: which branch of a mixture it is, where it is one by itself.
        of_student: whether it is a teacher that is the student of its own run, and was trained on fewer frames.
    """

    model: keras.Model
    config: RunConfig
    role: str
    selection: FrameSelection
    run_path: pathlib.Path
    source: pathlib.Path
    step: int | None
    branch: int | None = None
    of_student: bool = False

    def selection_for(self, asked: FrameSelection | None) -> FrameSelection:
        """The frames to predict with: those that are asked for, or its own.

        Raises:
            UserError: frames are asked for, and it is a teacher; or it would have to choose them and cannot.
        """
        check_selection(self.role, asked)
        selection = asked or self.selection
        if selection.sampling_is_open:
            chosen = selection.k is not None and needs_all_frames(self.selection)
            sampling = self.selection.sampling if chosen else selection.sampling
            selection = dataclasses.replace(selection, sampling=sampling, sampling_is_open=False)
        if selection.by_student and not getattr(self.model, "chooses_frames", False):
            which = "a branch of a mixture" if self.branch is not None else "this model"
            raise UserError(
                f"--frame_sampling=learned: {which} was not trained to choose its frames (train.py "
                "--frame_sampling=learned); medoid and k_center choose by the features of any video."
            )
        return selection
