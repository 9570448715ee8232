"""Films as requests: bodies, the processes that decode them, and their limits."""

import asyncio
import types

import numpy as np
import pytest

from tests.video.made_films import number_in, write_film
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.deployment import FilmService, ServeConfig
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.deployment.manifest import Manifest
from yt8m_distill.serving.exchange import memory_file
from yt8m_distill.serving.film_body import FilmPart, film_part
from yt8m_distill.serving.film_exchange import BadFilmError
from yt8m_distill.serving.films import FilmPool
from yt8m_distill.video.films import open_film

SPEC = DatasetSpec("own features", "id", ("fake", "logmel"), (6, 2), 3, 300, extraction="x")
MANIFEST = Manifest("NetVLAD", "student", None, SPEC, FrameSelection(3), 3, 3, None, ())
FORM = "multipart/form-data; boundary=xyz"


def form(*parts, end=b"--xyz--\r\n"):
    return b"".join(b"--xyz\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for head, content in parts) + end


def file_part(name, content=b"film"):
    return f'Content-Disposition: form-data; name="film"; filename="{name}"'.encode(), content


def test_the_film_of_a_form():
    body = form((b'Content-Disposition: form-data; name="a"', b"1"), file_part("a/b/my film.mp4", b"12\r\n--xy\r\n3"))
    name, start, end = film_part(FORM, body)
    assert (name, body[start:end]) == ("my film.mp4", b"12\r\n--xy\r\n3")
    assert film_part("video/mp4", b"1234") == FilmPart("", 0, 4)
    assert film_part(FORM, form(file_part("\u00e4;x.mp4"))).name == "\u00e4_x.mp4"


@pytest.mark.parametrize(
    ("content_type", "body", "message"),
    [
        ("multipart/form-data", form(file_part("a")), "no boundary"),
        (FORM, form(), "not 0"),
        (FORM, b"", "not 0"),
        (FORM, form((b"X: y", b"1")), "not 0"),
        (FORM, form(file_part("a"), file_part("b")), "not 2"),
        (FORM, form(file_part("a"), end=b"--xyz"), "no head or no end"),
        (FORM, form(file_part("a"))[:70], "no head or no end"),
        (FORM, form(*[(b"X: y", b"1")] * 30), "more than 20 parts"),
    ],
)
def test_forms_without_a_film(content_type, body, message):
    with pytest.raises(BadFilmError, match=message):
        film_part(content_type, body)


def decode(body, content_type="video/mp4", image_size=None, **films):
    """What the processes make of bodies, one after the other: a film, or an error."""
    recipe = types.SimpleNamespace(frames_per_second=1.0, max_frames=300)
    backbone = types.SimpleNamespace(image_size=image_size, crop=0.0)
    features = types.SimpleNamespace(recipe=recipe, backbone=backbone, audio=object())
    config = ServeConfig("", films=FilmService(**{"max_film_mb": 20.0, **films}))

    async def run():
        pool = FilmPool(features, MANIFEST, config)
        results = []
        try:
            await pool.start()
            for content in body:
                with memory_file() as file:
                    file.write(content)
                    file.flush()
                    try:
                        results.append(await pool.parse(content_type, file))
                    except BadFilmError as error:
                        results.append((error.status, str(error)))
        finally:
            pool.stop()
        return results

    return asyncio.run(run())


def read(path):
    with open(path, "rb") as file:
        return file.read()


def test_a_film_is_decoded_as_everywhere(tmp_path):
    path = write_film(tmp_path, frames=300, sound="aac")
    (film,) = decode([read(path)])
    assert (film.facts.times, film.facts.all_frames, film.facts.has_sound) == ((2.0, 6.0, 10.0), 12, True)
    assert [number_in(image) for image in film.images] == [50, 150, 250]
    with open_film(path) as opened:
        np.testing.assert_array_equal(film.images, np.stack(list(opened.frames_at((2.0, 6.0, 10.0)))))
        np.testing.assert_array_equal(film.sound, opened.sound_at((2.0, 6.0, 10.0)).ravel())
    (small,) = decode([form(file_part("a.mp4", read(path)))], FORM, image_size=(32, 32))
    assert (small.images.shape, small.facts.video_id) == ((3, 32, 32, 3), "a.mp4")


def test_what_is_no_film(tmp_path):
    cut = read(write_film(tmp_path))[:3000]
    results = decode([b"text" * 100, b"", cut, b"\x00" * 5000])
    assert [status for status, _ in results] == [400] * 4
    assert results[1][1] == "the body is empty"
    assert all("/dev" not in text and "/proc" not in text for _, text in results)


def test_a_film_that_is_too_long(tmp_path):
    film = read(write_film(tmp_path, frames=300))
    assert decode([film], max_film_seconds=10.0) == [(413, "the film is 12 seconds long; at most 10 are taken")]


@pytest.mark.slow
def test_a_film_that_takes_too_much(tmp_path):
    """The process is replaced, and the next film is decoded."""
    small = read(write_film(tmp_path, frames=50))
    large = read(
        write_film(tmp_path, frames=6, rate=2, size=(4096, 2304), name="large.mp4", options={"preset": "ultrafast"})
    )
    (status, text), film = decode([large, small], film_memory_mb=64.0)
    assert (status, "more memory or time" in text) == (413, True)
    assert len(film.images) == 2
    long = read(write_film(tmp_path, frames=200, size=(640, 360), keyframes=400, name="long.mp4"))
    (status, text), film = decode([long, small], film_timeout=0.01)
    assert (status, "more memory or time" in text) == (413, True)
    assert len(film.images) == 2
