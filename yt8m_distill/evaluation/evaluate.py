"""Metrics of a model over videos."""

from collections.abc import Callable

from yt8m_distill import losses
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.data.batches import View
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.errors import UserError
from yt8m_distill.metrics import EvaluationMetrics
from yt8m_distill.prediction.opened_model import predictions


def evaluate(
    predict: Callable,
    videos: VideoFiles,
    selection: FrameSelection,
    metrics: EvaluationMetrics,
    *,
    batch_size: int,
    seed: int,
    description: str,
) -> dict[str, float]:
    """Computes metrics over all videos, or over all rated segments, where only the rated classes count.

    Args:
        predict: from `prediction_function`.
        videos: to evaluate on.
        selection: frames that the model sees; they are selected before they are decoded.
        metrics: empty; has the results by class afterwards.
        batch_size: videos at a time; metrics do not depend on it.
        seed: of the frames of a "random" selection.
        description: of the progress bar.

    Returns:
        Metrics by name.

    Raises:
        UserError: no videos, none with a label (or none of the segments rated positive), or a bad record.

    Source: the starter code, which sets the predictions of classes that are not rated to 0.
    """
    view = View(selection)
    for batch, scores in predictions(predict, videos, view, batch_size=batch_size, seed=seed, description=description):
        labels, weights = batch["labels"], batch.get("label_weights")
        loss = float(losses.cross_entropy(labels, scores, weights))
        if weights is not None:
            scores, labels = scores * weights, labels > 0
        metrics.update(scores, labels, loss=loss)
    result = metrics.result()
    if not metrics.labelled_examples:
        raise UserError(
            f"none of the {result['examples']:,} examples has a label, so no metrics can be computed; inference.py "
            "predicts videos without labels."
        )
    return result
