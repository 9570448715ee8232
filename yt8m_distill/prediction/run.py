"""Predicts the labels of videos: `run_inference` writes the submission file."""

import dataclasses
import hashlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from yt8m_distill.config.dataset import FRAME, SEGMENT
from yt8m_distill.config.inference import DEFAULT_SEGMENT_MAX_PRED, InferenceConfig
from yt8m_distill.config.shard import Shard
from yt8m_distill.data.bad_records import report_skipped
from yt8m_distill.data.batches import Batch, View, check_view
from yt8m_distill.data.reading_order import BEGINNING, Position, position_after
from yt8m_distill.data.record_files import FileStamp
from yt8m_distill.data.record_format import PREDICTION
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.errors import UserError
from yt8m_distill.files.lock import lock_files
from yt8m_distill.prediction import parts, submission, vocabulary
from yt8m_distill.prediction.opened_model import OpenedModel, predictions
from yt8m_distill.prediction.segments import SegmentsWriter
from yt8m_distill.prediction.settings import check_settings
from yt8m_distill.runs.inputs import evaluation_pattern, level_of, videos_like

log = logging.getLogger(__name__)

FLAG = "input_data_pattern"
SECONDS_BETWEEN_SAVES = 10.0


def run_inference(config: InferenceConfig, model: OpenedModel) -> int:
    """Writes the predictions for every video, in the order of the input, or for every class its best segments.

    After an interruption, predictions of videos are resumed if model, input and settings are the same; those of
    segments are restarted.

    Args:
        config: of the prediction.
        model: what predicts.

    Returns:
        The number of videos or segments.

    Raises:
        UserError: no files, files of another format, a bad record or vocabulary; or as `OpenedModel.load`.
        TooManyBadRecords: at the end, more of the input than allowed was skipped.
    """
    level = level_of(config.segments, model.spec)
    in_segments = level == SEGMENT
    names = check_settings(config, model.spec)
    level = FRAME if in_segments else level  # all segments are predicted, rated or not
    pattern = evaluation_pattern(config.input_data_pattern, model.default_pattern, FLAG)
    spec = dataclasses.replace(model.spec, level=level)
    videos = videos_like(spec, pattern, FLAG, config.bad_records.skip, use=PREDICTION, id_key=config.id_key)
    view = View(model.selection, in_segments=in_segments)
    check_view(videos.spec, view, FLAG)
    output_file = parts.part_path(config.output_file, config.shard) if config.shard else config.output_file
    log.info("Predicting %s with %s", _files_text(videos, config.shard), model.describe())
    if config.output_model_tgz:
        with lock_files(config.output_model_tgz):
            model.pack(config.output_model_tgz)
        print(f"The model is packed in {config.output_model_tgz}")
    if in_segments:
        count = _predict_segments(config, model, videos, view)
    else:
        count = _predict(config, model, videos, view, names, output_file)
    part = f", part {config.shard.index} of {config.shard.count}," if config.shard else ""
    print(f"Predictions for {count} {'segments' if in_segments else 'videos'}{part} are in {output_file}")
    if names is not None:
        print(f"Predictions with class names are in {submission.listing_path(output_file)}")
    report_skipped([videos.bad_records], config.bad_records.max_bad_fraction)
    return count


def _files_text(videos: VideoFiles, shard: Shard | None) -> str:
    if shard is None:
        return f"{len(videos.files)} files"
    count = len(shard.of(videos.files))
    return f"part {shard.index} of {shard.count}, {count} of the {len(videos.files)} files,"


def _predict_segments(config: InferenceConfig, model: OpenedModel, videos: VideoFiles, view: View) -> int:
    with SegmentsWriter(
        config.output_file,
        top_k=config.top_k,
        max_segments=config.segment_max_pred or DEFAULT_SEGMENT_MAX_PRED,
        classes=_segment_classes(config.segment_label_ids_file, videos.spec.num_classes),
    ) as writer:
        for batch, scores in _all_predictions(config, model, videos, view):
            writer.write(batch["video_id"], batch["segment_start"], scores)
    return writer.segments


def _segment_classes(path: str | None, num_classes: int) -> list[int] | None:
    if path is None:
        return None
    classes = vocabulary.load_class_ids(path)
    if classes[-1] >= num_classes:
        raise UserError(f"--segment_label_ids_file={path} has class {classes[-1]}; the model has {num_classes}.")
    return classes


def _all_predictions(
    config: InferenceConfig,
    model: OpenedModel,
    videos: VideoFiles,
    view: View,
    start: Position = BEGINNING,
    done: int = 0,
) -> Iterator[tuple[Batch, np.ndarray]]:
    return predictions(
        model.load(),
        videos,
        view,
        batch_size=config.batch_size,
        seed=model.seed,
        description="Predicting",
        start=start,
        done=done,
        uses_gpu=model.uses_gpu,
    )


def _predict(
    config: InferenceConfig,
    model: OpenedModel,
    videos: VideoFiles,
    view: View,
    names: Mapping[int, str] | None,
    output_file: str,
) -> int:
    run = None
    if config.shard is not None:
        run = _describe_run(config, model, videos)
        videos = _part_of(videos, config.shard)
    work = _describe_work(model, videos, names)
    with submission.PredictionsWriter(output_file, config.top_k, names=names, work=work, run=run) as writer:
        start = _start(writer, videos)
        saved = time.monotonic()
        for batch, scores in _all_predictions(config, model, videos, view, start, writer.rows):
            writer.write(batch["video_id"], scores)
            if time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
                position = dataclasses.astuple(position_after(batch))
                writer.save({"next": position, "bad_records": videos.bad_records.as_json()})
                saved = time.monotonic()
    return writer.rows


def _part_of(videos: VideoFiles, shard: Shard) -> VideoFiles:
    if shard.count > len(videos.files):
        raise UserError(
            f"--num_shards={shard.count} is more than there are files ({len(videos.files)}); a part takes whole files."
        )
    return dataclasses.replace(videos, files=shard.of(videos.files))


def _describe_run(config: InferenceConfig, model: OpenedModel, videos: VideoFiles) -> dict[str, Any]:
    """What all parts of a prediction must have in common, on whatever machine they are predicted."""
    files = "".join(f"{os.path.basename(path)} {videos.size_of(path)}\n" for path in videos.files)
    return {
        "model": model.identity(),
        "frames": model.selection.describe(),
        "input files": hashlib.sha256(files.encode()).hexdigest(),
        "precision": model.numbers,
        "top_k": config.top_k,
    }


def _describe_work(model: OpenedModel, videos: VideoFiles, names) -> dict[str, Any]:
    """Everything that the predictions depend on: model, frames, class names and input files."""
    stamps = {path: videos.stamps.get(path) or FileStamp.of(path) for path in videos.files}
    return {
        "model": model.identity(),
        "frames": model.selection.describe(),
        "names": names and list(names.items()),
        "files": [[os.path.realpath(path), stamp.num_bytes, stamp.written] for path, stamp in stamps.items()],
        "precision": model.numbers,
    }


def _start(writer: submission.PredictionsWriter, videos: VideoFiles) -> Position:
    """The position to resume at, or the start."""
    if writer.other_work:
        log.info("There are incomplete predictions of another model, input or setting, or damaged ones: restarting.")
    if writer.position is None:
        return BEGINNING
    log.info("Resuming after %d videos that are already predicted", writer.rows)
    videos.bad_records.restore(writer.position["bad_records"])
    return Position(*writer.position["next"])
