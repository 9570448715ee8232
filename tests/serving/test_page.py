"""The page of the service, what it is told, and what it asks for."""

import dataclasses
import json
import re

import numpy as np
import pytest

from tests.deployment.exports import FRAME_SIZE, K
from tests.serving.services import MANIFEST, NPZ, ask, mean_bytes, npz, running, serving
from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.config.frames import FrameSelection
from yt8m_distill.deployment.manifest import Cost
from yt8m_distill.serving.app import create_app
from yt8m_distill.serving.film_process import Options
from yt8m_distill.serving.parser_process import message, parts_of

COSTS = (Cost("student", 1, 100), Cost("student", K, 250))
SEVERAL = dataclasses.replace(MANIFEST, numbers=(1, K), costs=COSTS, reference=Cost("teacher", 12, 1000))


@pytest.fixture(scope="module")
def port():
    config = ServeConfig("", parsers=1)
    with running(create_app(SEVERAL, mean_bytes, config), config) as port:
        yield port


def test_the_page_may_load_nothing_from_elsewhere(port):
    status, text, headers = ask(port, None, path="/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert all(re.fullmatch(r"'sha256-[\w+/=]{44}'", policy[name]) for name in ("script-src", "style-src"))
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}  # a name, which nobody loads
    assert not re.search(r"<[^>]* (style|on\w+|src)=|innerHTML|eval\(", text)


def test_the_script_finds_its_elements_and_each_field_has_a_label(port):
    text = ask(port, None, path="/")[1]
    ids = re.findall(r' id="(\w[\w-]*)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'\$\("([\w-]+)"\)', text)) <= {*ids, "pictures"}  # the list of pictures is made later
    fields = {re.search(r'id="([\w-]+)"', field)[1] for field in re.findall(r"<(?:input|select)[^>]*>", text)}
    assert fields == set(re.findall(r'<label for="([\w-]+)"', text))
    assert {'role="status"', 'role="alert"', "prefers-color-scheme: dark"} <= set(
        re.findall(r'role="\w+"|prefers-color-scheme: dark', text)
    )


def test_the_page_is_told_of_the_model(port):
    status, text, _ = ask(port, None, path="/model")
    told = json.loads(text)
    assert status == 200
    assert (told["model"], told["frames"], told["numbers"], told["max_film_mb"]) == ("NeXtVLAD", K, [1, K], None)
    assert told["costs"] == [dataclasses.asdict(cost) for cost in COSTS]
    assert told["reference"] == {"which": "teacher", "frames": 12, "multiply_accumulates": 1000}


def test_fewer_frames_and_details_are_answered_where_they_are_asked_for(port):
    frames = np.zeros((2, 9, FRAME_SIZE), np.uint8)
    frames[:, 4] = 255  # the one in the middle
    body = npz(frames=frames, num_frames=[9, 2])
    plain = json.loads(ask(port, body, NPZ)[1])
    assert (plain.keys(), set(plain["videos"][0])) == ({"videos"}, {"id", "frames", "labels"})
    assert [video["frames"] for video in plain["videos"]] == [K, 2]

    told = json.loads(ask(port, body, NPZ, "/predict?frames=1&details=true")[1])
    first, second = told["videos"]
    assert (first["frames"], first["all_frames"], first["positions"]) == (1, 9, [4])
    assert (second["frames"], second["all_frames"], second["positions"]) == (1, 2, [1])
    assert (first["labels"][0]["score"], second["labels"][0]["score"]) == (1.0, 0.0)
    milliseconds = told["milliseconds"]
    parts = milliseconds["receiving_and_parsing"] + milliseconds["prediction"]
    assert parts == pytest.approx(milliseconds["all"], abs=0.2)

    told = json.loads(ask(port, body, NPZ, f"/predict?frames={K}&details=1")[1])
    assert [video["positions"] for video in told["videos"]] == [[1, 4, 7], [0, 1]]
    assert [video["labels"] for video in told["videos"]] == [video["labels"] for video in plain["videos"]]


def test_other_numbers_of_frames_are_refused(port):
    body = npz(frames=np.zeros((1, 2, FRAME_SIZE), np.uint8))
    for frames in (0, 2, -1, 10**6):
        status, text, _ = ask(port, body, NPZ, f"/predict?frames={frames}")
        assert (status, "trained for: 1, 3; not" in json.loads(text)["detail"]) == (400, True)
    with serving(parsers=1) as other:
        assert ask(other, body, NPZ, "/predict?frames=1")[0] == 400
        assert ask(other, body, NPZ, f"/predict?frames={K}")[0] == 200


def test_positions_are_not_told_where_frames_are_chosen_by_their_features():
    manifest = dataclasses.replace(MANIFEST, selection=FrameSelection(K, sampling="medoid"), frames=12)
    config = ServeConfig("", parsers=1)
    with running(create_app(manifest, mean_bytes, config), config) as port:
        body = npz(frames=np.zeros((1, 9, FRAME_SIZE), np.uint8))
        (video,) = json.loads(ask(port, body, NPZ, "/predict?details=true")[1])["videos"]
    assert (video["frames"], video["all_frames"], video["positions"]) == (K, None, None)


def test_messages_to_the_processes():
    assert parts_of(message("application/x-npz", None)) == ("application/x-npz", None)
    assert parts_of(message("multipart/form-data; boundary=1", 12)) == ("multipart/form-data; boundary=1", 12)
    options = Options(1.0, 300, 6, "exact", None, 1.0, False, 60.0, 0, 0, 1.0)
    assert options.with_frames(2).decoding.choice.student_frames == 2
    all_frames = dataclasses.replace(options, student_frames=None)
    assert all_frames.with_frames(2) == all_frames  # of which the model's are chosen later
