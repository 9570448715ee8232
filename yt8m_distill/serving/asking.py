"""What a client asks for by the address of its request: how many labels, of how many frames, and details."""

from dataclasses import dataclass

from fastapi import HTTPException

from yt8m_distill.deployment.manifest import Manifest


@dataclass(frozen=True)
class Asked:
    """What is asked for beside the videos.

    Attributes:
        top_k: labels of each video.
        frames: of each video, one of `Manifest.numbers`; None: those of the model's selection.
        details: whether the answer says which frames were looked at, and how long it took.
    """

    top_k: int
    frames: int | None = None
    details: bool = False


def checked(manifest: Manifest, top_k: int | None, frames: int | None, details: bool) -> Asked:
    """What a request asks for; None stands for what the model has by default.

    Raises:
        HTTPException: the model cannot do that.
    """
    classes = manifest.data.num_classes
    if top_k is not None and not 1 <= top_k <= classes:
        raise HTTPException(400, f"top_k must be from 1 to {classes}, not {top_k}")
    if frames is not None and frames not in manifest.numbers and frames != manifest.selection.k:
        numbers = ", ".join(map(str, manifest.numbers)) or manifest.selection.describe()
        raise HTTPException(400, f"frames must be one of those that the model was trained for: {numbers}; not {frames}")
    chosen = None if frames == manifest.selection.k else frames
    return Asked(top_k or manifest.top_k, chosen, details)
