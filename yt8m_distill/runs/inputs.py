"""The files that a trained model is evaluated on or predicts."""

import dataclasses
import logging

from yt8m_distill.config.dataset import EDITIONS, FRAME, SEGMENT, VIDEO, DatasetSpec, SpecOverrides
from yt8m_distill.config.run import RunConfig
from yt8m_distill.data.video_files import VideoFiles, open_videos
from yt8m_distill.errors import UserError

log = logging.getLogger(__name__)


def level_of(segments: bool | None, train_config: RunConfig) -> str:
    """The level of what is evaluated or predicted: that of the training, unless --segment_labels says otherwise."""
    trained = train_config.data.level
    if segments is None or trained == VIDEO:
        if segments:
            raise UserError("--segment_labels: the model was trained on video-level records, which have no segments.")
        return trained
    return SEGMENT if segments else FRAME


def evaluation_videos(
    pattern: str | None,
    train_config: RunConfig,
    flag: str,
    level: str | None = None,
    skip_bad_records: bool = False,
) -> VideoFiles:
    """Files to evaluate or predict, in the format that the model was trained on.

    Args:
        pattern: globs, files, directories, by commas; None: the run's evaluation files.
        train_config: of the run.
        flag: where the pattern comes from.
        level: of the records; None: as in training.
        skip_bad_records: leave out what is damaged, instead of raising.
    """
    pattern = evaluation_pattern(pattern, train_config, flag)
    spec = dataclasses.replace(train_config.data, level=level or train_config.data.level)
    detected = open_videos(pattern, flag, overrides_of(spec), skip_bad_records=skip_bad_records)
    return dataclasses.replace(detected, spec=input_spec(spec, detected.spec, flag))


def evaluation_pattern(pattern: str | None, train_config: RunConfig, flag: str) -> str:
    """The pattern that is given, or the run's evaluation files; UserError where neither is."""
    pattern = pattern or train_config.eval_data_pattern
    if pattern is None:
        raise UserError(f"--{flag} is needed: the run was trained without --eval_data_pattern.")
    return pattern


def overrides_of(trained: DatasetSpec) -> SpecOverrides:
    """What files must be for a model: with the sizes, as the first video may have no frames to show them."""
    return SpecOverrides(
        trained.feature_names, trained.feature_sizes, trained.num_classes, trained.max_frames, trained.level
    )


def input_spec(trained: DatasetSpec, found: DatasetSpec, flag: str) -> DatasetSpec:
    """How files are read for a model.

    They say where the id is (it differs between the 2017 and 2018 editions) and whether they are thin shards, the run
    all the rest.

    Raises:
        UserError: to be evaluated on a vocabulary that is not the model's.
    """
    _check_vocabulary(found, trained, flag)
    return dataclasses.replace(trained, id_key=found.id_key, thin_frames=found.thin_frames)


def _check_vocabulary(found: DatasetSpec, trained: DatasetSpec, flag: str):
    """Class numbers of another edition mean other things: metrics would be wrong, predictions are not."""
    classes = {edition.name: edition.num_classes for edition in EDITIONS}
    own = trained.num_classes != classes.get(trained.edition)
    if own or classes.get(found.edition, trained.num_classes) == trained.num_classes:
        return
    text = (
        f"--{flag}: these are records of {found.edition} with {classes[found.edition]} classes; the model was trained "
        f"on {trained.edition} with {trained.num_classes}, whose class numbers mean other things"
    )
    if flag == "eval_data_pattern":
        raise UserError(f"{text}. Evaluate it on that edition.")
    log.warning("%s. The predictions have the numbers of %s.", text, trained.edition)
