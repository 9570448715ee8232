"""Export and service settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from yt8m_distill.config.inference import RUN_DIRECTORY, ChosenModel
from yt8m_distill.config.settings import REQUIRED, Settings, setting
from yt8m_distill.config.training import PLUGINS, VIDEOS

ExportFormat = Literal["saved_model", "litert", "onnx"]
LiteRTPrecision = Literal["float32", "float16", "int8"]
EXPORT_FORMATS = get_args(ExportFormat)


@dataclass(frozen=True)
class ExportConfig(ChosenModel):
    """One export of a trained model."""

    train_dir: str = setting(REQUIRED, RUN_DIRECTORY)
    output_dir: str = setting(REQUIRED, "Folder to write; an earlier export there is replaced.")
    formats: tuple[ExportFormat, ...] = setting(("saved_model",), "Formats to export to.")
    top_k: int = setting(20, "Number of classes that the SavedModel and the service give of a video.", at_least=1)
    vocabulary: str | None = setting(None, "CSV file of class names, which answers of the service then have.")
    litert_precisions: tuple[LiteRTPrecision, ...] = setting(
        get_args(LiteRTPrecision), "Number formats of the weights of LiteRT files."
    )
    eval_data_pattern: str | None = setting(None, f"Labeled videos to measure GAP@20 on: {VIDEOS}. [the run's]")
    eval_videos: int = setting(20_000, "About how many videos to measure GAP@20 on; 0 turns it off.", at_least=0)

    def __post_init__(self):
        self.check_settings()
        if self.eval_data_pattern is not None and not self.eval_videos:
            raise self.error("{eval_data_pattern} does nothing with {eval_videos}=0; leave one of them out.")

    @classmethod
    def from_settings(cls, values: Mapping[str, Any], **fields: Any) -> "ExportConfig":
        config = super().from_settings(values, **fields)
        if "litert_precisions" in values and "litert" not in config.formats:
            raise cls.error("{litert_precisions} does nothing without litert in {formats}.")
        return config


@dataclass(frozen=True)
class ServeConfig(Settings):
    """One service of an exported model."""

    model_dir: str = setting(REQUIRED, "Folder that python -m yt8m_distill.export has written.")
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
    plugins: tuple[str, ...] = setting((), PLUGINS)
