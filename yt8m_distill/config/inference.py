"""Evaluation and prediction settings."""

from dataclasses import dataclass, field

from yt8m_distill.config.bad_records import BadRecordPolicy
from yt8m_distill.config.dataset import SpecOverrides
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.settings import check_choice, check_minimum, check_which
from yt8m_distill.config.shard import Shard
from yt8m_distill.config.training import PRECISIONS
from yt8m_distill.errors import UserError

DEFAULT_SEGMENT_MAX_PRED = 100_000


@dataclass(frozen=True)
class EvalConfig:
    """One evaluation.

    Attributes:
        train_dir: run directory, finished or running.
        eval_data_pattern: None: the run's own.
        which: "student" or "teacher"; None: the student, or the model of a teacher's run.
        branch: of a MixNeXtVLAD, by itself; None: the mixture.
        selection: frames the model sees; None: the run's own.
        batch_size: videos at a time; changes no number.
        precision: one of `PRECISIONS`; what the model computes in. Its weights stay float32.
        xla: compile the model with XLA.
        output_file: metrics as JSON; None: in the run directory.
        full_map: also the mean average precision over all scores.
        per_class_file: CSV with a row for each class; None: not written.
        follow: evaluate every new checkpoint until the run has finished.
        segments: rated segments instead of whole videos; None: as the run was trained.
    """

    train_dir: str
    eval_data_pattern: str | None = None
    which: str | None = None
    branch: int | None = None
    selection: FrameSelection | None = None
    batch_size: int = 128
    precision: str = "float32"
    xla: bool = False
    output_file: str | None = None
    full_map: bool = False
    per_class_file: str | None = None
    follow: bool = False
    segments: bool | None = None
    bad_records: BadRecordPolicy = field(default_factory=BadRecordPolicy)

    def __post_init__(self):
        check_which(self.which)
        check_minimum("branch", self.branch, 0)
        check_minimum("batch_size", self.batch_size, 1)
        check_choice("--precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class InferenceConfig:
    """One prediction run.

    Attributes:
        output_file: the CSV; gzip when the name ends in .gz.
        train_dir: run directory, finished or running; or
        input_model_tgz: a model packed by `output_model_tgz`.
        input_data_pattern: None: the run's evaluation files.
        which, branch, selection, batch_size, precision, xla: as `EvalConfig`.
        top_k: predictions a video.
        vocabulary: CSV of class names, for a readable listing beside the CSV.
        output_model_tgz: also pack the model into this file.
        segments: all segments of the videos instead of the whole ones; None: as the run was trained.
        segment_max_pred: segments of a class at most; None: `DEFAULT_SEGMENT_MAX_PRED`.
        segment_label_ids_file: CSV of the classes that count for segments; None: all.
        shard: predict only this part of the files, into a file that is named after it; None: all files.
    """

    output_file: str
    train_dir: str | None = None
    input_model_tgz: str | None = None
    input_data_pattern: str | None = None
    which: str | None = None
    branch: int | None = None
    selection: FrameSelection | None = None
    batch_size: int = 128
    precision: str = "float32"
    xla: bool = False
    top_k: int = 20
    vocabulary: str | None = None
    output_model_tgz: str | None = None
    segments: bool | None = None
    segment_max_pred: int | None = None
    segment_label_ids_file: str | None = None
    shard: Shard | None = None
    bad_records: BadRecordPolicy = field(default_factory=BadRecordPolicy)

    def __post_init__(self):
        check_which(self.which)
        check_minimum("branch", self.branch, 0)
        check_minimum("batch_size", self.batch_size, 1)
        check_choice("--precision", self.precision, PRECISIONS)
        check_minimum("top_k", self.top_k, 1)
        check_minimum("segment_max_pred", self.segment_max_pred, 1)
        if (self.train_dir is None) == (self.input_model_tgz is None):
            raise UserError("give either --train_dir or --input_model_tgz, not both and not neither.")
        if self.shard is not None and self.output_model_tgz is not None:
            raise UserError("--output_model_tgz does not go with --num_shards: every part would write the same file.")


@dataclass(frozen=True)
class MergeConfig:
    """One merging of predictions that were made in parts.

    Attributes:
        output_file: the file to write, as --output_file of the parts; gzip when the name ends in .gz.
        parts: globs and files, by commas; None: `<output_file>-00000-of-00004` and so on.
    """

    output_file: str
    parts: str | None = None


@dataclass(frozen=True)
class BeamConfig:
    """One prediction run as an Apache Beam pipeline.

    Attributes:
        predictions: model, input and form of the predictions; `output_file` names the parts.
        output_shards: how many; None: the runner chooses.
        pipeline_args: Beam's own flags.
    """

    predictions: InferenceConfig
    output_shards: int | None = None
    pipeline_args: tuple[str, ...] = ()

    def __post_init__(self):
        check_minimum("output_shards", self.output_shards, 1)


@dataclass(frozen=True)
class SegmentEvalConfig:
    """One scoring of a submission of segments.

    Attributes:
        submission_file: `Class,Segments`, as `inference.py --segment_labels` writes it.
        eval_data_pattern: records with rated segments; None: they are in `label_cache`.
        label_cache: the ratings as text; written where it does not exist, else read instead of the records.
        top_n: segments of a class that count.
        output_file: metrics as JSON; None: not written.
        overrides: what the flags say about the records.
    """

    submission_file: str
    eval_data_pattern: str | None = None
    label_cache: str | None = None
    top_n: int = DEFAULT_SEGMENT_MAX_PRED
    output_file: str | None = None
    overrides: SpecOverrides = field(default_factory=SpecOverrides)
    bad_records: BadRecordPolicy = field(default_factory=BadRecordPolicy)

    def __post_init__(self):
        check_minimum("top_n", self.top_n, 1)
        if self.eval_data_pattern is None and self.label_cache is None:
            raise UserError("give --eval_data_pattern, records with rated segments, or --label_cache.")
