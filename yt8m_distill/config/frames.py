"""Which frames of a video a model sees."""

import dataclasses
import math
from dataclasses import dataclass

from yt8m_distill.config.settings import check_choice, joined
from yt8m_distill.errors import UserError

SAMPLINGS = ("uniform", "random", "first", "last", "middle", "first_middle_last", "jittered")
DEFAULT_STUDENT_FRAMES = 30
MOST_FRAMES = 10**9  # that can be asked for: numbers of frames are computed with 32 bits


@dataclass(frozen=True)
class FrameSelection:
    """k frames of a video, or every j-th.

    Attributes:
        k: frames to keep; a shorter video keeps all its frames, each once.
        stride: j; keeps frames 0, j, 2j, ... Exactly one of `k` and `stride` is set.
        sampling: one of `SAMPLINGS`; `stride` goes with "uniform" only. "jittered" is for training: one frame of each
            of k equal parts, drawn anew in each epoch; evaluation is then "uniform".
        drawn_from: for training: each video's k is drawn anew from these in each epoch; `k` is the largest of them.
            Empty: always `k`.
    """

    k: int | None = None
    stride: int | None = None
    sampling: str = "uniform"
    drawn_from: tuple[int, ...] = ()

    def __post_init__(self):
        check_choice("--frame_sampling", self.sampling, SAMPLINGS)
        if (self.k is None) == (self.stride is None):
            raise UserError("give either --student_frames (k) or --student_stride (j), not both and not neither.")
        for flag, value in (("--student_frames", self.k), ("--student_stride", self.stride)):
            if value is not None and not 1 <= value <= MOST_FRAMES:
                raise UserError(f"{flag} must be at least 1 and at most {MOST_FRAMES}, not {value}.")
        if self.stride is not None and self.sampling != "uniform":
            raise UserError(f"--student_stride goes with --frame_sampling=uniform only, not {self.sampling}.")
        if self.drawn_from:
            self._check_drawn_from()

    def _check_drawn_from(self):
        if self.stride is not None or self.sampling == "first_middle_last":
            raise UserError("several --student_frames go neither with a stride nor with first_middle_last.")
        if min(self.drawn_from) < 1 or len(set(self.drawn_from)) != len(self.drawn_from):
            raise UserError(f"--student_frames={joined(self.drawn_from)} must be different numbers of at least 1.")
        if max(self.drawn_from) != self.k:
            raise UserError(f"k must be the largest of {joined(self.drawn_from)}, not {self.k}.")

    def for_evaluation(self) -> "FrameSelection":
        """What a student trained with this selection is evaluated with: without what is drawn for training only."""
        sampling = "uniform" if self.sampling == "jittered" else self.sampling
        return dataclasses.replace(self, sampling=sampling, drawn_from=())

    def frames(self, longest: int) -> int:
        """Frames kept of a video of `longest` frames."""
        return min(self.k, longest) if self.k is not None else math.ceil(longest / self.stride)

    def describe(self) -> str:
        """The form used in names of run directories: "30" or "every10"; other samplings in front."""
        amount = "-".join(map(str, self.drawn_from)) or (str(self.k) if self.k is not None else f"every{self.stride}")
        return amount if self.sampling == "uniform" else f"{self.sampling}{amount}"


class _AllFrames(FrameSelection):
    """All frames, which a teacher sees: every first one, but `null` in JSON, and unequal to a student's stride of 1."""

    def describe(self) -> str:
        return "all"


ALL_FRAMES = _AllFrames(stride=1)
