"""Films as requests: bodies, the processes that decode them, and their limits."""

import asyncio
import contextlib
import dataclasses
import http.client
import io
import json
import threading
import time
import types

import numpy as np
import pytest

from tests.serving.services import ask, running, wait_for
from tests.video.made_films import number_in, write_film
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.deployment import FilmService, ServeConfig
from yt8m_distill.config.films import FeatureSettings
from yt8m_distill.config.frames import ALL_FRAMES, FrameSelection
from yt8m_distill.deployment.manifest import Manifest
from yt8m_distill.errors import UserError
from yt8m_distill.serving import film_process, films
from yt8m_distill.serving.app import create_app
from yt8m_distill.serving.exchange import memory_file
from yt8m_distill.serving.film_body import FilmPart, film_part
from yt8m_distill.serving.film_exchange import BadFilmError, DecodedFilm, FilmFacts, read_film, write_film_refusal
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


@pytest.mark.parametrize("encoding", ["idna''%80a", "unicode_escape''%5Cud800", "hex''00", "no\0''a"])
def test_headers_of_forms_in_any_encoding(encoding):
    head = f"Content-Disposition: form-data; name=film; filename*={encoding}".encode()
    for content_type, body in (
        (FORM, form((head, b"1"))),
        (f"multipart/form-data; boundary*={encoding}", form(file_part("a"))),
    ):
        with contextlib.suppress(BadFilmError):  # but nothing else
            assert film_part(content_type, body).end == len(body) - 11


def test_what_nobody_has_thought_of_is_refused_and_not_the_end(monkeypatch):
    monkeypatch.setattr(film_process, "film_part", lambda *_: {}["unknown"])
    with memory_file() as body, memory_file() as result:
        body.write(b"1")
        body.flush()
        film_process._decode("video/mp4", body, result, None)
        with pytest.raises(BadFilmError, match="the film cannot be read") as raised:
            read_film(result)
    assert raised.value.status == 400


def test_a_refusal_where_the_file_takes_no_more():
    """What could not be written is still in a buffer, and would be tried again."""

    class Full(io.BytesIO):
        is_full = True

        def flush(self):
            if self.is_full:
                self.is_full = False
                raise OSError("File too large")

    file = Full(b"images")
    write_film_refusal(file, BadFilmError("too large", 413))
    assert file.getvalue().startswith(b'{"status": 413')


def features_of(image_size=None, backbone=None):
    recipe = types.SimpleNamespace(frames_per_second=1.0, max_frames=300)
    backbone = backbone or types.SimpleNamespace(image_size=image_size, crop=0.0)
    return types.SimpleNamespace(recipe=recipe, backbone=backbone, audio=object())


def test_keyframes_are_for_models_that_see_k_frames():
    config = ServeConfig("", films=FilmService(positions="keyframes"))
    FilmPool(features_of(), MANIFEST, config)
    for selection in (ALL_FRAMES, FrameSelection(2, sampling="medoid")):
        manifest = dataclasses.replace(MANIFEST, selection=selection)
        with pytest.raises(UserError, match="frame_positions=keyframes is for models that see k frames"):
            FilmPool(features_of(), manifest, config)
        FilmPool(features_of(), manifest, ServeConfig(""))


def test_google_s_files_may_be_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "features.json").write_text("{}")
    asked = []
    monkeypatch.setattr(films, "load_feature_set", lambda _, places: asked.append(places) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        films.load_features(MANIFEST, ServeConfig(str(tmp_path), films=FilmService(google_dir="google")))
    assert asked == [FeatureSettings(model_dir="google")]


class Network:
    """A network that waits to be let go on before each batch."""

    image_size, crop, batch_size, size = (4, 4), 0.0, 1, 6

    def __init__(self):
        self.films, self.batches, self.allowed = 0, [], threading.Semaphore(0)

    def __call__(self, images):
        self.batches.append(len(images))
        assert self.allowed.acquire(timeout=10)
        return np.zeros((len(images), self.size), np.float32)


@contextlib.contextmanager
def serving_films(monkeypatch, network, **limits):
    """The port of a service whose films are decoded at once, to three images."""

    async def parse(self, content_type, body, k=None):
        network.films += 1
        return DecodedFilm(FilmFacts("a", 3.0, 3, (0.0, 1.0, 2.0), False), np.zeros((3, 4, 4, 3), np.uint8), None)

    monkeypatch.setattr(FilmPool, "parse", parse)
    features = features_of(backbone=network)
    features.audio = None
    features.quantizer = types.SimpleNamespace(
        frames=lambda film: {"fake": film.images.astype(np.uint8), "logmel": np.zeros((3, 2), np.uint8)}
    )
    config = ServeConfig("", films=FilmService(**limits))
    app = create_app(
        MANIFEST, lambda frames, num_frames: np.zeros((len(frames), 3), np.float32), config, None, features
    )
    with running(app, config) as port:
        yield port


def sent(port):
    """A connection on which a film has been sent."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/predict_film", b"film", {"Content-Type": "video/mp4"})
    return connection


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_films_in_memory_are_limited_and_dropped_with_their_clients(monkeypatch):
    network = Network()
    with serving_films(monkeypatch, network, max_waiting_films=1) as port:
        first = sent(port)
        wait_until(lambda: network.batches)
        assert network.films == 1
        second = sent(port)
        wait_until(lambda: network.films == 2)
        status, text, headers = ask(port, b"film", "video/mp4", "/predict_film")
        assert (status, headers["retry-after"]) == (503, "1"), text
        first.close()
        wait_for(port, 'requests_total{status="499"} 1.0')
        network.allowed.release()  # the batch that was begun is the last of this film
        wait_until(lambda: len(network.batches) == 2)
        network.allowed.release(3)
        assert second.getresponse().status == 200
        assert network.batches == [1] * 4
        second.close()
        network.allowed.release(3)
        assert ask(port, b"film", "video/mp4", "/predict_film")[0] == 200


def test_a_film_whose_client_has_gone_is_not_decoded_any_more(monkeypatch):
    cancelled = threading.Event()
    started = threading.Event()

    async def parse(self, content_type, body, k=None):
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    with serving_films(monkeypatch, Network()) as port:
        monkeypatch.setattr(FilmPool, "parse", parse)
        client = sent(port)
        assert started.wait(30)
        client.close()
        assert cancelled.wait(30)


def test_the_interface_of_films_is_described(monkeypatch):
    network = Network()
    network.allowed.release(3)
    with serving_films(monkeypatch, network, max_film_mb=7.0, max_film_seconds=90.0) as port:
        described = json.loads(ask(port, None, path="/openapi.json")[1])
        answer = json.loads(ask(port, b"film", "video/mp4", "/predict_film")[1])
    responses = described["paths"]["/predict_film"]["post"]["responses"]
    assert "larger than 7 MB or longer than 90 seconds" in responses["413"]["description"]
    assert "record" not in responses["400"]["description"]
    (content,) = responses["200"]["content"].values()
    schema, example = content["schema"]["properties"], content["example"]
    assert set(answer) == set(schema) == set(example)
    for name in ("film", "milliseconds"):
        assert set(answer[name]) == set(schema[name]["properties"]) == set(example[name])


def decode(body, content_type="video/mp4", image_size=None, **films):
    """What the processes make of bodies, one after the other: a film, or an error."""
    features = features_of(image_size)
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
