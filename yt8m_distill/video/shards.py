"""TFRecord files of films, written one after the other; a stop costs only the film that was being written."""

import itertools
import logging
import pathlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from yt8m_distill.data.tfrecord import framed
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic
from yt8m_distill.files.resumable import ResumableFiles
from yt8m_distill.video.film_list import Film
from yt8m_distill.video.report import REPORT_FILE, Row, read_report, write_report

log = logging.getLogger(__name__)

_LEAST_FRAMES_TO_ESTIMATE = 100  # frames a film, before any has been extracted


@dataclass(frozen=True)
class Shards:
    """The files of one folder.

    A film is done where the report has it and the file that the report names exists, or where it is in the file that is
    being written. The report is written before the file gets its name.

    Attributes:
        folder: of the files.
        videos_per_file: records of each.
        identity: of features and frames: a file that was half written with another one is written again.
        frame_bytes: of all features together.
    """

    folder: pathlib.Path
    videos_per_file: int
    identity: str
    frame_bytes: int

    def rows(self) -> list[Row]:
        """The films that are in complete files."""
        rows = read_report(self.folder / REPORT_FILE)
        return [row for row in rows if row.file and (self.folder / row.file).exists()]

    def write(
        self, films: Sequence[Film], extracted: Callable[[Sequence[Film]], Iterator[tuple[Row, bytes | None]]]
    ) -> list[Row]:
        """Writes the records of all films that are not done.

        Args:
            films: all of them, in the order of writing.
            extracted: row and record of each of some films, in their order; None as record: there is none.

        Returns:
            The rows of all films: those that were done before, too.

        Raises:
            UserError: no space on the disk.
        """
        rows, lost = self.rows(), []
        results = None
        is_complete = False
        while not is_complete:
            path = self._next_path()
            with ResumableFiles([path], self.identity) as file:
                new = [Row.of_values(values) for values in file.state or ()]
                if file.other_work:
                    log.warning("%s was begun with other settings, or is damaged, and is written again.", path)
                if results is None:
                    done = {row.video_id for row in (*rows, *new)}
                    results = iter(extracted([film for film in films if film.video_id not in done]))
                self._check_space(rows + new, films)
                is_complete = self._fill(file, path.name, new, lost, results)
                rows += new
                write_report(self.folder / REPORT_FILE, rows + lost)
                if new:
                    file.finish()
        return rows + lost

    def _fill(
        self,
        file: ResumableFiles,
        name: str,
        rows: list[Row],
        lost: list[Row],
        results: Iterator[tuple[Row, bytes | None]],
    ) -> bool:
        """Writes records until the file has enough; returns whether there are no more."""
        while len(rows) < self.videos_per_file:
            row, record = next(results, (None, None))
            if row is None:
                return True
            if record is None:
                lost.append(row)
                continue
            file.write(framed(record))
            rows.append(Row(**{**row.values(), "file": name}))
            file.save([row.values() for row in rows])
        return False

    def _next_path(self) -> pathlib.Path:
        paths = (self.folder / f"films-{number:05d}.tfrecord" for number in itertools.count())
        return next(path for path in paths if not path.exists())

    def _check_space(self, rows: Sequence[Row], films: Sequence[Film]):
        frames = sum(row.frames for row in rows) / len(rows) if rows else _LEAST_FRAMES_TO_ESTIMATE
        left = min(max(len(films) - len(rows), 0), self.videos_per_file)
        atomic.check_space(self.folder, int(left * frames * self.frame_bytes), "the features of the next films")


def check_labels(rows: Sequence[Row], labels: dict[str, str], folder: pathlib.Path):
    """Checks that films that are done have the labels of today.

    Args:
        rows: of films that are done.
        labels: of today by id, as in a row.
        folder: of the files, for the message.

    Raises:
        UserError: a film has other ones.
    """
    for row in rows:
        if labels.get(row.video_id, row.labels) != row.labels:
            raise UserError(
                f"the film '{row.video_id}' was extracted to '{folder}' with the labels {row.labels or 'none'}, and "
                f"has {labels[row.video_id] or 'none'} now; give another --output_dir."
            )
