"""Resolving a configuration: from what users ask for to a run with all of its settings and files."""

import dataclasses
import logging

from yt8m_distill.config.dataset import VIDEO, DatasetSpec
from yt8m_distill.config.frames import DEFAULT_STUDENT_FRAMES, FrameSelection
from yt8m_distill.config.recipes import with_recipe
from yt8m_distill.config.run import RunConfig
from yt8m_distill.config.training import Distillation, TrainConfig
from yt8m_distill.data.batches import View, check_view
from yt8m_distill.data.sample import ensure_sample
from yt8m_distill.data.video_files import VideoFiles, check_segments, open_videos
from yt8m_distill.errors import UserError
from yt8m_distill.models import VideoModel
from yt8m_distill.models.arguments import typed_model_args
from yt8m_distill.plugins import MODELS
from yt8m_distill.runs.directory import default_train_dir
from yt8m_distill.runs.inputs import input_spec, overrides_of, validation_part

log = logging.getLogger(__name__)


def resolve(asked: TrainConfig) -> tuple[RunConfig, dict[str, VideoFiles]]:
    """Fills in every default of a run, and opens its files.

    Args:
        asked: from the flags; or a `RunConfig`, whose record format is then used.

    Returns:
        The run, and its files: "train", "validation" and "eval" where there are any.

    Raises:
        UserError: an unknown model or argument, no matching file, an unknown edition, records of a level that is not
            the model's.
    """
    asked = dataclasses.replace(asked, model=MODELS.resolve(asked.model))
    model = MODELS.get(asked.model)
    asked = _with_data(_with_training_mode(asked, model))
    train = _training_videos(asked, model)
    log.info("Training data: %d files; %s", len(train.files), train.spec.describe())
    config = RunConfig.of(
        asked,
        data=train.spec,
        train_dir=asked.train_dir or default_train_dir(asked),
        train_fraction=min(asked.train_fraction, 1 - asked.validation_fraction),
        model_args=typed_model_args(model, asked.model_args),
        student_model_args=typed_model_args(model, asked.student_model_args),
    )
    config = _with_arguments_by_frames(with_recipe(config))
    files = {"train": _fraction_of(train, config.train_fraction), **_held_out(config, train), **_other_files(config)}
    _check_views(config, files)
    _warn_where_no_video_is_longer(config, train)
    return config, files


def _with_training_mode(asked: TrainConfig, model: type[VideoModel]) -> TrainConfig:
    """Serial training by default. A video-level model sees no frames, so it has no students."""
    if not model.video_level:
        if asked.training_mode is not None:
            return asked
        return dataclasses.replace(
            asked,
            training_mode="serial",
            selection=FrameSelection(DEFAULT_STUDENT_FRAMES),
            distillation=Distillation(),
        )
    if asked.training_mode not in (None, "teacher"):
        raise UserError(
            f"{asked.model} is a video-level model: it takes one vector a video, so no student can see "
            "fewer frames. Give --training_mode=teacher, and no flag about students, frames or distillation."
        )
    return dataclasses.replace(asked, training_mode="teacher")


def _with_data(asked: TrainConfig) -> TrainConfig:
    """The sample data set where no data is given; its recipe is then the default."""
    if asked.train_data_pattern is not None:
        return dataclasses.replace(asked, recipe=asked.recipe or "paper")
    asked.check_data()
    paths = ensure_sample()
    recipe = asked.recipe or "sample"
    log.info("No data given: training on the sample data set in %s", paths.directory)
    if recipe == "sample":
        log.info("Model size, batch size, learning rate and epochs are the sample's; --recipe=paper takes the papers'.")
    return dataclasses.replace(
        asked,
        recipe=recipe,
        train_data_pattern=paths.train,
        validation_data_pattern=paths.validate,
        eval_data_pattern=paths.test,
    )


