"""Evaluates a trained model on labelled videos: `run_evaluation`."""

import logging
import pathlib
import time
from collections.abc import Mapping

from yt8m_distill.config.dataset import SEGMENT
from yt8m_distill.config.inference import EvalConfig
from yt8m_distill.config.run import RunConfig
from yt8m_distill.data.bad_records import report_skipped
from yt8m_distill.data.batches import View, check_view
from yt8m_distill.data.labels import check_labels, describe_unlabelled
from yt8m_distill.data.video_files import VideoFiles, check_segments
from yt8m_distill.devices.precision import warn_where_slow
from yt8m_distill.errors import UserError
from yt8m_distill.evaluation.evaluate import evaluate
from yt8m_distill.evaluation.results import metrics_file, write_metrics, write_per_class
from yt8m_distill.files.lock import lock_files
from yt8m_distill.metrics import EvaluationMetrics
from yt8m_distill.prediction.predict import SMALL_BATCH, prediction_function
from yt8m_distill.runs import checkpoints, loading
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.runs.inputs import evaluation_videos, level_of
from yt8m_distill.runs.requests import check_selection
from yt8m_distill.runs.trained_model import TrainedModel

log = logging.getLogger(__name__)
SECONDS_BETWEEN_POLLS = 2.0  # for a new checkpoint


def run_evaluation(config: EvalConfig) -> dict[str, float]:
    """Evaluates the student or teacher of a run, and prints and writes its metrics.

    Returns:
        The metrics; of several checkpoints, those of the best epoch.

    Raises:
        UserError: no run, no model, no files, files of another format or without labels, or a bad record.
    """
    train_config = RunDir(config.train_dir).read_config()
    check_selection(config.which or train_config.main_role, config.selection)
    warn_where_slow(config.precision)
    skip = config.bad_records.skip
    level = level_of(config.segments, train_config.data)
    flag = "eval_data_pattern"
    videos = evaluation_videos(config.eval_data_pattern, train_config, flag, level, skip, id_key=config.id_key)
    check_segments(videos, "eval_data_pattern")
    consequence = "no metrics can be computed; inference.py predicts videos without labels"
    check_labels(videos, "eval_data_pattern", consequence, warn=False)  # of all of them, at the end
    target = config.output_file or metrics_file(RunDir(config.train_dir), config.which, config.branch)
    with lock_files(target, config.per_class_file):
        result = _follow(config, videos) if config.follow else _evaluate_once(config, _load(config), videos)
    report_skipped([videos.bad_records], config.bad_records.max_bad_fraction)
    return result


def _load(config: EvalConfig, checkpoint: checkpoints.Checkpoint | None = None) -> TrainedModel:
    return loading.load(config.train_dir, config.which, checkpoint, config.precision, config.branch)


def _evaluate_once(config: EvalConfig, trained: TrainedModel, videos: VideoFiles) -> dict[str, float]:
    selection = trained.selection_for(config.selection)
    check_view(videos.spec, View(selection), "eval_data_pattern")
    log.info("Evaluating the %s from %s on %d files", trained.role, trained.source, len(videos.files))
    # Half of the estimate, as an estimate that is too high should not refuse what would fit into memory.
    expected = videos.estimated_videos() // 2
    metrics = EvaluationMetrics(videos.spec.num_classes, full_map=config.full_map, expected_examples=expected)
    result = evaluate(
        prediction_function(trained.model, config.xla, small_batches=config.batch_size <= SMALL_BATCH),
        videos,
        selection,
        metrics,
        batch_size=config.batch_size,
        seed=trained.config.learning.seed,
        description=f"Evaluating the {trained.role}",
    )
    if metrics.labelled_examples < result["examples"] and videos.spec.level != SEGMENT:
        few = describe_unlabelled(metrics.labelled_examples, result["examples"])
        log.warning("--eval_data_pattern: of the videos, %s", few)
    _write(config, trained, selection, result, metrics, videos.spec.level)
    return result


def _write(config: EvalConfig, trained, selection, result: Mapping[str, float], metrics: EvaluationMetrics, level: str):
    pattern = config.eval_data_pattern or trained.config.eval_data_pattern or _held_out(trained.config)
    target = write_metrics(RunDir(config.train_dir), trained, selection, result, pattern, level, config.output_file)
    for name, value in result.items():
        print(f"{name:10} {value:.6g}")
    print(f"Metrics of the {trained.role} ({selection.describe()} frames) are in {target}")
    if config.per_class_file:
        write_per_class(pathlib.Path(config.per_class_file), metrics)
        print(f"Results by class are in {config.per_class_file}")


def _held_out(train_config: RunConfig) -> str:
    return f"the {train_config.validation_fraction:g} of {train_config.train_data_pattern} held out of training"


def _follow(config: EvalConfig, videos: VideoFiles) -> dict[str, float]:
    """Evaluates each new checkpoint until the run has finished, and then the weights of the best epoch."""
    run = RunDir(config.train_dir)
    if config.which == "teacher" and run.read_config().training_mode == "serial":
        raise UserError("--follow --which=teacher: the teacher of serial training has its own run; follow that.")
    done = set()
    while True:
        finished = run.report_file.exists()
        new = [checkpoint for checkpoint in checkpoints.checkpoints(run) if checkpoint.step not in done]
        for checkpoint in new:
            done.add(checkpoint.step)
            try:
                trained = _load(config, checkpoint)
            except UserError:
                if checkpoint.path.exists():
                    raise
                continue  # the training has removed it in the meantime
            print(f"Step {checkpoint.step}")
            _evaluate_once(config, trained, videos)
        if finished and not new:
            print("Best epoch")
            return _evaluate_once(config, _load(config), videos)
        if not new:
            time.sleep(SECONDS_BETWEEN_POLLS)
