"""Input files of a trained model, for evaluation and prediction."""

import dataclasses
import logging

from yt8m_distill.config.dataset import EDITIONS, FRAME, SEGMENT, VIDEO, DatasetSpec, SpecOverrides
from yt8m_distill.config.run import RunConfig
from yt8m_distill.data.record_format import LEARNING
from yt8m_distill.data.video_files import VideoFiles, open_videos
from yt8m_distill.errors import UserError

log = logging.getLogger(__name__)


def level_of(segments: bool | None, spec: DatasetSpec) -> str:
    """The level of the records to evaluate or predict.

    Args:
        segments: whether segments are asked for; None: as in training.
        spec: the format of the training records.

    Raises:
        UserError: segments of a video-level model.
    """
    trained = spec.level
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
    *,
    use: str = LEARNING,
    id_key: str | None = None,
) -> VideoFiles:
    """Files to evaluate or predict, in the format that the model was trained on.

    Args:
        pattern: globs, files, directories, by commas; None: the run's evaluation files, or to learn what it held out.
        train_config: of the run.
        flag: the setting that the pattern is from.
        level: of the records; None: as in training.
        skip_bad_records: skip bad records, instead of raising.
        use: what they are read for, one of `record_format.USES`.
        id_key: of the videos' ids, see `SpecOverrides`.

    Raises:
        UserError: no pattern, no files, or files of another format.
    """
    held_out = use == LEARNING and pattern is None and holds_out_evaluation(train_config)
    pattern, flag = input_pattern(pattern, train_config, flag, use)
    spec = dataclasses.replace(train_config.data, level=level or train_config.data.level)
    videos = videos_like(spec, pattern, flag, skip_bad_records, use=use, id_key=id_key)
    return validation_part(videos, train_config) if held_out else videos


def videos_like(
    spec: DatasetSpec,
    pattern: str,
    flag: str,
    skip_bad_records: bool,
    *,
    use: str = LEARNING,
    id_key: str | None = None,
) -> VideoFiles:
    """Files in the format that a model was trained on.

    Args:
        spec: the format.
        pattern: globs, files, directories, by commas.
        flag: the setting that the pattern is from.
        skip_bad_records: skip bad records, instead of raising.
        use: what they are read for, one of `record_format.USES`.
        id_key: of the videos' ids, see `SpecOverrides`.

    Raises:
        UserError: no files, or files of another format.
    """
    detected = open_videos(pattern, flag, overrides_of(spec, id_key), skip_bad_records=skip_bad_records, use=use)
    return dataclasses.replace(detected, spec=input_spec(spec, detected.spec, flag))


def holds_out_evaluation(train_config: RunConfig) -> bool:
    """Whether a run has no evaluation files, and is evaluated on the training videos that it held out."""
    return train_config.eval_data_pattern is None and train_config.validation_fraction > 0


def input_pattern(pattern: str | None, train_config: RunConfig, flag: str, use: str = LEARNING) -> tuple[str, str]:
    """The files that `evaluation_videos` opens, and the setting that they are from; UserError where there are none."""
    if use == LEARNING and pattern is None and holds_out_evaluation(train_config):
        return train_config.train_data_pattern, "train_data_pattern"
    return evaluation_pattern(pattern, train_config.eval_data_pattern, flag), flag


def evaluation_pattern(pattern: str | None, own: str | None, flag: str) -> str:
    """The given pattern, or the run's own, of its evaluation files; UserError where there is neither."""
    pattern = pattern or own
    if pattern is None:
        raise UserError(f"--{flag} is required: the run was trained without --eval_data_pattern.")
    return pattern


def validation_part(train: VideoFiles, config: RunConfig) -> VideoFiles:
    """The training videos that a run with a `validation_fraction` does not train on."""
    return dataclasses.replace(train, fraction=1 - config.validation_fraction, rest=True)


def validation_videos(config: RunConfig) -> VideoFiles | None:
    """The videos that the best epoch of a run was chosen by; None where there were none.

    Raises:
        UserError: there are no such files any more, or they have another format.
    """
    skip = config.bad_records.skip
    if config.validation_fraction:
        videos = evaluation_videos(config.train_data_pattern, config, "train_data_pattern", skip_bad_records=skip)
        return validation_part(videos, config)
    pattern, flag = config.validation_data_pattern, "validation_data_pattern"
    return evaluation_videos(pattern, config, flag, skip_bad_records=skip) if pattern else None


def overrides_of(trained: DatasetSpec, id_key: str | None = None) -> SpecOverrides:
    """What input files must have in common with the training files, where the first video may have no frames.

    Args:
        trained: what the model was trained on.
        id_key: of the videos' ids; None: as in training, or the editions'.
    """
    return SpecOverrides(
        feature_names=trained.feature_names,
        feature_sizes=trained.feature_sizes,
        num_classes=trained.num_classes,
        max_frames=trained.max_frames,
        level=trained.level,
        id_key=id_key,
        trained_id_key=trained.id_key,
    )


def input_spec(trained: DatasetSpec, detected: DatasetSpec, flag: str) -> DatasetSpec:
    """The format in which files are read for a model.

    Key of the id (which differs between the 2017 and 2018 editions) and thin frames are those of the files, everything
    else is the run's.

    Args:
        trained: the format of the training files.
        detected: the format of the input files.
        flag: the setting that the files are from.

    Raises:
        UserError: evaluation with a vocabulary that is not the model's, or features quantized with other ranges.
    """
    _check_vocabulary(trained, detected, flag)
    check_ranges(trained, detected, flag)
    of_files = {name: getattr(detected, name) for name in ("id_key", "thin_frames", "thin_sampling", "float_frames")}
    return dataclasses.replace(trained, **of_files)


def check_ranges(trained: DatasetSpec, detected: DatasetSpec, flag: str):
    """Checks that bytes stand for the same numbers as in training, and features were made of films in the same way.

    Raises:
        UserError: they do not.
    """
    if detected.extraction and trained.extraction and detected.extraction != trained.extraction:
        raise UserError(
            f"--{flag}: these features were made of films in another way than those of the training: extract both with "
            "the same features.json (python -m yt8m_distill.extract_features --features=FILE)."
        )
    if detected.float_frames and detected.feature_ranges is None:  # they are quantized in the model's ranges
        return
    if detected.feature_ranges != trained.feature_ranges:
        raise UserError(
            f"--{flag}: these features were quantized to {detected.describe_ranges()}, those of the training to "
            f"{trained.describe_ranges()}, so that the same bytes stand for other numbers: quantize both with the same "
            "features.json (python -m yt8m_distill.quantize --ranges=FILE)."
        )


def _check_vocabulary(trained: DatasetSpec, detected: DatasetSpec, flag: str):
    """Class numbers differ between editions: metrics would be wrong; predictions only have the model's numbers."""
    classes = {edition.name: edition.num_classes for edition in EDITIONS}
    other_vocabulary = trained.num_classes != classes.get(trained.edition)
    if other_vocabulary or classes.get(detected.edition, trained.num_classes) == trained.num_classes:
        return
    text = (
        f"--{flag}: these are records of {detected.edition} with {classes[detected.edition]} classes; the model was "
        f"trained on {trained.edition} with {trained.num_classes}, whose class numbers have other meanings"
    )
    if flag in ("eval_data_pattern", "validation_data_pattern"):
        raise UserError(f"{text}. Evaluate it on that edition.")
    log.warning("%s. The predictions have the numbers of %s.", text, trained.edition)
