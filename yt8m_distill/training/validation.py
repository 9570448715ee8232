"""Validation at the end of an epoch."""

import logging
from collections.abc import Callable, Mapping

from yt8m_distill.config.run import RunConfig
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.evaluation.evaluate import evaluate
from yt8m_distill.evaluation.results import write_scalars
from yt8m_distill.metrics import EvaluationMetrics
from yt8m_distill.training.checkpointing import Progress
from yt8m_distill.training.logs import TrainingLogs

log = logging.getLogger(__name__)

EVALUATION_BATCH_SIZE = 128


def validate(
    config: RunConfig, predict: Mapping[str, Callable], videos: VideoFiles, logs: TrainingLogs, progress: Progress
) -> dict[str, dict[str, float]]:
    """Evaluates the models on the validation videos, and writes the metrics beside the training's curves.

    Args:
        config: of the run.
        predict: by role; see `prediction_function`.
        videos: to validate on.
        logs: of the training.
        progress: at the start of the next epoch.

    Returns:
        The metrics of each model, by role.
    """
    results = {}
    for role in predict:
        results[role] = evaluate(
            predict[role],
            videos,
            config.selection_of(role).for_evaluation(),
            EvaluationMetrics(config.data.num_classes),
            batch_size=EVALUATION_BATCH_SIZE,
            seed=config.learning.seed,
            description=f"Validating the {role}",
        )
        name = "validation" if role == config.main_role else f"validation_{role}"
        with logs.writer(name).as_default(progress.step):
            write_scalars(results[role])
        shown = ", ".join(f"{name} {value:.4f}" for name, value in results[role].items() if name != "examples")
        log.info("Epoch %d, validation of the %s: %s", progress.epoch, role, shown)
    return results


def is_best(metrics: Mapping[str, float] | None, best: Mapping[str, float] | None) -> bool:
    """Whether an epoch is the best so far, by GAP@20; without validation it is the last one.

    Args:
        metrics: of the epoch; None: not validated.
        best: metrics of the best epoch before; None: there is none.

    Example:
        >>> is_best({"GAP@20": 0.4}, {"GAP@20": 0.5}), is_best(None, {"epoch": 1})
        (False, True)
    """
    return metrics is None or best is None or metrics["GAP@20"] > best.get("GAP@20", -1.0)
