"""Whether records hold what is wanted of them."""

import logging

from yt8m_distill.config.dataset import SEGMENT, DatasetSpec
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.data.views import View
from yt8m_distill.errors import UserError

log = logging.getLogger(__name__)


def check_segments(videos: VideoFiles, flag: str, count: int = 256):
    """Whether there are rated segments, where these are the examples.

    Raises:
        UserError: none of the first `count` videos has any.
    """
    if videos.spec.level == SEGMENT and not any(video.ratings.starts for video in videos.videos(count)):
        raise UserError(
            f"--{flag}: none of the first videos has rated segments ('segment_start_times', 'segment_labels', "
            "'segment_scores'). Leave out --segment_labels for whole videos."
        )


def check_view(spec: DatasetSpec, view: View, flag: str):
    """Whether records of this format hold the frames of a view; thin shards do not hold all.

    Raises:
        UserError: they do not.
    """
    held = spec.thin_frames
    if held is None:
        return
    if view.in_segments:
        raise UserError(f"--{flag}: thin shards, which do not hold all frames; segments need the original shards.")
    selection = ALL_FRAMES if view.with_all_frames else view.selection
    if wish := _beyond_thin(selection, held):
        raise UserError(
            f"--{flag}: thin shards, which hold {held} uniform frames of each video; {wish} needs the original shards."
        )
    if selection.k < held:
        frames = f"{selection.k} of the {held} frames in thin shards"
        log.warning("--%s: %s are near to %d of all frames, but not always the same.", flag, frames, selection.k)


def _beyond_thin(selection: FrameSelection, held: int) -> str | None:
    """What asks for other frames than `held` uniform ones."""
    if selection == ALL_FRAMES:
        return "a model that sees all frames"
    if selection.stride is not None:
        return f"--student_stride={selection.stride}"
    if selection.sampling != "uniform":
        return f"--frame_sampling={selection.sampling}"
    return f"--student_frames={selection.k}" if selection.k > held else None
