"""Files that are no films, and films that are damaged, turned or wrongly marked."""

import os
import pathlib
import struct
import subprocess
import sys

import av
import numpy as np
import pytest

from tests.video.made_films import all_frames, number_in, picture, shown, write_film
from yt8m_distill.errors import UserError
from yt8m_distill.video import containers
from yt8m_distill.video.films import open_film
from yt8m_distill.video.positions import whole_seconds

FRONT = {"movflags": "+faststart"}  # what is where stands in front, so that a beginning of the file can be read


def write_bytes(path: pathlib.Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def write_mp4(folder: pathlib.Path, front: bool = True, **changes) -> pathlib.Path:
    """A film with its table of contents in front."""
    path = write_film(folder, **changes)
    if front:
        with av.open(path) as source, av.open(str(folder / "front.mp4"), "w", options=FRONT) as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    target.mux(packet)
        path = str(folder / "front.mp4")
    return pathlib.Path(path)


def write_playlist(folder: pathlib.Path) -> str:
    write_film(folder, name="part.ts")
    return write_bytes(folder / "film.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:4,\npart.ts\n#EXT-X-ENDLIST\n")


def write_fifo(folder: pathlib.Path) -> str:
    os.mkfifo(folder / "pipe.mp4")
    return str(folder / "pipe.mp4")


def write_sound(folder: pathlib.Path, cover: bool = False) -> str:
    path = str(folder / "song.m4a")
    with av.open(path, "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 44100, 0
        if cover:
            image = container.add_stream("mjpeg", rate=1)
            image.width, image.height, image.pix_fmt = 160, 64, "yuvj420p"
            image.disposition = av.stream.Disposition.attached_pic
            still = av.VideoFrame.from_ndarray(picture(7, (160, 64)), format="rgb24")
            still.pts = 0
            container.mux(image.encode(still))
            container.mux(image.encode(None))
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def write_picture(folder: pathlib.Path) -> str:
    with av.open(str(folder / "film.png"), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 160, 64, "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(7, (160, 64)), format="rgb24")))
        container.mux(stream.encode(None))
    return str(folder / "film.png")


NO_FILMS = {
    "missing": (lambda folder: str(folder / "none.mp4"), "No such file"),
    "a folder": (str, "not a regular file"),
    "a pipe": (write_fifo, "not a regular file"),
    "empty": (lambda folder: write_bytes(folder / "film.mp4", b""), "is empty"),
    "text": (lambda folder: write_bytes(folder / "film.mp4", b"no film at all\n" * 99), "cannot be decoded"),
    "zeros": (lambda folder: write_bytes(folder / "film.mp4", bytes(10_000)), "cannot be decoded"),
    "on another machine": (lambda folder: "gs://bucket/film.mp4", "another machine"),
    "an address": (lambda folder: "http://localhost/film.mp4", "another machine"),
    "a playlist": (write_playlist, "cannot be decoded"),
    "a picture": (write_picture, "cannot be decoded"),
    "cut off before its table": (
        lambda folder: write_bytes(folder / "cut.mp4", write_mp4(folder, front=False).read_bytes()[:-2500]),
        "cannot be decoded",
    ),
    "cut off in its table": (
        lambda folder: write_bytes(folder / "cut.mp4", write_mp4(folder).read_bytes()[:300]),
        "cannot be decoded|has no",
    ),
    "cut off after its table": (
        lambda folder: write_bytes(folder / "cut.mp4", before_media(write_mp4(folder).read_bytes())),
        "has no frames",
    ),
    "sound": (write_sound, "has no video[.]"),
    "sound with a cover": (lambda folder: write_sound(folder, cover=True), "has no video but a cover"),
}


def before_media(content: bytes) -> bytes:
    return content[: content.index(b"mdat") + 4]


@pytest.mark.parametrize("name", NO_FILMS)
def test_files_that_are_no_films(name, tmp_path):
    write, message = NO_FILMS[name]
    path = write(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        open_film(path)
    assert pathlib.Path(path).name in str(error.value)


def test_film_without_a_frame_that_can_be_decoded(tmp_path):
    content = bytearray(write_mp4(tmp_path).read_bytes())
    begin = content.index(b"mdat") + 4
    content[begin:] = bytes(len(content) - begin)
    film = open_film(write_bytes(tmp_path / "zeros.mp4", content))
    with pytest.raises(UserError, match="not one frame"):
        list(film.frames_at([0.0, 1.0]))


def test_film_that_is_cut_in_half(tmp_path):
    whole = write_mp4(tmp_path, frames=200)
    content = whole.read_bytes()
    middle = (content.index(b"mdat") + len(content)) // 2
    with open_film(write_bytes(tmp_path / "half.mp4", content[:middle])) as film:
        assert 2.0 < film.seconds < 6.0
        assert film.problems[0] == f"its frames end after {film.seconds:.1f} of 8.0 s"
        times = whole_seconds(film.seconds)
        numbers = [number_in(image) for image in film.frames_at(times)]
        assert numbers[:-1] == [25 * time for time in times[:-1]]
        assert numbers[-2] < numbers[-1] <= 25 * times[-1]
        for image, time in zip(film.frames_at(times[:-1]), times, strict=False):
            np.testing.assert_array_equal(image, shown(all_frames(str(whole)), time))


@pytest.mark.parametrize("seed", range(3))
def test_film_with_flipped_bytes(seed, tmp_path):
    """What can be decoded is, and the problems say how much was lost."""
    content = bytearray(write_mp4(tmp_path, frames=200).read_bytes())
    rng = np.random.default_rng(seed)
    begin = content.index(b"mdat") + 2000
    for place in rng.integers(begin, len(content), 100):
        content[place] ^= 1 << int(rng.integers(8))
    with open_film(write_bytes(tmp_path / "flipped.mp4", content)) as film:
        times = whole_seconds(film.seconds)
        numbers = [number_in(image) for image in film.frames_at(times)]
        assert len(numbers) == 8
        assert numbers[0] == 0
        assert any("damaged" in problem for problem in film.problems)


@pytest.mark.parametrize("seed", range(6))
def test_frames_of_intact_groups_are_the_same_however_a_damaged_film_is_decoded(seed, tmp_path):
    path = write_mp4(tmp_path, frames=200, keyframes=25, options={"x264-params": "bframes=2"} if seed % 2 else {})
    intact = all_frames(str(path))
    content = bytearray(path.read_bytes())
    packets = packets_of(path)
    damaged = set()
    for number in np.random.default_rng(seed).integers(30, 200, 3):
        begin, size, stamp = packets[number]
        content[begin + size // 2] ^= 255
        damaged.add(stamp // 25)
    assert len(damaged) >= 2
    path = write_bytes(tmp_path / "damaged.mp4", content)
    times = whole_seconds(8.0, 5.0)
    for threads in (1, 4):
        for time, image in zip(times, open_film(path, threads).frames_at(times), strict=True):
            if int(time) not in damaged:
                np.testing.assert_array_equal(image, shown(intact, time), err_msg=f"at {time} s")
    film = open_film(path)
    few = list(film.frames_at(times[::9]))
    for time, image in zip(times[::9], few, strict=True):
        if int(time) not in damaged:
            np.testing.assert_array_equal(image, shown(intact, time), err_msg=f"at {time} s")


def packets_of(path: pathlib.Path) -> list[tuple[int, int, int]]:
    """Where the packets of a film are, their sizes, and the numbers of their frames at 25 frames a second."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        return [(packet.pos, packet.size, round(packet.pts * packet.time_base * 25)) for packet in packets]


def test_damage_costs_only_the_frames_until_the_next_keyframe(tmp_path):
    path = write_mp4(tmp_path, frames=100, keyframes=25, options={"x264-params": "bframes=0"})
    packets = packets_of(path)
    content = bytearray(path.read_bytes())
    for number in (30, 31, 32):
        begin, size, _ = packets[number]
        content[begin : begin + size] = bytes(size)
    with open_film(write_bytes(tmp_path / "damaged.mp4", content)) as film:
        images = list(film.frames_at([0.48, 1.28, 2.48, 3.48]))
        assert [number_in(image) for image in images] == [12, 29, 62, 87]
        whole = open_film(path)
        for image, expected in zip(images[::2], whole.frames_at([0.48, 2.48]), strict=True):
            np.testing.assert_array_equal(image, expected)
        assert film.problems == ["its video is damaged", "3 damaged packets of the video, the first at 1.2 s"]


def test_damaged_keyframe_gives_the_frames_of_whole_decoding(tmp_path):
    path = write_mp4(tmp_path, frames=100, keyframes=25, options={"x264-params": "bframes=0"})
    content, (begin, size, _) = bytearray(path.read_bytes()), packets_of(path)[50]
    content[begin : begin + size] = bytes(size)
    film = open_film(write_bytes(tmp_path / "damaged.mp4", content))
    numbers = [number_in(image) for image in film.frames_at([2.0, 3.48])]
    assert numbers == [49, 87]
    assert film.problems


MATRICES = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}  # clockwise


@pytest.mark.parametrize("degrees", MATRICES)
def test_turned_film(degrees, tmp_path):
    """The matrix of a telephone that was held upright: players turn the picture clockwise by so many degrees."""
    path = write_mp4(tmp_path)
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    a, b, c, d = MATRICES[degrees]
    content[place : place + 36] = struct.pack(">9i", *(value << 16 for value in (a, b, 0, c, d, 0, 0, 0)), 1 << 30)
    turned = write_bytes(tmp_path / "turned.mp4", content)
    expected = [np.rot90(image, -degrees // 90) for image in open_film(path).frames_at([0.0, 2.0])]
    np.testing.assert_array_equal(list(open_film(turned).frames_at([0.0, 2.0])), expected)


def test_timestamps_that_begin_late(tmp_path):
    path = write_film(tmp_path, name="film.ts", sound="aac")
    late = str(tmp_path / "late.ts")
    with av.open(path) as source, av.open(late, "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.size:
                packet.pts += 9_000_000
                packet.dts += 9_000_000
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    with av.open(late) as container:
        assert container.start_time > 100 * av.time_base
    with open_film(late) as film, open_film(path) as usual:
        assert film.seconds == pytest.approx(4.0, abs=0.05)
        assert [number_in(image) for image in film.frames_at([0.0, 1.0, 3.0])] == [0, 25, 75]
        np.testing.assert_array_equal(film.sound(seconds=3.0), usual.sound(seconds=3.0))
        assert film.problems == []


def test_film_of_two_that_were_joined(tmp_path):
    path = pathlib.Path(write_film(tmp_path, name="film.ts"))
    joined = write_bytes(tmp_path / "joined.ts", path.read_bytes() * 2)
    with open_film(joined) as film:
        assert film.seconds == pytest.approx(8.0, abs=0.1)
        assert [number_in(image) for image in film.frames_at([1.0, 3.0, 5.0, 7.0])] == [25, 75, 25, 75]
        assert "timestamps" in film.problems[0]


def test_part_of_a_stream_starts_at_its_first_keyframe(tmp_path):
    content = pathlib.Path(write_film(tmp_path, name="film.ts", frames=200, keyframes=50)).read_bytes()
    part = write_bytes(tmp_path / "part.ts", content[len(content) // 3 // 188 * 188 :])
    with open_film(part) as film:
        first, second = (number_in(image) for image in film.frames_at([0.0, 1.0]))
        assert (first % 50, second - first) == (0, 25)


def test_keyframes_that_are_none(tmp_path):
    """The index of an AVI file may mark every packet."""
    path = pathlib.Path(write_film(tmp_path, name="film.avi", codec="msmpeg4"))
    content = bytearray(path.read_bytes())
    place = content.index(b"idx1") + 8
    while content[place : place + 4] == b"00dc":
        content[place + 4] |= 0x10
        place += 16
    film = open_film(write_bytes(tmp_path / "marked.avi", content))
    assert len(film.keyframe_times) == 100
    images = list(film.frames_at([0.48, 1.32, 3.68]))
    assert [number_in(image) for image in images] == [12, 33, 92]
    np.testing.assert_array_equal(images, list(open_film(path).frames_at([0.48, 1.32, 3.68])))
    assert any("keyframes" in problem for problem in film.problems)


def test_cover_of_a_film_is_not_its_video(tmp_path):
    path = str(tmp_path / "film.mp4")
    plain = write_film(tmp_path, name="plain.mp4")
    with av.open(plain) as source, av.open(path, "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 640, 480, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        stream = container.add_stream_from_template(source.streams.video[0])
        still = av.VideoFrame.from_ndarray(picture(7, (640, 480)), format="rgb24")
        still.pts = 0
        container.mux(cover.encode(still))
        container.mux(cover.encode(None))
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    with av.open(path) as container:
        assert len(container.streams.video) == 2
    assert [number_in(image) for image in open_film(path).frames_at([0.0, 2.0])] == [0, 50]


@pytest.mark.parametrize(
    "name", ["a: b?.mp4", "http.mp4", "100%03d.mp4", "\u00e9 \u65e5.mp4", os.fsdecode(b"\xff.mp4")]
)
def test_names_of_files(name, tmp_path, monkeypatch):
    os.rename(write_film(tmp_path), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (name, tmp_path / name):
        assert [number_in(image) for image in open_film(path).frames_at([1.0])] == [25]


def test_title_that_is_not_utf8(tmp_path):
    path = write_film(tmp_path, name="film.avi", codec="mpeg4")
    with av.open(path) as source, av.open(str(tmp_path / "titled.avi"), "w") as target:
        target.metadata["title"] = "TITLE"
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    content = (tmp_path / "titled.avi").read_bytes()
    assert content.count(b"TITLE") == 1
    titled = write_bytes(tmp_path / "titled.avi", content.replace(b"TITLE", b"T\xef\xedL\xe9"))
    assert [number_in(image) for image in open_film(titled).frames_at([1.0])] == [25]


def test_frames_that_are_too_large_are_refused(tmp_path, monkeypatch):
    path = write_film(tmp_path)
    monkeypatch.setattr(containers, "MOST_PIXELS", 160 * 64 - 1)
    with pytest.raises(UserError, match="160 x 64"):
        open_film(path)


def test_size_that_changes_within_a_film(tmp_path):
    parts = [pathlib.Path(write_film(tmp_path, name=f"{w}.ts", size=(w, 64))).read_bytes() for w in (160, 320)]
    with open_film(write_bytes(tmp_path / "film.ts", b"".join(parts))) as film:
        images = list(film.frames_at([1.0, 5.0]))
        assert [image.shape for image in images] == [(64, 160, 3), (64, 320, 3)]
        assert [number_in(image) for image in images] == [25, 25]


def test_package_is_imported_without_the_extra():
    code = (
        "import sys; sys.modules['av'] = None\n"
        "import yt8m_distill, yt8m_distill.video, yt8m_distill.video.positions, yt8m_distill.video.seek_plan"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
