"""From flags to a run: which data, which settings, and whether a run directory can be gone on with."""

import dataclasses
import logging

from yt8m_distill.config.dataset import VIDEO, DatasetSpec, SpecOverrides
from yt8m_distill.config.frames import ALL_FRAMES, DEFAULT_STUDENT_FRAMES, FrameSelection
from yt8m_distill.config.recipes import with_recipe
from yt8m_distill.config.training import Distillation, TrainConfig
from yt8m_distill.data.batches import View, check_view
from yt8m_distill.data.sample import ensure_sample
from yt8m_distill.data.video_files import VideoFiles, check_segments, open_videos
from yt8m_distill.errors import UserError
from yt8m_distill.models import registry
from yt8m_distill.models.building import frames_of

log = logging.getLogger(__name__)


def resolve(config: TrainConfig) -> tuple[TrainConfig, dict[str, VideoFiles]]:
    """The configuration with every default filled in, and its files: "train", "validation" and "eval" where given.

    Raises:
        UserError: an unknown model or argument, no matching file, an unknown edition, records of a level that is not
            the model's.
    """
    config = dataclasses.replace(config, model=registry.model_class(config.model).__name__)
    config = _with_data(_with_training_mode(config))
    skip = config.bad_records.skip
    train = open_videos(
        config.train_data_pattern, "train_data_pattern", config.overrides, config.data, skip_bad_records=skip
    )
    _check_level(config.model, train.spec)
    config = _with_typed_arguments(config)
    train = dataclasses.replace(train, spec=_normalized_as_wished(config, train.spec))
    config = dataclasses.replace(config, data=train.spec, train_dir=config.train_dir or default_train_dir(config))
    log.info("Training data: %d files; %s", len(train.files), train.spec.describe())
    config = with_recipe(config)
    files = {"train": _fraction_of(train, config.train_fraction)}
    for name in ("validation", "eval"):
        if pattern := getattr(config, f"{name}_data_pattern"):
            files[name] = _other_videos(pattern, f"{name}_data_pattern", train.spec, skip)
    for name, videos in files.items():
        check_segments(videos, f"{name}_data_pattern")
        stored = name == "train" and config.teacher_cache is not None  # a cache that is to be written checks for itself
        all_frames = config.distillation is not None and not stored
        check_view(videos.spec, View(config.selection, all_frames), f"{name}_data_pattern")
    _warn_where_no_video_is_longer(config, train)
    return _with_arguments_by_frames(config), files


def _with_training_mode(config: TrainConfig) -> TrainConfig:
    """Serial training where nothing else is said. A video-level model sees no frames, so it has no students."""
    if not registry.model_class(config.model).video_level:
        if config.training_mode is not None:
            return config
        return dataclasses.replace(
            config,
            training_mode="serial",
            selection=FrameSelection(DEFAULT_STUDENT_FRAMES),
            distillation=Distillation(),
        )
    if config.training_mode not in (None, "teacher"):
        raise UserError(
            f"{config.model} is a video-level model: it takes one vector a video, so there is no student that sees "
            "fewer frames. Give --training_mode=teacher, and no flag about students, frames or distillation."
        )
    return dataclasses.replace(config, training_mode="teacher")


def _check_level(model: str, spec: DatasetSpec):
    video_level = registry.model_class(model).video_level
    if video_level == (spec.level == VIDEO):
        return
    fitting = [name for name in registry.model_names() if registry.model_class(name).video_level != video_level]
    raise UserError(
        f"--train_data_pattern: these are {spec.level}-level records, and {model} takes "
        f"{'video-level ones, with one vector a video' if video_level else 'the frames of videos'}. "
        f"For these records there are {', '.join(fitting) or 'no models'}."
    )


def _normalized_as_wished(config: TrainConfig, spec: DatasetSpec) -> DatasetSpec:
    """Video-level features are normalized by their reader, frames by the model."""
    own = registry.model_class(config.model).input_normalization
    wish = config.model_args.get("input_normalization", own)
    return dataclasses.replace(spec, normalized=wish == "l2") if spec.level == VIDEO else spec


def _fraction_of(videos: VideoFiles, fraction: float) -> VideoFiles:
    part = dataclasses.replace(videos, fraction=fraction)
    if fraction < 1 and not part.holds_records():
        raise UserError(f"--train_fraction={fraction:g} keeps no video of the {len(part.files)} training files.")
    return part


def _other_videos(pattern: str, flag: str, spec: DatasetSpec, skip_bad_records: bool) -> VideoFiles:
    """Files in the format of the training files; whether they are thin shards, their own first record says."""
    overrides = SpecOverrides(spec.feature_names, spec.feature_sizes, spec.num_classes, spec.max_frames, spec.level)
    videos = open_videos(pattern, flag, overrides, skip_bad_records=skip_bad_records)
    return dataclasses.replace(videos, spec=dataclasses.replace(spec, thin_frames=videos.spec.thin_frames))


def _with_data(config: TrainConfig) -> TrainConfig:
    """The sample data set where no data is named; there the sample's recipe is the default one."""
    if config.train_data_pattern is not None:
        return dataclasses.replace(config, recipe=config.recipe or "paper")
    if config.eval_data_pattern or config.validation_data_pattern:
        raise UserError("--train_data_pattern is missing; without any data pattern the sample data set is used.")
    paths = ensure_sample()
    recipe = config.recipe or "sample"
    log.info("No data given: training on the sample data set in %s", paths.directory)
    if recipe == "sample":
        log.info("Model size, batch size, learning rate and epochs are the sample's; --recipe=paper takes the papers'.")
    return dataclasses.replace(
        config,
        recipe=recipe,
        train_data_pattern=paths.train,
        validation_data_pattern=paths.validate,
        eval_data_pattern=paths.test,
    )


def _with_typed_arguments(config: TrainConfig) -> TrainConfig:
    """Model arguments checked against the constructor's signature, their texts as numbers and names."""

    def typed(given):
        return registry.parse_model_args(config.model, ",".join(f"{name}={value}" for name, value in given.items()))

    return dataclasses.replace(
        config, model_args=typed(config.model_args), student_model_args=typed(config.student_model_args)
    )


def _with_arguments_by_frames(config: TrainConfig) -> TrainConfig:
    """Every argument resolved; those that follow from the number of frames also for the student, where they differ."""
    model = registry.model_class(config.model)
    by_frames = model.args_for_frames
    first = config.selection if config.training_mode == "baseline" else ALL_FRAMES
    model_args = {**model.argument_defaults(), **by_frames(frames_of(config, first)), **config.model_args}
    student_args = {}
    if config.distillation is not None:
        student_args = {
            name: value
            for name, value in by_frames(frames_of(config, config.selection)).items()
            if name not in config.model_args and model_args[name] != value
        }
    return dataclasses.replace(
        config, model_args=model_args, student_model_args={**student_args, **config.student_model_args}
    )


def default_train_dir(config: TrainConfig) -> str:
    """`runs/<model>_<training_mode>_<k>`."""
    frames = [] if config.selection == ALL_FRAMES else [config.selection.describe()]
    return "runs/" + "_".join([config.model, config.training_mode, *frames])


def _warn_where_no_video_is_longer(config: TrainConfig, train: VideoFiles):
    if config.selection.k is None or train.spec.thin_frames is not None:
        return
    longest = train.longest_of_first()
    if longest <= config.selection.k:
        log.warning(
            "--student_frames=%d: none of the first videos has more than %d frames, so the student sees all of them.",
            config.selection.k,
            longest,
        )
