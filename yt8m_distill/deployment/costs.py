"""What an exported model computes for a video, and what it is to be compared with."""

import pathlib
from collections.abc import Sequence

from yt8m_distill.data.frame_selection import needs_all_frames
from yt8m_distill.deployment.exported_model import Network
from yt8m_distill.deployment.manifest import Cost
from yt8m_distill.errors import UserError
from yt8m_distill.files import untrusted
from yt8m_distill.models import cost
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.trained_model import TrainedModel


def trained_numbers(trained: TrainedModel, network: Network) -> tuple[int, ...]:
    """The numbers of frames that a client may choose among; see `Manifest.numbers`."""
    k = network.selection.k
    if k is None or needs_all_frames(network.selection) or trained.role == "teacher":
        return ()
    smaller = {number for number in trained.config.selection_of(trained.role).drawn_from if number < k}
    return (*sorted(smaller), k) if smaller else ()


def costs_of(trained: TrainedModel, network: Network, numbers: Sequence[int]) -> tuple[Cost, ...]:
    """The cost of an exported model with each number of frames, or with its own; none where videos have no limit."""
    if network.frames is None:
        return ()
    seen = numbers or (network.selection.frames(network.spec.longest_example or network.frames),)
    return tuple(_cost(trained, network, frames) for frames in seen)


def reference_of(trained: TrainedModel, network: Network, numbers: Sequence[int], train_dir: str) -> Cost | None:
    """What costs are to be compared with; see `Manifest.reference`."""
    longest = network.spec.longest_example
    if trained.role == "teacher" or not longest or (not numbers and network.selection.frames(longest) == longest):
        return None
    total, _ = cost.multiply_accumulates(network.model, longest)
    return _of_teacher(RunDir(train_dir).report_file) or Cost(trained.role, longest, total)


def _cost(trained: TrainedModel, network: Network, frames: int) -> Cost:
    total, _ = cost.multiply_accumulates(network.model, frames)
    longest = network.spec.longest_example or frames
    choosing = 0
    if network.selection.k is not None:
        choosing = cost.choosing_products(network.selection.sampling, network.spec.feature_sizes, longest, frames)
    return Cost(trained.role, frames, None if total is None or choosing is None else total + choosing)


def _of_teacher(report_file: pathlib.Path) -> Cost | None:
    """The teacher's cost as the table of the student's run has it; None where there is none that can be read."""
    try:
        rows = untrusted.read_json(report_file)["rows"] if report_file.is_file() else []
        (row,) = [row for row in rows if row["role"] == "teacher"]
        frames, total = row["frames"], row["multiply_accumulates"]
    except (UserError, KeyError, TypeError, ValueError):
        return None
    return Cost("teacher", frames, total) if type(frames) is int and type(total) is int else None
