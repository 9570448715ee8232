"""What is computed of films: image network, sound, projections and ranges, kept in `features.json`.

    {"features": {"efficientnet_lite0": {"min": -4.1, "max": 4.3, "size": 1280}, ...},
     "num_classes": 12, "max_frames": 300,
     "extraction": {"identity": "1f2e...", "backbone": "efficientnet_lite0", ...}}

The first part is what every command reads (`data.feature_ranges`); the last says how films become such features.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from yt8m_distill.config.dataset import RANGES_FILE
from yt8m_distill.config.films import DEFAULTS, NO_AUDIO, NO_PCA, FeatureSettings
from yt8m_distill.config.json import from_values
from yt8m_distill.data.feature_ranges import FeatureFile, read_feature_file, write_feature_file
from yt8m_distill.errors import UserError
from yt8m_distill.video.backbones.backbone import CROP

# Where something is, not what it is: a later extraction may find it elsewhere.
PLACES = ("backbone_weights", "model_dir")


@dataclass(frozen=True)
class Recipe:
    """How films become features, as `features.json` says it.

    Attributes:
        backbone: name of the image network, or path of its file.
        audio: name of the feature of sound, or "none".
        pca: how image features are projected: "fit", "none" or the path of a file.
        frames_per_second: frames looked at in a second.
        max_frames: frames looked at in a film at most.
        backbone_weights, model_dir: places of files of the networks; None: they need none.
        checksums: of the networks and projections, by their names.
        image_size, pixels, crop: how frames become the input of the image network; None: the network's own way.
        pca_size: values that a fitted projection was asked to keep.
        frames: which frames of a film are in the records beside it; no feature depends on it.
        explained_variance: share of the variance that the projection of image features keeps; None: it keeps all.
        clipped: share of the values of the sample that are outside the ranges, by feature.
    """

    backbone: str
    audio: str
    pca: str
    frames_per_second: float
    max_frames: int
    backbone_weights: str | None = None
    model_dir: str | None = None
    checksums: Mapping[str, str] | None = None
    image_size: int | None = None
    pixels: str | None = None
    crop: float | None = None
    pca_size: int | None = None
    frames: str = ""
    explained_variance: float | None = None
    clipped: Mapping[str, float] | None = None

    @classmethod
    def of_settings(cls, settings: FeatureSettings) -> "Recipe":
        """What the settings ask for, with the defaults of what they leave open."""
        values = {"pca": NO_PCA, **DEFAULTS, **settings.given}
        for name in ("backbone", "backbone_weights", "model_dir", "pca"):
            if values.get(name) and os.path.exists(values[name]):
                values[name] = os.path.abspath(values[name])
        return cls(**values)

    def with_places(self, settings: FeatureSettings, path: str) -> "Recipe":
        """This recipe, with files where the settings say they are.

        Args:
            settings: of a later use.
            path: of the file that has this recipe, for errors.

        Raises:
            UserError: they ask for something else.
        """
        asked, places = settings.given, {}
        for name, value in asked.items():
            is_file = name == "backbone" and os.path.exists(value) and os.path.sep in self.backbone
            if name in PLACES or is_file:
                places[name] = os.path.abspath(value)
            elif not self._has(name, value):
                raise UserError(f"--{name}={value}: the features of '{path}' have {name}={getattr(self, name)}.")
        return Recipe(**{**vars(self), **places})

    def _has(self, name: str, value: Any) -> bool:
        own = getattr(self, name)
        if name == "pca" and os.path.exists(value):
            return os.path.abspath(value) == own
        return value == (CROP if name == "crop" and own is None else own)

    @property
    def has_audio(self) -> bool:
        return self.audio != NO_AUDIO


def write_features(folder: pathlib.Path, recipe: Recipe, features: FeatureFile):
    """Writes `features.json`."""
    described = {name: value for name, value in asdict(recipe).items() if value is not None}
    write_feature_file(folder, features, {"identity": features.extraction, **described})


def identity_of(recipe: Recipe, ranges: Mapping[str, Any]) -> str:
    """A checksum of all that features depend on: those with the same one can be used together."""
    values = {
        "checksums": recipe.checksums,
        "audio": recipe.audio,
        "frames_per_second": recipe.frames_per_second,
        "ranges": {name: list(map(float, ends)) for name, ends in ranges.items()},
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def read_features(path: str | os.PathLike) -> tuple[Recipe, FeatureFile]:
    """Recipe and ranges in a `features.json` of an extraction, or in that of a folder.

    Raises:
        UserError: it cannot be read, or says nothing of films.
    """
    path = pathlib.Path(path)
    path = path / RANGES_FILE if path.is_dir() else path
    features, extraction = read_feature_file(path)
    if extraction is None:
        raise UserError(f"'{path}' was not written by an extraction of films: it does not say how features are made.")
    values = {name: value for name, value in extraction.items() if name != "identity"}
    recipe = from_values(Recipe, values, str(path))
    if features.extraction != identity_of(recipe, features.ranges):
        raise UserError(f"'{path}' is damaged or was changed: its identity is not that of what it says.")
    return recipe, features
