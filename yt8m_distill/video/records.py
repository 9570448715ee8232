"""Records of films, in the form of all frame-level records, and their rows of the report."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from yt8m_distill.config.films import EXACT, FilmFrames, FilmReading
from yt8m_distill.data import record_format, sequence_example
from yt8m_distill.errors import UserError
from yt8m_distill.files.progress_bar import ProgressBar
from yt8m_distill.video.extractor import FilmFeatures
from yt8m_distill.video.feature_set import FeatureSet
from yt8m_distill.video.film_list import Film
from yt8m_distill.video.report import Row, joined_labels, shown_path
from yt8m_distill.video.shards import Shards

log = logging.getLogger(__name__)

HAS_AUDIO_KEY = "has_audio"  # 0: the film has no sound, and bytes of it stand for the mean
POSITIONS_KEY = "thin_positions"  # where the frames of a thin record are not at their exact places: "keyframes"


@dataclass(frozen=True)
class FilmRecords:
    """Makes records of films.

    Attributes:
        features: what is computed.
        choice: which frames.
        reading: how films are read.
        labels: class numbers by id of the film.
        max_frames: frames of a film that are looked at at most, 0 as many as `features` says; None: as it says.
    """

    features: FeatureSet
    choice: FilmFrames
    reading: FilmReading
    labels: Mapping[str, Sequence[int]] = field(default_factory=dict)
    max_frames: int | None = None

    @property
    def frames(self) -> str:
        """Which frames these are, in words."""
        if self.choice.student_frames is None:
            return f"all of {self._most_frames}"
        return f"{self.choice.student_frames} {self.choice.positions} of {self._most_frames}"

    @property
    def _most_frames(self) -> int:
        return self.features.recipe.max_frames if self.max_frames is None else self.max_frames

    def rows(self, films: Sequence[Film]) -> Iterator[tuple[Row, bytes | None]]:
        """Row of the report and record of each film, in their order; no record where it cannot be decoded.

        Raises:
            UserError: one cannot be, where that is an error.
        """
        extractor = self.features.extractor(self.choice, self.reading, self._most_frames)
        for features in extractor.features(films):
            if features.is_lost:
                self._note_lost(features)
            yield self._row(features), None if features.is_lost else self.record(features)

    def record(self, features: FilmFeatures) -> bytes:
        """A serialized record of a film."""
        video_id = features.film.video_id
        numbers: dict[str, int | Sequence[int]] = {record_format.LABELS_KEY: self.labels.get(video_id, ())}
        if self.features.audio is not None:
            numbers[HAS_AUDIO_KEY] = int(features.sound is not None)
        if self.choice.student_frames is not None:
            numbers[record_format.THIN_FRAMES_KEY] = self.choice.student_frames
            numbers[record_format.THIN_MAX_FRAMES_KEY] = self._most_frames
            numbers[record_format.THIN_ORIGINAL_FRAMES_KEY] = features.all_frames
        context = sequence_example.serialized_bytes(record_format.ID_KEYS[0], video_id.encode())
        context += sequence_example.serialized_int64s(numbers)
        if self.choice.positions != EXACT:
            context += sequence_example.serialized_bytes(POSITIONS_KEY, self.choice.positions.encode())
        return sequence_example.serialized_example(context, self.features.quantizer.frames(features))

    def _row(self, features: FilmFeatures) -> Row:
        film = features.film
        sound = "" if self.features.audio is None or features.is_lost else "no" if features.sound is None else "yes"
        labels, problems = joined_labels(self.labels.get(film.video_id, ())), "; ".join(features.problems)
        return Row(film.video_id, shown_path(film.path), features.seconds, features.frames, sound, labels, "", problems)

    def _note_lost(self, features: FilmFeatures):
        text = f"'{features.film.path}' is no film that can be decoded: {'; '.join(features.problems)}"
        if self.reading.on_bad_video == "error":
            raise UserError(f"{text}. --on_bad_video=skip leaves such films out.")
        log.warning("%s. It is left out.", text)


def write_films(shards: Shards, films: Sequence[Film], records: FilmRecords) -> list[Row]:
    """Writes the records of films that are not in the files yet, with a progress bar in videos and seconds of film.

    Returns:
        The rows of all films.

    Raises:
        UserError: no space on the disk, or a film cannot be decoded, where that is an error.
    """
    with ProgressBar(len(films), "Extracting", " films") as bar:
        return shards.write(films, lambda left: _shown(records.rows(left), bar, len(films) - len(left)))


def _shown(
    results: Iterable[tuple[Row, bytes | None]], bar: ProgressBar, done: int
) -> Iterator[tuple[Row, bytes | None]]:
    bar.update(done)
    seconds = 0.0
    for row, record in results:
        seconds += row.seconds
        bar.set_postfix_str(f"{seconds:,.0f} s of film", refresh=False)
        bar.update()
        yield row, record
