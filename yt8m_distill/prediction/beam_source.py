"""TFRecord files as a source of an Apache Beam pipeline: paths to records, records to videos."""

import csv
import io
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.io.filebasedsource import FileBasedSource, ReadAllFiles
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.iobase import RangeTracker
from apache_beam.metrics import Metrics

from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.data import reading
from yt8m_distill.data.framing import StreamRecord
from yt8m_distill.data.record_files import records_of_any
from yt8m_distill.data.record_format import PREDICTION, generated_id
from yt8m_distill.data.tfrecord import DamagedRecord
from yt8m_distill.data.video import Video
from yt8m_distill.errors import UserError

COUNTERS = "yt8m_distill"  # their namespace
BAD_RECORDS_HEADER = "file,record,bytes,problem"


class RecordSource(FileBasedSource):
    """The records of TFRecord files, good and bad ones; a file is read whole.

    Args:
        pattern: of the files, on any file system that Beam knows; they may be compressed, whatever their names.
    """

    def __init__(self, pattern: str):
        super().__init__(pattern, compression_type=CompressionTypes.UNCOMPRESSED, splittable=False, validate=False)

    def read_records(self, file_name: str, range_tracker: RangeTracker) -> Iterator[StreamRecord]:
        """All records of one file."""
        offset = 0
        with self.open_file(file_name) as file:
            for record in records_of_any(file, file_name):
                if not range_tracker.try_claim(offset):
                    return
                offset += max(record.num_bytes, 1)
                yield record


class ReadRecords(beam.PTransform):
    """Paths to (path, `StreamRecord`), for every record of every file."""

    def expand(self, paths: beam.PCollection) -> beam.PCollection:
        read = ReadAllFiles(
            splittable=False,
            compression_type=CompressionTypes.UNCOMPRESSED,
            desired_bundle_size=0,
            min_bundle_size=0,
            source_from_file=RecordSource,
            with_filename=True,
        )
        return paths | "Seen" >> beam.Map(check_seen) | "Read" >> read


def check_seen(path: str) -> str:
    """The path, as `ReadAllFiles` takes a file that this worker does not see for one without records.

    Raises:
        UserError: the worker does not see the file.
    """
    if not FileSystems.exists(path):
        raise UserError(f"{path} is not there for this worker, or no longer.")
    return path


class ReadVideos(beam.DoFn):
    """(path, `StreamRecord`) to videos; rows of the list of bad records are the output `BAD`.

    Args:
        spec: how to read them.
        skip_bad_records: list bad records instead of raising.
    """

    BAD = "bad"

    def __init__(self, spec: DatasetSpec, skip_bad_records: bool):
        self.spec = spec
        self.skip_bad_records = skip_bad_records
        self.videos, self.without_frames, self.bad, self.bytes, self.bad_bytes = (
            Metrics.counter(COUNTERS, name) for name in ("videos", "without_frames", "bad", "bytes", "bad_bytes")
        )

    def process(self, element: tuple[str, StreamRecord]) -> Iterator[Video | beam.pvalue.TaggedOutput]:
        """The video of one record.

        Raises:
            UserError: the record is bad, and bad records are errors.
        """
        path, record = element
        self.bytes.inc(record.num_bytes)
        try:
            video = self._video(path, record)
        except DamagedRecord as error:
            if not self.skip_bad_records:
                raise UserError(f"{path}, record {record.number}: {error}.") from error
            self.bad.inc()
            self.bad_bytes.inc(record.num_bytes)
            yield beam.pvalue.TaggedOutput(self.BAD, bad_record_row(path, record.number, record.num_bytes, error))
            return
        self.videos.inc()
        if not video.num_frames:
            self.without_frames.inc()
        yield video

    def _video(self, path: str, record: StreamRecord) -> Video:
        if record.problem:
            raise DamagedRecord(record.problem)
        generated = generated_id(path, record.number)
        return reading.read_video(record.data, self.spec, use=PREDICTION, generated=generated)


def bad_record_row(path: str, number: int, num_bytes: int, problem: object) -> str:
    """A line of the list of bad records, in the order of `BAD_RECORDS_HEADER`."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow((path, number, num_bytes, problem))
    return " ".join(line.getvalue().splitlines())
