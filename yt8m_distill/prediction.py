"""Predicts the labels of videos: `run_inference` writes the submission file."""

import contextlib
import logging
import pathlib
import tempfile

from yt8m_distill import predictions_csv, run_dir, trained_model
from yt8m_distill.config import InferenceConfig
from yt8m_distill.data.dataset import VideoFiles, View
from yt8m_distill.errors import UserError
from yt8m_distill.evaluation import evaluation_videos, prediction_function, predictions

log = logging.getLogger(__name__)


def run_inference(config: InferenceConfig) -> int:
    """Writes the predictions for every video, in the order of the input; returns the number of videos.

    Raises:
        UserError: no run or packed model, no files, files of another format, a bad record or vocabulary.
    """
    names = predictions_csv.load_vocabulary(config.vocabulary) if config.vocabulary else None
    with tempfile.TemporaryDirectory() as folder:
        if config.input_model_tgz:
            trained_model.unpack(config.input_model_tgz, folder)
        trained = trained_model.load(config.train_dir or folder, config.which)
    if trained.role == "teacher" and config.selection is not None:
        raise UserError("--student_frames, --student_stride and --frame_sampling do not go with the teacher.")
    videos = evaluation_videos(config.input_data_pattern, trained.config, "input_data_pattern")
    log.info("Predicting %d files with the %s from %s", len(videos.files), trained.role, trained.source)
    if config.output_model_tgz:
        trained_model.pack(trained, config.output_model_tgz)
        print(f"The model is packed in {config.output_model_tgz}")
    count = _predict(config, trained, videos, names)
    print(f"Predictions for {count} videos are in {config.output_file}")
    return count


def _predict(config: InferenceConfig, trained: trained_model.TrainedModel, videos: VideoFiles, names) -> int:
    readable = pathlib.Path(f"{config.output_file}.txt")
    with contextlib.ExitStack() as files:
        writer = files.enter_context(predictions_csv.PredictionsWriter(config.output_file, top_k=config.top_k))
        listing = files.enter_context(run_dir.text_written_beside(readable)) if names is not None else None
        for batch, scores in predictions(
            prediction_function(trained.model),
            videos,
            View(config.selection or trained.selection),
            batch_size=config.batch_size,
            seed=trained.config.learning.seed,
            description="Predicting",
        ):
            ids = batch["video_id"]
            writer.write(ids, scores)
            if listing is not None:
                rows = zip(ids, scores, strict=True)
                listing.writelines(predictions_csv.format_readable(i, row, names, config.top_k) for i, row in rows)
    if names is not None:
        print(f"Predictions with class names are in {readable}")
    return writer.rows
