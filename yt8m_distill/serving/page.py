"""The page of the service, and what it has to know of the model."""

import base64
import hashlib
import importlib.resources
import re
from dataclasses import dataclass

from fastapi.responses import HTMLResponse

from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.deployment.manifest import Cost, Manifest

FILE_NAME = "page.html"


@dataclass(frozen=True)
class Description:
    """The model of a service, and what it takes.

    Attributes:
        model, which: name in the registry, and "student" or "teacher".
        selection: the frames that it sees, in short.
        frames: their number at most; None: there is no limit.
        numbers: of frames that may be asked for; empty: only one.
        classes: number of them.
        top_k: labels of a video by default.
        max_videos, max_request_mb: of a request.
        max_film_mb: of a film; None: films are not taken.
        costs, reference: see `Manifest`.
    """

    model: str
    which: str
    selection: str
    frames: int | None
    numbers: tuple[int, ...]
    classes: int
    top_k: int
    max_videos: int
    max_request_mb: float
    max_film_mb: float | None
    costs: tuple[Cost, ...]
    reference: Cost | None


def describe(manifest: Manifest, config: ServeConfig, *, films: bool) -> Description:
    """What the page is told.

    Args:
        manifest: of the model.
        config: the service's limits.
        films: whether it takes them.
    """
    return Description(
        model=manifest.model,
        which=manifest.which,
        selection=manifest.selection.describe(),
        frames=manifest.frames,
        numbers=manifest.numbers,
        classes=manifest.data.num_classes,
        top_k=manifest.top_k,
        max_videos=config.max_batch,
        max_request_mb=config.max_request_mb,
        max_film_mb=config.films.max_film_mb if films else None,
        costs=manifest.costs,
        reference=manifest.reference,
    )


class Page:
    """The page as it is sent: one file, which may load and send nothing but to its own service.

    Args:
        description: that it asks for.
    """

    def __init__(self, description: Description):
        self._description = description
        self._text = importlib.resources.files(__package__).joinpath(FILE_NAME).read_text("utf-8")
        self._headers = {
            "Content-Security-Policy": "; ".join(
                [
                    "default-src 'none'",
                    f"script-src {_hashes(self._text, 'script')}",
                    f"style-src {_hashes(self._text, 'style')}",
                    "connect-src 'self'",
                    "img-src data:",  # an empty icon, which browsers would ask the service for
                    "media-src blob:",  # the film that was chosen
                    "base-uri 'none'",
                    "form-action 'none'",
                    "frame-ancestors 'none'",
                ]
            ),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        }

    async def response(self) -> HTMLResponse:
        """The page."""
        return HTMLResponse(self._text, headers=self._headers)

    async def model(self) -> Description:
        """The model of the service, and what it takes."""
        return self._description


def _hashes(text: str, element: str) -> str:
    """What a policy says of the elements of one kind in a page: only these contents."""
    contents = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in contents)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
