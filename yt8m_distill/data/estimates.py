"""Numbers of videos, estimated."""

import itertools

import numpy as np

from yt8m_distill.config.dataset import SEGMENT
from yt8m_distill.data.tfrecord import frames_of_file
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.data.views import View


def estimated_videos(videos: VideoFiles, count: int = 64, view: View | None = None) -> int:
    """Number of videos by file sizes and the mean length of the first records; for progress bars only.

    At the segment level, and for a view in segments, the number of these.
    """
    frames = itertools.chain.from_iterable(map(frames_of_file, videos.files))
    lengths = [frame.num_bytes for frame in itertools.islice(frames, count)]
    records = len(lengths) if len(lengths) < count else videos.num_bytes / np.mean(lengths)
    examples = _examples_each(videos, count, view or View())
    return max(min(len(lengths), 1), round(videos.fraction * records * examples))


def _examples_each(videos: VideoFiles, count: int, view: View) -> float:
    """The mean of the first records."""
    if not view.in_segments and videos.spec.level != SEGMENT:
        return 1.0
    numbers = [len(view.examples(video, videos.spec)) for video in videos.videos(count)]
    return float(np.mean(numbers)) if numbers else 1.0
