"""Figure 3: representations of the same videos by teacher and student.

Source: Bhardwaj et al., figure 3: t-SNE of both, for the five most frequent classes.
"""

import collections
import contextlib
import itertools
import pathlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from yt8m_distill.data.batches import View
from yt8m_distill.data.video_files import VideoFiles
from yt8m_distill.errors import UserError
from yt8m_distill.experiments.results import Result, evaluated_videos
from yt8m_distill.files import atomic
from yt8m_distill.prediction.predict import INPUTS, INPUTS_WITH_CHOICES, compiled_output
from yt8m_distill.runs import loading, trained_model

CLASSES = 5
VIDEOS_OF_A_CLASS = 100
MOST_BATCHES = 200  # to search for such videos
BATCH_SIZE = 128
PROJECTOR_CONFIG = """embeddings {
  tensor_name: "representations of teacher and student"
  tensor_path: "representations.tsv"
  metadata_path: "metadata.tsv"
}
"""


@dataclass(frozen=True)
class Representations:
    """Representations of the same videos, first by the teacher, then by the student.

    Attributes:
        values: (2 * videos, dim).
        roles: "teacher" or "student", for each row.
        classes: name of the only frequent class of each row's video.
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
        names: class names by index.

    Raises:
        UserError: there are too few such videos, or the representations have different sizes.
    """
    models = [loading.load(student.config.train_dir, role) for role in ("teacher", "student")]
    videos = evaluated_videos(student.config, models[1].config)
    chosen = _choose(videos, View(models[1].selection))
    values = [_represent(model, videos, chosen.keys()) for model in models]
    if len(chosen) < 3:
        raise UserError(
            "figure 3 needs at least 3 evaluation videos that have exactly one of the most frequent classes."
        )
    if values[0].shape != values[1].shape:
        raise UserError("figure 3 needs a teacher and a student whose representations have the same size.")
    classes = [names.get(index, f"class {index}") for index in chosen.values()]
    ids = [video_id.decode() for video_id in chosen]
    roles = ["teacher"] * len(ids) + ["student"] * len(ids)
    return Representations(np.concatenate(values), roles, 2 * classes, 2 * ids)


def _choose(videos: VideoFiles, view: View) -> dict[bytes, int]:
    """The class, by video id, of up to 100 videos of each of the most frequent classes, in the order of reading."""
    labels: dict[bytes, list[int]] = {}
    with contextlib.closing(videos.ordered_batches(view, BATCH_SIZE)) as batches:
        for batch in itertools.islice(batches, MOST_BATCHES):
            classes = (np.flatnonzero(row).tolist() for row in batch["labels"])
            labels.update(zip(batch["video_id"], classes, strict=True))
    counts = collections.Counter(itertools.chain.from_iterable(labels.values()))
    most_frequent = {label for label, _ in counts.most_common(CLASSES)}
    chosen, taken = {}, collections.Counter()
    for video_id, classes in labels.items():
        frequent = [label for label in classes if label in most_frequent]
        if len(frequent) == 1 and taken[frequent[0]] < VIDEOS_OF_A_CLASS:
            taken[frequent[0]] += 1
            chosen[video_id] = frequent[0]
    return chosen


def _represent(trained: trained_model.TrainedModel, videos: VideoFiles, ids: Collection[bytes]) -> np.ndarray:
    """Representations (videos, dim) in the order of reading, which is that of `ids`."""
    names = INPUTS_WITH_CHOICES if trained.selection.by_student else INPUTS
    represent, values, remaining = compiled_output(trained.model, "representation", names), [], set(ids)
    with contextlib.closing(videos.ordered_batches(View(trained.selection), BATCH_SIZE)) as batches:
        for batch in batches:
            rows = [row for row, video_id in enumerate(batch["video_id"]) if video_id in remaining]
            remaining.difference_update(batch["video_id"])
            if rows:
                values.append(represent({name: batch[name][rows] for name in names}).numpy())
            if not remaining:
                break
    return np.concatenate(values) if values else np.empty((0, 0), np.float32)


def in_a_plane(values: np.ndarray, seed: int) -> np.ndarray:
    """t-SNE (points, 2) of values (points, dim)."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(values) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(values)


def write_for_projector(representations: Representations, folder: pathlib.Path):
    """Writes the files that TensorBoard's embedding projector reads."""
    rows = ("\t".join(f"{value:.6g}" for value in row) for row in representations.values)
    atomic.write_text(folder / "representations.tsv", "\n".join(rows) + "\n")
    columns = representations.roles, representations.classes, representations.video_ids
    lines = ["model\tclass\tvideo", *map("\t".join, zip(*columns, strict=True))]
    atomic.write_text(folder / "metadata.tsv", "\n".join(lines) + "\n")
    atomic.write_text(folder / "projector_config.pbtxt", PROJECTOR_CONFIG)
