"""The stages of a training."""

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import keras

from yt8m_distill.config.run import RunConfig
from yt8m_distill.data.batches import StoredOutputs, View
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.devices.cluster import ONE_DEVICE, Devices
from yt8m_distill.distiller import Distiller, LabelTrainer, reach_classifier, read_teacher
from yt8m_distill.training import optimizers
from yt8m_distill.training.matching import losses_of, shares_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """One part of a training: which models learn from which losses and frames, and for how many epochs.

    Attributes:
        name: for the progress bar.
        epochs: passes over the training files.
        view: the frames in a batch.
        build: builds the step model.
        followed: whether another stage comes after it.
    """

    name: str
    epochs: int
    view: View
    build: Callable[[], LabelTrainer]
    followed: bool = False


def stages(config: RunConfig, models: Mapping[str, keras.Model], stored: StoredOutputs | None = None) -> list[Stage]:
    """The stages of a training, in order. Serial training of the encoder alone is followed by fine-tuning on labels.

    Args:
        config: of the run.
        models: by role.
        stored: outputs of the teacher of serial training, which then does not run; None: it runs in every step.

    Source: Bhardwaj et al. section 4, the variants of serial training.
    """
    learning = config.learning
    options = {
        "label_loss": learning.label_loss,
        "regularization_penalty": learning.regularization_penalty,
        "clip_gradient_norm": learning.clip_gradient_norm,
    }
    alone = View(config.selection, mixup=learning.mixup)
    if config.distillation is None:
        role = config.main_role
        name = "Training the teacher" if role == "teacher" else "Training the baseline"
        return [Stage(name, learning.num_epochs, alone, lambda: LabelTrainer(models[role], **options))]
    losses, epochs = losses_of(config), epochs_of_stages(config)
    # A student on labels alone has mixtures of all frames, too, so that it sees what one with a teacher sees.
    teacher_runs = stored is None and (config.training_mode == "parallel" or read_teacher(losses))
    with_all_frames = teacher_runs or learning.mixup > 0
    distill = Stage(
        "Distilling the student" if config.training_mode == "serial" else "Training teacher and student",
        learning.num_epochs,
        dataclasses.replace(alone, with_all_frames=with_all_frames, stored=stored),
        lambda: Distiller(
            models["teacher"],
            models["student"],
            mode=config.training_mode,
            losses=losses,
            shares=shares_of(config),
            **options,
        ),
    )
    if len(epochs) == 1:
        return [distill]
    return [
        dataclasses.replace(distill, followed=True),
        Stage(
            "Fine-tuning the student",
            epochs[1],
            alone,
            lambda: LabelTrainer(models["student"], **options),
        ),
    ]


def epochs_of_stages(config: RunConfig) -> tuple[int, ...]:
    """The epochs of each stage of a training, without those of its teacher."""
    learning = config.learning
    if config.training_mode != "serial" or reach_classifier(losses_of(config)):
        return (learning.num_epochs,)
    return learning.num_epochs, learning.finetune_epochs or learning.num_epochs


def steps_of_stages(all_stages: Sequence[Stage], config: RunConfig, videos: VideoFiles) -> list[int | None]:
    """The steps that each stage will have, None where nothing depends on it: all records have to be counted for it.

    Args:
        all_stages: of the training.
        config: of the run.
        videos: that are trained on.

    Raises:
        UserError: a stage is too short for the learning-rate schedule.
    """
    learning = config.learning
    if not learning.depends_on_total:
        return [None] * len(all_stages)
    log.info("Counting the records of %d files, for the learning-rate schedule", len(videos.files))
    steps = math.ceil(videos.count_examples() / learning.batch_size)
    totals = [min(stage.epochs * steps, learning.max_steps or math.inf) for stage in all_stages]
    for total in totals:
        optimizers.learning_rate_schedule(learning, total)
    return totals


def step_model_of(
    stage: Stage, config: RunConfig, devices: Devices = ONE_DEVICE, total_steps: int | None = None
) -> LabelTrainer:
    """The step model of a stage with its optimizer, whose variables are built.

    Args:
        stage: of the training.
        config: of the run.
        devices: that the models were built for.
        total_steps: of the stage, where the learning rate depends on it.
    """
    step_model = stage.build()
    with devices.scope():
        optimizer = optimizers.make_optimizer(config.learning, total_steps)
        optimizers.build(optimizer, step_model.trained_variables())
    step_model.compile(optimizer=optimizer)
    return step_model
