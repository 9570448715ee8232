"""How fast are videos read, compared with nothing but parsing their records?

    python benchmarks/input_pipeline.py                                  # about two minutes
    python benchmarks/input_pipeline.py --audioset=$AUDIOSET             # also AudioSet's small records

Bare parsing is `tf.io.parse_single_sequence_example` alone, on all cores, over serialized records that are in memory.
What is compared with it reads files: it finds the records, checks their checksums, takes them apart and makes batches
of uint8 frames and labels. Videos are random, of full size: 300 frames of 1152 bytes, a file read again and again, so
that it comes from the system's cache. To expect: all frames at 60 % of bare parsing or more, k = 30 faster than all.
Measured (2 cores of a server of 2021 with AVX2, in a virtual machine; TensorFlow 2.21):

| 300 frames of 1152 bytes                      | videos/s | to bare parsing |
|-----------------------------------------------|----------|-----------------|
| bare parsing, from memory                     | 4,368    | 1.00            |
| bare parsing, from files                      | 2,531    | 0.63            |
| tf.io.parse_sequence_example, 50 at a time    | 9,538    | 1.93            |
| in order, all frames                          | 4,733    | 0.88            |
| in order, k = 30                              | 6,167    | 1.39            |
| in order, k = 6                               | 6,474    | 1.21            |
| in order, all frames and the places of k = 30 | 3,838    | 0.86            |
| shuffled, all frames                          | 4,947    | 1.11            |
| shuffled, k = 30                              | 6,412    | 1.43            |
| shuffled, k = 6                               | 6,779    | 1.55            |
| shuffled, all frames and the places of k = 30 | 4,854    | 0.86            |
| thinning to k = 30                            | 3,252    | 0.59            |
| thin shards in order, k = 30                  | 10,428   | 2.20            |

Ratios vary by about .2 between runs, as the system spreads the parser's work differently. Thin shards of 30 frames have
10.0 % of the bytes. AudioSet's records (10 frames of 128 bytes), on one core of a machine that others used, too, and
in processor time:

| 10 frames of 128 bytes                     | videos/s | us of processor time a video |
|--------------------------------------------|----------|------------------------------|
| tf.io.parse_sequence_example, 50 at a time | 117,000  | 5.4                          |
| the same, 128 at a time, from files        | 126,000  | 5.3                          |
| in order, all frames                       | 107,000  | 6.7                          |
| in order, k = 3                            | 108,000  | 6.9                          |
| shuffled, all frames                       | 105,000  | 7.3                          |
| shuffled, k = 3                            | 100,000  | 7.5                          |
| record by record, in order, all frames     | 14,800   | 50.2                         |
| record by record, shuffled, all frames     | 14,200   | 51.9                         |

TensorFlow's parser leaves the frames as strings and the labels as lists; what is compared with it also makes arrays of
them, and checks all rules. Record by record is what small records took before they were read a window at a time. On
one core, a training of a small NeXtVLAD on AudioSet (8 clusters, 64 hidden units) takes 1.5 times as many videos a
second since then (6,500, before 4,300), one of 32 clusters and 512 hidden units 1.2 times as many (2,400 and 2,000).
It waits for input 1 % of the time, as the reader's thread has the core while TensorFlow is not computing.
"""

import argparse
import contextlib
import dataclasses
import io
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Sequence

import tensorflow as tf
from measuring import Measured, full_size_videos, measure_in_turn, print_machine, print_table, rate_ratio

from yt8m_distill.config.dataset import DatasetSpec, SpecOverrides
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.data.batches import Batch, View
from yt8m_distill.data.video_files import VideoFiles, open_videos
from yt8m_distill.thin import main as thin_main

BARE = "bare parsing, from memory"
THIN_FRAMES = 30


def main(argv: Sequence[str] | None = None):
    arguments = parse_arguments(argv)
    print_machine()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        videos = full_size_videos(folder, arguments.videos, arguments.frames, arguments.times)
        tasks = tasks_of(videos, arguments.batch_size, ks=(30, 6))
        tasks |= thin_shards(videos, folder / "thin", arguments)
        report(f"{arguments.frames} frames of 1152 bytes", measure_in_turn(tasks, arguments.repetitions))
        report_thin_size(videos, folder / "thin")
    if arguments.audioset:
        videos = open_videos(f"{arguments.audioset}/train*", "audioset", SpecOverrides())
        tasks = tasks_of(videos, arguments.batch_size, ks=(3,))
        report("AudioSet, 10 frames of 128 bytes", measure_in_turn(tasks, arguments.repetitions))


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=150, help="different ones")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--times", type=int, default=12, help="how often their file is read in a repetition")
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--audioset", help="folder with AudioSet's train*.tfrecord")
    return parser.parse_args(argv)


