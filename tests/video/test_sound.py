"""The sound of films: mono, at the rate asked for, in its place."""

import pathlib

import av
import numpy as np
import pytest

from tests.video.made_films import write_film
from yt8m_distill.video.films import open_film
from yt8m_distill.video.sound import Piece, joined, windows

SOUNDS = {"film.mp4": "aac", "film.mkv": "libopus", "film.ts": "mp2", "film.avi": "libmp3lame", "film.mov": "pcm_s16le"}


def pitch(samples: np.ndarray, rate: int) -> float:
    """The strongest frequency, in hertz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return spectrum.argmax() * rate / len(samples)


@pytest.mark.parametrize("name", SOUNDS)
@pytest.mark.parametrize("rate", [16000, 44100])
def test_tone_of_both_channels(name, rate, tmp_path):
    path = write_film(tmp_path, name=name, codec="mpeg4", frames=75, sound=SOUNDS[name], frequency=1000.0)
    with open_film(path) as film:
        assert film.has_sound
        samples = film.sound(rate)
        assert samples.dtype == np.float32
        assert len(samples) == pytest.approx(3 * rate, rel=0.05)
        middle = samples[rate : 2 * rate]
        assert pitch(middle, rate) == pytest.approx(1000.0, abs=2)
        assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(
            0.5, abs=0.03
        )  # the mean of the channels, not their sum
        assert film.problems == []


def test_parts_have_the_same_samples(tmp_path):
    path = write_film(tmp_path, codec="mpeg4", frames=100, sound="aac")
    with open_film(path) as film:
        whole = film.sound()
        parts = film.sound_at([0.0, 1.3, 2.0, 9.0], seconds=0.96)
        assert parts.shape == (4, 15360)
        for part, time in zip(parts[:3], [0.0, 1.3, 2.0], strict=True):
            begin = round(time * 16000)
            np.testing.assert_array_equal(part, whole[begin : begin + 15360])
        assert not parts[3].any()
        np.testing.assert_array_equal(film.sound(seconds=1.7), whole[:27200])
        assert film.sound_at([]).shape == (0, 16000)


def test_film_without_sound(tmp_path):
    with open_film(write_film(tmp_path, codec="mpeg4")) as film:
        assert not film.has_sound
        assert film.sound().shape == (0,)
        assert not film.sound_at([0.0]).any()


def write_late_sound(folder: pathlib.Path, silent: tuple[float, float]) -> str:
    """A film of 4 s with a tone that begins after silence, and has a gap between two times."""
    path = str(folder / "late.mkv")
    with av.open(write_film(folder, codec="mpeg4", sound="pcm_s16le", name="whole.mkv")) as source:
        packets = list(source.demux())
        with av.open(path, "w") as target:
            streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
            for packet in packets:
                if packet.size and not (packet.stream.type == "audio" and silent[0] <= packet.pts / 1000 < silent[1]):
                    packet.stream = streams[packet.stream_index]
                    target.mux(packet)
    return path


@pytest.mark.parametrize("silent", [(0.0, 1.0), (1.0, 3.0)])
def test_silence_where_timestamps_have_gaps(silent, tmp_path):
    with open_film(write_late_sound(tmp_path, silent)) as film:
        samples = film.sound()
        assert len(samples) == pytest.approx(4 * 16000, abs=800)
        begin, end = (round(16000 * time) for time in silent)
        assert not samples[begin + 800 : end - 800].any()
        loud = np.r_[samples[: max(begin - 800, 0)], samples[end + 800 :]]
        assert np.sqrt(2 * np.mean(loud**2)) == pytest.approx(0.5, abs=0.02)


def test_damaged_sound(tmp_path):
    path = write_film(tmp_path, codec="mpeg4", sound="aac", name="film.mkv")
    with av.open(path) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(audio=0) if packet.size]
    content = bytearray(pathlib.Path(path).read_bytes())
    for begin, size in places[40:50]:
        content[begin + 8 : begin + size] = b"\xff" * (size - 8)
    damaged = tmp_path / "damaged.mkv"
    damaged.write_bytes(content)
    with open_film(damaged) as film:
        samples = film.sound()
        assert len(samples) == pytest.approx(4 * 16000, rel=0.05)
        assert pitch(samples[48000:60000], 16000) == pytest.approx(440, abs=3)
        assert "damaged packets of the sound" in film.problems[0]


def test_pieces_are_cut_and_filled():
    pieces = [Piece(-2, np.array([1, 2, 3, 4], np.float32) / 8), Piece(4, np.array([5, 6], np.float32) / 8)]
    assert (8 * joined(iter(pieces), 2, None)).tolist() == [3, 4, 0, 0, 5, 6]
    assert (8 * joined(iter(pieces), 2, 2.5)).tolist() == [3, 4, 0, 0, 5]
    assert joined(iter([]), 2, 1.0).tolist() == []
    assert (8 * windows(iter(pieces), 2, [0.0, 0.5, 2.0], 1.5)).tolist() == [[3, 4, 0], [4, 0, 0], [5, 6, 0]]


def test_samples_out_of_range():
    pieces = [Piece(0, np.array([1.5, -2, np.nan, np.inf, -np.inf, 0.25], np.float32))]
    assert joined(iter(pieces), 1, None).tolist() == [1, -1, 0, 1, -1, 0.25]
    assert windows(iter(pieces), 1, [0.0], 6.0).tolist() == [[1, -1, 0, 1, -1, 0.25]]


@pytest.mark.parametrize("seed", range(5))
def test_windows_in_any_order(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, 30)
    whole = rng.uniform(-1, 1, sizes.sum()).astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    pieces = [Piece(int(start), whole[start : start + size]) for start, size in zip(starts, sizes, strict=True)]
    begins = rng.integers(0, len(whole), 20)
    padded = np.concatenate([whole, np.zeros(12, np.float32)])
    expected = [padded[begin : begin + 12] for begin in begins]
    np.testing.assert_array_equal(windows(iter(pieces), 1, begins.tolist(), 12.0), expected)
