"""Records of films, in the form of all frame-level records."""

from collections.abc import Mapping, Sequence

import numpy as np

from yt8m_distill.config.films import EXACT, FilmFrames
from yt8m_distill.data import record_format, sequence_example
from yt8m_distill.video.extractor import FilmFeatures

HAS_AUDIO_KEY = "has_audio"  # 0: the film has no sound, and bytes of it stand for the mean
POSITIONS_KEY = "thin_positions"  # where the frames of a thin record are not at their exact places: "keyframes"


def film_record(
    features: FilmFeatures,
    frames: Mapping[str, np.ndarray],
    labels: Sequence[int],
    max_frames: int,
    choice: FilmFrames,
    *,
    has_audio: bool | None,
) -> bytes:
    """A serialized record of a film.

    Args:
        features: of the film.
        frames: bytes of each feature, uint8 (frames, size).
        labels: class numbers.
        max_frames: frames of a film that are looked at at most.
        choice: which of a film's frames these are.
        has_audio: whether the film has sound; None: that is no feature of the record.
    """
    numbers: dict[str, int | Sequence[int]] = {record_format.LABELS_KEY: labels}
    if has_audio is not None:
        numbers[HAS_AUDIO_KEY] = int(has_audio)
    if choice.student_frames is not None:
        numbers[record_format.THIN_FRAMES_KEY] = choice.student_frames
        numbers[record_format.THIN_MAX_FRAMES_KEY] = max_frames
        numbers[record_format.THIN_ORIGINAL_FRAMES_KEY] = features.all_frames
    context = sequence_example.serialized_bytes(record_format.ID_KEYS[0], features.film.video_id.encode())
    context += sequence_example.serialized_int64s(numbers)
    if choice.positions != EXACT:
        context += sequence_example.serialized_bytes(POSITIONS_KEY, choice.positions.encode())
    return sequence_example.serialized_example(context, frames)
