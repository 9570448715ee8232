"""The number of frames of an export, chosen by validation videos among those that a student was trained for."""

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from yt8m_distill.config.deployment import FrameChoice
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.data.batches import View, check_view
from yt8m_distill.data.video_files import check_segments
from yt8m_distill.errors import UserError
from yt8m_distill.evaluation.evaluate import evaluate
from yt8m_distill.files.text_table import markdown_table
from yt8m_distill.metrics import EvaluationMetrics
from yt8m_distill.prediction.predict import prediction_function
from yt8m_distill.runs.inputs import evaluation_videos, validation_videos
from yt8m_distill.runs.trained_model import TrainedModel

log = logging.getLogger(__name__)
BATCH_SIZE = 128


@dataclass(frozen=True)
class ChosenFrames:
    """A choice and its reasons.

    Attributes:
        selection: of the chosen number of frames.
        gaps: GAP@20 on the validation videos by number of frames.
        max_loss: that was allowed.
    """

    selection: FrameSelection
    gaps: Mapping[int, float]
    max_loss: float

    def describe(self) -> str:
        """The choice as Markdown."""
        rows = [["k", "GAP@20"], *([str(k), f"{gap:.5f}"] for k, gap in self.gaps.items())]
        text = (
            f"k = {self.selection.k} is the smallest number of frames whose GAP@20 on the validation videos is within "
            f"{self.max_loss:g} of the best."
        )
        return f"{text}\n\n{markdown_table(rows)}"


def smallest_within(gaps: Mapping[int, float], max_loss: float) -> int:
    """The smallest k whose value is at most `max_loss` below the best.

    Example:
        >>> smallest_within({1: 0.29, 2: 0.35, 3: 0.37, 5: 0.375}, max_loss=0.01)
        3
    """
    return min(k for k, gap in gaps.items() if gap >= max(gaps.values()) - max_loss)


def choose_frames(trained: TrainedModel, choice: FrameChoice, train_dir: str) -> ChosenFrames:
    """Evaluates a student with each number of frames that it was trained for, and chooses one.

    Args:
        trained: the student.
        choice: what may be lost, and on which videos.
        train_dir: its run.

    Raises:
        UserError: it was not trained for several numbers of frames, or there are no validation videos.
    """
    numbers = trained.config.selection_of(trained.role).drawn_from
    if not numbers:
        raise UserError(
            f"--student_frames=auto chooses among several numbers of frames, and the {trained.role} in '{train_dir}' "
            "was not trained for several (--student_frames=1,2,3,5 of train.py); leave it out, or give one."
        )
    flag, pattern = "validation_data_pattern", choice.validation_data_pattern
    videos = evaluation_videos(pattern, trained.config, flag) if pattern else validation_videos(trained.config)
    if videos is None:
        raise UserError(
            "--student_frames=auto needs --validation_data_pattern: the run was trained without validation videos, and "
            "a choice by the evaluation videos would flatter the result on them."
        )
    check_segments(videos, flag)
    predict, gaps = prediction_function(trained.model), {}
    for k in numbers:
        selection = dataclasses.replace(trained.selection, k=k)
        check_view(videos.spec, View(selection), flag)
        metrics = EvaluationMetrics(videos.spec.num_classes)
        options = {"batch_size": BATCH_SIZE, "seed": trained.config.learning.seed, "description": f"GAP@20 at k = {k}"}
        gaps[k] = evaluate(predict, videos, selection, metrics, **options)["GAP@20"]
    chosen = dataclasses.replace(trained.selection, k=smallest_within(gaps, choice.max_loss))
    result = ChosenFrames(chosen, gaps, choice.max_loss)
    log.info("%s", result.describe())
    return result
