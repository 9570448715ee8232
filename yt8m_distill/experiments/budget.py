"""How many epochs a model has been trained for, its teacher's and that teacher's own included."""

from collections.abc import Mapping, Sequence

from yt8m_distill.config.recipes import recipe_for
from yt8m_distill.config.training import TrainConfig
from yt8m_distill.errors import UserError
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.teachers import teacher_config


def own_epochs(config: TrainConfig) -> int:
    """Epochs of a training, with those of fine-tuning where the loss rep alone is followed by it.

    Args:
        config: as asked; what it leaves open has the recipe's value.
    """
    learning = config.learning
    recipe = config.recipe or ("sample" if config.train_data_pattern is None else "paper")
    epochs = learning.num_epochs or recipe_for(recipe, config.model).num_epochs
    is_tuned = config.training_mode == "serial" and config.distillation.losses == ("rep",)
    return epochs + (learning.finetune_epochs or epochs) * is_tuned


def total_epochs(config: TrainConfig) -> int:
    """Epochs of a training and of the longest chain of runs before it: its teachers, and the run that it starts from.

    Args:
        config: of a student: its teacher is as its settings say, or the finished ones of `teacher_dir`.

    Raises:
        UserError: there is no run in `teacher_dir` or `init_from`.
    """
    return sum(_chain(config, {}))


def _chain(config: TrainConfig, planned: Mapping[str, TrainConfig]) -> list[int]:
    """The epochs of each training of the longest chain that ends with this one; runs are planned, or on the disk."""
    folders = [*config.teacher_dirs, *([config.init_from] if config.init_from else [])]
    before = [planned.get(folder) or RunDir(folder).read_config() for folder in folders]
    if config.training_mode == "serial" and not config.teacher_dirs:
        before.append(teacher_config(config, None))
    return [*max((_chain(run, planned) for run in before), key=sum, default=[]), own_epochs(config)]


def describe(runs: Sequence[tuple[str, TrainConfig]]) -> str:
    """The epochs of each row, so that a table says which budget its baselines had.

    Args:
        runs: the row and the settings of each finished run, in the order of the table.

    Returns:
        One sentence; "" where steps limit the trainings, or a run that another one started from is not there any more.
    """
    if any(config.learning.max_steps for _, config in runs):
        return ""
    planned = {config.train_dir: config for _, config in runs}
    try:
        chains = [(row, _chain(config, planned)) for row, config in runs]
    except UserError:
        return ""
    rows: dict[str, list[str]] = {}
    for row, chain in chains:
        labels = rows.setdefault(" + ".join(map(str, chain)), [])
        labels += [row] * (row not in labels)
    parts = [f"{epochs}: {', '.join(labels)}" for epochs, labels in rows.items()]
    after = " (a sum: those of the runs before it, then its own)" if any(" + " in epochs for epochs in rows) else ""
    return f"Epochs{after}: {'; '.join(parts)}."
