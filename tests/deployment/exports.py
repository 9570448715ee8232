"""Run directories with models of random weights, to export."""

import pathlib

import keras
import numpy as np
import tensorflow as tf

from tests.helpers import sequence_example
from yt8m_distill.config.dataset import FRAME, DatasetSpec
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.config.json import to_json
from yt8m_distill.config.run import RunConfig
from yt8m_distill.export import main as export_main
from yt8m_distill.files import atomic
from yt8m_distill.models import building
from yt8m_distill.runs import weights
from yt8m_distill.runs.directory import RunDir

CLASSES, FRAME_SIZE, MAX_FRAMES, K = 5, 8, 12, 3


def write_run(
    folder: pathlib.Path,
    model: str,
    model_args: dict,
    *,
    selection: FrameSelection = ALL_FRAMES,
    level: str = FRAME,
    max_frames: int = MAX_FRAMES,
    data_pattern: str | None = None,
) -> keras.Model:
    """A finished run: a teacher's, or with a selection a baseline's; returns its model."""
    sizes = (FRAME_SIZE - 2, 2)
    data = DatasetSpec("YouTube-8M 2018", "id", ("rgb", "audio"), sizes, CLASSES, max_frames, level=level)
    mode = "teacher" if selection == ALL_FRAMES else "baseline"
    config = RunConfig(
        model, mode, model_args, selection=selection, data=data, recipe="paper", eval_data_pattern=data_pattern
    )
    ((role, built),) = building.build_models(config).items()
    rng = np.random.default_rng(0)
    for variable in built.trainable_variables:  # larger than they are drawn, so that predictions differ
        variable.assign(rng.normal(0, 0.5, variable.shape))
    run = RunDir(folder)
    atomic.make_directory(run.best)
    built.save_weights(weights.weights_file(run.best, role))
    atomic.write_text(run.config_file, to_json(config))
    return built


def export(train_dir: pathlib.Path, output_dir: pathlib.Path, *arguments: str) -> int:
    return export_main(["export", f"--train_dir={train_dir}", f"--output_dir={output_dir}", *arguments])


def videos() -> list[tf.train.SequenceExample]:
    """Records of all lengths; of every other one the second feature is a frame shorter."""
    records = []
    for index, length in enumerate((0, 1, 2, 3, 7, MAX_FRAMES, MAX_FRAMES + 5)):
        record = sequence_example(f"v{index}", num_frames=length, seed=index)
        if index % 2 and length:
            del record.feature_lists.feature_list["audio"].feature[-1]
        records.append(record)
    return records


def frames_of(record: tf.train.SequenceExample) -> np.ndarray:
    """(frames, features) uint8, as many as the shorter feature and `MAX_FRAMES` allow."""
    lists = record.feature_lists.feature_list
    rows = {name: [each.bytes_list.value[0] for each in lists[name].feature] for name in ("rgb", "audio")}
    joined = [rgb + audio for rgb, audio in zip(rows["rgb"], rows["audio"], strict=False)][:MAX_FRAMES]
    return np.frombuffer(b"".join(joined), np.uint8).reshape(len(joined), FRAME_SIZE)


def predictions_of(model: keras.Model, frames: np.ndarray) -> np.ndarray:
    """(classes,) of one video by the Keras model."""
    inputs = {"frames": frames[None], "num_frames": np.array([len(frames)], np.int32)}
    return np.array(model(inputs)["predictions"])[0]
