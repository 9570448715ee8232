"""Export and service settings."""

from dataclasses import dataclass

from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.config.settings import check_list, check_minimum, check_which
from yt8m_distill.errors import UserError

EXPORT_FORMATS = ("saved_model", "litert", "onnx")
LITERT_PRECISIONS = ("float32", "float16", "int8")


@dataclass(frozen=True)
class ExportConfig:
    """One export of a trained model.

    Attributes:
        train_dir: run directory, finished or running.
        output_dir: the folder to write; an earlier export there is replaced.
        formats: any of `EXPORT_FORMATS`.
        which, branch, selection: as `EvalConfig`.
        top_k: classes that the SavedModel and the service give of a video.
        vocabulary: CSV of class names.
        litert_precisions: of the weights of LiteRT files, any of `LITERT_PRECISIONS`.
        eval_data_pattern: labelled videos to measure GAP@20 on; None: the run's own, where they can be read.
        eval_videos: about how many of them; 0: none.
    """

    train_dir: str
    output_dir: str
    formats: tuple[str, ...] = ("saved_model",)
    which: str | None = None
    branch: int | None = None
    selection: FrameSelection | None = None
    top_k: int = 20
    vocabulary: str | None = None
    litert_precisions: tuple[str, ...] = LITERT_PRECISIONS
    eval_data_pattern: str | None = None
    eval_videos: int = 20_000

    def __post_init__(self):
        check_which(self.which)
        check_minimum("branch", self.branch, 0)
        check_minimum("top_k", self.top_k, 1)
        check_minimum("eval_videos", self.eval_videos, 0)
        if self.eval_data_pattern is not None and not self.eval_videos:
            raise UserError("--eval_data_pattern does nothing with --eval_videos=0; leave one of them out.")
        check_list("--formats", self.formats, EXPORT_FORMATS)
        check_list("--litert_precisions", self.litert_precisions, LITERT_PRECISIONS)


@dataclass(frozen=True)
class ServeConfig:
    """One service of an exported model.

    Attributes:
        model_dir: an export.
        file: which of its files, as "litert/int8.tflite"; None: the first, the SavedModel where there is one.
        host, port: the address to listen on.
        max_batch: videos that are predicted together, and that a request may have.
        max_waiting: videos that may wait for the model; beyond it the answer is 503.
        max_connections: at the same time; beyond it the answer is 503.
        max_request_mb: of a request.
    """

    model_dir: str
    file: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    max_batch: int = 64
    max_waiting: int = 256
    max_connections: int = 512
    max_request_mb: float = 64.0

    def __post_init__(self):
        for name in ("max_batch", "max_waiting", "max_connections"):
            check_minimum(name, getattr(self, name), 1)
        if not 0 < self.max_request_mb <= 2000:
            raise UserError(f"--max_request_mb must be above 0 and at most 2000, not {self.max_request_mb}.")
        if not 0 < self.port < 65536:
            raise UserError(f"--port must be from 1 to 65535, not {self.port}.")
