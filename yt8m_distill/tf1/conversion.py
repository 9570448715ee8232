"""Converts a TensorFlow 1 checkpoint to a run directory: `run_conversion`."""

import collections
import dataclasses
import logging
import pathlib
from collections.abc import Mapping
from typing import Any

from yt8m_distill.config.dataset import EDITIONS, FRAME, LONGEST_VIDEO, VIDEO, DatasetSpec, Edition
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.config.json import to_json
from yt8m_distill.config.models import ConversionConfig
from yt8m_distill.config.recipes import with_recipe
from yt8m_distill.config.run import RunConfig
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic, untrusted
from yt8m_distill.files.lock import DIRECTORY_LOCK, lock_directory
from yt8m_distill.models import building, cost
from yt8m_distill.models.arguments import typed_model_args
from yt8m_distill.plugins import MODELS
from yt8m_distill.quantization import read_eigenvalues
from yt8m_distill.runs import weights
from yt8m_distill.runs.directory import RunDir
from yt8m_distill.tf1.architectures import (
    Architecture,
    OriginalModel,
    architecture_of,
    args_by_flags,
    find_original,
    undecided_args,
)
from yt8m_distill.tf1.checkpoint import Tf1Checkpoint, read_checkpoint
from yt8m_distill.tf1.weights import load_reference_weights, placements_in
from yt8m_distill.training import run_card
from yt8m_distill.training.report import Report, Row

log = logging.getLogger(__name__)

FLAGS_FILE = "model_flags.json"
WITH_REVERSED_WHITENING = ("NeXtVLAD", "MixNeXtVLAD")
BLOCKS_OF_A_TEACHER, BLOCKS_OF_A_STUDENT = 20, 5  # in the code of HierarchicalRNN


def run_conversion(config: ConversionConfig) -> bool:
    """Writes a finished run directory with the model of a checkpoint, and prints what became of every variable.

    Returns:
        Whether every variable of the model's scope has a place in our model, those of the optimizer apart.

    Raises:
        UserError: no checkpoint, no model in it or several, variables of the model that the checkpoint lacks, features
            or arguments that do not fit it, or a directory that is not empty.
    """
    run = RunDir(config.train_dir)
    with lock_directory(run.path):
        if any(path.name != DIRECTORY_LOCK for path in run.path.iterdir()):
            raise UserError(f"--train_dir={run.path} is not empty; give a new one.")
        return _convert(config, run)


def _convert(config: ConversionConfig, run: RunDir) -> bool:
    checkpoint = read_checkpoint(config.path)
    flags = _model_flags(checkpoint.path.parent)
    original = find_original(checkpoint.shapes, config.model, config.scope, flags)
    architecture = architecture_of(original)
    settings = _train_config(config, original.model, architecture, flags)
    model = building.build_models(settings)[settings.main_role]
    placements = placements_in(model)
    arrays = {name: checkpoint.values[original.names[name]] for name in original.names if name in placements}
    load_reference_weights(model, arrays)
    if config.eigenvalues is not None:
        model.set_eigenvalues(read_eigenvalues(config.eigenvalues, settings.data.feature_sizes[0]))
    _write(run, settings, model, checkpoint.step)
    unplaced = sorted(original.names[name] for name in original.names if name not in placements)
    _describe(checkpoint, original, model, placed=len(arrays), unplaced=unplaced)
    print(f"The run is in {run.path}")
    return not unplaced


def _model_flags(folder: pathlib.Path) -> dict[str, Any]:
    """What the starter code's train.py has written beside its checkpoints."""
    path = folder / FLAGS_FILE
    return untrusted.read_json(path) if path.is_file() else {}


