"""Which frames of a video a model sees."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from yt8m_distill.config.settings import Settings, setting
from yt8m_distill.plugins import FRAME_SAMPLINGS

DEFAULT_STUDENT_FRAMES = 30
MOST_FRAMES = 10**9  # that can be asked for: numbers of frames are computed with 32 bits

LONGEST_COUNTED = 86_400  # frames of a video of a day

LEARNED = "learned"  # the sampling whose frames the student chooses by weights of its own
ThinSampling = Literal["uniform", "medoid", "k_center", "motion"]  # that thin shards may hold the frames of
THIN_SAMPLINGS = get_args(ThinSampling)


@dataclass(frozen=True)
class FrameSelection(Settings):
    """k frames of a video, or every j-th.

    Exactly one of `k` and `stride` is set; a video of fewer than k frames keeps all, each once. With `drawn_from` each
    video's k is drawn from these numbers in each epoch of a training, and `k` is the largest of them. The sampling
    "jittered" is for training, too: a random frame of each of k equal parts. "medoid", "k_center", "motion" and
    "learned" look at the features of all frames.

    Attributes:
        counting: by stride, how many frames are kept of a video of n: "ceil", ceil(n / stride), or "authors",
            int(n / longest_video * (longest_video // stride)).
        longest_video: frames of the longest video, for "authors".
        sampling_is_open: whether a user gave k alone: a model that was trained to see frames chosen by their features
            then sees such frames, any other one uniform ones.

    Source: Bhardwaj et al., "Efficient Video Classification Using Fewer Frames".
    Differs: by stride the authors' code counts as "authors" says, which loses frames of short videos: of 9 frames it
        keeps none at a stride of 10. We count "ceil" unless a model that was trained by that code needs the other.

    Example:
        >>> FrameSelection(k=30).describe()
        '30'
        >>> FrameSelection(stride=10).frames(longest=95)
        10
        >>> FrameSelection(stride=10, counting="authors", longest_video=300).frames(longest=95)
        9
    """

    k: int | None = setting(
        None, "Number of frames.", flag=False, shown_as="student_frames", at_least=1, at_most=MOST_FRAMES
    )
    stride: int | None = setting(
        None, "Stride j: frames 0, j, 2j, ... instead of k.", flag="student_stride", at_least=1, at_most=MOST_FRAMES
    )
    sampling: str = setting(
        "uniform",
        "Method of selecting the k frames; jittered is for training; medoid, k_center, motion, learned see all.",
        flag="frame_sampling",
        choices=FRAME_SAMPLINGS,
    )
    drawn_from: tuple[int, ...] = setting(
        (), "Number k of frames; of several (6,10,30), training draws one for each video. [30]", flag="student_frames"
    )
    counting: Literal["ceil", "authors"] = setting("ceil", "Rule of counting frames by stride.", flag=False, newer=True)
    longest_video: int | None = setting(
        None, "Frames of the longest video.", flag=False, newer=True, at_least=1, at_most=LONGEST_COUNTED
    )
    sampling_is_open: bool = dataclasses.field(default=False, compare=False, metadata={"newer": True})

    def __post_init__(self):
        if (self.k is None) == (self.stride is None):
            raise self.error("give either {k} or {stride}, not both and not neither.")
        self.check_settings()
        if self.stride is not None and self.sampling != "uniform":
            raise self.error("{stride} goes with {sampling}=uniform only, not {}.", self.sampling)
        if self.drawn_from:
            self._check_drawn_from()
        if self.counting == "authors" and (self.stride is None or self.longest_video is None):
            raise self.error("{counting}=authors goes with {stride} and {longest_video}.")
        if self.counting == "ceil" and self.longest_video is not None:
            raise self.error("{longest_video} goes with {counting}=authors only.")

    def _check_drawn_from(self):
        numbers = ",".join(map(str, self.drawn_from))
        if self.stride is not None or self.sampling == "first_middle_last":
            raise self.error("several {drawn_from} go neither with a stride nor with first_middle_last.")
        if min(self.drawn_from) < 1 or len(set(self.drawn_from)) != len(self.drawn_from):
            raise self.error("{drawn_from}={} must be different numbers of at least 1.", numbers)
        if max(self.drawn_from) != self.k:
            raise self.error("k must be the largest of {}, not {}.", numbers, self.k)

    @classmethod
    def from_settings(cls, values: Mapping[str, Any], **fields: Any) -> "FrameSelection":
        """The frames of a trained model."""
        if "student_frames" not in values and "student_stride" not in values:
            raise cls.error("{frame_sampling} needs {student_frames} here: how many frames to sample that way.")
        selection = cls.for_training(values)
        if selection != selection.for_evaluation():
            raise cls.error(
                "several {student_frames}, and {frame_sampling}=jittered, are for training; give one k here."
            )
        return dataclasses.replace(selection, sampling_is_open="frame_sampling" not in values)

    @classmethod
    def for_training(cls, values: Mapping[str, Any]) -> "FrameSelection":
        """The frames of a student to train: one k, several, or a stride."""
        numbers = values.get("student_frames", ())
        stride = values.get("student_stride")
        if not numbers and stride is None:
            numbers = (DEFAULT_STUDENT_FRAMES,)
        drawn_from = tuple(sorted(numbers)) if len(numbers) > 1 else ()
        return cls(max(numbers, default=None), stride, values.get("frame_sampling", "uniform"), drawn_from)

    def for_evaluation(self) -> "FrameSelection":
        """The selection to evaluate a student with that this one trained: nothing is drawn at random."""
        sampling = "uniform" if self.sampling == "jittered" else self.sampling
        return dataclasses.replace(self, sampling=sampling, drawn_from=())

    @property
    def by_student(self) -> bool:
        """Whether the student itself chooses among all frames."""
        return self.sampling == LEARNED

    def frames(self, longest: int) -> int:
        """Frames kept of a video of `longest` frames."""
        if self.k is not None:
            return min(self.k, longest)
        if self.counting == "authors":
            counts = self.authors_counts()
            return counts[min(longest, len(counts) - 1)]
        return math.ceil(longest / self._given(self.stride))

    def authors_counts(self) -> list[int]:
        """Frames that the authors' code keeps of videos of 0, 1, ... `longest_video` frames; longer ones are cut."""
        longest = self._given(self.longest_video)
        frames = longest // self._given(self.stride)
        return [int(n / longest * frames) for n in range(longest + 1)]

    def _given(self, number: int | None) -> int:
        """A number that `__post_init__` has found to be there."""
        if number is None:
            raise ValueError(f"{self} does not have it.")
        return number

    def describe(self) -> str:
        """The form used in names of run directories: "30" or "every10"; other samplings in front."""
        amount = "-".join(map(str, self.drawn_from)) or (str(self.k) if self.k is not None else f"every{self.stride}")
        if self.counting == "authors":
            return f"{amount}-authors"
        return amount if self.sampling == "uniform" else f"{self.sampling}{amount}"


class _AllFrames(FrameSelection):
    """All frames, which a teacher sees: every first one, but `null` in JSON, and unequal to a student's stride of 1."""

    def describe(self) -> str:
        return "all"


ALL_FRAMES = _AllFrames(stride=1)
