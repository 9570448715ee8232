"""Figure 3: representations that teacher and student make of the same videos.

Source: Bhardwaj et al., figure 3: t-SNE of both, for the five most frequent classes.
"""

import collections
import contextlib
import itertools
import pathlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from yt8m_distill.data.batches import View
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.errors import UserError
from yt8m_distill.experiments.results import Result
from yt8m_distill.files import atomic
from yt8m_distill.runs import loading, trained_model
from yt8m_distill.runs.inputs import evaluation_videos

CLASSES = 5
VIDEOS_OF_A_CLASS = 100
MOST_BATCHES = 200  # that are looked through for such videos
BATCH_SIZE = 128
PROJECTOR_CONFIG = """embeddings {
  tensor_name: "representations of teacher and student"
  tensor_path: "representations.tsv"
  metadata_path: "metadata.tsv"
}
"""


@dataclass(frozen=True)
class Representations:
    """Of the same videos twice, first by the teacher, then by the student.

    Attributes:
        values: (2 * videos, dim).
        roles: "teacher" or "student", of each row.
        classes: name of the one class of each row's video.
        video_ids: of each row's video.
    """

    values: np.ndarray
    roles: list[str]
    classes: list[str]
    video_ids: list[str]


def collect(student: Result, names: Mapping[int, str]) -> Representations:
    """Representations of evaluation videos that have exactly one of the five most frequent classes.

    Args:
        student: of serial or parallel training.
        names: of classes by index.

    Raises:
        UserError: too few such videos, or representations of different sizes.
    """
    models = [loading.load(student.config.train_dir, role) for role in ("teacher", "student")]
    videos = evaluation_videos(
        student.config.eval_data_pattern,
        models[1].config,
        "eval_data_pattern",
        skip_bad_records=student.config.bad_records.skip,
    )
    chosen = _choose(videos, View(models[1].selection))
    values = [_of_videos(each, videos, chosen.keys()) for each in models]
    if len(chosen) < 3:
        raise UserError("figure 3 needs at least 3 evaluation videos that have one of the most frequent classes alone.")
    if values[0].shape != values[1].shape:
        raise UserError("figure 3 needs a teacher and a student whose representations have the same size.")
    classes = [names.get(index, f"class {index}") for index in chosen.values()]
    ids = [video_id.decode() for video_id in chosen]
    roles = ["teacher"] * len(ids) + ["student"] * len(ids)
    return Representations(np.concatenate(values), roles, 2 * classes, 2 * ids)


def _choose(videos: VideoFiles, view: View) -> dict[bytes, int]:
    """Up to 100 videos of each of the most frequent classes: the class by the video's id, in the order of reading."""
    labels: dict[bytes, list[int]] = {}
    with contextlib.closing(videos.ordered_batches(view, BATCH_SIZE)) as batches:
        for batch in itertools.islice(batches, MOST_BATCHES):
            found = (np.flatnonzero(row).tolist() for row in batch["labels"])
            labels.update(zip(batch["video_id"], found, strict=True))
    counts = collections.Counter(label for own in labels.values() for label in own)
    frequent = {label for label, _ in counts.most_common(CLASSES)}
    chosen, taken = {}, collections.Counter()
    for video_id, own in labels.items():
        shown = [label for label in own if label in frequent]
        if len(shown) == 1 and taken[shown[0]] < VIDEOS_OF_A_CLASS:
            taken[shown[0]] += 1
            chosen[video_id] = shown[0]
    return chosen


def _of_videos(trained: trained_model.TrainedModel, videos: VideoFiles, ids: Collection[bytes]) -> np.ndarray:
    """(videos, dim) in the order of reading, which is that of `ids`."""
    represent, found, wanted = _representation_function(trained.model), [], set(ids)
    with contextlib.closing(videos.ordered_batches(View(trained.selection), BATCH_SIZE)) as batches:
        for batch in batches:
            own = [row for row, video_id in enumerate(batch["video_id"]) if video_id in wanted]
            wanted.difference_update(batch["video_id"])
            if own:
                found.append(represent(batch["frames"][own], batch["num_frames"][own]).numpy())
            if not wanted:
                break
    return np.concatenate(found) if found else np.empty((0, 0), np.float32)


def _representation_function(model) -> Callable:
    signature = [tf.TensorSpec([None, None, sum(model.feature_sizes)], tf.uint8), tf.TensorSpec([None], tf.int32)]

    @tf.function(input_signature=signature)
    def represent(frames, num_frames):
        return model({"frames": frames, "num_frames": num_frames}, training=False)["representation"]

    return represent


def in_a_plane(values: np.ndarray, seed: int) -> np.ndarray:
    """(points, 2): t-SNE of the values."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(values) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(values)


def write_for_projector(shown: Representations, folder: pathlib.Path):
    """The files that TensorBoard's embedding projector reads."""
    rows = ("\t".join(f"{value:.6g}" for value in row) for row in shown.values)
    atomic.write_text(folder / "representations.tsv", "\n".join(rows) + "\n")
    described = zip(shown.roles, shown.classes, shown.video_ids, strict=True)
    lines = ["model\tclass\tvideo", *("\t".join(each) for each in described)]
    atomic.write_text(folder / "metadata.tsv", "\n".join(lines) + "\n")
    atomic.write_text(folder / "projector_config.pbtxt", PROJECTOR_CONFIG)
