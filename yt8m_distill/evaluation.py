"""Evaluates a trained model on labelled videos: `run_evaluation`."""

import csv
import dataclasses
import io
import logging
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from yt8m_distill import losses, run_dir, trained_model
from yt8m_distill.accelerators import SteadyShapes, check_xla, copied_ahead
from yt8m_distill.config import EvalConfig, FrameSelection, TrainConfig
from yt8m_distill.data.bad_records import report_skipped
from yt8m_distill.data.dataset import (
    BEGINNING,
    Batch,
    Position,
    VideoFiles,
    View,
    check_segments,
    check_view,
    estimated_videos,
    open_videos,
)
from yt8m_distill.dataset_spec import EDITIONS, FRAME, SEGMENT, VIDEO, DatasetSpec, SpecOverrides
from yt8m_distill.errors import UserError
from yt8m_distill.metrics import EvaluationMetrics
from yt8m_distill.precision import warn_where_slow
from yt8m_distill.run_dir import RunDir

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 2.0  # of --follow for a new checkpoint


def prediction_function(model: keras.Model, xla: bool = False) -> Callable[[Batch], np.ndarray]:
    """Function of a batch of `VideoFiles` to predictions (batch, classes), compiled once for all shapes.

    With XLA it is compiled for each shape, of which there are few: batches are padded to the largest one so far.

    Raises:
        UserError: XLA cannot compile the model.
    """
    if xla:
        check_xla([model])
    signature = [
        tf.TensorSpec([None, None, sum(model.feature_sizes)], tf.float32 if model.video_level else tf.uint8),
        tf.TensorSpec([None], tf.int32),
    ]

    @tf.function(input_signature=signature, jit_compile=xla or None)
    def predict(frames, num_frames):
        return model({"frames": frames, "num_frames": num_frames}, training=False)["predictions"]

    shapes = SteadyShapes({"frames": (0, 1), "num_frames": (0,)} if xla else {})

    def predict_batch(batch: Batch) -> np.ndarray:
        padded = shapes.padded(batch)
        return predict(padded["frames"], padded["num_frames"]).numpy()[: len(batch["num_frames"])]

    return predict_batch


