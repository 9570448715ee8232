"""The frames of films: those shown at the times asked for, the same however few are decoded."""

import numpy as np
import pytest

from tests.video.made_films import FilmKind, all_frames, number_in, shown, write_film
from yt8m_distill.video.films import open_film
from yt8m_distill.video.positions import positions, whole_seconds

KINDS = {
    "h264": FilmKind(),
    "h264 without B frames": FilmKind(options={"preset": "ultrafast", "tune": "zerolatency"}),
    "h264 with open groups": FilmKind(name="film.mkv", options={"x264-params": "open-gop=1:bframes=3:keyint=20"}),
    "h264 in mkv": FilmKind(name="film.mkv"),
    "h264 in mpegts": FilmKind(name="film.ts"),
    "h264 in flv": FilmKind(name="film.flv"),
    "h264 in avi": FilmKind(name="film.avi"),
    "h264, 4:4:4": FilmKind(pixels="yuv444p"),
    "h264, intra refresh": FilmKind(name="film.ts", options={"x264-params": "intra-refresh=1:keyint=20"}),
    "hevc, 10 bit": FilmKind(codec="libx265", pixels="yuv420p10le", options={"x265-params": "log-level=none"}),
    "hevc in mpegts": FilmKind(name="film.ts", codec="libx265", options={"x265-params": "log-level=none"}),
    "mpeg4 in avi": FilmKind(name="film.avi", codec="mpeg4"),
    "mpeg4 with B frames": FilmKind(name="film.avi", codec="mpeg4", options={"bf": "2"}),
    "mpeg2 in mpg": FilmKind(name="film.mpg", codec="mpeg2video", options={"bf": "2"}),
    "mpeg2 in mpegts": FilmKind(name="film.ts", codec="mpeg2video", options={"bf": "2"}),
    "vp8": FilmKind(name="film.webm", codec="libvpx", options={"deadline": "realtime", "auto-alt-ref": "1"}),
    "vp9": FilmKind(name="film.webm", codec="libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"}),
    "av1": FilmKind(name="film.mkv", codec="libsvtav1", options={"preset": "12"}),
    "gif": FilmKind(name="film.gif", codec="gif", pixels="rgb8", rate=10),
    "wmv": FilmKind(name="film.wmv", codec="wmv2"),
    "motion jpeg": FilmKind(name="film.mov", codec="mjpeg", pixels="yuvj420p"),
    "bare h264": FilmKind(name="film.h264"),
}
# Their files do not say when which frame is shown.
COUNTED = {"h264 in avi", "mpeg2 in mpg", "bare h264"}


def frames_of(path: str, times) -> list[np.ndarray]:
    with open_film(path) as film:
        return list(film.frames_at(times))


@pytest.mark.parametrize("name", KINDS)
def test_frames_of_every_kind_of_film_are_those_of_plain_decoding(name, tmp_path):
    kind = KINDS[name]
    path = write_film(tmp_path, kind)
    with open_film(path) as film:
        assert film.seconds == pytest.approx(kind.frames / kind.rate, abs=0.05)
        times = whole_seconds(film.seconds, frames_per_second=2.5)
        few = [positions(times, k) for k in (1, 2, 5)]
        expected = all_frames(path, kind.rate if name in COUNTED else None)
        for wanted in (times, *few, film.keyframe_times, [0.1, 0.1, 1.234, 3.9]):
            images = list(film.frames_at(wanted))
            assert len(images) == len(wanted)
            for time, image in zip(wanted, images, strict=True):
                np.testing.assert_array_equal(image, shown(expected, time), err_msg=f"at {time} s")
        if kind.codec != "gif":  # of few colors
            assert [number_in(image) for image in film.frames_at([0.0, 2.0])] == [0, 2 * kind.rate]
