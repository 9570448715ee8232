"""TFRecord files of films, written one after the other; a stop costs only the film that was being written."""

import itertools
import logging
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

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
        labels: of today by id, as in a row of the report, which films that are done must have.
    """

    folder: pathlib.Path
    videos_per_file: int
    identity: str
    frame_bytes: int
    labels: Mapping[str, str] = field(default_factory=dict)

    def rows(self) -> list[Row]:
        """The films that are in complete files.

        Raises:
            UserError: there are other files of records, or a film has other labels now.
        """
        rows = read_report(self.folder / REPORT_FILE)
        rows = [row for row in rows if row.file and (self.folder / row.file).exists()]
        names = {row.file for row in rows}
        if unknown := next((path for path in sorted(self.folder.glob("*.tfrecord")) if path.name not in names), None):
            raise UserError(
                f"'{unknown}' has records of films that the {REPORT_FILE} beside it does not name; give another "
                "--output_dir, or move it away."
            )
        self._check_labels(rows)
        return rows

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
            UserError: no space on the disk; other records in the folder; a film that is done is another one now, or has
                other labels.
        """
        rows, lost = self.rows(), []
        self._remove_later_parts()
        results = None
        is_complete = False
        while not is_complete:
            path = self._next_path()
            with ResumableFiles([path], self.identity) as file:
                new = [Row.of_values(values) for values in file.state or ()]
                if file.other_work:
                    log.warning("%s was begun with other settings, or is damaged, and is written again.", path)
                if results is None:
                    self._check_labels(new)
                    check_films([*rows, *new], films)
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

    def _remove_later_parts(self):
        """Removes what was half written behind a file that has been removed since: its films will be written again."""
        first = self._next_path().name
        for path in self.folder.glob("films-*.tfrecord.partial*"):
            if not path.name.startswith(first):
                path.unlink()

    def _check_labels(self, rows: Sequence[Row]):
        for row in rows:
            if self.labels.get(row.video_id, row.labels) != row.labels:
                raise UserError(
                    f"the film '{row.video_id}' was extracted to '{self.folder}' with the labels "
                    f"{row.labels or 'none'}, and has {self.labels[row.video_id] or 'none'} now; give another "
                    "--output_dir."
                )

    def _check_space(self, rows: Sequence[Row], films: Sequence[Film]):
        frames = sum(row.frames for row in rows) / len(rows) if rows else _LEAST_FRAMES_TO_ESTIMATE
        left = min(max(len(films) - len(rows), 0), self.videos_per_file)
        atomic.check_space(self.folder, int(left * frames * self.frame_bytes), "the features of the next films")


def check_films(rows: Sequence[Row], films: Sequence[Film]):
    """Checks that films that are done are those of today, by the places of their files.

    Args:
        rows: of films that are done.
        films: of today.

    Raises:
        UserError: a film of the same id is another file, or a file has another id now.
    """
    paths = {row.video_id: os.path.realpath(row.path) for row in rows if os.path.exists(row.path)}
    ids = {path: video_id for video_id, path in paths.items()}
    for film in films:
        path = os.path.realpath(film.path)
        if paths.get(film.video_id, path) != path:
            raise UserError(
                f"the film '{film.video_id}' was extracted from '{paths[film.video_id]}', and is '{film.path}' now; "
                "give another --output_dir, or a CSV file with the columns path and id."
            )
        if ids.get(path, film.video_id) != film.video_id:
            raise UserError(
                f"'{film.path}' was extracted as the film '{ids[path]}', and is '{film.video_id}' now; give the same "
                "folder as before, or another --output_dir."
            )
