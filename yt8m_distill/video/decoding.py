"""Which frames of a film are decoded; without the network, for processes that only decode."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from yt8m_distill.config.films import EXACT, FilmFrames
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.video.positions import positions, whole_seconds

SAMPLE_RATE = 16_000  # of sound, as of VGGish


@dataclass(frozen=True)
class Decoding:
    """Which frames of a film are decoded.

    Attributes:
        frames_per_second: frames looked at in a second.
        max_frames: frames looked at at most.
        choice: those of them that are decoded.
    """

    frames_per_second: float = 1.0
    max_frames: int = 300
    choice: FilmFrames = field(default_factory=FilmFrames)

    def times(self, film: Any) -> tuple[int, Sequence[float]]:
        """How many frames a whole extraction of an open film looks at, and the times of those that are decoded."""
        whole = whole_seconds(film.seconds, self.frames_per_second, self.max_frames)
        choice = self.choice
        if choice.student_frames is None:
            return len(whole), whole
        return len(whole), positions(
            whole, choice.student_frames, "uniform", choice.positions, keyframe_times=film.keyframe_times
        )


def frames_of_selection(selection: FrameSelection, frame_positions: str) -> FilmFrames:
    """The frames of a film that a model looks at: k of them, where they follow from the length of the film alone.

    Args:
        selection: of the model.
        frame_positions: of those frames, one of `config.films.FRAME_POSITIONS`.
    """
    if selection.k is None or selection != FrameSelection(selection.k):
        return FilmFrames(None, EXACT)
    return FilmFrames(selection.k, frame_positions)
