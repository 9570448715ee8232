"""The page in a browser: by keyboard, with records, a film and bad files. Skipped where there is no browser."""

import contextlib
import dataclasses
import shutil
import types

import numpy as np
import pytest
import tensorflow as tf

from tests.deployment.exports import K
from tests.helpers import sequence_example
from tests.serving.services import MANIFEST, mean_bytes, running
from tests.video.made_films import write_film
from yt8m_distill.config.dataset import DatasetSpec
from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.deployment.manifest import Cost, Manifest
from yt8m_distill.serving.app import create_app

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
COSTS = (Cost("student", 1, 100), Cost("student", K, 250))
SEVERAL = dataclasses.replace(MANIFEST, numbers=(1, K), costs=COSTS, reference=Cost("teacher", 12, 1000))


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (the extra browser)")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"there is no browser: none of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def page_of(browser, manifest, features=None):
    """The page of a service, loaded; whatever the browser complains of, or asks elsewhere, is an error."""
    config, classes = ServeConfig("", parsers=1), manifest.data.num_classes
    app = create_app(manifest, lambda *inputs: mean_bytes(*inputs)[:, :classes], config, features=features)
    with running(app, config) as port:
        address = f"http://127.0.0.1:{port}/"
        page, complaints, asked = browser.new_page(color_scheme="dark"), [], []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.locator("#model", has_text=manifest.model).wait_for()
        yield page
        page.close()
        assert complaints == []
        assert all(url.startswith((address, "data:,", f"blob:{address}")) for url in asked), asked


@pytest.fixture
def page(browser):
    with page_of(browser, SEVERAL) as page:
        yield page


@pytest.fixture
def records(tmp_path):
    """A file of three videos of nine frames."""
    path = tmp_path / "videos.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(3):
            writer.write(sequence_example(f"video{number}", num_frames=9, seed=number).SerializeToString())
    return path


def test_records_by_keyboard(page, records):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    page.set_input_files("#file", records)
    page.locator("#status", has_text="3 videos, 3 frames of each looked at").wait_for()
    page.locator("#frames").focus()
    page.keyboard.press("1")  # which the first option begins with
    page.keyboard.press("Tab")
    page.keyboard.type("2")
    page.keyboard.press("Enter")
    page.locator("#status", has_text="2 videos, 1 frame of each looked at").wait_for()
    assert page.locator("article").count() == 2
    assert page.locator("article h3").first.inner_text() == "video0"
    scores = list(map(float, page.locator("article").first.locator("td.number").all_inner_texts()))
    assert len(scores) == len(MANIFEST.class_names)
    assert scores == sorted(scores, reverse=True)
    assert "10 % of the multiply-accumulates of its teacher on all 12 frames" in page.locator("#cost").inner_text()
    line = page.get_by_role("img", name="Time line: 1 of 9 frames: 4")
    assert line.first.locator(".tick").count() == 1
    page.get_by_role("button", name="Next videos").press("Enter")
    page.locator("#status", has_text="the next 1 video").wait_for()
    assert page.locator("article h3").all_inner_texts() == ["video2"]
    assert page.get_by_role("button", name="Next videos").count() == 0


def test_what_the_service_refuses_is_told(page, tmp_path):
    page.get_by_role("button", name="Predict").click()
    page.get_by_role("alert").filter(has_text="Choose a file first").wait_for()
    path = tmp_path / "notes.txt"
    path.write_text("these are no videos, but a text that is long enough")
    page.set_input_files("#file", path)
    page.get_by_role("alert").filter(has_text="notes.txt: record 1: the file is not a TFRecord file").wait_for()
    film = tmp_path / "film.mp4"
    film.write_bytes(b"a film")
    page.set_input_files("#file", film)
    page.get_by_role("alert").filter(has_text="the service takes no films").wait_for()


class Network:
    """An image network: the first bytes of each image."""

    image_size, crop, batch_size, size = (4, 4), 0.0, 4, 8

    def __call__(self, images):
        return np.array([image.ravel()[: self.size] for image in images], np.float32)


def test_a_film_and_its_pictures(browser, tmp_path):
    film = write_film(tmp_path, name="a.mp4", frames=60, rate=10)
    spec = DatasetSpec("mine", "id", ("fake",), (8,), 3, 300, extraction="x")
    manifest = Manifest("NetVLAD", "student", None, spec, FrameSelection(3), 3, 3, None, (), numbers=(1, 3))
    features = types.SimpleNamespace(
        recipe=types.SimpleNamespace(frames_per_second=1.0, max_frames=300),
        backbone=Network(),
        audio=None,
        quantizer=types.SimpleNamespace(frames=lambda film: {"fake": film.images.astype(np.uint8)}),
    )
    with page_of(browser, manifest, features) as page:
        page.set_input_files("#file", film)
        page.locator(".pictures canvas").nth(2).wait_for()
        assert page.locator(".pictures").inner_text().split() == ["1.0", "s", "3.0", "s", "5.0", "s"]
        page.select_option("#frames", "1")
        page.get_by_role("button", name="Predict").click()
        page.locator("#status", has_text="1 video, 1 frame of each").wait_for()
        page.get_by_role("img", name="Frame at 3.0 seconds").wait_for()
        assert page.locator(".pictures canvas").count() == 1
        assert page.get_by_role("img", name="Time line: 1 frame of 6.0 seconds, at seconds: 3.0").count() == 1
