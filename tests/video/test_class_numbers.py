"""Class numbers of films."""

import pytest

from yt8m_distill.errors import UserError
from yt8m_distill.prediction.vocabulary import load_vocabulary
from yt8m_distill.video.class_numbers import class_numbers, read_vocabulary
from yt8m_distill.video.film_list import Film


def films(*labels):
    return [Film(f"{name}.mp4", name, given) for name, given in zip("abcdef", labels, strict=False)]


def test_names_are_numbered_in_the_order_of_the_alphabet():
    classes = class_numbers(films(("dog", "cat"), ("ape",), None))
    assert classes.names == {0: "ape", 1: "cat", 2: "dog"}
    assert classes.of_films == {"a": (1, 2), "b": (0,), "c": ()}


def test_numbers_stay_numbers():
    classes = class_numbers(films(("7", "3"), ()))
    assert classes.of_films == {"a": (3, 7), "b": ()}
    assert classes.num_classes == 8
    assert class_numbers(films(("3", "cat"))).of_films == {"a": (0, 1)}  # names, as one of them is none


def test_a_vocabulary():
    vocabulary = {0: "cat", 5: "dog"}
    assert class_numbers(films(("dog", "0")), vocabulary).of_films == {"a": (0, 5)}
    with pytest.raises(UserError, match="the label 'ape' of 'b' is not in the vocabulary"):
        class_numbers(films(("dog",), ("ape",)), vocabulary)
    grown = class_numbers(films(("dog",), ("ape", "yak")), vocabulary, may_grow=True)
    assert (grown.names, grown.num_classes) == ({0: "cat", 5: "dog", 6: "ape", 7: "yak"}, 8)
    assert class_numbers(films(None), vocabulary).num_classes == 6


def test_without_labels_there_are_no_classes():
    assert class_numbers(films(None, None)).num_classes == 0


def test_what_is_written_is_a_vocabulary(tmp_path):
    classes = class_numbers(films(("dog", 'a "b", c'), ("dog",)))
    classes.write(tmp_path / "vocabulary.csv")
    assert load_vocabulary(tmp_path / "vocabulary.csv", 2) == {0: 'a "b", c', 1: "dog"}
    assert (tmp_path / "vocabulary.csv").read_text().splitlines()[2] == "1,2,dog"
    numbers = class_numbers(films(("7",), ("9",)))
    numbers.write(tmp_path / "vocabulary.csv")
    again = class_numbers(films(("7",), ("9",), ("12",)), read_vocabulary(tmp_path / "vocabulary.csv"), may_grow=True)
    assert again.of_films == {"a": (7,), "b": (9,), "c": (12,)}


def test_a_name_twice_is_refused(tmp_path):
    (tmp_path / "v.csv").write_text("Index,Name\n0,cat\n1,cat\n")
    with pytest.raises(UserError, match="two classes of the name 'cat'"):
        read_vocabulary(tmp_path / "v.csv")
