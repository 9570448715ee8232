"""Opening a run directory: a new one, or one that is resumed with the same settings, or trained longer."""

import contextlib
import dataclasses
import logging
from collections.abc import Collection, Iterable, Iterator

from yt8m_distill.config.json import to_json, to_values
from yt8m_distill.config.recipes import with_recipe
from yt8m_distill.config.run import RunConfig
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic
from yt8m_distill.files.lock import lock_directory
from yt8m_distill.runs import checkpoints, directory
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.locations import absolute, with_working_directory
from yt8m_distill.runs.teachers import teacher_config
from yt8m_distill.training import extension

log = logging.getLogger(__name__)

# Settings that may differ between two starts of one run: where it runs, where and how often it writes, what happens to
# bad records.
RUNNING_FIELDS = (
    "train_dir",
    "eval_data_pattern",
    "checkpointing",
    "bad_records",
    "teacher_cache.directory",
    "distribution",
    "working_directory",
)


@contextlib.contextmanager
def open_run(config: RunConfig, start_new_model: bool) -> Iterator[RunDir]:
    """Opens the run directory of a configuration, and writes `config.json`; nobody else writes there meanwhile.

    Args:
        config: of the run; its directory is new, or has a run with the same settings, which is resumed, or is trained
            longer where only the number of epochs or steps differs.
        start_new_model: move an existing run aside first.

    Raises:
        UserError: it holds a run with other settings or a longer one, another command writes there, or it cannot be
            written to.
    """
    run = RunDir(config.train_dir)
    if start_new_model and (moved := directory.move_aside(run)):
        log.info("The earlier run is now in %s", moved)
    with lock_directory(run.path):
        _open(run, config)
        yield run


def _open(run: RunDir, config: RunConfig):
    run.check()
    run.clear_leftovers()
    if run.config_file.exists() and has_trained(run):
        former = run.read_config()
        if changed := changed_settings(former, config, except_for=extension.FIELDS):
            raise UserError(
                f"'{run.path}' holds a run with other settings ({'; '.join(changed)}). "
                "Give another --train_dir, or --start_new_model to move that run aside."
            )
        _extend(run, former, config)
    atomic.write_text(run.config_file, to_json(with_working_directory(config)))


def _extend(run: RunDir, former: RunConfig, config: RunConfig):
    """Takes a run that is to be trained longer back to where it goes on; a longer teacher makes another student."""
    own = extension.extension_of(run, former, config)
    if config.training_mode == "serial" and not config.teacher_dirs and run.teacher.config_file.exists():
        teacher = with_recipe(teacher_config(config, str(run.teacher.path)))  # its settings may unset some
        if extension.extension_of(run.teacher, run.teacher.read_config(), teacher).trains:
            extension.begin_again(run, "its teacher is trained longer, and the student learns from it")
            return
    extension.extend(run, own)


def has_trained(run: RunDir) -> bool:
    """Whether there is anything to resume: one that failed before its first checkpoint may be changed."""
    has_model = run.best.exists() or run.report_file.exists() or bool(checkpoints.states(run))
    return has_model or (run.teacher.config_file.exists() and has_trained(run.teacher))


def changed_settings(old: RunConfig, new: RunConfig, except_for: Collection[str] = ()) -> list[str]:
    """One line for each setting that differs and would change what is learned.

    A model argument that the run does not have is newer than the run, which used its default.

    Args:
        old, new: of the run, and as it is to go on.
        except_for: names of settings that may differ.
    """
    free = {*RUNNING_FIELDS, *except_for}
    defaults = new.model_class.argument_defaults()
    old, new = absolute(dataclasses.replace(old, model_args={**defaults, **old.model_args})), absolute(new)
    old_values, new_values = dict(_flat(to_values(old))), dict(_flat(to_values(new)))
    return [
        f"{name}: {old_values.get(name)} in the run, {new_values.get(name)} now"
        for name in sorted({*old_values, *new_values})
        if old_values.get(name) != new_values.get(name) and not {name, name.split(".")[0]} & free
    ]


def _flat(values: dict, prefix: str = "") -> Iterable[tuple[str, object]]:
    """The values of nested dictionaries under dotted names."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
