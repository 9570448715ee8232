"""What predicts, whatever computes: a model with the frames that it sees; and the predictions of many videos."""

import contextlib
import logging
import pathlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import numpy as np

from yt8m_distill.config.dataset import SEGMENT, DatasetSpec
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.data.batches import Batch, View
from yt8m_distill.data.reading_order import BEGINNING, Position
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.files.progress_bar import ProgressBar

log = logging.getLogger(__name__)

Predict = Callable[[Batch], np.ndarray]  # from a batch of `VideoFiles` to predictions (batch, classes)


@dataclass(frozen=True)
class Travel:
    """How a model gets to other processes, which may be on other machines: as one file.

    Attributes:
        name: of the file, by which its kind is known.
        write: writes it to a path.
        load: of the file at a path, in the other process: it can be pickled.
    """

    name: str
    write: Callable[[str], None]
    load: Callable[[str], Predict]


@dataclass(frozen=True)
class OpenedModel:
    """A model, ready to predict.

    Attributes:
        load: gives what predicts, the same at every call; raises UserError where it cannot.
        spec: the format of its training records.
        selection: the frames that it sees.
        role: "student" or "teacher".
        source: folder or file of the weights.
        folder: where `features.json` and the vocabulary are, of a model of films.
        identity: gives a checksum of everything in the model that predictions depend on.
        numbers: what is computed in, and by what, in words: predictions depend on both.
        seed: of the frames of a "random" selection.
        default_pattern: the videos to predict where none are given; None: there are none.
        travel: how it gets to other processes.
        pack: writes the model to a path as `runs.packing` does; None: it cannot be packed.
        uses_gpu: whether batches are to be copied to a GPU where there is one.
    """

    load: Callable[[], Predict]
    spec: DatasetSpec
    selection: FrameSelection
    role: str
    source: pathlib.Path
    folder: pathlib.Path
    identity: Callable[[], str]
    numbers: str
    seed: int
    default_pattern: str | None
    travel: Travel
    pack: Callable[[str], None] | None = None
    uses_gpu: bool = True

    def describe(self) -> str:
        """Which model it is, and what computes, for people."""
        return f"the {self.role} from {self.source}, in {self.numbers}"


def predictions(
    predict: Predict,
    videos: VideoFiles,
    view: View,
    *,
    batch_size: int,
    seed: int,
    description: str,
    start: Position = BEGINNING,
    done: int = 0,
    uses_gpu: bool = True,
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Predicts videos in the order of the files, with a progress bar.

    Args:
        predict: from `OpenedModel.load`.
        videos: to predict.
        view: the frames to read.
        batch_size: videos at a time.
        seed: of the frames of a "random" selection.
        description: of the progress bar.
        start: position to start at.
        done: videos before it, for the progress bar.
        uses_gpu: whether batches are copied to a GPU, where there is one.

    Yields:
        Each batch with its predictions (batch, classes).
    """
    without_frames = 0
    unit = " segments" if view.in_segments or videos.spec.level == SEGMENT else " videos"
    total = max(done, videos.estimated_videos(view=view))
    ordered = videos.ordered_batches(view, batch_size, seed, start)
    with (
        ProgressBar(total, description, unit, is_estimate=True, initial=done) as bar,
        contextlib.closing(ordered),
    ):
        for batch in _copied_ahead(ordered) if uses_gpu else ordered:
            yield batch, predict(batch)
            bar.update(len(batch["video_id"]))
            without_frames += int(np.count_nonzero(batch["num_frames"] == 0))
    if without_frames:
        log.warning("%d%s have no frames: their predictions are meaningless.", without_frames, unit)


def _copied_ahead(batches: Generator[Batch]) -> Iterator[Batch]:
    from yt8m_distill.data.device_copies import copied_ahead  # imports TensorFlow, which exports do without

    return copied_ahead(batches)
