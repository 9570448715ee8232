"""The features of films: loaded as `features.json` describes them, or new ones, fitted to a sample of the films."""

import dataclasses
import logging
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from yt8m_distill.config.dataset import PROJECTION_FILES, RANGES_FILE
from yt8m_distill.config.films import (
    EXACT,
    FIT,
    KEYFRAMES,
    NO_AUDIO,
    NO_PCA,
    VGGISH,
    YOUTUBE8M,
    FeatureSettings,
    FilmFrames,
    FilmReading,
)
from yt8m_distill.data.feature_ranges import FeatureFile
from yt8m_distill.errors import UserError
from yt8m_distill.files.array_files import check_arrays
from yt8m_distill.files.processes import processors
from yt8m_distill.files.progress_bar import ProgressBar
from yt8m_distill.video.audio_features import AudioFeature, audio_feature_named
from yt8m_distill.video.backbones.backbone import Backbone, ImageOptions
from yt8m_distill.video.backbones.naming import backbone_named
from yt8m_distill.video.decoding import Decoding
from yt8m_distill.video.extractor import Extractor, FilmFeatures, Quantizer
from yt8m_distill.video.features import Recipe, identity_of, read_features, write_features
from yt8m_distill.video.film_list import Film
from yt8m_distill.video.projection import Projection, fit_pca, fit_standardization
from yt8m_distill.video.projection_files import read_projection

log = logging.getLogger(__name__)

LEAST_SAMPLED = 1024  # frames that ranges and means are fitted to
SAMPLED_EACH_VALUE = 6  # frames for each value that a projection keeps
DEFAULT_PCA_SIZE = 1024
_VGGISH_PCA = "vggish_pca_params.npz"
_FEW_FRAMES = 30  # of a film, for which keyframes are decoded far quicker than others


@dataclass(frozen=True)
class FeatureSet:
    """All that makes features of films.

    Attributes:
        recipe: how, in words and checksums.
        file: what every command reads of it.
        backbone: the image network.
        audio: the feature of sound; None: none.
        projections: of each feature, by name: of images first.
    """

    recipe: Recipe
    file: FeatureFile
    backbone: Backbone
    audio: AudioFeature | None
    projections: Mapping[str, Projection]

    @property
    def quantizer(self) -> Quantizer:
        return Quantizer(self.projections)

    @property
    def frame_bytes(self) -> int:
        return sum(self.file.sizes.values())

    def extractor(self, choice: FilmFrames, reading: FilmReading, max_frames: int = 0) -> Extractor:
        """What computes these features of the frames that are chosen, of at most `max_frames` if that is not 0."""
        decoding = Decoding(self.recipe.frames_per_second, max_frames or self.recipe.max_frames, choice)
        return Extractor(self.backbone, self.audio, decoding, reading.workers or processors())

    def write(self, folder: pathlib.Path, num_classes: int, frames: str):
        """Writes `features.json`, and the projections before it, for records of these frames of films."""
        for name, projection in zip(PROJECTION_FILES, self.projections.values(), strict=False):
            projection.save(folder / name)
        recipe = dataclasses.replace(self.recipe, frames=frames)
        write_features(folder, recipe, dataclasses.replace(self.file, num_classes=num_classes or None))


def load_feature_set(path: str | os.PathLike, settings: FeatureSettings) -> FeatureSet:
    """The features that a `features.json`, or that in a folder, describes.

    Args:
        path: of the file or folder.
        settings: where the files of the networks are, if not where they were.

    Raises:
        UserError: it cannot be read, the settings ask for something else, or a network is another one.
    """
    path = pathlib.Path(path)
    folder = path if path.is_dir() else path.parent
    recipe, file = read_features(path)
    recipe = recipe.with_places(settings, str(path))
    backbone, audio = _networks(recipe)
    loaded = {}
    for name, file_name in zip(file.ranges, PROJECTION_FILES, strict=False):
        check_arrays(folder / file_name)
        loaded[name] = read_projection(folder / file_name)
    checksums = _checksums(backbone, audio, loaded)
    for name, checksum in (recipe.checksums or {}).items():
        if checksums.get(name) != checksum:
            raise UserError(
                f"the {name} is not the one that '{folder / RANGES_FILE}' was written with (checksum "
                f"{checksums.get(name)}, not {checksum})."
            )
    return FeatureSet(recipe, file, backbone, audio, loaded)