def predictions(
    predict: Callable,
    videos: VideoFiles,
    view: View,
    *,
    batch_size: int,
    seed: int,
    description: str,
    start: Position = BEGINNING,
    done: int = 0,
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Every batch in the order of the files with its predictions, under a progress bar.

    Args:
        start: where to begin.
        done: videos before it, for the progress bar.
    """
    without_frames = 0
    unit = " segments" if view.in_segments or videos.spec.level == SEGMENT else " videos"
    total = max(done, estimated_videos(videos, view=view))
    with tqdm(total=total, initial=done, desc=description, unit=unit, mininterval=1.0) as bar:
        for batch in copied_ahead(videos.ordered_batches(view, batch_size, seed, start)):
            yield batch, predict(batch)
            bar.update(len(batch["video_id"]))
            without_frames += np.count_nonzero(batch["num_frames"] == 0)
    if without_frames:
        log.warning("%d%s have no frames: their predictions say nothing of them.", without_frames, unit)


def evaluate(
    predict: Callable,
    videos: VideoFiles,
    selection: FrameSelection | None,
    metrics: EvaluationMetrics,
    *,
    batch_size: int,
    seed: int,
    description: str,
) -> dict[str, float]:
    """Metrics over all videos, or over all rated segments, of which only the rated classes count.

    Args:
        predict: see `prediction_function`.
        videos: what to evaluate on.
        selection: frames the model sees; None: all. They are selected before they are decoded.
        metrics: empty; holds the per-class results afterwards.
        batch_size: changes no metric.
        seed: of the frames of a "random" selection.
        description: of the progress bar.

    Raises:
        UserError: no videos, or a bad record.

    Source: the starter code, which sets the predictions of classes that are not rated to 0.
    """
    view = View(selection)
    for batch, scores in predictions(predict, videos, view, batch_size=batch_size, seed=seed, description=description):
        labels, weights = batch["labels"], batch.get("label_weights")
        loss = float(losses.cross_entropy(labels, scores, weights))
        if weights is not None:
            scores, labels = scores * weights, labels > 0
        metrics.update(scores, labels, loss=loss)
    return metrics.result()


def run_evaluation(config: EvalConfig) -> dict[str, float]:
    """Evaluates a run's student or teacher, prints and writes the metrics; returns the last ones.

    Raises:
        UserError: no run, no model, no files, files of another format, or a bad record.
    """
    train_config = RunDir(config.train_dir).read_config()
    _check_selection(config, train_config)
    warn_where_slow(config.precision)
    skip = config.bad_records.skip
    level = level_of(config.segments, train_config)
    videos = evaluation_videos(config.eval_data_pattern, train_config, "eval_data_pattern", level, skip)
    check_segments(videos, "eval_data_pattern")
    if config.follow:
        result = _follow(config, videos)
    else:
        trained = _load(config)
        result = _evaluate_once(config, trained, videos)
    report_skipped([videos.bad_records], config.bad_records.max_bad_fraction)
    return result


def level_of(segments: bool | None, train_config: TrainConfig) -> str:
    """The level of what is evaluated or predicted: that of the training, unless --segment_labels says otherwise."""
    trained = train_config.data.level
    if segments is None or trained == VIDEO:
        if segments:
            raise UserError("--segment_labels: the model was trained on video-level records, which have no segments.")
        return trained
    return SEGMENT if segments else FRAME


def evaluation_videos(
    pattern: str | None,
    train_config: TrainConfig,
    flag: str,
    level: str | None = None,
    skip_bad_records: bool = False,
) -> VideoFiles:
    """Files to evaluate or predict, in the format that the model was trained on.

    Args:
        pattern: globs, files, directories, by commas; None: the run's evaluation files.
        train_config: of the run.
        flag: where the pattern comes from.
        level: of the records; None: as in training.
        skip_bad_records: leave out what is damaged, instead of raising.
    """
    pattern = evaluation_pattern(pattern, train_config, flag)
    spec = dataclasses.replace(train_config.data, level=level or train_config.data.level)
    detected = open_videos(pattern, flag, overrides_of(spec), skip_bad_records=skip_bad_records)
    return dataclasses.replace(detected, spec=input_spec(spec, detected.spec, flag))


def evaluation_pattern(pattern: str | None, train_config: TrainConfig, flag: str) -> str:
    """The pattern that is given, or the run's evaluation files; UserError where neither is."""
    pattern = pattern or train_config.eval_data_pattern
    if pattern is None:
        raise UserError(f"--{flag} is needed: the run was trained without --eval_data_pattern.")
    return pattern


def overrides_of(trained: DatasetSpec) -> SpecOverrides:
    """What files must be for a model: with the sizes, as the first video may have no frames to show them."""
    return SpecOverrides(
        trained.feature_names, trained.feature_sizes, trained.num_classes, trained.max_frames, trained.level
    )


def input_spec(trained: DatasetSpec, found: DatasetSpec, flag: str) -> DatasetSpec:
    """How files are read for a model.

    They say where the id is (it differs between the 2017 and 2018 editions) and whether they are thin shards, the run
    all the rest.

    Raises:
        UserError: to be evaluated on a vocabulary that is not the model's.
    """
    _check_vocabulary(found, trained, flag)
    return dataclasses.replace(trained, id_key=found.id_key, thin_frames=found.thin_frames)


def _check_vocabulary(found: DatasetSpec, trained: DatasetSpec, flag: str):
    """Class numbers of another edition mean other things: metrics would be wrong, predictions are not."""
    classes = {edition.name: edition.num_classes for edition in EDITIONS}
    own = trained.num_classes != classes.get(trained.edition)
    if own or classes.get(found.edition, trained.num_classes) == trained.num_classes:
        return
    text = (
        f"--{flag}: these are records of {found.edition} with {classes[found.edition]} classes; the model was trained "
        f"on {trained.edition} with {trained.num_classes}, whose class numbers mean other things"
    )
    if flag == "eval_data_pattern":
        raise UserError(f"{text}. Evaluate it on that edition.")
    log.warning("%s. The predictions have the numbers of %s.", text, trained.edition)


def _check_selection(config: EvalConfig, train_config: TrainConfig):
    teacher = config.which == "teacher" or (config.which is None and train_config.training_mode == "teacher")
    if teacher and config.selection is not None:
        raise UserError("--student_frames, --student_stride and --frame_sampling do not go with the teacher.")


def _load(config: EvalConfig, checkpoint: run_dir.Checkpoint | None = None) -> trained_model.TrainedModel:
    return trained_model.load(config.train_dir, config.which, checkpoint, config.precision, config.branch)


def _evaluate_once(config: EvalConfig, trained: trained_model.TrainedModel, videos: VideoFiles) -> dict[str, float]:
    selection = config.selection or trained.selection
    check_view(videos.spec, View(selection), "eval_data_pattern")
    log.info("Evaluating the %s from %s on %d files", trained.role, trained.source, len(videos.files))
    # Half of the estimate: what is hopeless is refused at once, without an estimate too high refusing what would fit.
    expected = estimated_videos(videos) // 2
    metrics = EvaluationMetrics(videos.spec.num_classes, full_map=config.full_map, expected_examples=expected)
    result = evaluate(
        prediction_function(trained.model, config.xla),
        videos,
        selection,
        metrics,
        batch_size=config.batch_size,
        seed=trained.config.learning.seed,
        description=f"Evaluating the {trained.role}",
    )
    _write(config, trained, selection, result, metrics, videos.spec.level)
    return result


def _write(config: EvalConfig, trained, selection, result: Mapping[str, float], metrics: EvaluationMetrics, level: str):
    pattern = config.eval_data_pattern or trained.config.eval_data_pattern
    target = write_metrics(RunDir(config.train_dir), trained, selection, result, pattern, level, config.output_file)
    for name, value in result.items():
        print(f"{name:10} {value:.6g}")
    print(f"Metrics of the {trained.role} ({_frames_text(selection)} frames) are in {target}")
    if config.per_class_file:
        write_per_class(pathlib.Path(config.per_class_file), metrics)
        print(f"Results by class are in {config.per_class_file}")


def write_metrics(
    run: RunDir,
    trained: trained_model.TrainedModel,
    selection: FrameSelection | None,
    result: Mapping[str, float],
    eval_data_pattern: str,
    level: str,
    output_file: str | None = None,
) -> pathlib.Path:
    """Writes `metrics.json` and TensorBoard scalars of an evaluation into a run directory; returns the JSON's path.

    Args:
        run: the directory.
        trained: what was evaluated.
        selection: the frames it saw.
        result: the metrics.
        eval_data_pattern: the videos.
        level: of their records: whether whole videos were evaluated or rated segments.
        output_file: where to write the JSON instead.
    """
    teachers_of_student = trained.role == "teacher" and run.read_config().training_mode != "teacher"
    default = run.metrics_file(of_teacher=teachers_of_student, branch=trained.branch)
    target = pathlib.Path(output_file or default)
    step = trained.step if trained.step is not None else best_step(RunDir(trained.run_path))
    described = {
        "model": trained.config.model,
        "which": trained.role,
        **({} if trained.branch is None else {"branch": trained.branch}),
        "frames": _frames_text(selection),
        "precision": trained.model.compute_dtype,
        "step": step,
        "eval_data_pattern": eval_data_pattern,
        "level": level,
    }
    run_dir.write_json(target, {**described, **result})
    writer = tf.summary.create_file_writer(str(run.logs / "_".join(default.parent.relative_to(run.path).parts)))
    with writer.as_default(step or 0):
        write_scalars(result)
    writer.close()
    return target


def _frames_text(selection: FrameSelection | None) -> str:
    return selection.describe() if selection else "all"


def best_step(run: RunDir) -> int | None:
    """The training step of the best epoch's weights."""
    described = run.best / "best.json"
    step = run_dir.read_json(described).get("step") if described.is_file() else None
    if step is not None and not (type(step) is int and 0 <= step < 2**62):
        raise UserError(f"'{described}' does not say of which step the weights are.")
    return step


def write_scalars(values: Mapping[str, Any]):
    """Numbers for TensorBoard under their own names, to the writer and step that are the default just now."""
    for name, value in values.items():
        tf.summary.scalar(name, value)


def write_per_class(path: pathlib.Path, metrics: EvaluationMetrics):
    """A CSV with one row for each class."""
    rows = [dataclasses.asdict(row) for row in metrics.per_class()]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    run_dir.write_text(path, text.getvalue())


def _follow(config: EvalConfig, videos: VideoFiles) -> dict[str, float]:
    """Evaluates each checkpoint that appears until the run has its report, and then the best epoch's weights."""
    run = RunDir(config.train_dir)
    if config.which == "teacher" and run.read_config().training_mode == "serial":
        raise UserError("--follow --which=teacher: the teacher of serial training is a run of its own; follow that.")
    done = set()
    while True:
        finished = run.report_file.exists()
        new = [each for each in run_dir.checkpoints(run) if each.step not in done]
        for checkpoint in new:
            done.add(checkpoint.step)
            try:
                trained = _load(config, checkpoint)
            except UserError:
                if checkpoint.path.exists():
                    raise
                continue  # the training has removed it meanwhile
            print(f"Step {checkpoint.step}")
            _evaluate_once(config, trained, videos)
        if finished and not new:
            print("Best epoch")
            return _evaluate_once(config, _load(config), videos)
        if not new:
            time.sleep(SECONDS_BETWEEN_LOOKS)