def _train_config(
    config: ConversionConfig, model: str, architecture: Architecture, flags: Mapping[str, Any]
) -> RunConfig:
    """The configuration of a run that has trained this model, with every setting resolved."""
    model_class = MODELS.get(model)
    if model_class.video_level and (config.selection != ALL_FRAMES or config.overrides.max_frames is not None):
        raise UserError(
            f"{model} is a video-level model: it takes one vector a video; leave out --student_frames and --max_frames."
        )
    spec = _spec(config, architecture, VIDEO if model_class.video_level else FRAME, flags)
    selection = _selection(config, spec)
    return with_recipe(
        RunConfig(
            model=model,
            training_mode="teacher" if config.selection == ALL_FRAMES else "baseline",
            model_args=_model_args(config, model, architecture, flags, _block_length(spec, selection)),
            eigenvalues=config.eigenvalues,
            selection=selection,
            train_dir=config.train_dir,
            recipe="paper",
            overrides=config.overrides,
            data=spec,
        )
    )


def _selection(config: ConversionConfig, spec: DatasetSpec) -> FrameSelection:
    """The frames that the model sees."""
    selection = dataclasses.replace(config.selection, sampling_is_open=False)  # there is no run to take it from
    if config.frame_counting == "ceil":
        return selection
    longest = spec.max_frames or LONGEST_VIDEO
    return dataclasses.replace(selection, counting=config.frame_counting, longest_video=longest)


def _model_args(
    config: ConversionConfig,
    model: str,
    architecture: Architecture,
    flags: Mapping[str, Any],
    block_length: int,
) -> dict[str, Any]:
    """Every argument of the model: by the user, the shapes, the original's flags, or else the default."""
    model_class = MODELS.get(model)
    defaults = model_class.argument_defaults()
    undecided = undecided_args(architecture, model)
    assumed = {**defaults, "block_length": block_length}
    by_flags = {name: text for name, text in args_by_flags(flags).items() if name in undecided}
    args = typed_model_args(model_class, {**by_flags, **config.model_args})
    if unknown := [f"{name}={assumed[name]}" for name in undecided if name not in args]:
        log.warning("Assumed, as no variable shows it: %s. Otherwise give --model_args.", ", ".join(unknown))
    if config.eigenvalues is not None:
        args["input_normalization"] = "unwhiten"
    elif model in WITH_REVERSED_WHITENING:
        log.warning("The authors of %s reverse the whitening of its input: give --eigenvalues=eigenvals.npy.", model)
    return {**defaults, **architecture.model_args, **{name: assumed[name] for name in undecided}, **args}


