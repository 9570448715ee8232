"""Writes TFRecord files again with other records, each under its name in another folder, and resumes that."""

import itertools
import logging
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from yt8m_distill.data.bad_records import BadRecords
from yt8m_distill.data.reading import records_of_file
from yt8m_distill.data.record_files import name_unpacked
from yt8m_distill.data.tfrecord import framed
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic
from yt8m_distill.files.progress_bar import ProgressBar

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rewriting:
    """What becomes of files.

    Attributes:
        records: how far a file has been read, and the new record, for each good record of the file at a path.
        description: of the progress bar: "Thinning".
        shards: what the new files are called: "thin shards".
        settings: that they follow from, for messages: "--frames=30".
    """

    records: Callable[[str, BadRecords], Iterator[tuple[int, bytes]]]
    description: str
    shards: str
    settings: str

    def targets(self, files: Sequence[str], output_dir: pathlib.Path) -> dict[str, pathlib.Path]:
        """Where the new file of each file goes.

        Raises:
            UserError: two files have the same name, or one is in the folder.
        """
        targets = {path: output_dir / name_unpacked(path) for path in files}
        sources: dict[pathlib.Path, str] = {}
        for path, target in targets.items():
            if os.path.realpath(os.path.dirname(path)) == os.path.realpath(output_dir):
                raise UserError(f"OUT_DIR: '{path}' is in it; {self.shards} need a directory of their own.")
            if target in sources:
                raise UserError(
                    f"IN: '{sources[target]}' and '{path}' have the same name; write them into directories of their "
                    "own."
                )
            sources[target] = path
        return targets

    def write(self, targets: dict[str, pathlib.Path], bad_records: BadRecords) -> int:
        """Writes the new files that are missing; returns the number of their records.

        Raises:
            UserError: a file has the name of a new one, a bad record, no space on the disk.
        """
        done = {path for path, target in targets.items() if self._is_done(path, target, bad_records.skip)}
        if done:
            log.info("%d of them exist", len(done))
        total, count = sum(map(size_of, targets)), 0
        with ProgressBar(total, self.description, "B", unit_scale=True) as bar:
            for path, target in targets.items():
                if path in done:
                    bar.update(size_of(path))
                else:
                    count += self._write_shard(path, target, bad_records, bar)
        return count

    def _is_done(self, path: str, target: pathlib.Path, skip_bad_records: bool) -> bool:
        """Whether the new file exists; its first record tells, as files appear only when complete."""
        if not os.path.lexists(target):
            return False
        first = next((data for _, _, data in records_of_file(str(target), BadRecords(skip=True), bytes)), None)
        if first is not None and first == next(self.records(path, BadRecords(skip_bad_records)), (0, b""))[1]:
            return True
        raise UserError(
            f"OUT_DIR: '{target}' is not what {self.settings} makes of '{path}'; remove it, or give another directory."
        )

    def _write_shard(self, path: str, target: pathlib.Path, bad_records: BadRecords, bar: ProgressBar) -> int:
        records = self.records(path, bad_records)
        first = next(records, None)
        count, done = 0, 0
        if first is None:
            log.warning("%s holds no good record: nothing is written for it", path)
        else:
            with atomic.file_written_beside(target, binary=True) as file:
                for end, record in itertools.chain([first], records):
                    file.write(framed(record))
                    bar.update(end - done)
                    count, done = count + 1, end
        bar.update(size_of(path) - done)
        return count


def size_of(path: str | os.PathLike) -> int:
    """Bytes of a file; 0 where there is none."""
    return os.path.getsize(path) if os.path.exists(path) else 0
