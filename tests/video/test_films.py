"""The frames of films: those shown at the times asked for, the same however few are decoded."""

from fractions import Fraction

import numpy as np
import pytest

from tests.video.made_films import FilmKind, all_frames, number_in, shown, write_film
from yt8m_distill.errors import UserError
from yt8m_distill.video import containers, packets
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


# Whether they say it depends on the FFmpeg that writes them.
VARIES = {"mpeg2 in mpg"}


# Decoding cannot start at their keyframes.
NOT_SOUGHT = {"h264, intra refresh"}


@pytest.mark.parametrize("name", KINDS)
def test_frames_of_every_kind_of_film_are_those_of_plain_decoding(name, tmp_path):
    kind = KINDS[name]
    path = write_film(tmp_path, kind)
    expected = all_frames(path, kind.rate if name in COUNTED else None)
    with open_film(path) as film:
        assert film.seconds == pytest.approx(kind.frames / kind.rate, abs=0.05)
        times = whole_seconds(film.seconds, frames_per_second=2.5)
        few = [positions(times, k) for k in (1, 2, 5)]
        for wanted in (times, *few, film.keyframe_times, [0.1, 0.1, 1.234, 3.9]):
            images = list(film.frames_at(wanted))
            assert len(images) == len(wanted)
            for time, image in zip(wanted, images, strict=True):
                np.testing.assert_array_equal(image, shown(expected, time), err_msg=f"at {time} s")
        if kind.codec != "gif":  # of few colors
            assert [number_in(image) for image in film.frames_at([0.0, 2.0])] == [0, 2 * kind.rate]
        if name not in VARIES:
            assert bool(film.problems) == (name in COUNTED | NOT_SOUGHT), film.problems


@pytest.fixture
def decoded(monkeypatch) -> list[int | None]:
    """The timestamps of all packets that decoders were given."""
    stamps = []

    def note(stream, packet):
        if packet is not None:
            stamps.append(packet.pts)
        return decode_packet(stream, packet)

    decode_packet = containers.decode_packet
    monkeypatch.setattr(containers, "decode_packet", note)
    return stamps


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts", "film.flv"])
def test_few_frames_cost_the_packets_from_their_keyframes_on(name, tmp_path, decoded):
    film = open_film(write_film(tmp_path, name=name, frames=200, keyframes=50, options={"x264-params": "bframes=0"}))
    numbers = [number_in(image) for image in film.frames_at([0.0, 2.2, 4.4, 7.6])]
    assert numbers == [0, 55, 110, 190]
    assert len(decoded) == 1 + 6 + 11 + 41


def test_no_frame_costs_more_than_decoding_everything(tmp_path, decoded):
    film = open_film(write_film(tmp_path, frames=100, keyframes=100))
    numbers = [number_in(image) for image in film.frames_at([0.4, 1.0, 2.0, 3.0])]
    assert numbers == [10, 25, 50, 75]
    assert len(decoded) == len(set(decoded)) < 90


def test_a_keyframe_costs_one_packet(tmp_path, decoded):
    film = open_film(write_film(tmp_path, frames=200, keyframes=50))
    times = positions(whole_seconds(film.seconds), 3, "uniform", "keyframes", film.keyframe_times)
    assert [number_in(image) for image in film.frames_at(times)] == [0, 100, 150]
    assert len(decoded) == 3


@pytest.fixture
def read(monkeypatch) -> list[int]:
    """The timestamps of all packets that are read."""
    stamps = []

    def note(*arguments):
        for packet in read_packets(*arguments):
            stamps.append(packet.dts)
            yield packet

    read_packets = containers.read_packets
    monkeypatch.setattr(containers, "read_packets", note)
    return stamps


def test_most_of_a_file_with_an_index_is_never_read(tmp_path, read):
    film = open_film(write_film(tmp_path, frames=500, keyframes=20, sound="aac"))
    assert film.seconds == 20.0
    assert len(film.keyframe_times) == 25
    assert [number_in(image) for image in film.frames_at([4.4, 4.8, 12.08])] == [110, 120, 302]
    assert len(set(read)) < 6 * 21
    assert [number_in(image) for image in film.frames_at(whole_seconds(20.0))] == list(range(0, 500, 25))
    assert len(set(read)) == 500
    assert film.problems == []