def _block_length(spec: DatasetSpec, selection: FrameSelection) -> int:
    """The original splits a teacher's video into 20 blocks, a student's into 5."""
    frames, blocks = spec.max_frames or LONGEST_VIDEO, BLOCKS_OF_A_TEACHER
    if selection != ALL_FRAMES:
        frames, blocks = selection.frames(frames), BLOCKS_OF_A_STUDENT
    return max(frames // blocks, 1)


def _spec(config: ConversionConfig, architecture: Architecture, level: str, flags: Mapping[str, Any]) -> DatasetSpec:
    """The format of the records that the model takes."""
    names = config.overrides.feature_names or _listed(flags.get("feature_names"))
    edition = _edition(architecture, level, names)
    if edition is None and names is None:
        raise UserError(
            f"the checkpoint's model takes frames of {sum(architecture.features)} values, unlike every known data "
            "set: give --feature_names, and --feature_sizes where there are several."
        )
    published = dict(edition.features_of(level)) if edition else {}
    names = names or tuple(published)[: _features_of_edition(edition, architecture, level)]
    sizes = config.overrides.feature_sizes or _known_sizes(names, published, architecture, flags)
    split = len(architecture.features) > 1
    if sum(sizes) != sum(architecture.features) or (split and sizes != architecture.features):
        raise UserError(
            f"features {', '.join(names)} of sizes {', '.join(map(str, sizes))} do not fit the checkpoint, whose model "
            f"takes {' + '.join(map(str, architecture.features))} values a frame; see --feature_names."
        )
    longest = 1 if level == VIDEO else edition.max_frames if edition else LONGEST_VIDEO
    max_frames = config.overrides.max_frames
    return DatasetSpec(
        edition=edition.name if edition else "own features",
        id_key=edition.id_key if edition else "id",
        feature_names=names,
        feature_sizes=sizes,
        num_classes=architecture.num_classes,
        max_frames=longest if max_frames is None else max_frames,
        level=level,
    )


def _listed(text: Any) -> tuple[str, ...] | None:
    """The parts of "rgb, audio"."""
    return tuple(part.strip() for part in str(text).split(",") if part.strip()) or None if text else None


def _edition(architecture: Architecture, level: str, names: tuple[str, ...] | None) -> Edition | None:
    """The edition with these features, of several the one with as many classes."""
    fitting = [
        edition
        for edition in EDITIONS
        if _features_of_edition(edition, architecture, level)
        and (names is None or set(names) <= dict(edition.features_of(level)).keys())
    ]
    with_classes = [edition for edition in fitting if edition.num_classes == architecture.num_classes]
    return (with_classes or fitting or [None])[0]


def _features_of_edition(edition: Edition, architecture: Architecture, level: str) -> int:
    """How many of its first features the model takes; 0 where it takes others."""
    sizes = tuple(size for _, size in edition.features_of(level))
    for count in range(len(sizes), 0, -1):
        if architecture.features in (sizes[:count], (sum(sizes[:count]),)):
            return count
    return 0


def _known_sizes(
    names: tuple[str, ...], published: Mapping[str, int], architecture: Architecture, flags: Mapping[str, Any]
) -> tuple[int, ...]:
    if set(names) <= published.keys():
        return tuple(published[name] for name in names)
    if len(names) == len(architecture.features):
        return architecture.features
    if len(architecture.features) > 1:
        sizes = ", ".join(map(str, architecture.features))
        raise UserError(f"the features {', '.join(names)} are not as many as the checkpoint's, of sizes {sizes}.")
    listed = _listed(flags.get("feature_sizes")) or ()
    if len(listed) != len(names) or not all(size.isdecimal() for size in listed):
        raise UserError(f"give --feature_sizes, too: the variables do not show how long each of {', '.join(names)} is.")
    return tuple(map(int, listed))


def _write(run: RunDir, settings: RunConfig, model: Any, step: int | None):
    """A finished run; its report, which says that it is, comes last."""
    role = settings.main_role
    weights.save_all({role: model}, run.best, {} if step is None else {"step": step})
    atomic.write_text(run.config_file, to_json(settings))
    frames = settings.frames_of(role)
    row = Row(
        role=settings.training_mode,
        frames=frames,
        parameters=cost.parameter_count(model),
        multiply_accumulates=cost.multiply_accumulates(model, frames)[0],
        metrics={},
    )
    report = Report(str(run.path), None, (row,))
    run_card.write(run, settings, report)
    atomic.write_json(run.report_file, dataclasses.asdict(report))


def _describe(checkpoint: Tf1Checkpoint, original: OriginalModel, model: Any, placed: int, unplaced: list[str]):
    """Prints what became of every variable of the checkpoint."""
    args = ", ".join(f"{name}={value}" for name, value in model.model_args.items())
    where = f" in the scope {original.scope}" if original.scope else ""
    print(f"{original.model}: {args}")
    print(f"{placed} variables{where} are in their places: {cost.parameter_count(model):,} trainable parameters.")
    others = collections.Counter(checkpoint.training_state)
    outside = set(checkpoint.shapes) - set(original.names.values())
    if outside:
        others["other scopes"] = len(outside)
    if others:
        print("Left out: " + ", ".join(f"{count} ({kind})" for kind, count in sorted(others.items())) + ".")
    if unplaced:
        print("Without a place in the model, which may therefore predict otherwise than the original:")
        for name in unplaced:
            print(f"  {name} {checkpoint.shapes[name]}")