def fit_feature_set(settings: FeatureSettings, films: Sequence[Film], reading: FilmReading) -> FeatureSet:
    """New features, whose projections and ranges are fitted to some films.

    Args:
        settings: what they are.
        films: the sample.
        reading: how films are read.

    Raises:
        UserError: a network or projection cannot be loaded, or no film can be decoded.
    """
    recipe = Recipe.of_settings(settings)
    backbone, audio = _networks(recipe)
    if settings.pca is None and recipe.backbone == YOUTUBE8M:
        recipe = dataclasses.replace(recipe, pca=recipe.model_dir)
    elif recipe.pca == FIT:
        recipe = dataclasses.replace(recipe, pca_size=recipe.pca_size or min(DEFAULT_PCA_SIZE, backbone.size))
    given = _given_projection(recipe, backbone)
    sample = _sampled(Extractor(backbone, audio, _decoding(recipe, films), reading.workers or processors()), films)
    if settings.audio is None and all(features.sound is None for features in sample):
        log.warning("No film of the sample has sound, so that there is no feature of it.")
        recipe, audio = dataclasses.replace(recipe, audio=NO_AUDIO), None
    names = _names(recipe, backbone, audio)
    values = dict(zip(names, (_joined(sample, "images"), _joined(sample, "sound")), strict=False))
    if recipe.pca == FIT and settings.pca_size is None:
        recipe = dataclasses.replace(recipe, pca_size=_fitting_size(recipe.pca_size, len(values[names[0]])))
    fitted = {names[0]: given or _of_images(recipe, values[names[0]])}
    if audio is not None:
        fitted[names[1]] = _of_sound(recipe, values[names[1]])
    ranges = {name: tuple(projection.range) for name, projection in fitted.items()}
    recipe = dataclasses.replace(
        recipe,
        checksums=_checksums(backbone, audio, fitted),
        explained_variance=None if recipe.pca == NO_PCA else fitted[names[0]].explained_variance,
        clipped={name: fitted[name].clipped_share(values[name]) for name in names if values[name] is not None},
    )
    sizes = {name: fitted[name].size for name in names}
    file = FeatureFile(ranges, sizes, max_frames=recipe.max_frames, extraction=identity_of(recipe, ranges))
    return FeatureSet(recipe, file, backbone, audio, fitted)


def _given_projection(recipe: Recipe, backbone: Backbone) -> Projection | None:
    """The one in a file, read before any film is; None: it is fitted."""
    if recipe.pca in (FIT, NO_PCA):
        return None
    projection = read_projection(recipe.pca)
    if projection.input_size != backbone.size:
        raise UserError(
            f"--pca={recipe.pca} is for {projection.input_size} values a frame; {backbone.name} has {backbone.size}."
        )
    return projection


def _fitting_size(size: int, frames: int) -> int:
    """As many components as the frames of a sample allow to be fitted well."""
    most = max(frames // SAMPLED_EACH_VALUE, 1)
    if most < size:
        log.warning("The sample has %d frames, enough for a PCA with %d components, not %d.", frames, most, size)
    return min(most, size)


def _networks(recipe: Recipe) -> tuple[Backbone, AudioFeature | None]:
    model_dir = recipe.model_dir if recipe.backbone == YOUTUBE8M else None
    given = {name: value for name in ("image_size", "pixels", "crop") if (value := getattr(recipe, name)) is not None}
    backbone = backbone_named(recipe.backbone, recipe.backbone_weights, model_dir, ImageOptions(**given))
    return backbone, audio_feature_named(recipe.audio, recipe.model_dir) if recipe.has_audio else None


def _names(recipe: Recipe, backbone: Backbone, audio: AudioFeature | None) -> list[str]:
    """Of the features: those of the published ones where they are made in their way."""
    is_published = recipe.backbone == YOUTUBE8M
    image = pathlib.Path(recipe.backbone).stem if os.sep in recipe.backbone else recipe.backbone
    names = ["rgb" if is_published else re.sub(r"\W", "_", image)]
    if audio is not None:
        names.append("audio" if is_published and recipe.audio == VGGISH else recipe.audio)
    return names


def _checksums(backbone: Backbone, audio: AudioFeature | None, by_feature: Mapping[str, Projection]) -> dict[str, str]:
    networks = {"backbone": backbone.identity} | ({} if audio is None else {"audio": audio.identity})
    return networks | {f"projection of {name}": projection.identity for name, projection in by_feature.items()}


def _decoding(recipe: Recipe, films: Sequence[Film]) -> Decoding:
    """As many frames of each film of the sample as are needed of all."""
    needed = max(LEAST_SAMPLED, SAMPLED_EACH_VALUE * (recipe.pca_size or 0))
    of_each = -(-needed // max(len(films), 1))
    choice = FilmFrames(of_each, KEYFRAMES if of_each < _FEW_FRAMES else EXACT)
    return Decoding(recipe.frames_per_second, recipe.max_frames, choice)


def _sampled(extractor: Extractor, films: Sequence[Film]) -> list[FilmFeatures]:
    with ProgressBar(len(films), "Fitting features", " films") as bar:
        sample = []
        for features in extractor.features(films):
            sample.append(features)
            bar.update()
    if all(features.is_lost for features in sample):
        first = sample[0]
        raise UserError(f"none of the films can be decoded (first: '{first.film.path}': {'; '.join(first.problems)}).")
    return sample


def _joined(sample: Sequence[FilmFeatures], name: str) -> np.ndarray | None:
    parts = [values for features in sample if (values := getattr(features, name)) is not None and len(values)]
    return np.concatenate(parts) if parts else None


def _of_images(recipe: Recipe, values: np.ndarray) -> Projection:
    if recipe.pca == FIT:
        return fit_pca(values, recipe.pca_size)
    return fit_standardization(values)


def _of_sound(recipe: Recipe, values: np.ndarray | None) -> Projection:
    """Sound is never projected to fewer values; Google's PCA of VGGish whitens it."""
    published = pathlib.Path(recipe.model_dir or "", _VGGISH_PCA)
    if recipe.audio == VGGISH and published.is_file():
        return read_projection(published)
    if values is None:
        raise UserError("none of the films in the sample has sound; leave it out with --audio=none.")
    return fit_standardization(values)
