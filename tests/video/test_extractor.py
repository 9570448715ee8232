"""Features of many films at once."""

import dataclasses
import threading

import numpy as np
import pytest

from tests.video.fakes import FakeAudio, FakeBackbone, open_fake, write_film
from yt8m_distill.config.films import FilmFrames
from yt8m_distill.quantization import Range
from yt8m_distill.video import extractor
from yt8m_distill.video.decoding import Decoding
from yt8m_distill.video.extractor import Extractor, FilmFeatures, Quantizer
from yt8m_distill.video.film_list import Film
from yt8m_distill.video.projection import Projection


@pytest.fixture(autouse=True)
def fake_films(monkeypatch):
    monkeypatch.setattr(extractor, "open_film", open_fake)


def films(folder, *values):
    return [
        Film(write_film(folder, f"{number}.mp4", seed=number, **value), f"{number}")
        for number, value in enumerate(values)
    ]


def test_films_come_in_their_order_with_all_of_their_frames(tmp_path):
    many = films(tmp_path, *({"seconds": 1 + number % 7, "delay": 0.01 * (number % 3)} for number in range(40)))
    backbone = FakeBackbone()
    results = list(Extractor(backbone, FakeAudio(), Decoding(), workers=3).features(many))
    assert [result.film for result in results] == many
    for number, result in enumerate(results):
        times = np.arange(1 + number % 7)
        assert (result.frames, result.all_frames, result.seconds) == (len(times), len(times), len(times))
        np.testing.assert_array_equal(result.images[:, 1], 2 * (7 * times + number))
        np.testing.assert_array_equal(result.sound, np.stack([times, times], axis=1))
    assert max(backbone.batches) == backbone.batch_size
    assert backbone.batches.count(4) > 30  # frames of several films are computed together


def test_k_frames_are_those_of_the_whole(tmp_path):
    (film,) = films(tmp_path, {"seconds": 30})
    (whole,) = Extractor(FakeBackbone(), FakeAudio(), Decoding()).features([film])
    (some,) = Extractor(FakeBackbone(), FakeAudio(), Decoding(choice=FilmFrames(3))).features([film])
    assert (some.frames, some.all_frames) == (3, 30)
    np.testing.assert_array_equal(some.images, whole.images[[5, 15, 25]])
    np.testing.assert_array_equal(some.sound, whole.sound[[5, 15, 25]])
    near = Decoding(choice=FilmFrames(3, "keyframes"))
    (near_some,) = Extractor(FakeBackbone(), None, near).features([film])
    np.testing.assert_array_equal(near_some.images, whole.images[[4, 16, 24]])
    assert near_some.sound is None


def test_frames_per_second_and_max_frames(tmp_path):
    (film,) = films(tmp_path, {"seconds": 10})
    (result,) = Extractor(FakeBackbone(), None, Decoding(2.0, 7)).features([film])
    np.testing.assert_array_equal(result.images[:, 0], 7 * np.arange(7) / 2 // 1)


def test_damage_and_silence(tmp_path):
    (tmp_path / "text.mp4").write_text("text")
    listed = films(tmp_path, {"lost_after": 2, "seconds": 5}, {"sound": False}, {"lost_after": 0})
    listed += [Film(str(tmp_path / "text.mp4"), "text"), Film(str(tmp_path / "none.mp4"), "none")]
    part, silent, empty, text, missing = Extractor(FakeBackbone(), FakeAudio(), Decoding(), 2).features(listed)
    assert (part.frames, len(part.sound), part.problems, part.is_lost) == (2, 2, ("the rest is lost",), False)
    assert (silent.frames, silent.sound, silent.problems) == (5, None, ())
    assert empty.is_lost
    assert (text.is_lost, text.problems) == (True, ("it cannot be decoded: it is text",))
    assert missing.is_lost
    assert "No such file" in missing.problems[0]


def test_more_films_than_are_decoded_ahead_while_the_first_one_is_slow(tmp_path):
    listed = films(tmp_path, {"seconds": 3, "delay": 0.3}, *({"seconds": 1} for _ in range(60)))
    results = list(Extractor(FakeBackbone(), None, Decoding(), 2).features(listed))
    assert [result.film for result in results] == listed


def test_stopping_early_ends_the_threads(tmp_path):
    listed = films(tmp_path, *({"seconds": 50} for _ in range(20)))
    before = threading.active_count()
    results = Extractor(FakeBackbone(), None, Decoding(), 4).features(listed)
    assert next(results).film is listed[0]
    results.close()
    assert threading.active_count() == before


def test_a_mistake_of_the_program_is_raised(tmp_path):
    backbone = FakeBackbone()
    backbone.prepare = lambda image: 1 / 0
    with pytest.raises(ZeroDivisionError):
        list(Extractor(backbone, None, Decoding(), 2).features(films(tmp_path, {}, {})))


def test_bytes_of_a_film_without_sound_stand_for_0():
    as_it_is = Projection("standardize", np.zeros(2), None, np.ones(2), Range(0, 255))
    quantizer = Quantizer({"image": as_it_is, "sound": dataclasses.replace(as_it_is, range=Range(-2, 2))})
    features = FilmFeatures(Film("a", "a"), images=np.array([[3.0, 300.0]]))
    frames = quantizer.frames(features)
    assert frames["image"].tolist() == [[3, 255]]
    assert frames["sound"].tolist() == [[128, 128]]
