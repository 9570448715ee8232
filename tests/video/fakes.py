"""Films and networks that cost nothing: a film is a JSON file, its frame at a time has the time in its pixels."""

import contextlib
import json
import pathlib
import time

import numpy as np

from yt8m_distill.errors import UserError

SIZE = 6


class FakeFilm:
    """The film in a file {"seconds": 5, "sound": true, "lost_after": 3, "delay": 0.1, "seed": 7}."""

    def __init__(self, path):
        self.path = path
        text = pathlib.Path(path).read_text()
        if not text.startswith("{"):
            raise UserError(f"'{path}' cannot be decoded: it is text.")
        self.values = json.loads(text)
        self.seconds = float(self.values["seconds"])
        self.has_sound = self.values.get("sound", True)
        self.keyframe_times = [float(second) for second in range(0, max(int(self.seconds), 1), 4)]
        self.problems = []

    def frames_at(self, times):
        for second in times:
            time.sleep(self.values.get("delay", 0))
            if second >= self.values.get("lost_after", 1e9):
                self.problems.append("the rest is lost")
                return
            yield np.full((4, 4, 3), (7 * second + self.values.get("seed", 0)) % 256, np.uint8)

    def sound_at(self, times):
        return np.repeat(np.asarray(times, np.float32)[:, np.newaxis], 16, axis=1)


@contextlib.contextmanager
def open_fake(path, threads=0):
    yield FakeFilm(path)


class FakeBackbone:
    """A feature is the first pixel's value and its multiples."""

    name, size, image_size, identity, batch_size = "fake", SIZE, None, "fake-1", 4

    def __init__(self):
        self.batches = []

    def prepare(self, image):
        return image[:1, :1]

    def __call__(self, images):
        self.batches.append(len(images))
        values = np.array([image.ravel()[0] for image in images], np.float32)
        return values[:, np.newaxis] * np.arange(1, SIZE + 1, dtype=np.float32)


class FakeAudio:
    """A feature is the time, twice."""

    name, size, identity = "logmel", 2, "fake-audio-1"

    def __call__(self, samples, rate):
        return np.repeat(samples.reshape(-1, 16)[:, :1], 2, axis=1)


def write_film(folder, name, seconds=5, **values):
    """Writes a fake film; returns its path."""
    path = pathlib.Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"seconds": seconds, **values}))
    return str(path)
