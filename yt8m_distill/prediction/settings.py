"""Settings of a prediction, checked by those of the run before its model is loaded."""

from yt8m_distill.config.dataset import SEGMENT, DatasetSpec
from yt8m_distill.config.inference import InferenceConfig
from yt8m_distill.data.record_format import PREDICTION
from yt8m_distill.errors import UserError
from yt8m_distill.prediction import vocabulary
from yt8m_distill.runs.inputs import level_of
from yt8m_distill.runs.requests import check_input, check_request


def check_prediction(config: InferenceConfig):
    """Checks what can be checked of a prediction before TensorFlow is imported.

    Raises:
        UserError: no such model or input, or settings that do not suit the model.
    """
    if config.train_dir is None:
        return
    run = check_request(config.train_dir, config)
    check_settings(config, run.data)
    if config.films is None:
        check_input(config.input_data_pattern, run, "input_data_pattern", PREDICTION)


def check_settings(config: InferenceConfig, spec: DatasetSpec) -> dict[int, str] | None:
    """Checks what can be checked before any video is read; returns the names of classes for the listing, if any.

    Args:
        config: of the prediction.
        spec: the format of the model's training records.

    Raises:
        UserError: settings that do not suit the level of the model, or no such vocabulary.
    """
    _check_segment_settings(config, level_of(config.segments, spec) == SEGMENT)
    if config.vocabulary is None:
        return None
    return vocabulary.load_vocabulary(config.vocabulary, spec.num_classes)


def _check_segment_settings(config: InferenceConfig, in_segments: bool):
    if in_segments and config.shard:
        raise UserError(
            "--num_shards: a file of segments holds the best of all videos for each class, which a part does not know; "
            "predict segments in one run, or whole videos by --nosegment_labels."
        )
    if in_segments and config.vocabulary:
        raise UserError("--vocabulary writes a listing by video; it has no effect with --segment_labels.")
    if not in_segments and (config.segment_max_pred or config.segment_label_ids_file):
        raise UserError("--segment_max_pred and --segment_label_ids_file have no effect without --segment_labels.")
