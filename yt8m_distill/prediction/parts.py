"""Predictions in parts, as several machines write them: the names of the parts, and `run_merging` into one file.

Part 2 of 4 of `predictions.csv` is `predictions-00002-of-00004.csv`. A part written by inference.py has a description
of its model and input beside it, `predictions-00002-of-00004.csv.json`; parts of `beam_inference` have none.
"""

import glob
import hashlib
import itertools
import os
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yt8m_distill.config.inference import MergeConfig
from yt8m_distill.config.shard import Shard
from yt8m_distill.errors import UserError
from yt8m_distill.files import untrusted
from yt8m_distill.files.resumable import ResumableFiles
from yt8m_distill.prediction.submission import HEADER, description_path

PART_NAME = re.compile(r"-(\d{5,})-of-(\d{5,})$")
ROWS_AT_ONCE = 100


@dataclass(frozen=True)
class PredictionPart:
    """One part of a prediction.

    Attributes:
        path: of the file.
        shard: its index, and the number of parts.
        description: the content of the JSON file beside it; None: there is none.
    """

    path: str
    shard: Shard
    description: Mapping[str, Any] | None


def split_name(path: str) -> tuple[str, str]:
    """A path without its ending, and the ending.

    Example:
        >>> split_name("out/predictions.csv.gz")
        ('out/predictions', '.csv.gz')
    """
    plain = path.removesuffix(".gz")
    stem, ending = os.path.splitext(plain)
    return stem, ending + path[len(plain) :]


def part_path(path: str, shard: Shard) -> str:
    """The file of one part of the prediction `path`.

    Example:
        >>> part_path("predictions.csv", Shard(2, 4))
        'predictions-00002-of-00004.csv'
    """
    stem, ending = split_name(path)
    return f"{stem}-{shard.index:05d}-of-{shard.count:05d}{ending}"


def is_part_of(path: str, other: str) -> bool:
    """Whether `other` is named as a part of the prediction `path`, and not of another with a similar name."""
    stem, ending = split_name(path)
    return re.fullmatch(re.escape(stem) + r"-\d{5,}-of-\d{5,}" + re.escape(ending), other) is not None


def run_merging(config: MergeConfig) -> int:
    """Writes one file of all parts, in their order; returns the number of videos.

    Raises:
        UserError: no parts, a part is missing or repeated, parts of different runs, a part that is truncated or not a
            predictions file, a repeated video.
    """
    parts = _find_parts(config)
    ids = VideoIds()
    with ResumableFiles([config.output_file], work=None) as target:
        target.write(HEADER)
        for part in parts:
            before = len(ids)
            for lines in _rows(part.path):
                ids.add(lines)
                target.write(b"".join(lines))
            _check_rows(part, len(ids) - before)
        if twice := ids.repeated():
            raise UserError(_describe_repeated(parts, twice))
        target.finish()
    print(f"Predictions for {len(ids)} videos out of {len(parts)} parts are in {config.output_file}")
    return len(ids)


class VideoIds:
    """Hashes of the ids of many videos, 8 bytes each: millions of strings would not fit into memory.

    Example:
        >>> ids = VideoIds()
        >>> ids.add([b"ab,0 0.5\\n", b"cd,1 0.5\\n", b"ab,0 0.25\\n"])
        >>> len(ids), len(ids.repeated())
        (3, 1)
    """

    def __init__(self):
        self._hashes = array("Q")

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, lines: Sequence[bytes]):
        """Adds the videos of rows."""
        self._hashes.extend(_hash(line) for line in lines)

    def repeated(self) -> set[int]:
        """Hashes that occur more than once."""
        hashes = np.sort(np.frombuffer(self._hashes, np.uint64))
        return set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())


def _video_id(line: bytes) -> bytes:
    return line.partition(b",")[0]


def _hash(line: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(_video_id(line), digest_size=8).digest())


