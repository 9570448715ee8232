"""Evaluation and prediction settings."""

from dataclasses import KW_ONLY, InitVar, dataclass
from typing import Any, Literal, get_args

from yt8m_distill.config.bad_records import BadRecordPolicy
from yt8m_distill.config.dataset import ID_KEY, SpecOverrides
from yt8m_distill.config.films import FilmInput
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.inputs import check_export, check_file, check_run, check_videos
from yt8m_distill.config.settings import REQUIRED, Settings, group, setting, settings_of
from yt8m_distill.config.shard import Shard
from yt8m_distill.config.training import PLUGINS, VIDEOS, Precision

InferencePrecision = Literal["float32", "bfloat16", "float16", "int8"]
KERAS, ONNXRUNTIME = "keras", "onnxruntime"
Engine = Literal["keras", "onnxruntime", "litert", "tensorflow"]
FileEngine = Literal["onnxruntime", "litert", "tensorflow"]  # of files of an export
ENGINE_PRECISIONS = {
    KERAS: get_args(Precision),
    ONNXRUNTIME: ("float32", "int8"),
    "litert": ("float32", "float16", "int8"),
    "tensorflow": ("float32",),
}
DEFAULT_SEGMENT_MAX_PRED = 100_000
RUN_DIRECTORY = "Run directory of train.py, finished or running."
PRECISION = "Number format of the model; its weights stay float32."
SAMPLING = "Method of selecting the k frames. [the run's where it looks at features; else uniform]"


@dataclass(frozen=True, kw_only=True)
class ChosenModel(Settings):
    """Which model of a run directory is used, and the frames that it sees."""

    which: Literal["student", "teacher"] | None = setting(None, "Model of the run to use. [student, if there is one]")
    branch: int | None = setting(None, "Index of a branch of a MixNeXtVLAD. [the mixture]", at_least=0)
    selection: FrameSelection | None = group(
        student_frames={"help": "Number k of frames to use. [the run's]"}, frame_sampling={"help": SAMPLING}
    )
    plugins: tuple[str, ...] = setting((), PLUGINS)


@dataclass(frozen=True, kw_only=True)
class PredictionSettings(ChosenModel):
    """How a trained model is run on videos."""

    batch_size: int = setting(128, "Videos in a batch; results do not depend on it.", at_least=1)
    precision: Precision = setting("float32", PRECISION)
    xla: bool = setting(False, "Whether to compile the model with XLA.")
    segments: bool | None = setting(
        None, "Whether to use segments of videos instead of whole ones. [as the run was trained]", flag="segment_labels"
    )
    id_key: str | None = setting(None, ID_KEY)
    bad_records: BadRecordPolicy = group(BadRecordPolicy)


@dataclass(frozen=True)
class EvalConfig(PredictionSettings):
    """One evaluation; of segments, only rated ones count."""

    train_dir: str = setting(REQUIRED, RUN_DIRECTORY, reads=check_run)
    eval_data_pattern: str | None = setting(None, f"Videos to evaluate on: {VIDEOS}. [the run's]", reads=check_videos)
    output_file: str | None = setting(None, "JSON file to write metrics to. [<train_dir>/eval/metrics.json]")
    full_map: bool = setting(False, "Whether to compute mAP over all scores, too, not only each video's 20 highest.")
    per_class_file: str | None = setting(None, "CSV file to write the results of each class to.")
    follow: bool | None = setting(None, "Whether to evaluate each new checkpoint of a running training until its end.")
    run_once: InitVar[bool | None] = setting(None, "Whether to evaluate once; the opposite of --follow.")

    def __post_init__(self, run_once: bool | None):
        self.check_settings()
        if run_once is not None and run_once == self.follow:
            raise self.error("{run_once} and {follow} are opposites; give one of them.")
        object.__setattr__(self, "follow", bool(self.follow) or run_once is False)


