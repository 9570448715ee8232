"""Is it better to stop early at videos whose labels are clear than to look at the same number of frames of each?

    python benchmarks/early_exit.py --runs=runs/any_k0,runs/any_k1,runs/any_k2 --ladder=2,6,30 \\
        --eval_data_pattern="$SIMULATED/validate*"

A ladder of frames is climbed: a video stops at the first of its steps but the last where it is clear enough. The frames
of each step are those that the student sees of so many frames anyway; they hold those of the step before where each
step is an odd multiple of it, so that the mean number of frames is that of the last step reached. How clear:
"confidence" is the highest prediction, "entropy" that of the 20 highest, with the sign changed, "change" the
difference to the predictions of the step before, with the sign changed (the first step never stops). Of the videos
that reach a step, a share stops there, the same at each; thresholds for that are chosen on every second video, and
everything is measured on the others. Compared with it: the same shares stopped at random, and a fixed number of frames,
of all numbers tried (interpolated between the two next to the same mean). GAP@20, mean and standard deviation over the
runs, which are those of several seeds.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from measuring import print_machine, print_table

from yt8m_distill.config.dataset import SpecOverrides
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.data.batches import View
from yt8m_distill.data.video_files import VideoFiles, open_videos
from yt8m_distill.metrics import EvaluationMetrics
from yt8m_distill.prediction.opened_model import predictions
from yt8m_distill.prediction.predict import prediction_function
from yt8m_distill.runs.loading import load

SHARES = (0.2, 0.35, 0.5, 0.65, 0.8)  # that stop at each step, of those that reach it
ENTROPY_CLASSES = 20


@dataclass(frozen=True)
class Predicted:
    """Predictions of one run.

    Attributes:
        by_frames: (videos, classes), by number of frames.
        labels: bool (videos, classes).
    """

    by_frames: Mapping[int, np.ndarray]
    labels: np.ndarray

    def half(self, index: int) -> "Predicted":
        """Every second video."""
        parts = {frames: scores[index::2] for frames, scores in self.by_frames.items()}
        return Predicted(parts, self.labels[index::2])

    def gap(self, scores: np.ndarray) -> float:
        metrics = EvaluationMetrics(scores.shape[1])
        metrics.update(scores, self.labels, loss=0.0)
        return metrics.result()["GAP@20"]


def main(argv: Sequence[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", required=True, help="run directories of any-k students")
    parser.add_argument("--ladder", default="2,6,30")
    parser.add_argument("--fixed", default="2,3,4,5,6,8,10,12,15,20,25,30", help="numbers of frames to compare with")
    parser.add_argument("--eval_data_pattern", required=True)
    arguments = parser.parse_args(argv)
    ladder, fixed = (tuple(map(int, text.split(","))) for text in (arguments.ladder, arguments.fixed))
    print_machine()
    videos = open_videos(arguments.eval_data_pattern, "eval_data_pattern", SpecOverrides())
    results = [list(compare(predicted(run, videos, (*ladder, *fixed)), ladder)) for run in arguments.runs.split(",")]
    print_table(
        ("exit by", "share", "mean frames", "exits", "at random", "fixed", "exits - fixed"),
        [_row(rows) for rows in zip(*results, strict=True)],
    )


def _row(rows: Sequence[tuple]) -> tuple[str, ...]:
    """The mean of a row over runs, and the standard deviation of the last column."""
    kind, share = rows[0][:2]
    columns = list(zip(*(row[2:] for row in rows), strict=True))
    means = [statistics.mean(column) for column in columns]
    spread = f" ± {statistics.stdev(columns[-1]):.4f}" if len(rows) > 1 else ""
    return kind, f"{share:.2f}", f"{means[0]:.1f}", *(f"{mean:.4f}" for mean in means[1:4]), f"{means[4]:+.4f}{spread}"


def predicted(run: str, videos: VideoFiles, numbers: Sequence[int]) -> Predicted:
    """Predictions of a run's student at each number of frames."""
    trained = load(run)
    predict = prediction_function(trained.model)
    by_frames, labels = {}, []
    for frames in sorted(set(numbers)):
        options = {"batch_size": 64, "seed": 0, "description": f"{run}, {frames} frames"}
        batches = list(predictions(predict, videos, View(FrameSelection(frames)), **options))
        by_frames[frames] = np.concatenate([scores for _, scores in batches])
        labels = [batch["labels"] for batch, _ in batches]
    return Predicted(by_frames, np.concatenate(labels))


