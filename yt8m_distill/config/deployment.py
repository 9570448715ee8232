"""Export and service settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from yt8m_distill.config.films import FramePositions
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.inference import RUN_DIRECTORY, SAMPLING, ChosenModel, FileEngine, check_engine_precision
from yt8m_distill.config.inputs import check_export, check_file, check_path, check_run, check_videos
from yt8m_distill.config.settings import REQUIRED, Settings, group, setting, settings_of
from yt8m_distill.config.training import PLUGINS, VIDEOS

ExportFormat = Literal["saved_model", "litert", "onnx"]
LiteRTPrecision = Literal["float32", "float16", "int8"]
ONNXPrecision = Literal["float32", "int8"]
FilePrecision = Literal["float32", "float16", "int8"]
AUTO = "auto"
EXPORT_FORMATS = get_args(ExportFormat)
ENGINE_OF_FORMAT = {"saved_model": "tensorflow", "litert": "litert", "onnx": "onnxruntime"}


@dataclass(frozen=True)
class FrameChoice(Settings):
    """How the number of frames is chosen among those that a student was trained for."""

    max_loss: float = setting(
        0.01,
        "With --student_frames=auto: GAP@20 that may be lost to the best of the run's numbers.",
        at_least=0,
        below=1,
    )
    validation_data_pattern: str | None = setting(
        None, f"With --student_frames=auto: videos to choose by: {VIDEOS}. [the run's]", reads=check_videos
    )


@dataclass(frozen=True, kw_only=True)
class ExportedModel(ChosenModel):
    """Which model of a run directory is exported; its number of frames may be left to a choice."""

    selection: FrameSelection | None = group(
        student_frames={
            "help": "Number k of frames to use; auto: the smallest within --max_loss. [the run's]",
            "kind": str,
        },
        frame_sampling={"help": SAMPLING},
    )


@dataclass(frozen=True)
class ExportConfig(ExportedModel):
    """One export of a trained model."""

    train_dir: str = setting(REQUIRED, RUN_DIRECTORY, reads=check_run)
    output_dir: str = setting(REQUIRED, "Folder to write; an earlier export there is replaced.")
    formats: tuple[ExportFormat, ...] = setting(("saved_model",), "Formats to export to.")
    top_k: int = setting(20, "Number of classes that the SavedModel and the service give of a video.", at_least=1)
    vocabulary: str | None = setting(
        None, "CSV file of class names, which answers of the service then have.", reads=check_file
    )
    litert_precisions: tuple[LiteRTPrecision, ...] = setting(
        get_args(LiteRTPrecision), "Number formats of the weights of LiteRT files."
    )
    onnx_precisions: tuple[ONNXPrecision, ...] = setting(
        ("float32",), "Number formats of the weights of ONNX files; those of matrix products only are int8."
    )
    choice: FrameChoice | None = group()
    eval_data_pattern: str | None = setting(
        None, f"Labeled videos to measure GAP@20 on: {VIDEOS}. [the run's]", reads=check_videos
    )
    eval_videos: int = setting(20_000, "About how many videos to measure GAP@20 on; 0 turns it off.", at_least=0)
    push_to_hub: str | None = setting(None, "Repository of the Hugging Face hub, OWNER/NAME, to upload the export to.")
    hub_private: bool = setting(False, "Whether a repository that --push_to_hub creates is private.")

    def __post_init__(self):
        self.check_settings()
        if self.eval_data_pattern is not None and not self.eval_videos:
            raise self.error("{eval_data_pattern} does nothing with {eval_videos}=0; leave one of them out.")
        if self.hub_private and self.push_to_hub is None:
            raise self.error("{hub_private} does nothing without {push_to_hub}; leave it out.")

    @classmethod
    def from_settings(cls, values: Mapping[str, Any], **fields: Any) -> "ExportConfig":
        numbers, others = values.get("student_frames", ()), values
        if AUTO in numbers:
            if numbers != (AUTO,) or values.keys() & {"student_stride", "frame_sampling"}:
                raise cls.error(
                    "{student_frames}=auto chooses among the numbers that the run was trained for; leave out "
                    "{student_stride}, {frame_sampling} and further numbers."
                )
            others = {name: value for name, value in values.items() if name != "student_frames"}
            fields["choice"] = FrameChoice.from_settings(values)
        elif numbers:
            others = {**values, "student_frames": settings_of(FrameSelection)["student_frames"].read(list(numbers))}
        for name in () if AUTO in numbers else settings_of(FrameChoice):
            if name in values:
                raise cls.error(f"{{{name}}} does nothing without {{student_frames}}=auto; leave it out.")
        config = super().from_settings(others, **{"choice": None, **fields})
        for file_format in ("litert", "onnx"):
            if f"{file_format}_precisions" in values and file_format not in config.formats:
                raise cls.error(f"{{{file_format}_precisions}} does nothing without {file_format} in {{formats}}.")
        return config


@dataclass(frozen=True)
class FilmService(Settings):
    """How a service takes films."""

    wanted: bool | None = setting(
        None, "Whether to take films. [where the model was trained on features of films]", flag="films"
    )
    max_film_mb: float = setting(256.0, "Largest size of a film in MB.", above=0, at_most=16_000)
    max_film_seconds: float = setting(3600.0, "Longest duration of a film in seconds.", above=0)
    film_timeout: float = setting(60.0, "Seconds of processor time that the decoding of a film may take.", above=0)
    film_memory_mb: float = setting(1024.0, "Memory in MB that the decoding of a film may take.", at_least=64)
    film_workers: int = setting(1, "Number of processes that decode films.", at_least=1)
    max_waiting_films: int = setting(
        4,
        "Films that may wait for these processes and for the image network; beyond it the answer is 503.",
        at_least=0,
    )
    positions: FramePositions = setting(
        "exact",
        "Frames of a film that are decoded: the exact ones, or the nearest keyframes, which cost less.",
        flag="frame_positions",
    )
    backbone: str | None = setting(
        None, "File of the image network, where it is not where it was. [the run's]", reads=check_path
    )
    backbone_weights: str | None = setting(None, "Weights file of the image network. [the run's]", reads=check_file)
    google_dir: str | None = setting(
        None, "Folder with Google's files, for the sound feature vggish. [the run's]", reads=check_path
    )


@dataclass(frozen=True)
class ServeConfig(Settings):
    """One service of an exported model."""

    model_dir: str = setting(REQUIRED, "Folder that python -m yt8m_distill.export has written.", reads=check_export)
    file: str | None = setting(None, "File of the export to serve: litert/int8.tflite. [the first]")
    host: str = setting("127.0.0.1", "Address to listen on; 0.0.0.0 stands for all.")
    port: int = setting(8000, "Port to listen on.", at_least=1, at_most=65535)
    max_batch: int = setting(64, "Largest number of videos in a batch, and in a request.", at_least=1)
    max_waiting: int = setting(256, "Largest number of waiting videos; beyond it the answer is 503.", at_least=1)
    max_connections: int = setting(512, "Largest number of connections; beyond it the answer is 503.", at_least=1)
    max_request_mb: float = setting(64.0, "Largest size of a request in MB.", above=0, at_most=2000)
    idle_timeout: float = setting(
        15.0, "Seconds after which a connection that has sent no complete request line and headers is closed.", above=0
    )
    body_timeout: float = setting(
        30.0, "Seconds that a client has to send the body of a request, and as many to take the answer.", above=0
    )
    parsers: int = setting(2, "Number of processes that parse requests.", at_least=1)
    access_log: bool = setting(True, "Log a line for each request: client, method, path, status, bytes, milliseconds.")
    films: FilmService = group(FilmService)
    plugins: tuple[str, ...] = setting((), PLUGINS)
    engine: FileEngine | None = setting(None, "What is to run the file. [what runs the first one]")
    precision: FilePrecision | None = setting(None, "Number format of the file's weights. [that of the first one]")

    def __post_init__(self):
        self.check_settings()
        check_engine_precision(self)
        if self.file is not None and (self.engine or self.precision):
            raise self.error("{file} names the file, so {engine} and {precision} do not go with it.")
