"""Command-line flags and what they say as configurations. The only module that touches absl.flags.

Each script has its own set of flags (`absl.flags.FlagValues`); nothing is global.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from absl import flags
from absl.flags import FlagValues

from yt8m_distill.config.bad_records import ON_BAD_RECORD, BadRecordPolicy
from yt8m_distill.config.dataset import FRAME, SEGMENT, VIDEO, SpecOverrides
from yt8m_distill.config.deployment import EXPORT_FORMATS, LITERT_PRECISIONS, ExportConfig, ServeConfig
from yt8m_distill.config.experiment import EXPERIMENTS, ExperimentConfig, NamedRun
from yt8m_distill.config.frames import ALL_FRAMES, DEFAULT_STUDENT_FRAMES, SAMPLINGS, FrameSelection
from yt8m_distill.config.inference import (
    DEFAULT_SEGMENT_MAX_PRED,
    BeamConfig,
    EvalConfig,
    InferenceConfig,
    MergeConfig,
    SegmentEvalConfig,
)
from yt8m_distill.config.models import ConversionConfig, FlopsConfig
from yt8m_distill.config.run_file import SET_BY_EXPERIMENT, FileRun, read_run_file
from yt8m_distill.config.shard import Shard
from yt8m_distill.config.shards import ThinConfig, VerifyConfig
from yt8m_distill.config.training import (
    DISTILLING_MODES,
    DISTRIBUTIONS,
    INPUT_NORMALIZATIONS,
    LABEL_LOSSES,
    PRECISIONS,
    PREDICTION_DISTANCES,
    REPRESENTATION_MATCHINGS,
    STUDENT_INITS,
    STUDENT_LOSSES,
    TRAINING_MODES,
    Checkpointing,
    Distillation,
    Learning,
    TeacherCache,
    TrainConfig,
)
from yt8m_distill.errors import UserError

DEFAULT_MODEL = "NeXtVLAD"
DEFAULT_FLOPS_FRAMES = ("300", "30", "20", "10", "6")  # of the papers

# Flags of train.py that say something about a student, or about how it is matched to a teacher.
_STUDENT_FLAGS = ("student_frames", "student_stride", "frame_sampling")
_DISTILLATION_FLAGS = (
    "student_losses",
    "loss_weights",
    "representation_matching",
    "prediction_distance",
    "student_model_args",
    "student_init",
    "finetune_epochs",
    "teacher_cache",
    "teacher_cache_top",
)
# Flags of train.py that the named experiments vary.
_VARIED_FLAGS = ("training_mode", "student_losses", "representation_matching", "teacher_dir", *_STUDENT_FLAGS)


def train_flags() -> FlagValues:
    """The flags of train.py."""
    values = _new_flags("Trains a teacher on all frames of videos and a student on few of them.")
    _define_train_flags(values)
    return values


def eval_flags() -> FlagValues:
    """The flags of eval.py."""
    values = _new_flags("Evaluates the model of a training run: GAP@20, mAP, Hit@1, PERR, loss.")
    _define_trained_model_flags(values)
    flags.DEFINE_string("eval_data_pattern", None, "Videos: globs, files, folders, by commas.", flag_values=values)
    flags.DEFINE_string("output_file", None, "Metrics as JSON. [<train_dir>/eval/metrics.json]", flag_values=values)
    flags.DEFINE_boolean("full_map", False, "Also mAP over all scores, not only each video's 20.", flag_values=values)
    flags.DEFINE_string("per_class_file", None, "Write results by class into this CSV.", flag_values=values)
    flags.DEFINE_boolean("follow", None, "Evaluate every new checkpoint of a running training.", flag_values=values)
    flags.DEFINE_boolean("run_once", None, "The opposite of --follow.", flag_values=values)
    flags.DEFINE_boolean(
        "segment_labels", None, "Rated segments, not whole videos. [as the run was trained]", flag_values=values
    )
    return values


def inference_flags() -> FlagValues:
    """The flags of inference.py."""
    values = _new_flags("Predicts the labels of videos into a CSV: VideoId,LabelConfidencePairs.")
    _define_prediction_flags(values)
    flags.DEFINE_string("output_file", None, "The CSV; gzip when it ends in .gz.", flag_values=values)
    flags.DEFINE_integer("num_shards", None, "Predict one of so many parts of the files.", flag_values=values)
    flags.DEFINE_integer("shard_index", None, "Which one, from 0.", flag_values=values)
    flags.DEFINE_string("vocabulary", None, "CSV of class names: also write a readable listing.", flag_values=values)
    flags.DEFINE_string("output_model_tgz", None, "Also pack the model into this file.", flag_values=values)
    flags.DEFINE_integer(
        "segment_max_pred", None, f"Segments a class. [{DEFAULT_SEGMENT_MAX_PRED}]", flag_values=values
    )
    flags.DEFINE_string(
        "segment_label_ids_file", None, "CSV of the classes that count for segments. [all]", flag_values=values
    )
    return values


def export_flags() -> FlagValues:
    """The flags of `python -m yt8m_distill.export`."""
    values = _new_flags(
        "Exports a trained model to files that run without this package: python -m yt8m_distill.export\n"
        "Each file is run and compared with the Keras model; where one differs, nothing is written."
    )
    _define_chosen_model_flags(values)
    _define_selection_flags(values)
    flags.DEFINE_string("output_dir", None, "Folder to write; an earlier export is replaced.", flag_values=values)
    flags.DEFINE_list("formats", ["saved_model"], f"Any of {', '.join(EXPORT_FORMATS)}.", flag_values=values)
    flags.DEFINE_list("litert_precisions", list(LITERT_PRECISIONS), "Weights of the LiteRT files.", flag_values=values)
    flags.DEFINE_integer("top_k", 20, "Classes a video, of the SavedModel and the service.", flag_values=values)
    flags.DEFINE_string("vocabulary", None, "CSV of class names: the answers have them, too.", flag_values=values)
    flags.DEFINE_string(
        "eval_data_pattern", None, "Labelled videos to measure GAP@20 of each file on. [the run's]", flag_values=values
    )
    flags.DEFINE_integer("eval_videos", 20_000, "About how many of them; 0: none.", flag_values=values)
    return values


def serve_flags() -> FlagValues:
    """The flags of `python -m yt8m_distill.serve`."""
    values = _new_flags("Serves an exported model over HTTP: python -m yt8m_distill.serve --model_dir=EXPORT")
    default = ServeConfig("")
    flags.DEFINE_string("model_dir", None, "What python -m yt8m_distill.export has written.", flag_values=values)
    flags.DEFINE_string("file", None, "Which of its files: litert/int8.tflite. [the first]", flag_values=values)
    flags.DEFINE_string("host", default.host, "Address to listen on; 0.0.0.0: all.", flag_values=values)
    flags.DEFINE_integer("port", default.port, "Port to listen on.", flag_values=values)
    flags.DEFINE_integer("max_batch", default.max_batch, "Videos at a time, and of a request.", flag_values=values)
    flags.DEFINE_integer("max_waiting", default.max_waiting, "Videos that may wait; beyond: 503.", flag_values=values)
    flags.DEFINE_integer("max_connections", default.max_connections, "At a time; beyond: 503.", flag_values=values)
    flags.DEFINE_float("max_request_mb", default.max_request_mb, "Size of a request.", flag_values=values)
    return values


def beam_flags() -> FlagValues:
    """The flags of `python -m yt8m_distill.beam_inference`."""
    values = _new_flags(
        "Predicts as inference.py does, as an Apache Beam pipeline: python -m yt8m_distill.beam_inference\n"
        "Flags that are not listed here are Beam's: --runner, --direct_num_workers, --project and so on.",
        others=True,
    )
    _define_prediction_flags(values)
    values.set_default("on_bad_record", "skip")
    flags.DEFINE_string("output", None, "The CSV, written in parts: NAME-00000-of-00004.csv.", flag_values=values)
    flags.DEFINE_integer("output_shards", None, "How many parts. [the runner chooses]", flag_values=values)
    return values


def merge_flags() -> FlagValues:
    """The flags of `python -m yt8m_distill.merge_predictions`."""
    values = _new_flags(
        "Makes one file of the parts of a prediction: python -m yt8m_distill.merge_predictions OUT\n"
        "OUT: the file to write, as it was given to inference.py as --output_file.",
        ("OUT",),
    )
    flags.DEFINE_string("parts", None, "Globs, files, by commas. [those named after OUT]", flag_values=values)
    return values


def segment_eval_flags() -> FlagValues:
    """The flags of `python -m yt8m_distill.segment_eval`."""
    values = _new_flags(
        "Scores a file of segments by the rated ones: python -m yt8m_distill.segment_eval\n"
        "Mean average precision of the segments that inference.py --segment_labels has written."
    )
    flags.DEFINE_string("submission_file", None, "The file: Class,Segments.", flag_values=values)
    flags.DEFINE_string(
        "eval_data_pattern", None, "Records with rated segments: globs, files, folders, by commas.", flag_values=values
    )
    flags.DEFINE_string(
        "label_cache", None, "The ratings as text: written, or, where it exists, read instead.", flag_values=values
    )
    flags.DEFINE_integer("top_n", DEFAULT_SEGMENT_MAX_PRED, "Segments of a class that count.", flag_values=values)
    flags.DEFINE_string("output_file", None, "Metrics as JSON. [not written]", flag_values=values)
    _define_feature_flags(values)
    _define_bad_record_flags(values)
    return values


def verify_flags() -> FlagValues:
    """The flags of `python -m yt8m_distill.verify`."""
    values = _new_flags(
        "Checks every record of shards: python -m yt8m_distill.verify PATTERN\n"
        "PATTERN: globs, files, folders, by commas. Exit code 1 where a file is bad.",
        ("PATTERN",),
    )
    flags.DEFINE_integer("num_workers", None, "Files read at once. [twice the processors]", flag_values=values)
    flags.DEFINE_string("output_file", "bad_files.txt", "List of the bad files.", flag_values=values)
    _define_format_flags(values)
    flags.DEFINE_boolean("segment_labels", None, "Also check ratings of segments.", flag_values=values)
    return values


def thin_flags() -> FlagValues:
    """The flags of `python -m yt8m_distill.thin`."""
    values = _new_flags(
        "Rewrites shards with only the k uniform frames of each video: python -m yt8m_distill.thin IN OUT_DIR\n"
        "IN: globs, files, folders, by commas. Started again, it goes on with the next shard.",
        ("IN", "OUT_DIR"),
    )
    flags.DEFINE_integer("frames", 30, "k: frames kept of each video.", flag_values=values)
    _define_format_flags(values)
    _define_bad_record_flags(values)
    return values


def flops_flags() -> FlagValues:
    """The flags of `python -m yt8m_distill.flops`."""
    values = _new_flags("Counts a model's parameters, memory and multiply-accumulates: python -m yt8m_distill.flops")
    flags.DEFINE_string(
        "model", None, f"Its name, as NeXtVLAD or Dbof; README lists all. [{DEFAULT_MODEL}]", flag_values=values
    )
    flags.DEFINE_list("model_args", [], "Model sizes: clusters=64,hidden_size=512.", flag_values=values)
    flags.DEFINE_list(
        "frames", None, f"Numbers of frames. [{','.join(DEFAULT_FLOPS_FRAMES)}; the run's]", flag_values=values
    )
    _define_feature_flags(values)
    flags.DEFINE_string("train_dir", None, "Count the model of this run of train.py instead.", flag_values=values)
    flags.DEFINE_enum("which", None, ("student", "teacher"), "Which model of the run. [student]", flag_values=values)
    return values


def conversion_flags() -> FlagValues:
    """The flags of `python -m yt8m_distill.convert_checkpoint`."""
    values = _new_flags(
        "Makes a run directory of a checkpoint of the original code: python -m yt8m_distill.convert_checkpoint\n"
        "Sizes are read off its variables and the model_flags.json beside it. Exit code 1: a variable had no place."
    )
    flags.DEFINE_string("from", None, "The checkpoint, or the folder that it is in.", flag_values=values)
    flags.DEFINE_string("train_dir", None, "The run directory to write.", flag_values=values)
    flags.DEFINE_string("model", None, "Its name. [found by the variables]", flag_values=values)
    flags.DEFINE_list("model_args", [], "What the variables do not show: block_length=15.", flag_values=values)
    flags.DEFINE_string("scope", None, "Which of several models: model_student. [the only one]", flag_values=values)
    flags.DEFINE_string(
        "eigenvalues", None, "eigenvals.npy, of a model whose input has its whitening reversed.", flag_values=values
    )
    _define_selection_flags(values)
    flags.DEFINE_list("feature_names", None, "Its features. [those of the edition]", flag_values=values)
    flags.DEFINE_list("feature_sizes", None, "Their sizes, where the variables do not show them.", flag_values=values)
    flags.DEFINE_integer("max_frames", None, "Frames of a video; 0: all. [those of the edition]", flag_values=values)
    return values


def experiment_flags() -> FlagValues:
    """The flags of `python -m yt8m_distill.experiment`."""
    values = _new_flags(
        "Runs an experiment of many trainings, or goes on with it: python -m yt8m_distill.experiment\n"
        "Writes results.csv, results.md and figures. All other flags are those of train.py."
    )
    named = ", ".join(EXPERIMENTS)
    flags.DEFINE_string("experiment", None, f"{named}, or a TOML file that names runs.", flag_values=values)
    flags.DEFINE_string("output_dir", None, "Tables and figures. [runs/<experiment>_<model>]", flag_values=values)
    flags.DEFINE_string("runs_dir", None, "Run directories; may be shared. [<output_dir>/runs]", flag_values=values)
    flags.DEFINE_list("frames", None, "Every k of students and baselines. [the paper's]", flag_values=values)
    flags.DEFINE_string("seeds", None, "How many (3: 0, 1 and 2), or which (0,5). [1]", flag_values=values)
    flags.DEFINE_boolean("own_rows", False, "Also students that the paper does not have.", flag_values=values)
    flags.DEFINE_boolean("full_map", False, "Also mAP over all scores, not only each video's 20.", flag_values=values)
    flags.DEFINE_boolean("measure_speed", True, "Also videos a second, at the end.", flag_values=values)
    flags.DEFINE_string("vocabulary", None, "CSV of class names, for figures.", flag_values=values)
    _define_train_flags(values)
    for name in ("seed", "train_dir", "distribution"):
        delattr(values, name)
    return values


def parse(values: FlagValues, argv: Sequence[str]) -> bool:
    """Reads the command line into `values`; False when help was asked for, and printed.

    Raises:
        UserError: an unknown flag, an argument too many or missing, or a value of the wrong type.
    """
    try:
        given = values(list(argv), known_only=values.others)[1:]
    except flags.Error as error:
        raise UserError(f"{error}") from error
    if values.help:
        print(f"{values.help_head}\n{values.get_help()}")
        return False
    names = values.argument_names
    if values.others:
        values.__dict__["arguments"] = tuple(given)
        return True
    if given and not names:
        raise UserError(f"unexpected argument '{given[0]}'; settings are given as --flag=value.")
    if len(given) < len(names):
        raise UserError(f"{names[len(given)]} is missing; --help shows what to give.")
    if names:  # where the shell has replaced a glob by the files, the first argument is many
        last = len(given) - len(names) + 1
        values.__dict__["arguments"] = (",".join(given[:last]), *given[last:])
    return True


def _new_flags(head: str, argument_names: Sequence[str] = (), others: bool = False) -> FlagValues:
    """Args: `others`: take what is none of these flags as it is; else it is an error."""
    values = FlagValues()
    values.set_gnu_getopt(True)  # flags may stand behind arguments
    flags.DEFINE_boolean("help", False, "Show these flags.", short_name="h", flag_values=values)
    flags.DEFINE_alias("helpfull", "help", flag_values=values)
    values.__dict__["help_head"] = head
    values.__dict__["argument_names"] = tuple(argument_names)
    values.__dict__["others"] = others
    return values


def _define_train_flags(values: FlagValues):
    _define_data_flags(values)
    _define_model_flags(values)
    _define_selection_flags(values)
    _define_distillation_flags(values)
    _define_learning_flags(values)
    _define_running_flags(values)


def _define_data_flags(values: FlagValues):
    where = "globs, files, folders, by commas"
    flags.DEFINE_string("train_data_pattern", None, f"Training videos: {where}. [the sample data]", flag_values=values)
    flags.DEFINE_string(
        "validation_data_pattern", None, f"Videos that choose the best epoch: {where}.", flag_values=values
    )
    flags.DEFINE_string("eval_data_pattern", None, f"Videos for the final table: {where}.", flag_values=values)
    flags.DEFINE_float("train_fraction", 1.0, "Share of the training videos to train on.", flag_values=values)
    _define_format_flags(values)
    flags.DEFINE_boolean(
        "frame_features", None, "Records must be frame-level, or video-level. [as the first record]", flag_values=values
    )
    flags.DEFINE_boolean(
        "segment_labels", None, "Train on rated segments of 5 frames, each an example.", flag_values=values
    )
    _define_bad_record_flags(values)


def _define_feature_flags(values: FlagValues):
    flags.DEFINE_list("feature_names", None, "Feature lists to read. [the edition's]", flag_values=values)
    flags.DEFINE_list("feature_sizes", None, "Bytes a frame of each. [as the first record]", flag_values=values)
    flags.DEFINE_integer("num_classes", None, "Size of the vocabulary. [the edition's]", flag_values=values)


def _define_format_flags(values: FlagValues):
    _define_feature_flags(values)
    flags.DEFINE_integer("max_frames", None, "Frames read of a video; 0: all. [the edition's]", flag_values=values)


def _define_bad_record_flags(values: FlagValues):
    flags.DEFINE_enum(
        "on_bad_record", "error", ON_BAD_RECORD, "Stop at a damaged record, or leave it out.", flag_values=values
    )
    flags.DEFINE_float(
        "max_bad_fraction", 0.01, "Share of bytes that may be left out; exit code 1 beyond it.", flag_values=values
    )


def _define_model_flags(values: FlagValues):
    flags.DEFINE_string("model", DEFAULT_MODEL, "Its name, as NeXtVLAD or Dbof; README lists all.", flag_values=values)
    flags.DEFINE_list("model_args", [], "Model sizes: clusters=64,hidden_size=512.", flag_values=values)
    flags.DEFINE_list("student_model_args", [], "Those that the student has otherwise.", flag_values=values)
    flags.DEFINE_enum(
        "input_normalization",
        None,
        INPUT_NORMALIZATIONS,
        "Frames to 2-norm 1, with their whitening reversed, or as they are. [the family's]",
        flag_values=values,
    )
    flags.DEFINE_string("eigenvalues", None, "eigenvals.npy, to reverse the whitening.", flag_values=values)
    flags.DEFINE_string(
        "recipe",
        None,
        "paper or sample. [sample on the sample data, else paper]",
        flag_values=values,
    )


def _define_selection_flags(values: FlagValues):
    flags.DEFINE_list(
        "student_frames",
        None,
        "k: frames the student sees; in training also several (6,10,30): a student for each of them. [30]",
        flag_values=values,
    )
    flags.DEFINE_integer("student_stride", None, "j: every j-th frame instead of k.", flag_values=values)
    flags.DEFINE_enum("frame_sampling", None, SAMPLINGS, "Which k frames. [uniform]", flag_values=values)


def _define_distillation_flags(values: FlagValues):
    flags.DEFINE_enum(
        "training_mode",
        None,
        TRAINING_MODES,
        "What is trained, and when. [serial; teacher for a video-level model]",
        flag_values=values,
    )
    flags.DEFINE_list("student_losses", list(STUDENT_LOSSES), "Any of rep, pred, ce.", flag_values=values)
    flags.DEFINE_list("loss_weights", [], "Their factors: rep=1,pred=1,ce=1.", flag_values=values)
    flags.DEFINE_enum(
        "representation_matching",
        "final",
        REPRESENTATION_MATCHINGS,
        "What rep matches; intermediate: HierarchicalRNN, Lstm only.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "student_init", "classifier", STUDENT_INITS, "Weights that a serial student takes over.", flag_values=values
    )
    flags.DEFINE_enum("prediction_distance", "kl", PREDICTION_DISTANCES, "What pred is.", flag_values=values)
    flags.DEFINE_list(
        "teacher_dir",
        None,
        "A finished teacher's run directory; of several: their mean. [train one]",
        flag_values=values,
    )
    flags.DEFINE_string(
        "teacher_cache",
        None,
        "Folder to store a serial teacher's outputs in, once for all students.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "teacher_cache_top", None, "Store only so many predictions a video, the highest. [all]", flag_values=values
    )
    flags.DEFINE_integer(
        "finetune_epochs", None, "Second stage of serial rep alone. [--num_epochs]", flag_values=values
    )


def _define_learning_flags(values: FlagValues):
    flags.DEFINE_integer("batch_size", None, "Videos a step, on all devices. [the recipe's]", flag_values=values)
    flags.DEFINE_integer("num_epochs", None, "Passes over the training videos. [the recipe's]", flag_values=values)
    flags.DEFINE_integer("max_steps", None, "Stop each training after so many steps.", flag_values=values)
    flags.DEFINE_float("base_learning_rate", None, "Learning rate at first. [the recipe's]", flag_values=values)
    flags.DEFINE_float("learning_rate_decay", None, "Its factor. [the recipe's]", flag_values=values)
    flags.DEFINE_integer(
        "learning_rate_decay_examples", None, "Videos between two decays. [the recipe's]", flag_values=values
    )
    flags.DEFINE_string("optimizer", "Adam", "A Keras optimizer.", flag_values=values)
    flags.DEFINE_float("weight_decay", None, "Taken off the weights, times the learning rate.", flag_values=values)
    flags.DEFINE_float(
        "ema_momentum", None, "Evaluate and save a moving average of the weights: 0.999. [not]", flag_values=values
    )
    flags.DEFINE_enum("label_loss", "CrossEntropyLoss", LABEL_LOSSES, "Loss on the labels.", flag_values=values)
    flags.DEFINE_float(
        "regularization_penalty", None, "Factor of the model's regularization. [the recipe's]", flag_values=values
    )
    flags.DEFINE_float(
        "clip_gradient_norm", 1.0, "Norm to which each variable's gradient is clipped; 0: not.", flag_values=values
    )
    flags.DEFINE_integer("seed", 0, "Of weights, dropout, order and random frames.", flag_values=values)
    flags.DEFINE_boolean("deterministic", False, "The same numbers in every run.", flag_values=values)
    _define_computing_flags(values)


def _define_computing_flags(values: FlagValues):
    flags.DEFINE_enum("precision", "float32", PRECISIONS, "What the model computes in.", flag_values=values)
    flags.DEFINE_boolean("xla", False, "Compile it with XLA.", flag_values=values)


def _define_running_flags(values: FlagValues):
    flags.DEFINE_string("train_dir", None, "Run directory. [runs/<model>_<mode>_<k>]", flag_values=values)
    flags.DEFINE_boolean("start_new_model", False, "Move an earlier run aside.", flag_values=values)
    flags.DEFINE_enum(
        "distribution",
        "none",
        DISTRIBUTIONS,
        "One device, all of this machine, or those of several machines (docs/scaling.md).",
        flag_values=values,
    )
    flags.DEFINE_integer("checkpoint_every_steps", None, "Steps between checkpoints.", flag_values=values)
    flags.DEFINE_float("checkpoint_every_minutes", 10.0, "Minutes between checkpoints.", flag_values=values)
    flags.DEFINE_integer("keep_checkpoints", 2, "How many are kept.", flag_values=values)


def _define_chosen_model_flags(values: FlagValues):
    flags.DEFINE_string("train_dir", None, "Run directory of train.py, finished or running.", flag_values=values)
    flags.DEFINE_enum("which", None, ("student", "teacher"), "Which model. [student]", flag_values=values)
    flags.DEFINE_integer("branch", None, "Of a MixNeXtVLAD: this branch by itself. [the mixture]", flag_values=values)


def _define_trained_model_flags(values: FlagValues):
    _define_chosen_model_flags(values)
    flags.DEFINE_integer("batch_size", 128, "Videos at a time; changes no number.", flag_values=values)
    _define_computing_flags(values)
    _define_selection_flags(values)
    _define_bad_record_flags(values)


def _define_prediction_flags(values: FlagValues):
    _define_trained_model_flags(values)
    flags.DEFINE_string("input_data_pattern", None, "Videos: globs, files, folders, by commas.", flag_values=values)
    flags.DEFINE_integer("top_k", 20, "Predictions a video.", flag_values=values)
    flags.DEFINE_string("input_model_tgz", None, "A packed model, instead of --train_dir.", flag_values=values)
    flags.DEFINE_boolean(
        "segment_labels", None, "All segments of the videos: Class,Segments. [as the run]", flag_values=values
    )


def train_config_from_flags(values: FlagValues) -> TrainConfig:
    """The run that the flags of train.py describe, with None where a default is still to be found.

    Raises:
        UserError: a value out of its range, or flags that make no sense together.
    """
    mode = _training_mode(values)
    _refuse_senseless(values, mode)
    return TrainConfig(
        model=values.model,
        training_mode=mode,
        model_args=_model_args(values),
        eigenvalues=values.eigenvalues,
        student_model_args=_pairs("student_model_args", values.student_model_args),
        selection=ALL_FRAMES if mode in ("teacher", None) else _student_selection(values),
        distillation=_distillation(values) if mode in DISTILLING_MODES else None,
        teacher_dir=tuple(values.teacher_dir or ()),
        teacher_cache=_teacher_cache(values),
        train_data_pattern=values.train_data_pattern,
        validation_data_pattern=values.validation_data_pattern,
        eval_data_pattern=values.eval_data_pattern,
        train_fraction=values.train_fraction,
        train_dir=values.train_dir,
        recipe=values.recipe,
        overrides=_overrides(values),
        learning=_learning(values),
        checkpointing=Checkpointing(
            values.checkpoint_every_steps, values.checkpoint_every_minutes, values.keep_checkpoints
        ),
        bad_records=_bad_records(values),
        distribution=values.distribution,
    )


def eval_config_from_flags(values: FlagValues) -> EvalConfig:
    """The evaluation that the flags of eval.py describe."""
    if values.train_dir is None:
        raise UserError("--train_dir is needed: the run directory of train.py.")
    if values.run_once is not None and values.follow is not None and values.run_once == values.follow:
        raise UserError("--run_once and --follow are opposites; give one of them.")
    return EvalConfig(
        eval_data_pattern=values.eval_data_pattern,
        output_file=values.output_file,
        full_map=values.full_map,
        per_class_file=values.per_class_file,
        follow=bool(values.follow) or values.run_once is False,
        **_of_trained_model(values),
    )


def inference_config_from_flags(values: FlagValues) -> InferenceConfig:
    """The predictions that the flags of inference.py describe."""
    if values.output_file is None:
        raise UserError("--output_file is needed: the CSV to write.")
    return dataclasses.replace(
        _predictions(values, values.output_file),
        vocabulary=values.vocabulary,
        output_model_tgz=values.output_model_tgz,
        segment_max_pred=values.segment_max_pred,
        segment_label_ids_file=values.segment_label_ids_file,
        shard=_shard(values),
    )


def _predictions(values: FlagValues, output_file: str) -> InferenceConfig:
    """What all that predicts videos has in common."""
    return InferenceConfig(
        output_file=output_file,
        input_model_tgz=values.input_model_tgz,
        input_data_pattern=values.input_data_pattern,
        top_k=values.top_k,
        **_of_trained_model(values),
    )


def _of_trained_model(values: FlagValues) -> dict[str, Any]:
    """What eval.py and inference.py say of the model and of what it sees."""
    return {
        "train_dir": values.train_dir,
        "which": values.which,
        "branch": values.branch,
        "selection": _other_selection(values),
        "batch_size": values.batch_size,
        "precision": values.precision,
        "xla": values.xla,
        "segments": values.segment_labels,
        "bad_records": _bad_records(values),
    }


def export_config_from_flags(values: FlagValues) -> ExportConfig:
    """The export that the flags of `export` describe."""
    for name, what in (("train_dir", "the run directory of train.py"), ("output_dir", "the folder to write")):
        if values[name].value is None:
            raise UserError(f"--{name} is needed: {what}.")
    if values["litert_precisions"].present and "litert" not in values.formats:
        raise UserError("--litert_precisions does nothing without litert in --formats.")
    return ExportConfig(
        train_dir=values.train_dir,
        output_dir=values.output_dir,
        formats=tuple(values.formats),
        which=values.which,
        branch=values.branch,
        selection=_other_selection(values),
        top_k=values.top_k,
        vocabulary=values.vocabulary,
        litert_precisions=tuple(values.litert_precisions),
        eval_data_pattern=values.eval_data_pattern,
        eval_videos=values.eval_videos,
    )


def serve_config_from_flags(values: FlagValues) -> ServeConfig:
    """The service that the flags of `serve` describe."""
    if values.model_dir is None:
        raise UserError("--model_dir is needed: what python -m yt8m_distill.export has written.")
    names = [each.name for each in dataclasses.fields(ServeConfig)]
    return ServeConfig(**{name: values[name].value for name in names})


def _shard(values: FlagValues) -> Shard | None:
    if (values.num_shards is None) != (values.shard_index is None):
        raise UserError("--num_shards, how many parts, and --shard_index, which one, go together.")
    return None if values.num_shards is None else Shard(values.shard_index, values.num_shards)


def beam_config_from_flags(values: FlagValues) -> BeamConfig:
    """The pipeline that the flags of `beam_inference` describe."""
    if values.output is None:
        raise UserError("--output is needed: the CSV to write, in parts that are named after it.")
    return BeamConfig(_predictions(values, values.output), values.output_shards, values.arguments)


def merge_config_from_flags(values: FlagValues) -> MergeConfig:
    """The merging that the command line of `merge_predictions` describes."""
    (output_file,) = values.arguments
    return MergeConfig(output_file, values.parts)


def segment_eval_config_from_flags(values: FlagValues) -> SegmentEvalConfig:
    """The scoring that the flags of `segment_eval` describe."""
    if values.submission_file is None:
        raise UserError("--submission_file is needed: the segments that inference.py has written.")
    return SegmentEvalConfig(
        submission_file=values.submission_file,
        eval_data_pattern=values.eval_data_pattern,
        label_cache=values.label_cache,
        top_n=values.top_n,
        output_file=values.output_file,
        overrides=dataclasses.replace(_overrides(values), level=SEGMENT),
        bad_records=_bad_records(values),
    )


def verify_config_from_flags(values: FlagValues) -> VerifyConfig:
    """The check that the command line of `verify` describes."""
    (pattern,) = values.arguments
    return VerifyConfig(pattern, _overrides(values), values.num_workers, values.output_file)


def thin_config_from_flags(values: FlagValues) -> ThinConfig:
    """The rewriting that the command line of `thin` describes."""
    pattern, output_dir = values.arguments
    return ThinConfig(pattern, output_dir, values.frames, _overrides(values), _bad_records(values))


def conversion_config_from_flags(values: FlagValues) -> ConversionConfig:
    """The conversion that the flags of `convert_checkpoint` describe."""
    for name in ("from", "train_dir"):
        if values[name].value is None:
            raise UserError(f"--{name} is needed; --help shows what to give.")
    return ConversionConfig(
        path=values["from"].value,
        train_dir=values.train_dir,
        model=values.model,
        model_args=_pairs("model_args", values.model_args),
        scope=values.scope,
        selection=_other_selection(values) or ALL_FRAMES,
        eigenvalues=values.eigenvalues,
        overrides=_overrides(values),
    )


def flops_config_from_flags(values: FlagValues) -> FlopsConfig:
    """The count that the flags of `flops` describe."""
    if values.train_dir is None:
        model, frames = values.model or DEFAULT_MODEL, values.frames or DEFAULT_FLOPS_FRAMES
        senseless, where = ("which",), "without"
    else:
        model, frames = None, values.frames or ()
        senseless, where = ("model", "model_args", "feature_names", "feature_sizes", "num_classes"), "with"
    given = [name for name in senseless if values[name].present]
    if given:
        raise UserError(f"--{given[0]} does nothing {where} --train_dir; leave it out.")
    return FlopsConfig(
        frames=tuple(_number("frames", text, int) for text in frames),
        model=model,
        model_args=_pairs("model_args", values.model_args),
        overrides=_overrides(values),
        train_dir=values.train_dir,
        which=values.which,
    )


def experiment_config_from_flags(values: FlagValues) -> ExperimentConfig:
    """The experiment that the flags of `experiment` describe.

    Raises:
        UserError: an unknown experiment, a wrong file of runs, or flags that make no sense together.
    """
    if values.experiment is None:
        raise UserError(f"--experiment is needed: {', '.join(EXPERIMENTS)}, or a TOML file that names runs.")
    if (values.train_data_pattern is None) != (values.eval_data_pattern is None):
        raise UserError("give both --train_data_pattern and --eval_data_pattern, or neither for the sample data.")
    frames = tuple(_number("frames", text, int) for text in values.frames or ())
    named = values.experiment in EXPERIMENTS
    config = _of_named_experiment(values, frames) if named else _of_run_file(values, frames)
    stem = values.experiment if named else values.experiment.rpartition("/")[2].rpartition(".")[0]
    return dataclasses.replace(
        config,
        output_dir=values.output_dir or f"runs/{stem}_{config.settings.model}",
        runs_dir=values.runs_dir,
        own_rows=values.own_rows,
        full_map=values.full_map,
        measure_speed=values.measure_speed,
        vocabulary=values.vocabulary,
        start_new_model=values.start_new_model,
    )


def _of_named_experiment(values: FlagValues, frames: tuple[int, ...]) -> ExperimentConfig:
    name = values.experiment
    varied = [*_VARIED_FLAGS, *(["train_fraction"] if name == "table2" else [])]
    if given := next((flag for flag in varied if values[flag].present), None):
        raise UserError(f"--{given} is what {name} varies; leave it out, or name your runs in a file.")
    given = _given(values)
    given.pop("finetune_epochs", None)  # for the rows that are fine-tuned only
    base = _train_config(given.values())
    learning = dataclasses.replace(base.learning, finetune_epochs=values.finetune_epochs)
    seeds = (0,) if values.seeds is None else _seeds(values.seeds)
    return ExperimentConfig(name, "", dataclasses.replace(base, learning=learning), frames=frames, seeds=seeds)


def _of_run_file(values: FlagValues, frames: tuple[int, ...]) -> ExperimentConfig:
    path = values.experiment
    known = [name for name in train_flags() if name not in ("help", "h", "helpfull", "", *SET_BY_EXPERIMENT)]
    content = read_run_file(path, known)
    shared = {**content.settings, **_given(values)}  # the command line overrules what all runs share
    frames = frames or content.frames or ()
    seeds = _seeds(values.seeds) if values.seeds is not None else content.seeds
    runs = tuple(named for run in content.runs for named in _named_runs(run, shared, frames, path))
    return ExperimentConfig(path, "", named_runs=runs, frames=frames, seeds=(0,) if seeds is None else seeds)


def _named_runs(run: FileRun, shared: Mapping[str, str], frames: tuple[int, ...], path: str) -> Iterator[NamedRun]:
    """A run of a file, once for each k where it does not say how many frames."""
    try:
        settings = {**shared, **run.settings}
        values = _parsed(settings.values())
        useless = _senseless(values, values.training_mode).keys() - run.settings.keys()
        settings = {name: text for name, text in settings.items() if name not in useless}
        own_frames = values["student_frames"].present or values["student_stride"].present
        every_k = () if own_frames or values.training_mode == "teacher" else frames
        for each in [[f"--student_frames={k}"] for k in every_k] or [[]]:
            config = _train_config([*settings.values(), *each])
            if (config.train_data_pattern is None) != (config.eval_data_pattern is None):
                raise UserError("train_data_pattern and eval_data_pattern are needed, or neither for the sample data.")
            yield NamedRun(run.name, config)
    except UserError as error:
        raise UserError(f"{path}, run '{run.name}': {error}") from error


def _given(values: FlagValues) -> dict[str, str]:
    """The flags of train.py that are on the command line, by name, as arguments."""
    names = [name for name in train_flags() if name in values and name not in ("help", *SET_BY_EXPERIMENT)]
    return {name: values[name].serialize() for name in names if values[name].present}


def _parsed(arguments: Iterable[str]) -> FlagValues:
    values = train_flags()
    parse(values, ["train.py", *arguments])
    values.training_mode = values.training_mode or "serial"
    return values


def _train_config(arguments: Iterable[str]) -> TrainConfig:
    return train_config_from_flags(_parsed(arguments))


def _seeds(text: str) -> tuple[int, ...]:
    """The first n seeds, or those of a list."""
    if "," not in text:
        return tuple(range(_number("seeds", text, int)))
    return tuple(_number("seeds", part, int) for part in text.split(",") if part.strip())


def _refuse_senseless(values: FlagValues, mode: str | None):
    """Flags that would do nothing in this training mode."""
    for problem in _senseless(values, mode).values():
        raise UserError(problem)


def _senseless(values: FlagValues, mode: str | None) -> dict[str, str]:
    """The given flags that would do nothing in this training mode, and why."""
    names = []
    if mode in ("teacher", "baseline"):
        names += [*_DISTILLATION_FLAGS, "teacher_dir"]
    if mode == "teacher":
        names += _STUDENT_FLAGS
    if mode == "parallel":
        names += ["teacher_dir", "finetune_epochs", "student_init"]
    problems = {name: f"--{name} does nothing with --training_mode={mode}; leave it out." for name in names}
    if mode == "parallel":
        problems["teacher_cache"] = (
            "--teacher_cache goes with --training_mode=serial: in parallel mode the teacher changes with every step."
        )
    losses = set(values.student_losses)
    if losses != {"rep"}:
        text = "--finetune_epochs is for --student_losses=rep, which is followed by fine-tuning."
        problems.setdefault("finetune_epochs", text)
    for name, loss in (("prediction_distance", "pred"), ("representation_matching", "rep")):
        if loss not in losses:
            problems.setdefault(name, f"--{name} does nothing without {loss} in --student_losses.")
    return {name: problem for name, problem in problems.items() if values[name].present}


def _training_mode(values: FlagValues) -> str | None:
    """None where nothing is said of a student: what is trained then depends on the model."""
    of_students = (*_STUDENT_FLAGS, *_DISTILLATION_FLAGS, "teacher_dir")
    return values.training_mode or ("serial" if any(values[name].present for name in of_students) else None)


def _student_selection(values: FlagValues) -> FrameSelection:
    """The frames of the student to train."""
    numbers = [_number("student_frames", text, int) for text in values.student_frames or ()]
    if not numbers and values.student_stride is None:
        numbers = [DEFAULT_STUDENT_FRAMES]
    return FrameSelection(
        k=max(numbers, default=None),
        stride=values.student_stride,
        sampling=values.frame_sampling or "uniform",
        drawn_from=tuple(sorted(numbers)) if len(numbers) > 1 else (),
    )


def _other_selection(values: FlagValues) -> FrameSelection | None:
    """The frames of a trained student, where the flags name others than its own."""
    if values.student_frames is None and values.student_stride is None:
        if values.frame_sampling is not None:
            raise UserError("--frame_sampling needs --student_frames here: how many frames to sample that way.")
        return None
    selection = _student_selection(values)
    if selection != selection.for_evaluation():
        raise UserError("several --student_frames, and --frame_sampling=jittered, are for training; give one k here.")
    return selection


def _bad_records(values: FlagValues) -> BadRecordPolicy:
    if values["max_bad_fraction"].present and values.on_bad_record == "error":
        raise UserError("--max_bad_fraction does nothing without --on_bad_record=skip.")
    return BadRecordPolicy(values.on_bad_record, values.max_bad_fraction)


def _distillation(values: FlagValues) -> Distillation:
    weights = {}
    for name, text in _pairs("loss_weights", values.loss_weights).items():
        weights[name] = _number("loss_weights", text, float)
    return Distillation(
        tuple(values.student_losses),
        weights,
        values.prediction_distance,
        values.representation_matching,
        values.student_init,
    )


def _model_args(values: FlagValues) -> dict[str, str]:
    """Those of --model_args, and --input_normalization, which is one of them."""
    given = _pairs("model_args", values.model_args)
    if values.input_normalization is None:
        return given
    if given.setdefault("input_normalization", values.input_normalization) != values.input_normalization:
        raise UserError("--input_normalization and --model_args say different things of it.")
    return given


def _teacher_cache(values: FlagValues) -> TeacherCache | None:
    if values.teacher_cache is None and values.teacher_cache_top is not None:
        raise UserError("--teacher_cache_top does nothing without --teacher_cache.")
    return TeacherCache(values.teacher_cache, values.teacher_cache_top) if values.teacher_cache else None


def _overrides(values: FlagValues) -> SpecOverrides:
    sizes = values.feature_sizes
    return SpecOverrides(
        feature_names=tuple(values.feature_names) if values.feature_names else None,
        feature_sizes=tuple(_number("feature_sizes", size, int) for size in sizes) if sizes else None,
        num_classes=values.num_classes if "num_classes" in values else None,
        max_frames=values.max_frames if "max_frames" in values else None,
        level=_level(values),
    )


def _level(values: FlagValues) -> str | None:
    """What the records must be, where the flags say so."""
    frames = values.frame_features if "frame_features" in values else None
    if "segment_labels" in values and values.segment_labels:
        if frames is False:
            raise UserError("--segment_labels and --noframe_features: video-level records have no segments.")
        return SEGMENT
    return None if frames is None else FRAME if frames else VIDEO


def _learning(values: FlagValues) -> Learning:
    return Learning(
        batch_size=values.batch_size,
        num_epochs=values.num_epochs,
        max_steps=values.max_steps,
        finetune_epochs=values.finetune_epochs,
        base_learning_rate=values.base_learning_rate,
        learning_rate_decay=values.learning_rate_decay,
        learning_rate_decay_examples=values.learning_rate_decay_examples,
        optimizer=values.optimizer,
        weight_decay=values.weight_decay,
        ema_momentum=values.ema_momentum,
        label_loss=values.label_loss,
        regularization_penalty=values.regularization_penalty,
        clip_gradient_norm=values.clip_gradient_norm,
        seed=values.seed,
        deterministic=values.deterministic,
        precision=values.precision,
        xla=values.xla,
    )


def _pairs(flag: str, parts: Sequence[str]) -> dict[str, str]:
    """The parts of "name=value,name=value"."""
    pairs = {}
    for part in parts:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value) or name in pairs:
            raise UserError(f"--{flag}: '{part}' must be name=value, each name once.")
        pairs[name] = value
    return pairs


def _number(flag: str, text: str, kind: type):
    try:
        return kind(text)
    except ValueError as error:
        raise UserError(f"--{flag}: '{text}' is no number.") from error
