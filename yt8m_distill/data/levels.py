"""How well features fill the 256 levels of their bytes."""

import logging

import numpy as np

from yt8m_distill.config.dataset import DEFAULT_RANGE, EDITIONS, DatasetSpec
from yt8m_distill.files.text_table import aligned_table

log = logging.getLogger(__name__)
LEVELS = 256
# AudioSet has 9 % of its values at each end; in a range of one's own there should be next to none.
MOST_SATURATED, MOST_SATURATED_OF_OWN = 0.15, 0.01
MOST_UNUSED = 0.5
FEWEST_VALUES = 64 * LEVELS  # from which levels that do not occur mean something


def describe_levels(counts: np.ndarray, spec: DatasetSpec) -> str:
    """A table of the share of values at both ends, which may have been clipped, and of levels that do not occur.

    Warns where a feature loses more by this than it must.

    Args:
        counts: how often each byte occurs, (features, 256).
        spec: the format, with the ranges.
    """
    head = ["feature", "range", "at the lowest level", "at the highest level", "unused levels"]
    lines = [head]
    ranges = spec.feature_ranges or (DEFAULT_RANGE,) * len(counts)
    published = spec.edition in {edition.name for edition in EDITIONS} and spec.feature_ranges is None
    for name, (low, high), levels in zip(spec.feature_names, ranges, counts, strict=True):
        total = int(levels.sum())
        if not total:
            continue
        shares = levels / total
        unused = int(np.count_nonzero(levels == 0))
        ends = [f"{100 * share:.2f} %" for share in (shares[0], shares[-1])]
        lines.append([name, f"[{low:.4g}, {high:.4g}]", *ends, f"{100 * unused / LEVELS:.0f} %"])
        most = MOST_SATURATED if published else MOST_SATURATED_OF_OWN
        # Where a range begins with 0, values that are 0, as of ReLU, are exact.
        saturated = [shares[-1], *([] if low == 0 else [shares[0]])]
        if total >= FEWEST_VALUES and max(saturated) > most:
            _warn(name, f"{100 * sum(saturated):.1f} % of the values are at an end of [{low:.4g}, {high:.4g}], clipped")
        if total >= FEWEST_VALUES and unused > MOST_UNUSED * LEVELS:
            _warn(name, f"only {LEVELS - unused} of {LEVELS} levels occur in [{low:.4g}, {high:.4g}]")
    return aligned_table(lines, "<<>") if len(lines) > 1 else "No frames."


def _warn(name: str, problem: str):
    advice = "python -m yt8m_distill.quantize makes bytes of its floats in the range that they fill."
    log.warning("'%s': %s; %s", name, problem, advice)
