"""How much slower than a bare np.argpartition are the evaluation metrics, and how much memory do they take?

    python benchmarks/metrics.py                      # 50,000 videos, some seconds
    python benchmarks/metrics.py --videos=1100000     # as many as YouTube-8M's validation part, about a minute

Both go over the same (batch, 3862) float32 arrays in one process, batch after batch in turn, so that they meet the
same machine. To expect: a ratio of at least 0.40 with result(), and less than 1 GB for 1.1 million videos.
Measured (2 cores with AVX2, numpy 2.4), rate of EvaluationMetrics to the rate of np.argpartition; Linux only:

| videos    | batch | labels  | update() | with result() | peak memory above the inputs |
|-----------|-------|---------|----------|---------------|------------------------------|
| 50,000    | 1024  | float32 | 0.89     | 0.73          | 95 MB (setting up included)  |
| 50,000    | 1024  | bool    | 0.97     | 0.78          | 102 MB (setting up included) |
| 50,000    | 80    | float32 | 0.86     | 0.73          | 28 MB                        |
| 1,100,000 | 1024  | float32 | 0.95     | 0.69          | 545 MB                       |

With the machine shared with others the last ratio fell to 0.58.
"""

import argparse
import pathlib
import resource
import time

import numpy as np

from yt8m_distill.metrics import EvaluationMetrics


def main() -> None:
    args = _arguments()
    batches = _batches(args)
    start_bytes = _current_bytes()
    metrics = EvaluationMetrics(args.classes, args.top_k)
    bare_seconds = update_seconds = 0.0
    videos = 0
    while videos < args.videos:
        predictions, labels = batches[(videos // args.batch_size) % len(batches)]
        start = time.perf_counter()
        np.argpartition(predictions, -args.top_k, axis=1)
        middle = time.perf_counter()
        metrics.update(predictions, labels, loss=1.0)
        update_seconds += time.perf_counter() - middle
        bare_seconds += middle - start
        videos += len(predictions)
    start = time.perf_counter()
    result = metrics.result()
    result_seconds = time.perf_counter() - start
    _print_table(videos, bare_seconds, update_seconds, result_seconds, _peak_bytes() - start_bytes, result)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Rate and memory of the evaluation metrics.")
    parser.add_argument("--videos", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=3862)
    parser.add_argument("--batch_size", type=int, default=1024)
    parser.add_argument("--top_k", type=int, default=20)
    parser.add_argument("--label_dtype", default="float32", choices=["bool", "uint8", "float32"])
    return parser.parse_args()


def _batches(args: argparse.Namespace) -> list[tuple[np.ndarray, np.ndarray]]:
    """A few batches of random scores (sigmoid of normal logits) with 3.4 labels a video, used in turn."""
    random = np.random.default_rng(0)
    batches = []
    for _ in range(8):
        labels = random.random((args.batch_size, args.classes), np.float32) < 3.4 / args.classes
        logits = 2 * random.standard_normal(labels.shape, np.float32) - 6 + 5 * labels
        batches.append(((1 / (1 + np.exp(-logits))).astype(np.float32), labels.astype(args.label_dtype)))
    return batches


def _current_bytes() -> int:
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB.


def _print_table(videos, bare_seconds, update_seconds, result_seconds, peak_bytes, result) -> None:
    whole_seconds = update_seconds + result_seconds
    print(f"{'':32}{'videos/s':>12}{'ratio':>8}")
    for name, seconds in [
        ("np.argpartition", bare_seconds),
        ("EvaluationMetrics.update", update_seconds),
        ("EvaluationMetrics with result()", whole_seconds),
    ]:
        print(f"{name:32}{videos / seconds:12,.0f}{bare_seconds / seconds:8.2f}")
    print(f"{videos:,} videos, result() {result_seconds:.2f} s, peak memory above the inputs {peak_bytes / 1e6:.0f} MB")
    print(", ".join(f"{key} {value:.4f}" for key, value in result.items()))


if __name__ == "__main__":
    main()
