"""Class numbers of films whose labels are names or numbers, and the vocabulary that says which is which."""

import csv
import io
import os
import pathlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from yt8m_distill.config.dataset import VOCABULARY_FILE
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic
from yt8m_distill.files.delimited import whole_number
from yt8m_distill.prediction.vocabulary import load_vocabulary
from yt8m_distill.video.film_list import Film

LEAST_CLASSES = 2  # that a model has
MOST_CLASSES = 10**6


@dataclass(frozen=True)
class ClassNumbers:
    """The classes of films.

    Attributes:
        names: by number; empty: a class without one.
        of_films: class numbers by id of the film, ascending; of films of which nothing was said there are none.
    """

    names: Mapping[int, str]
    of_films: Mapping[str, tuple[int, ...]]

    @property
    def num_classes(self) -> int:
        """0 where there are no labels."""
        return max(max(self.names) + 1, LEAST_CLASSES) if self.names else 0

    def write(self, path: pathlib.Path):
        """Writes the vocabulary with the number of films of each class, in the form of YouTube-8M's."""
        counts = Counter(number for numbers in self.of_films.values() for number in numbers)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("Index", "TrainVideoCount", "Name"))
        writer.writerows(
            (number, counts[number], _written(number, name)) for number, name in sorted(self.names.items())
        )
        atomic.write_text(path, text.getvalue())


def class_numbers(
    films: Sequence[Film], vocabulary: Mapping[int, str] | None = None, *, may_grow: bool = False
) -> ClassNumbers:
    """The class numbers of films.

    Without a vocabulary labels that are all whole numbers are class numbers; others are names, which are numbered in
    the order of the alphabet.

    Args:
        films: with labels as written.
        vocabulary: names by number; a label is one of its names, or the number of one.
        may_grow: whether names that are not in it get the numbers after its last one.

    Raises:
        UserError: a label is not in the vocabulary, or a number is too large.
    """
    labels = dict.fromkeys(label for film in films for label in film.labels or ())
    numbers = _numbers(labels, vocabulary, may_grow)
    if unknown := next((label for label in labels if label not in numbers), None):
        film = next(film for film in films if unknown in (film.labels or ()))
        raise UserError(
            f"the label '{unknown}' of '{film.video_id}' is not in the vocabulary ({len(vocabulary)} classes)."
        )
    if max(numbers.values(), default=0) >= MOST_CLASSES:
        raise UserError(f"the label {max(numbers.values())} is too large; class numbers are below {MOST_CLASSES:,}.")
    names = dict(vocabulary or {}) | {
        number: "" if label.isdigit() and whole_number(label) == number else label
        for label, number in numbers.items()
        if number not in (vocabulary or {})
    }
    of_films = {film.video_id: tuple(sorted({numbers[label] for label in film.labels or ()})) for film in films}
    return ClassNumbers(names, of_films)


def vocabulary_beside(features: str | os.PathLike) -> dict[int, str] | None:
    """That in the folder of a `features.json`; None where there is none."""
    path = pathlib.Path(features)
    beside = (path if path.is_dir() else path.parent) / VOCABULARY_FILE
    return read_vocabulary(beside) if beside.exists() else None


def read_vocabulary(path: str | os.PathLike) -> dict[int, str]:
    """The names of classes by number in a vocabulary file; two classes of the same name are an error."""
    names = load_vocabulary(path)
    counts = Counter(names.values())
    if repeated := next((name for name, count in counts.items() if count > 1), None):
        raise UserError(f"The vocabulary {path} has two classes of the name '{repeated}'; labels could be either.")
    return names


def _numbers(labels: Iterable[str], vocabulary: Mapping[int, str] | None, may_grow: bool) -> dict[str, int]:
    """The number of each label; a label that is not in the vocabulary is left out."""
    if vocabulary is None or (may_grow and _has_no_names(vocabulary) and None not in map(whole_number, labels)):
        as_numbers = {label: whole_number(label) for label in labels}
        if None in as_numbers.values():
            return {label: number for number, label in enumerate(sorted(labels))}
        return as_numbers
    by_name = {name: number for number, name in vocabulary.items()}
    numbers = {label: by_name.get(label, whole_number(label)) for label in labels}
    numbers = {label: number for label, number in numbers.items() if number in vocabulary}
    new = sorted(set(labels) - set(numbers)) if may_grow else ()
    return numbers | {label: number for number, label in enumerate(new, start=max(vocabulary, default=-1) + 1)}


def _written(number: int, name: str) -> str:
    """Nothing for a class without a name, which is read as "class 7"."""
    return "" if name == f"class {number}" else name


def _has_no_names(vocabulary: Mapping[int, str]) -> bool:
    return all(name in ("", f"class {number}") for number, name in vocabulary.items())