def tasks_of(videos: VideoFiles, batch_size: int, ks: Sequence[int]) -> dict[str, Callable[[], float]]:
    """Everything that is measured on these videos, by name."""
    views = {
        "all frames": View(),
        **{f"k = {k}": View(FrameSelection(k)) for k in ks},
        f"all frames and the places of k = {ks[0]}": View(FrameSelection(ks[0]), with_all_frames=True),
    }
    tasks = bare_parsing(videos)
    for name, view in views.items():
        tasks[f"in order, {name}"] = lambda view=view: count(videos.ordered_batches(view, batch_size))
    for name, view in views.items():
        tasks[f"shuffled, {name}"] = lambda view=view: count(videos.training_batches(view, batch_size, seed=0, epoch=0))
    return tasks


def count(batches: Iterable[Batch]) -> int:
    """Reads to the end; the number of videos."""
    return sum(len(batch["num_frames"]) for batch in batches)


def bare_parsing(videos: VideoFiles) -> dict[str, Callable[[], float]]:
    """TensorFlow's parser alone: over records in memory, over the files, and over batches in one operation each."""
    context, lists = parser_features(videos.spec)
    different = sorted(set(videos.files))
    times = len(videos.files) // len(different)
    records = [record.numpy() for record in tf.data.TFRecordDataset(different)]
    batches = [tf.constant(records[begin : begin + 50]) for begin in range(0, len(records), 50)]

    def parse(record):
        return tf.io.parse_single_sequence_example(record, context, lists)

    def task(dataset: tf.data.Dataset) -> Callable[[], float]:
        parsed = dataset.repeat(times).map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        return lambda: int(parsed.reduce(0, lambda number, _: number + 1))

    @tf.function(reduce_retracing=True)
    def parse_batch(serialized):
        return tf.io.parse_sequence_example(serialized, context, lists)[1]

    def parse_batches() -> int:
        return sum(next(iter(parse_batch(batch).values())).shape[0] for batch in batches * times)

    def parse_files() -> int:
        parsed = tf.data.TFRecordDataset(different).repeat(times).batch(128).map(parse_batch, tf.data.AUTOTUNE)
        return sum(next(iter(lists.values())).shape[0] for lists in parsed)

    return {
        BARE: task(tf.data.Dataset.from_tensor_slices(records)),
        "bare parsing, from files": task(tf.data.TFRecordDataset(different)),
        "tf.io.parse_sequence_example, 50 at a time": parse_batches,
        "the same, 128 at a time, from files": parse_files,
    }


def parser_features(spec: DatasetSpec) -> tuple[dict, dict]:
    """What TensorFlow's parser is to look for."""
    context = {spec.id_key: tf.io.FixedLenFeature([], tf.string), "labels": tf.io.VarLenFeature(tf.int64)}
    return context, {name: tf.io.FixedLenSequenceFeature([], tf.string) for name in spec.feature_names}


def thin_shards(
    videos: VideoFiles, folder: pathlib.Path, arguments: argparse.Namespace
) -> dict[str, Callable[[], float]]:
    """Writing thin shards of 30 frames, one file a repetition, and reading them."""

    def write() -> int:
        thin(videos.files[0], folder)
        return arguments.videos

    def read() -> int:
        thinned = open_videos(str(folder), "input", SpecOverrides())
        thinned = dataclasses.replace(thinned, files=thinned.files * arguments.times)
        return count(thinned.ordered_batches(View(FrameSelection(THIN_FRAMES)), arguments.batch_size))

    return {f"thinning to k = {THIN_FRAMES}": write, f"thin shards in order, k = {THIN_FRAMES}": read}


def thin(path: str, folder: pathlib.Path):
    """Rewrites a file as a thin shard in the folder, in place of what is there."""
    for old in folder.glob("*"):
        old.unlink()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
        code = thin_main(["thin", f"--frames={THIN_FRAMES}", path, str(folder)])
    if code:
        raise RuntimeError(errors.getvalue())


def report(title: str, measured: dict[str, Measured]):
    """Rates and their ratios to bare parsing."""
    print(f"\n{title}")
    bare = measured[BARE]
    rows = [(name, f"{each.rate:,.0f}", f"{rate_ratio(each, bare):.2f}") for name, each in measured.items()]
    print_table(("", "videos/s", "to bare parsing"), rows)


def report_thin_size(videos: VideoFiles, folder: pathlib.Path):
    size = pathlib.Path(videos.files[0]).stat().st_size
    thinned = sum(path.stat().st_size for path in folder.glob("*.tfrecord"))
    print(f"\nThin shards of {THIN_FRAMES} frames have {100 * thinned / size:.1f} % of the bytes.")


if __name__ == "__main__":
    main()