@dataclass(frozen=True)
class InferenceConfig(PredictionSettings):
    """One prediction run; of segments, all are predicted."""

    output_file: str = setting(REQUIRED, "CSV file to write; gzip-compressed where its name ends in .gz.")
    train_dir: str | None = setting(None, RUN_DIRECTORY, reads=check_run)
    input_model_tgz: str | None = setting(None, "Packed model to use instead of --train_dir.", reads=check_file)
    export_dir: str | None = setting(
        None,
        "Folder that python -m yt8m_distill.export has written, to use instead of --train_dir.",
        reads=check_export,
    )
    input_data_pattern: str | None = setting(None, f"Videos to predict: {VIDEOS}. [the run's]", reads=check_videos)
    top_k: int = setting(20, "Number of predictions for each video.", at_least=1)
    vocabulary: str | None = setting(
        None, "CSV file of class names, for a readable listing beside the output.", reads=check_file
    )
    output_model_tgz: str | None = setting(None, "File to pack the model into.")
    segment_max_pred: int | None = setting(None, "Largest number of segments for each class. [100000]", at_least=1)
    segment_label_ids_file: str | None = setting(
        None, "CSV file of the classes that count for segments. [all]", reads=check_file
    )
    shard: Shard | None = group()
    films: FilmInput | None = group()
    _: KW_ONLY
    precision: InferencePrecision | None = setting(  # type: ignore[assignment]  # __post_init__ decides
        None,
        "Number format of the model; weights stay float32, but with int8, and in the files of an export. [float32; of "
        "an export that of the first file]",
    )
    engine: Engine | None = setting(
        None,
        "What computes: Keras; ONNX Runtime on the CPU, with a file that is exported to the run directory once; or "
        "what runs a file of an export. [keras; of an export what runs the first file]",
    )

    def __post_init__(self):
        self.check_settings()
        if (self.train_dir, self.input_model_tgz, self.export_dir).count(None) != 2:
            raise self.error("give just one of {train_dir}, {input_model_tgz} and {export_dir}.")
        if self.export_dir is None:
            object.__setattr__(self, "engine", self.engine or KERAS)
            object.__setattr__(self, "precision", self.precision or "float32")
            self._check_engine()
        else:
            self._check_export()
        if self.films is not None and (self.input_data_pattern is not None or self.shard is not None):
            raise self.error("films go neither with {input_data_pattern} nor with {num_shards}.")
        if self.films is not None and self.id_key is not None:
            raise self.error("{id_key} is of records; films are named by their paths.")
        if self.shard is not None and self.output_model_tgz is not None:
            raise self.error("{output_model_tgz} does not go with {num_shards}: every part would write the same file.")

    @property
    def exported(self) -> bool:
        """Whether an exported file predicts, not the Keras model."""
        return self.engine != "keras"

    @property
    def numbers(self) -> str:
        """The precision, and what computes where that is not Keras: predictions depend on both."""
        return f"{self.precision} of {self.engine}" if self.exported else f"{self.precision}"

    def _check_engine(self):
        if self.engine not in (KERAS, ONNXRUNTIME):
            raise self.error("{engine}={} runs a file of an export: give {export_dir}.", self.engine)
        if self.precision == "int8" and not self.exported:
            raise self.error("{precision}=int8 is for {engine}=onnxruntime.")
        check_engine_precision(self)
        if not self.exported:
            return
        if self.xla:
            raise self.error("{xla} compiles the Keras model, which does not predict with {engine}=onnxruntime.")
        if self.segments is not None:
            raise self.error("{segments} does not go with {engine}=onnxruntime, whose file is for what was trained on.")

    def _check_export(self):
        """Checks that nothing is asked of an export that was decided when it was written."""
        if self.engine == KERAS:
            raise self.error("{engine}=keras needs {train_dir}: an export has no Keras model.")
        check_engine_precision(self)
        names = "which", "branch", "selection", "segments", "output_model_tgz"
        given = [name for name in names if getattr(self, name) is not None] + ["xla"] * self.xla
        if given:
            name = "student_frames" if given[0] == "selection" else given[0]
            raise self.error(f"{{{name}}} does not go with {{export_dir}}: an export is of one model with its frames.")
        if self.films is None and self.input_data_pattern is None:
            raise self.error("{input_data_pattern} is required with {export_dir}: an export does not name videos.")


def check_engine_precision(config: Any):
    """Raises SettingError where the engine of a `Settings`, if any, does not compute in its precision, if any."""
    engine, precision = config.engine, config.precision
    if engine is not None and precision is not None and precision not in ENGINE_PRECISIONS[engine]:
        known = " or ".join(ENGINE_PRECISIONS[engine])
        raise config.error("{engine}={} computes in {}, not in {precision}={}.", engine, known, precision)


@dataclass(frozen=True)
class MergeConfig(Settings):
    """One merging of predictions that were made in parts."""

    output_file: str = setting(REQUIRED, "File to write, named as --output_file of the parts.", argument="OUT")
    parts: str | None = setting(None, "Parts to merge: globs and files, separated by commas. [those named after OUT]")


@dataclass(frozen=True)
class BeamConfig(Settings):
    """One prediction run as an Apache Beam pipeline, which has flags of its own."""

    predictions: InferenceConfig = group(
        InferenceConfig,
        leave_out=(
            *("vocabulary", "output_model_tgz", "num_shards", "shard_index"),
            *("segment_max_pred", "segment_label_ids_file"),
            *settings_of(FilmInput),
        ),
        output_file={"flag": "output", "help": "CSV file to write in parts: NAME-00000-of-00004.csv."},
        on_bad_record={"flag_default": "skip"},
        input_data_pattern={"reads": None},  # Beam knows other file systems
    )
    output_shards: int | None = setting(None, "Number of parts to write. [the runner chooses]", at_least=1)
    pipeline_args: tuple[str, ...] = setting((), "Flags of Apache Beam.", argument="*")


@dataclass(frozen=True)
class SegmentEvalConfig(Settings):
    """One scoring of a submission of segments."""

    submission_file: str = setting(
        REQUIRED, "CSV file (Class,Segments) that inference.py --segment_labels has written.", reads=check_file
    )
    eval_data_pattern: str | None = setting(None, f"Records with rated segments: {VIDEOS}.", reads=check_videos)
    label_cache: str | None = setting(None, "Text file of the ratings, read where it exists, else written.")
    top_n: int = setting(DEFAULT_SEGMENT_MAX_PRED, "Number of segments of each class that count.", at_least=1)
    output_file: str | None = setting(None, "JSON file to write metrics to.")
    overrides: SpecOverrides = group(
        SpecOverrides, ("max_frames", "frame_features"), segment_labels={"flag": False, "flag_default": True}
    )
    bad_records: BadRecordPolicy = group(BadRecordPolicy)

    def __post_init__(self):
        self.check_settings()
        if self.eval_data_pattern is None and self.label_cache is None:
            raise self.error("give {eval_data_pattern}, records with rated segments, or {label_cache}.")