@pytest.mark.parametrize("guess", [False, True])
def test_variable_rate_with_frames_in_another_order(guess, tmp_path, monkeypatch):
    """Frames are not shown as long after their decoding as the first; what an index makes guess is put right."""
    if guess:
        monkeypatch.setattr(packets, "is_steady", lambda stamps: True)
    times = np.cumsum(np.random.default_rng(0).choice([0.04, 0.08, 0.4], 400)).tolist()
    path = write_film(tmp_path, name="film.mp4", times=times, frames=400, keyframes=16)
    expected = all_frames(path)
    film = open_film(path)
    assert film.seconds == pytest.approx(times[-1] - times[0], abs=0.5)
    for time in np.linspace(0, film.seconds, 23).tolist():
        film = open_film(path)
        (image,) = film.frames_at([time])
        np.testing.assert_array_equal(image, shown(expected, time, film._table.early))
    images = list(film.frames_at(whole_seconds(film.seconds)))
    for time, image in enumerate(images):
        np.testing.assert_array_equal(image, shown(expected, time, film._table.early))


def frames_of(path: str, times) -> list[int]:
    with open_film(path) as film:
        return [number_in(image) for image in film.frames_at(times)]


def test_times_outside_of_a_film_give_its_first_and_last_frame(tmp_path):
    assert frames_of(write_film(tmp_path), [-3.0, 0.0, 3.96, 4.0, 1e6]) == [0, 0, 99, 99, 99]


def test_times_that_do_not_ascend_are_refused(tmp_path):
    with pytest.raises(UserError, match="ascend"):
        frames_of(write_film(tmp_path), [1.0, 0.5])


def test_frame_shown_at_a_time(tmp_path):
    """At 29.97 frames a second the thirtieth begins at 1.001 s; at .5, second 3 shows the frame that began at 2."""
    path = write_film(tmp_path, rate=Fraction(30000, 1001), frames=100)
    assert frames_of(path, whole_seconds(3.3)) == [0, 30, 60, 90]
    slow = write_film(tmp_path, name="slow.mp4", rate=Fraction(1, 2), frames=4)
    assert frames_of(slow, whole_seconds(8.0)) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_variable_frame_rate(tmp_path):
    times = (0.0, 0.04, 0.5, 0.9, 2.2, 2.24, 2.28, 5.0)
    path = write_film(tmp_path, name="film.mkv", times=times, frames=len(times), keyframes=3)
    with open_film(path) as film:
        assert film.seconds == pytest.approx(5.0, abs=0.1)
        assert [number_in(image) for image in film.frames_at([0, 1, 2, 3, 4, 5])] == [0, 3, 3, 6, 6, 7]


def test_one_frame(tmp_path):
    path = write_film(tmp_path, frames=1)
    with open_film(path) as film:
        assert whole_seconds(film.seconds) == [0.0]
        assert film.keyframe_times == [0.0]
    assert frames_of(path, [0.0]) == [0]


def test_several_readers_side_by_side(tmp_path):
    with open_film(write_film(tmp_path, sound="aac")) as film:
        pairs = zip(film.frames_at([0.0, 1.0, 2.0]), film.frames_at([1.0, 2.0, 3.0]), strict=True)
        assert [(number_in(a), number_in(b)) for a, b in pairs] == [(0, 25), (25, 50), (50, 75)]
        assert film.sound().size > 0


@pytest.mark.parametrize("threads", [1, 3])
def test_number_of_threads_changes_nothing(threads, tmp_path):
    path = write_film(tmp_path)
    expected = list(open_film(path).frames_at([0.5, 2.5]))
    np.testing.assert_array_equal(list(open_film(path, threads).frames_at([0.5, 2.5])), expected)
