"""Checks that videos have labels, where something is learned from these or measured by them."""

import dataclasses
import itertools
import logging
from collections.abc import Iterator

from yt8m_distill.config.dataset import SEGMENT
from yt8m_distill.data.video import Video, rated_segments
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.errors import UserError

log = logging.getLogger(__name__)
SAMPLED_VIDEOS, SAMPLED_FILES = 256, 8  # are looked at; all videos where none of these has a label


def check_labels(videos: VideoFiles, flag: str, consequence: str, *, warn: bool = True):
    """Checks that a video has a label, or a segment a positive rating.

    Args:
        videos: at the segment level, most segments may have none.
        flag: where the files come from.
        consequence: of having none, for the message.
        warn: whether to say how many of a sample of whole videos have none.

    Raises:
        UserError: no video has a label, or there is none.
    """
    level = videos.spec.level
    sampled = [_is_labelled(video, level) for video in _sample(videos)]
    labelled, seen = sum(sampled), len(sampled)
    if not labelled:
        log.info("--%s: none of %d videos has a label; looking at the others.", flag, seen)
        seen = 0
        for video in videos.videos():
            seen += 1
            labelled = int(_is_labelled(video, level))
            if labelled:
                break
    if not seen:
        raise UserError(f"--{flag}: no video could be read; python -m yt8m_distill.verify lists what is wrong.")
    if not labelled:
        what = "segment rated positive ('segment_scores')" if level == SEGMENT else "label ('labels')"
        raise UserError(f"--{flag}: none of the {seen:,} videos has a {what}, so {consequence}.")
    if warn and labelled < seen and level != SEGMENT:
        log.warning("--%s: of the videos looked at, %s", flag, describe_unlabelled(labelled, seen))


def describe_unlabelled(labelled: int, videos: int) -> str:
    """A warning that some videos have no labels.

    Example:
        >>> describe_unlabelled(3, 256)
        'only 3 of 256 have a label; the others count as videos that show none of the classes.'
    """
    verb = "has" if labelled == 1 else "have"
    return f"only {labelled:,} of {videos:,} {verb} a label; the others count as videos that show none of the classes."


def _sample(videos: VideoFiles) -> Iterator[Video]:
    """The first videos of some of the files."""
    count = min(len(videos.files), SAMPLED_FILES)
    paths = [videos.files[index * len(videos.files) // count] for index in range(count)]
    parts = (dataclasses.replace(videos, files=(path,)).videos(SAMPLED_VIDEOS // count) for path in paths)
    return itertools.chain.from_iterable(parts)


def _is_labelled(video: Video, level: str) -> bool:
    if level != SEGMENT:
        return bool(video.labels)
    return any(score > 0 for segment in rated_segments(video) for score in segment.scores.values())
