"""What is lost of damaged shards: the part "shards" of reliability.py.

    python benchmarks/reliability.py --parts=shards --shards=10000 --seed=0      # four minutes on two cores

Each trial writes a shard of 5 to 40 videos, damages it one to three times (bits, bytes that are missing, inserted,
overwritten by zeros, by others or by a part of the same shard, a cut), in one of ten compresses it by gzip before, and
reads it in every way that the commands do: in order, shuffled, resumed in the middle, as `verify`, and as a stream like
Beam. A record is whole where all its bytes still follow each other somewhere in the shard; the others are the damaged
ones. Bytes that the readers neither read nor count as bad would be lost silently.
"""

import argparse
import collections
import gzip
import multiprocessing
import pathlib
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.data.bad_records import BadRecords
from yt8m_distill.data.batches import View
from yt8m_distill.data.reading import records_of_file
from yt8m_distill.data.reading_order import position_after
from yt8m_distill.data.record_files import records_of_any
from yt8m_distill.data.sequence_example import serialized_bytes, serialized_example
from yt8m_distill.data.tfrecord import framed
from yt8m_distill.data.verification import check_file
from yt8m_distill.data.video_files import VideoFiles

SPEC = DatasetSpec("own features", "id", ("rgb", "audio"), (64, 16), 50, 300)
MOST_SECONDS = 20  # for one shard: more is a hang
COMPRESSED = 0.1  # of the shards


@dataclass(frozen=True)
class Outcome:
    """What has become of one shard; numbers of records.

    Attributes:
        damaged, whole: of the shard.
        lost_whole: whole ones that are not read, but counted as bytes that were skipped.
        wrong: read ones that were never written, or in another order.
        silent: 1 where bytes are neither read nor counted, or where ways to read disagree.
        crashes, hangs: 1 where one occurred.
        note: what went wrong, for the log.
    """

    damaged: int = 0
    whole: int = 0
    lost_whole: int = 0
    wrong: int = 0
    silent: int = 0
    crashes: int = 0
    hangs: int = 0
    note: str = ""


class Hang(Exception):
    """A shard takes too long."""


def shards(arguments: argparse.Namespace) -> list[tuple[str, int, float, str, float]]:
    """Rows of the table: trials, how often, what was measured, what that is, and what it must not exceed."""
    jobs = [(arguments.seed, number) for number in range(arguments.shards)]
    with multiprocessing.get_context("spawn").Pool() as pool:
        outcomes = list(pool.imap_unordered(trial, jobs, chunksize=50))
    for outcome in [each for each in outcomes if each.note][:10]:
        print(outcome.note, file=sys.stderr)
    sums = collections.Counter()
    for outcome in outcomes:
        sums.update({name: getattr(outcome, name) for name in Outcome.__annotations__ if name != "note"})
    sound = sum(not each.note for each in outcomes)
    print(
        f"{sums['whole']:,} whole and {sums['damaged']:,} damaged records in {len(outcomes):,} shards; "
        f"{sums['lost_whole']:,} whole ones were lost, and counted ({sound:,} shards without a fault)"
    )
    lost = (sums["damaged"] + sums["lost_whole"]) / max(sums["damaged"], 1)
    faults = (("crashes", "crashes"), ("hangs", "hangs"), ("wrong", "wrong records"), ("silent", "lost silently"))
    rows = [("damaged shards", len(outcomes), float(sums[name]), text, 0.0) for name, text in faults]
    return [*rows, ("damaged records", sums["damaged"], lost, "whole and damaged ones lost, per damaged one", 1.05)]


def trial(job: tuple[int, int]) -> Outcome:
    """Makes, damages and reads one shard, which its number and the seed decide."""
    chance = random.Random(f"{job[0]} {job[1]}")
    records = [_record(chance, number) for number in range(chance.randrange(5, 41))]
    content = bytearray(b"".join(map(framed, records)))
    for _ in range(chance.choice((1, 1, 2, 3))):
        DAMAGES[chance.randrange(len(DAMAGES))](chance, content)
    content = bytes(content)
    whole = [record for record in records if framed(record) in content]
    stored = gzip.compress(content, 1) if chance.random() < COMPRESSED else content
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "a.tfrecord"
        path.write_bytes(stored)
        return _outcome(str(path), records, whole, len(content), f"seed {job[0]}, shard {job[1]}")


def _outcome(path: str, records: Sequence[bytes], whole: Sequence[bytes], size: int, name: str) -> Outcome:
    counts = {"damaged": len(records) - len(whole), "whole": len(whole)}
    try:
        with _time_limit():
            read, silent = _read(path, size)
    except Hang:
        return Outcome(**counts, hangs=1, note=f"{name}: hangs")
    except Exception as error:
        return Outcome(**counts, crashes=1, note=f"{name}: {type(error).__name__}: {error}")
    wrong = sum(record not in set(records) for record in read)
    lost = len(set(whole) - set(read))
    note = f"{name}: {wrong} wrong; {silent}" if wrong or silent else ""
    return Outcome(**counts, lost_whole=lost, wrong=wrong, silent=int(bool(silent)), note=note)


