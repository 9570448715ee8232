"""Film files with damage: what is decoded of them has the promised form, or they are refused."""

import dataclasses
import functools
import pathlib
import tempfile

import numpy as np
from hypothesis import strategies as st

from tests.fuzz.attempts import attempt
from tests.fuzz.records import CHANGES, mutated
from tests.video.made_films import FilmKind, write_film
from yt8m_distill.video.films import open_film
from yt8m_distill.video.positions import positions, whole_seconds

SMALL = FilmKind(frames=40, keyframes=10)
KINDS = {
    "mp4": dataclasses.replace(SMALL, sound="aac"),
    "mkv": dataclasses.replace(SMALL, name="film.mkv", sound="aac"),
    "ts": dataclasses.replace(SMALL, name="film.ts", sound="aac"),
    "avi": dataclasses.replace(SMALL, name="film.avi", codec="mpeg4", sound="pcm_s16le"),
    "mpg": dataclasses.replace(SMALL, name="film.mpg", codec="mpeg2video", options={"bf": "2"}),
    "flv": dataclasses.replace(SMALL, name="film.flv"),
    "wmv": dataclasses.replace(SMALL, name="film.wmv", codec="wmv2"),
    "gif": dataclasses.replace(SMALL, name="film.gif", codec="gif", pixels="rgb8"),
}
FILMS = st.tuples(st.sampled_from(sorted(KINDS)), st.lists(CHANGES, max_size=5))


@functools.cache
def _content(kind: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return pathlib.Path(write_film(pathlib.Path(folder), KINDS[kind])).read_bytes()


def check_film(example: tuple[str, list]):
    """Opens a film with some changes and reads all of it, twice; it may be refused at any point."""
    kind, changes = example
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / KINDS[kind].name
        path.write_bytes(mutated(_content(kind), [change for some in changes for change in some]))
        film, _ = attempt(lambda: open_film(path))
        if film is None:
            return
        times = whole_seconds(film.seconds, 4.0, max_frames=20)
        assert sorted(film.keyframe_times) == film.keyframe_times
        for mode in ("exact", "keyframes"):
            wanted = positions(times, 3, "uniform", mode, film.keyframe_times)
            images, _ = attempt(lambda wanted=wanted: list(film.frames_at(wanted)))
            assert images is None or len(images) == len(wanted)
        images, _ = attempt(lambda: list(film.frames_at(times)))
        assert images is None or [image.dtype for image in images] == [np.uint8] * len(times)
        samples = film.sound(seconds=10.0)
        assert samples.dtype == np.float32
        assert len(samples) <= 160_000
        assert (np.abs(samples) <= 1).all()
        np.testing.assert_array_equal(film.sound_at([0.5])[0, : max(len(samples) - 8000, 0)], samples[8000:24000])
        assert all(isinstance(problem, str) for problem in film.problems)