def compare(all_videos: Predicted, ladder: Sequence[int]) -> Iterator[tuple]:
    """Kind, share, mean number of frames, and GAP@20 with exits, at random, and with a fixed number."""
    chosen_on, measured_on = all_videos.half(0), all_videos.half(1)
    steps = np.array(ladder)
    random = np.random.default_rng(0)
    for kind, clearness in KINDS.items():
        for share in SHARES:
            thresholds = _thresholds(chosen_on, ladder, clearness, share)
            reached = _reached(measured_on, ladder, clearness, thresholds)
            frames = steps[reached]
            gap = measured_on.gap(_at(measured_on, ladder, reached))
            by_chance = measured_on.gap(_at(measured_on, ladder, random.permutation(reached)))
            fixed = _fixed(measured_on, frames.mean())
            yield kind, share, frames.mean(), gap, by_chance, fixed, gap - fixed


def _thresholds(videos: Predicted, ladder: Sequence[int], clearness: Callable, share: float) -> list[float]:
    """At each step but the last, from where a video is clear enough that so many of those that reach it stop."""
    left = np.arange(len(videos.labels))
    thresholds = []
    for step in range(len(ladder) - 1):
        values = clearness(videos, ladder, step)[left]
        thresholds.append(np.quantile(values, 1 - share) if np.isfinite(values).all() else np.inf)
        left = left[values < thresholds[-1]]
    return thresholds


def _reached(videos: Predicted, ladder: Sequence[int], clearness: Callable, thresholds: Sequence[float]) -> np.ndarray:
    """The step at which each video stops."""
    reached = np.full(len(videos.labels), len(ladder) - 1)
    for step in reversed(range(len(thresholds))):
        reached[clearness(videos, ladder, step) >= thresholds[step]] = step
    return reached


def _at(videos: Predicted, ladder: Sequence[int], reached: np.ndarray) -> np.ndarray:
    """The predictions of each video at its step."""
    return np.stack([videos.by_frames[frames] for frames in ladder])[reached, np.arange(len(reached))]


def _fixed(videos: Predicted, mean_frames: float) -> float:
    """GAP@20 of a fixed number of frames, between the two numbers next to the mean in proportion."""
    numbers = sorted(videos.by_frames)
    below = max(number for number in numbers if number <= mean_frames)
    above = min(number for number in numbers if number >= mean_frames)
    gaps = [videos.gap(videos.by_frames[number]) for number in (below, above)]
    return float(np.interp(mean_frames, (below, above), gaps)) if above > below else gaps[0]


def _confidence(videos: Predicted, ladder: Sequence[int], step: int) -> np.ndarray:
    return videos.by_frames[ladder[step]].max(axis=1)


def _certainty(videos: Predicted, ladder: Sequence[int], step: int) -> np.ndarray:
    highest = np.sort(videos.by_frames[ladder[step]], axis=1)[:, -ENTROPY_CLASSES:].clip(1e-6, 1 - 1e-6)
    return (highest * np.log(highest) + (1 - highest) * np.log(1 - highest)).sum(axis=1)


def _steadiness(videos: Predicted, ladder: Sequence[int], step: int) -> np.ndarray:
    if step == 0:
        return np.full(len(videos.labels), -np.inf)
    scores = (videos.by_frames[ladder[step]], videos.by_frames[ladder[step - 1]])
    return -np.abs(scores[0] - scores[1]).sum(axis=1)


KINDS: Mapping[str, Callable[[Predicted, Sequence[int], int], np.ndarray]] = {
    "confidence": _confidence,
    "entropy": _certainty,
    "change": _steadiness,
}


if __name__ == "__main__":
    main()