class _time_limit:
    def __enter__(self):
        def stop(*_):
            raise Hang

        signal.signal(signal.SIGALRM, stop)
        signal.alarm(MOST_SECONDS)

    def __exit__(self, *_):
        signal.alarm(0)


def _read(path: str, size: int) -> tuple[list[bytes], str]:
    """The records in order, and what is silently missing, or how ways to read disagree; empty where nothing is."""
    bad = BadRecords(skip=True)
    frames, read = [], []
    for frame, _, data in records_of_file(path, bad, bytes):
        frames.append(frame)
        read.append(data)
    lost = sum(record.num_bytes for record in bad.by_file().get(path, []))
    if size and sum(frame.num_bytes for frame in frames) + lost != size:
        return read, "bytes are neither read nor counted"
    with open(path, "rb") as stream:
        streamed = [record.data for record in records_of_any(stream, path) if not record.problem]
    if streamed != read:
        return read, "a stream has other records"
    return read, _disagreement(path)


def _disagreement(path: str) -> str:
    """How the ways to read videos disagree, in words."""
    videos = VideoFiles((path,), SPEC, BadRecords(skip=True))
    batches = list(videos.ordered_batches(View(), 8))
    in_order = _ids(batches)
    again = VideoFiles((path,), SPEC, BadRecords(skip=True))
    if sorted(_ids(again.training_batches(View(), 8, seed=1, epoch=0))) != sorted(in_order):
        return "shuffled, there are other videos"
    middle = len(batches) // 2
    if batches and _ids(again.ordered_batches(View(), 8, start=position_after(batches[middle]))) != _ids(
        batches[middle + 1 :]
    ):
        return "resumed, there are other videos"
    if again.bad_records.by_file() != videos.bad_records.by_file():
        return "other records are bad when read again"
    report = check_file(path, SPEC, lambda num_bytes: None)
    return "" if report.videos == len(in_order) else "verify finds other videos"


def _ids(batches: Iterator[dict] | Sequence[dict]) -> list[bytes]:
    return [video_id for batch in batches for video_id in batch["video_id"]]


def _record(chance: random.Random, number: int) -> bytes:
    frames = chance.choice((1, 3, 10, 10, 40))
    sizes = zip(SPEC.feature_names, SPEC.feature_sizes, strict=True)
    values = np.random.default_rng(chance.randrange(2**32))
    features = {name: values.integers(0, 256, (frames, size), np.uint8) for name, size in sizes}
    return serialized_example(serialized_bytes("id", b"v%d-%08x" % (number, chance.randrange(2**32))), features)


def _flip(chance: random.Random, content: bytearray):
    for _ in range(chance.choice((1, 1, 8))):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def _flip_header(chance: random.Random, content: bytearray):
    """The place where damage is worst: a length, or its checksum."""
    starts = [0]
    while (end := starts[-1] + 16 + int.from_bytes(content[starts[-1] : starts[-1] + 8], "little")) < len(content):
        starts.append(end)
    place = chance.choice(starts) + chance.randrange(12)
    if place < len(content):
        content[place] ^= 1 << chance.randrange(8)


def _delete(chance: random.Random, content: bytearray):
    begin, length = _part(chance, content)
    del content[begin : begin + length]


def _insert(chance: random.Random, content: bytearray):
    begin, length = _part(chance, content)
    content[begin:begin] = chance.randbytes(length)


def _zeros(chance: random.Random, content: bytearray):
    begin, length = _part(chance, content)
    content[begin : begin + length] = bytes(len(content[begin : begin + length]))


def _noise(chance: random.Random, content: bytearray):
    begin, length = _part(chance, content)
    content[begin : begin + length] = chance.randbytes(len(content[begin : begin + length]))


def _copy(chance: random.Random, content: bytearray):
    """A part of the shard over another one, as by a disk that writes to a wrong place."""
    begin, length = _part(chance, content)
    part = content[begin : begin + length]
    place = chance.randrange(len(content) - len(part) + 1)
    content[place : place + len(part)] = part


def _cut(chance: random.Random, content: bytearray):
    del content[chance.randrange(1, len(content)) :]


def _part(chance: random.Random, content: bytearray) -> tuple[int, int]:
    return chance.randrange(len(content)), chance.choice((1, 7, 100, 512, 4096))


DAMAGES: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _flip, _flip_header, _flip_header, _delete, _insert, _zeros, _noise, _copy, _cut,
)  # fmt: skip
