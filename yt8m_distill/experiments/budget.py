"""How many epochs a model has been trained for, its teacher's and that teacher's own included."""

from collections.abc import Sequence

from yt8m_distill.config.recipes import recipe_for
from yt8m_distill.config.training import TrainConfig
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
    folders = [*config.teacher_dirs, *([config.init_from] if config.init_from else [])]
    before = [RunDir(folder).read_config() for folder in folders]
    if config.training_mode == "serial" and not config.teacher_dirs:
        before.append(teacher_config(config, None))
    return own_epochs(config) + max(map(total_epochs, before), default=0)


def describe(runs: Sequence[tuple[str, TrainConfig]]) -> str:
    """The epochs of each row, so that a table says which budget its baselines had.

    Args:
        runs: the row and the settings of each finished run, in the order of the table.
    """
    by_folder = {config.train_dir: config for _, config in runs}

    def text(config: TrainConfig) -> str:
        own = str(own_epochs(config))
        teachers = [by_folder[folder] for folder in config.teacher_dirs if folder in by_folder]
        before = max(map(text, teachers), key=len, default="")
        return f"{before} + {own}" if before else own

    rows: dict[str, list[str]] = {}
    for row, config in runs:
        labels = rows.setdefault(text(config), [])
        labels += [row] * (row not in labels)
    parts = [f"{epochs}: {', '.join(labels)}" for epochs, labels in rows.items()]
    after = " (a sum: those of its teachers, then its own)" if any(" + " in epochs for epochs in rows) else ""
    return f"Epochs{after}: {'; '.join(parts)}."