def _describe_repeated(parts: Sequence[PredictionPart], hashes: set[int]) -> str:
    """The id and the places of a repeated video."""
    seen: dict[bytes, str] = {}
    for part in parts:
        number = 1  # the header's
        for line in (line for lines in _rows(part.path) for line in lines):
            number += 1
            if _hash(line) not in hashes:
                continue
            place = f"line {number} of {part.path}"
            earlier = seen.setdefault(_video_id(line), place)
            if earlier is not place:
                name = _video_id(line).decode(errors="replace")
                return f"video {name} occurs twice: {earlier}, and {place}. Nothing is written."
    raise AssertionError("two ids have the same hash, which happens once in 10**12 times")


def _find_parts(config: MergeConfig) -> list[PredictionPart]:
    """All parts of one run in their order.

    Raises:
        UserError: there are none, some are missing or repeated, or they are of different runs.
    """
    stem, ending = split_name(config.output_file)
    if config.parts is None:
        patterns = [f"{glob.escape(stem)}-*-of-*{glob.escape(ending)}"]
        matches = [path for path in glob.glob(patterns[0]) if is_part_of(config.output_file, path)]
    else:
        patterns = [pattern.strip() for pattern in config.parts.split(",") if pattern.strip()]
        matches = [path for pattern in patterns for path in sorted(glob.glob(pattern))]
    paths = {os.path.realpath(path): path for path in matches}
    if not paths:
        raise UserError(f"no part matches {' or '.join(patterns)}; give their paths as --parts.")
    parts = sorted((_part(path) for path in paths.values()), key=lambda part: part.shard.index)
    _check_complete(parts)
    _check_same_run(parts)
    return parts


def _part(path: str) -> PredictionPart:
    match = PART_NAME.search(split_name(path)[0])
    if match is None:
        raise UserError(f"{path} does not have the name of a part, as predictions-00002-of-00004.csv.")
    try:
        shard = Shard(*map(int, match.groups()))
    except UserError as error:
        raise UserError(f"{path}: there is no part {int(match[1])} of {int(match[2])}; they start at 0.") from error
    return PredictionPart(path, shard, _read_description(path))


def _read_description(path: str) -> Mapping[str, Any] | None:
    beside = description_path(path)
    if not beside.exists():
        return None
    description = untrusted.read_json(beside)
    if not isinstance(description.get("run"), dict) or not isinstance(description.get("rows"), int):
        raise UserError(f"{beside} does not describe a part: it needs 'run' and 'rows'.")
    return description


def _check_complete(parts: Sequence[PredictionPart]):
    counts = sorted({part.shard.count for part in parts})
    if len(counts) > 1:
        raise UserError(
            f"there are parts of {' and of '.join(map(str, counts))}; remove those of the other run, or select with "
            f"--parts='*-of-{counts[0]:05d}.csv'."
        )
    for first, second in itertools.pairwise(parts):
        if first.shard == second.shard:
            raise UserError(f"part {first.shard.index} occurs twice: {first.path} and {second.path}.")
    missing = sorted(set(range(counts[0])) - {part.shard.index for part in parts})
    if missing:
        indices = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
        raise UserError(f"{len(missing)} of {counts[0]} parts are missing: {indices} (the first one is 0).")


def _check_same_run(parts: Sequence[PredictionPart]):
    first = parts[0]
    for part in parts[1:]:
        if (part.description is None) != (first.description is None):
            without = part if part.description is None else first
            raise UserError(f"{without.path} is of a different run, or its {without.path}.json is missing.")
        if part.description is None or part.description["run"] == first.description["run"]:
            continue
        ours, theirs = part.description["run"], first.description["run"]
        different = [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]
        raise UserError(f"{part.path} is of a different run than {first.path}: {', '.join(different)} differ.")


def _check_rows(part: PredictionPart, rows: int):
    if part.description is not None and part.description["rows"] != rows:
        raise UserError(f"{part.path} has {rows} videos, and its description says {part.description['rows']}.")


def _rows(path: str) -> Iterator[list[bytes]]:
    """The rows after the header, many at a time."""
    lines = untrusted.read_lines(path)
    if next(lines, b"") != HEADER.encode():
        raise UserError(f"{path} is not a predictions file: its first line must be {HEADER.strip()}.")
    while rows := list(itertools.islice(lines, ROWS_AT_ONCE)):
        if not rows[-1].endswith(b"\n") or not all(b"," in row for row in rows):
            raise UserError(f"{path} is truncated or damaged: it has a line that is not a prediction.")
        yield rows