def _training_videos(asked: TrainConfig, model: type[VideoModel]) -> VideoFiles:
    """The training files. Video-level features are normalized by the reader, frames by the model."""
    skip = asked.bad_records.skip
    spec = asked.data if isinstance(asked, RunConfig) else None
    videos = open_videos(asked.train_data_pattern, "train_data_pattern", asked.overrides, spec, skip_bad_records=skip)
    _check_level(asked.model, model, videos.spec)
    if videos.spec.level != VIDEO:
        return videos
    normalization = asked.model_args.get("input_normalization", model.input_normalization)
    return dataclasses.replace(videos, spec=dataclasses.replace(videos.spec, normalized=normalization == "l2"))


def _check_level(name: str, model: type[VideoModel], spec: DatasetSpec):
    if model.video_level == (spec.level == VIDEO):
        return
    fitting = [other for other in MODELS.names() if MODELS.get(other).video_level != model.video_level]
    raise UserError(
        f"--train_data_pattern: these are {spec.level}-level records, and {name} takes "
        f"{'video-level ones, with one vector a video' if model.video_level else 'the frames of videos'}. "
        f"For these records there are {', '.join(fitting) or 'no models'}."
    )


def _fraction_of(videos: VideoFiles, fraction: float) -> VideoFiles:
    part = dataclasses.replace(videos, fraction=fraction)
    if fraction < 1 and not part.holds_records():
        raise UserError(f"No video of the {len(part.files)} training files is among the {fraction:g} to train on.")
    return part


def _held_out(config: RunConfig, train: VideoFiles) -> dict[str, VideoFiles]:
    """The training videos that are not trained on but validated, if any; always the same ones."""
    if not config.validation_fraction:
        return {}
    videos = validation_part(train, config)
    if not videos.holds_records():
        raise UserError(
            f"--validation_fraction={config.validation_fraction:g} holds no video of the {len(train.files)} training "
            "files out."
        )
    return {"validation": videos}


def _other_files(config: RunConfig) -> dict[str, VideoFiles]:
    """Files in the format of the training files; their own first record shows whether they are thin shards."""
    spec, files = config.data, {}
    overrides = overrides_of(spec, config.overrides.id_key)
    for name in ("validation", "eval"):
        flag = f"{name}_data_pattern"
        if pattern := getattr(config, flag):
            videos = open_videos(pattern, flag, overrides, skip_bad_records=config.bad_records.skip)
            files[name] = dataclasses.replace(videos, spec=input_spec(spec, videos.spec, flag))
    return files


def _check_views(config: RunConfig, files: dict[str, VideoFiles]):
    """Checks that the files hold the frames that teacher and student see."""
    for name, videos in files.items():
        check_segments(videos, f"{name}_data_pattern")
        stored = name == "train" and config.teacher_cache is not None  # writing a cache has a check of its own
        all_frames = config.distillation is not None and not stored
        check_view(videos.spec, View(config.selection, all_frames), f"{name}_data_pattern")


def _with_arguments_by_frames(config: RunConfig) -> RunConfig:
    """All model arguments; those that depend on the number of frames also for the student, where they differ."""
    model = config.model_class
    by_frames = model.args_for_frames(config.frames_of("student" if config.training_mode == "baseline" else "teacher"))
    model_args = {**model.argument_defaults(), **by_frames, **config.model_args}
    student_args = {}
    if config.distillation is not None:
        student_args = {
            name: value
            for name, value in model.args_for_frames(config.frames_of("student")).items()
            if name not in config.model_args and model_args[name] != value
        }
    return dataclasses.replace(
        config, model_args=model_args, student_model_args={**student_args, **config.student_model_args}
    )


def _warn_where_no_video_is_longer(config: RunConfig, train: VideoFiles):
    if config.selection.k is None or train.spec.thin_frames is not None:
        return
    longest = train.longest_of_first()
    if longest <= config.selection.k:
        log.warning(
            "--student_frames=%d: none of the first videos has more than %d frames, so the student sees all of them.",
            config.selection.k,
            longest,
        )
