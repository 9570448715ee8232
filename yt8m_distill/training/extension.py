"""Longer training of a run that exists: from which of its states it goes on.

Nothing that is learned in an epoch depends on how many follow, the learning rate included. So a run goes on from its
end where a longer one would have been at the same steps: the last checkpoint, or what the end of a stage has stored,
where later stages, or the end of an epoch that was cut short by the number of steps, have to be taken back. A run whose
learning rate does depend on it (`Learning.depends_on_total`) cannot be made longer.
"""

import enum
import logging
import os
import shutil
from dataclasses import dataclass

from yt8m_distill.config.run import RunConfig
from yt8m_distill.errors import UserError
from yt8m_distill.runs import checkpoints
from yt8m_distill.runs.checkpoints import Checkpoint
from yt8m_distill.runs.directory import RunDir, free_name
from yt8m_distill.training.checkpointing import Progress, position_of
from yt8m_distill.training.stages import epochs_of_stages

log = logging.getLogger(__name__)

# Settings of how long is trained.
FIELDS = ("learning.num_epochs", "learning.max_steps", "learning.finetune_epochs")


class Start(enum.Enum):
    """Where a run goes on that is given other settings of how long is trained."""

    AS_IT_IS = "its end stays where it is, or has not been reached"
    LAST_STATE = "at its last checkpoint"
    END_OF_STAGE = "at the end of a stage"
    BEGINNING = "nowhere: no state has been kept that a longer training would have had, too"


@dataclass(frozen=True)
class Extension:
    """How a run becomes longer.

    Attributes:
        start: where it goes on.
        stage: index of the stage at whose end; None: at no stage's.
    """

    start: Start
    stage: int | None = None

    @property
    def trains(self) -> bool:
        """Whether there is more to train than without it."""
        return self.start is not Start.AS_IT_IS


@dataclass(frozen=True)
class _Limits:
    """Where a stage ends: after these epochs, or these steps."""

    epochs: int
    steps: int | None

    def excludes(self, progress: Progress) -> bool:
        """Whether a stage with these limits never gets there."""
        done = progress.steps_in_stage
        too_many = self.steps is not None and done is not None and done > self.steps
        return too_many or progress.epoch + (progress.batch > 0) > self.epochs

    def contains(self, other: "_Limits") -> bool:
        """Whether it is at least as long."""
        longer = self.steps is None or (other.steps is not None and self.steps >= other.steps)
        return longer and self.epochs >= other.epochs

    def end_before(self, progress: Progress) -> bool:
        """Whether a stage with these limits is over there."""
        done = progress.steps_in_stage
        return progress.epoch >= self.epochs or (self.steps is not None and done is not None and done >= self.steps)


def extension_of(run: RunDir, old: RunConfig, new: RunConfig) -> Extension:
    """Where a run goes on that was started with other settings of how long is trained.

    Args:
        run: that has its settings in `old`.
        old: as it was started; it differs from `new` in nothing else.
        new: as it is to go on.

    Raises:
        UserError: more has been trained than `new` says, or what has been trained depends on how long it was to be.
    """
    stored = checkpoints.states(run)
    if not stored:
        return Extension(Start.AS_IT_IS)
    last = position_of(stored[-1])
    before, after = _limits(old), _limits(new)
    if new.learning.depends_on_total and before[: last.stage + 1] != after[: last.stage + 1]:
        raise _planned(run, new)
    for stage in range(min(last.stage + 1, len(after))):
        if before[stage] == after[stage]:
            continue
        end = last
        if stage < last.stage or _is_cut(last, before[stage]):
            end = _stored_end(run, stage, last)
        if end is None or (after[stage].steps is not None and end.steps_in_stage is None):
            # A version before this one has not stored it.
            if not after[stage].contains(before[stage]):
                raise _shorter(run, last, after[stage])
            return Extension(Start.BEGINNING)
        if after[stage].excludes(end):
            raise _shorter(run, end, after[stage])
        if not after[stage].end_before(end):
            return Extension(Start.LAST_STATE) if end is last else Extension(Start.END_OF_STAGE, stage)
    return Extension(Start.AS_IT_IS)


def _limits(config: RunConfig) -> list[_Limits]:
    return [_Limits(epochs, config.learning.max_steps) for epochs in epochs_of_stages(config)]


def _is_cut(progress: Progress, limits: _Limits) -> bool:
    """Whether it is the end of an epoch that the number of steps has cut short."""
    return progress.batch == 0 and limits.steps is not None and limits.steps in (progress.steps_in_stage, None)


def _stored_end(run: RunDir, stage: int, last: Progress) -> Progress | None:
    end = checkpoints.stage_end(run, stage)
    if end is None or (stage == last.stage and end.step != last.step):
        return None
    return position_of(end)


def _planned(run: RunDir, config: RunConfig) -> UserError:
    schedule = config.learning.learning_rate_schedule
    return UserError(
        f"'{run.path}' was trained with --learning_rate_schedule={schedule}, whose learning rates follow from the "
        "number of all steps: with other --num_epochs, --finetune_epochs or --max_steps they would have been others. "
        "Give another --train_dir, with --init_from for the weights of this one, or --start_new_model."
    )


def _shorter(run: RunDir, progress: Progress, limits: _Limits) -> UserError:
    steps = "" if progress.steps_in_stage is None else f" ({progress.steps_in_stage} steps)"
    done = f"{progress.epoch + (progress.batch > 0)} epochs{steps}{' of fine-tuning' if progress.stage else ''}"
    asked = f"{limits.epochs} epochs" + ("" if limits.steps is None else f" and {limits.steps} steps")
    return UserError(
        f"'{run.path}' has already been trained for {done}. It can be trained longer, but not less than it was: "
        f"{asked} are too few. Give more, or another --train_dir."
    )


def extend(run: RunDir, extension: Extension):
    """Takes a run back to where it goes on. A kill leaves it where the same command does it again.

    Args:
        run: its directory, which nobody else writes.
        extension: of this run.
    """
    if not extension.trains:
        return
    if extension.start is Start.BEGINNING:
        begin_again(run, "no state that a longer training would have had has been kept")
        return
    if extension.stage is not None:
        _take_back(run, extension.stage)
    run.report_file.unlink(missing_ok=True)  # it marks the run as finished
    log.info("The run in %s is trained longer", run.path)


def _take_back(run: RunDir, stage: int):
    """Removes what was stored after the end of a stage."""
    end = checkpoints.stage_end(run, stage)
    for later in reversed([state for state in checkpoints.states(run) if state.step >= end.step]):
        if not _is_same(later, end):
            later.remove()


def _is_same(state: Checkpoint, end: Checkpoint) -> bool:
    return state.path == end.path or position_of(state) == position_of(end)


def begin_again(run: RunDir, reason: str):
    """Moves all that a run has trained aside, but for its teacher.

    Args:
        run: its directory, which nobody else writes.
        reason: why, for the log.
    """
    parts = (run.report_file, run.stage_ends, run.checkpoints, run.finished_stages, run.best, run.logs, run.evaluations)
    existing = [path for path in parts if path.exists()]
    if not existing:
        return
    target = free_name(run)
    target.mkdir()
    shutil.copy(run.config_file, target)
    for path in existing:
        os.rename(path, target / path.name)
    log.warning("The run in %s begins again: %s. What it had is now in %s", run.path, reason, target)
