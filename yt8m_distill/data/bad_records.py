"""What happens to bad records: an error that names file and record, or a list of what was left out."""

import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any

from yt8m_distill.errors import TooManyBadRecords, UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BadRecord:
    """A record that cannot be used.

    Attributes:
        number: of the record in its file, from 1.
        num_bytes: lost with it.
        problem: in words.
        is_gap: whether its bytes were passed over in search of the next record, or to the end of the file.
    """

    number: int
    num_bytes: int
    problem: str
    is_gap: bool = False


class BadRecords:
    """The bad records of some files. Any thread may add to it; a record that is read again counts once.

    Args:
        skip: leave them out; else the first one is an error.
    """

    def __init__(self, skip: bool = False):
        self.skip = skip
        self._bytes_by_file: dict[str, int] = {}
        self._bad: dict[str, dict[int, BadRecord]] = {}
        self._lock = threading.Lock()

    def note_file(self, path: str, num_bytes: int):
        """A file is being read.

        Raises:
            UserError: it is empty, and bad records are errors.
        """
        if num_bytes == 0:
            self.note(path, BadRecord(1, 0, "the file is empty"))
        with self._lock:
            self._bytes_by_file[path] = num_bytes

    def note(self, path: str, record: BadRecord):
        """A record is bad.

        Raises:
            UserError: bad records are errors.
        """
        if not self.skip:
            raise UserError(
                f"{path}, record {record.number}: {record.problem}. --on_bad_record=skip leaves such records out."
            )
        with self._lock:
            self._bad.setdefault(path, {})[record.number] = record

    def by_file(self) -> dict[str, list[BadRecord]]:
        """The bad records of every file that has any."""
        with self._lock:
            return {path: [bad[number] for number in sorted(bad)] for path, bad in sorted(self._bad.items())}

    def bytes_by_file(self) -> dict[str, int]:
        """Sizes of all files that were read."""
        with self._lock:
            return dict(self._bytes_by_file)

    def as_json(self) -> dict[str, Any]:
        """Everything noted so far."""
        bad = {path: [list(astuple(record)) for record in records] for path, records in self.by_file().items()}
        return {"bad": bad, "bytes_by_file": self.bytes_by_file()}

    def restore(self, noted: Mapping[str, Any]):
        """Adds what `as_json` gave to what has been noted."""
        with self._lock:
            self._bytes_by_file |= noted["bytes_by_file"]
            for path, records in noted["bad"].items():
                self._bad.setdefault(path, {}).update({number: BadRecord(number, *rest) for number, *rest in records})


def describe_bad(path: str, bad: list[BadRecord]) -> str:
    """One line: how many records of a file are bad, and what is wrong with the first."""
    count = f"{len(bad)} bad record{'s' if len(bad) > 1 else ''}"
    num_bytes = sum(record.num_bytes for record in bad)
    passed = sum(record.num_bytes for record in bad if record.is_gap)
    gaps = f", {passed:,} of them passed over where no record could be found" if passed else ""
    return f"{path}: {count}, {num_bytes:,} bytes{gaps}; record {bad[0].number}: {bad[0].problem}"


def report_skipped(all_files: Iterable[BadRecords], max_fraction: float):
    """Logs what was left out, by file.

    Raises:
        TooManyBadRecords: it is more than `max_fraction` of the bytes, or an input held nothing else.
    """
    sizes, bad = {}, {}
    for files in all_files:
        sizes |= files.bytes_by_file()
        bad |= files.by_file()
    if not bad:
        return
    for path, records in bad.items():
        log.warning("Skipped in %s", describe_bad(path, records))
    lost, total = sum(record.num_bytes for records in bad.values() for record in records), sum(sizes.values())
    fraction = lost / total if total else 1.0
    passed = sum(record.num_bytes for records in bad.values() for record in records if record.is_gap)
    text = f"{lost:,} of {total:,} bytes ({100 * fraction:.3g} %) in {len(bad)} of {len(sizes)} files were skipped"
    text += f" ({passed:,} bytes of them passed over where no record could be found)" if passed else ""
    if fraction > max_fraction:
        raise TooManyBadRecords(f"{text}, more than --max_bad_fraction={max_fraction:g}. All outputs are in place.")
    log.warning("%s.", text)
