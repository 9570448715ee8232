"""The HTTP service: every form of request, bad ones, requests at the same time, too many of them."""

import gzip
import io
import json
import re
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from prometheus_client.parser import text_string_to_metric_families

from tests.deployment.exports import CLASSES, FRAME_SIZE, MAX_FRAMES, K, frames_of, videos
from tests.serving.services import JSON, NPZ, TFRECORD, ask, begun, mean_bytes, npz, one_video, serving, wait_for
from yt8m_distill import __version__
from yt8m_distill.data.frame_selection import frame_indices
from yt8m_distill.data.tfrecord import framed
from yt8m_distill.serving import access_log, receiving


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(max_batch=8, max_request_mb=0.05) as port:
        yield port


def expected_labels(frames: np.ndarray) -> list[tuple[int, str, float]]:
    """By hand: the uniform frames, their mean, its two best classes."""
    chosen = frames[frame_indices(len(frames), k=K)]
    scores = chosen[:, :CLASSES].sum(axis=0) / max(len(chosen), 1) / 255
    best = np.argsort(-scores, kind="stable")[:2]
    return [(i, "abcde"[i], pytest.approx(scores[i], abs=1e-6)) for i in best.tolist()]


def test_every_form_of_a_request_gets_the_same_labels(port):
    frames = [frames_of(record) for record in videos()]
    padded = np.zeros((len(frames), MAX_FRAMES, FRAME_SIZE), np.uint8)
    for row, each in zip(padded, frames, strict=True):
        row[: len(each)] = each
    named = [{"id": f"v{i}", "frames": each.tolist()} for i, each in enumerate(frames)]
    bodies = {
        TFRECORD: b"".join(framed(record.SerializeToString()) for record in videos()),
        JSON: json.dumps({"videos": named}).encode(),
        NPZ: npz(frames=padded, num_frames=np.array([len(each) for each in frames])),
    }
    for content_type, body in bodies.items():
        status, text, _ = ask(port, body, content_type)
        assert status == 200, text
        answered = json.loads(text)["videos"]
        prefix = "" if content_type == NPZ else "v"
        assert [each["id"] for each in answered] == [f"{prefix}{i}" for i in range(len(frames))]
        for each, own in zip(answered, frames, strict=True):
            assert each["frames"] == min(len(own), K)
            assert [tuple(label.values()) for label in each["labels"]] == expected_labels(own)


def test_top_k_of_a_request(port):
    status, text, _ = ask(port, one_video(7), NPZ, "/predict?top_k=4")
    assert status == 200
    assert len(json.loads(text)["videos"][0]["labels"]) == 4


RECORD = videos()[3].SerializeToString()
ARRAY_HEADER = "{'descr': %s, 'fortran_order': False, 'shape': %s}"


def npz_header(header: str) -> bytes:
    """An .npz file with an array "frames" of this header and no values."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        text = header.encode().ljust(63) + b"\n"
        archive.writestr("frames.npy", np.lib.format.magic(1, 0) + len(text).to_bytes(2, "little") + text)
    return file.getvalue()


@pytest.mark.parametrize(
    ("body", "content_type", "path", "status", "text"),
    [
        (b"{}", "text/plain", "/predict", 415, "Content-Type must be one of"),
        (b"{", JSON, "/predict", 400, "not valid JSON"),
        (b"[" * 20000, JSON, "/predict", 400, "not valid JSON"),
        (b'{"videos": []}', JSON, "/predict", 400, "the request contains no videos"),
        (b'{"videos": [{"frames": [[1, 2]]}]}', JSON, "/predict", 400, "video 0: frames must be a list of lists"),
        (b'{"videos": [{"frames": [[0,0,0,0,0,0,0,256]]}]}', JSON, "/predict", 400, "integers from 0 to 255"),
        (b'{"videos": [{"frames": [[0,0,0,0,0,0,0,0.5]]}]}', JSON, "/predict", 400, "integers from 0 to 255"),
        (b'{"videos": [{"frames": [[true,0,0,0,0,0,0,0]]}]}', JSON, "/predict", 400, "integers from 0 to 255"),
        (b'{"videos": [{"frames": [["text",0,0,0,0,0,0,0]]}]}', JSON, "/predict", 400, "integers from 0 to 255"),
        (b'{"videos": [{"frames": null}]}', JSON, "/predict", 400, "integers from 0 to 255"),
        (b'{"videos": [{"id": 1, "frames": []}]}', JSON, "/predict", 400, "the id must be a string"),
        (b"PK", NPZ, "/predict", 400, "the .npz file cannot be read"),
        (npz(frames=np.zeros((1, 2, 9), np.uint8)), NPZ, "/predict", 400, "uint8 (videos, frames, 8)"),
        (npz(frames=np.zeros((1, 2, 8), np.float32)), NPZ, "/predict", 400, "uint8 (videos, frames, 8)"),
        (npz(frames=np.zeros((9, 2, 8), np.uint8)), NPZ, "/predict", 400, "more than 8 videos"),
        (npz(frames=np.zeros((1, 2, 8), np.uint8), num_frames=np.array([3])), NPZ, "/predict", 400, "from 0 to 2"),
        (npz(frames=np.empty((2**40, 0, 8), np.uint8)), NPZ, "/predict", 400, "more than 8 videos"),
        (npz_header("{[]: 1}"), NPZ, "/predict", 400, "damaged header"),
        (npz_header("("), NPZ, "/predict", 400, "damaged header"),
        (npz_header(ARRAY_HEADER % ("()", "(1, 0, 8)")), NPZ, "/predict", 400, "damaged header"),
        (npz_header(ARRAY_HEADER % ("'|u1'", f"({10**30}, 0, 8)")), NPZ, "/predict", 400, "as its header says"),
        (framed(RECORD) + framed(b"\xff\xff"), TFRECORD, "/predict", 400, "record 2: it is no"),
        (framed(RECORD)[:-1], TFRECORD, "/predict", 400, "record 1: cut short"),
        (b"0" * 100, TFRECORD, "/predict", 400, "not a TFRecord file"),
        (gzip.compress(b"0" * 100, mtime=0), TFRECORD, "/predict", 400, "compressed (gzip); send it unpacked"),
        (b"0" * 60_000, TFRECORD, "/predict", 413, "larger than 0.05 MB"),
        (one_video(1), NPZ, "/predict?top_k=0", 400, "top_k must be from 1 to 5"),
        (one_video(1), NPZ, "/predict?top_k=some", 400, "top_k"),
    ],
)
def test_bad_requests_are_explained(port, body, content_type, path, status, text):
    got, answer, _ = ask(port, body, content_type, path)
    assert (got, text in json.loads(answer)["detail"]) == (status, True), answer


def test_requests_at_the_same_time_are_a_batch_and_too_many_are_refused():
    entered, released, batches = threading.Event(), threading.Event(), []

    def slow(frames, num_frames):
        batches.append(len(frames))
        entered.set()
        assert released.wait(30)
        return mean_bytes(frames, num_frames)

    def score(value: int) -> float:
        status, text, _ = ask(port, one_video(value), NPZ)
        assert status == 200
        return json.loads(text)["videos"][0]["labels"][0]["score"]

    with serving(slow, max_waiting=4) as port, ThreadPoolExecutor(5) as pool:
        scores = [pool.submit(score, 10)]
        assert entered.wait(30)
        scores += [pool.submit(score, value) for value in (20, 30, 40, 50)]
        wait_for(port, "waiting_videos 4.0")
        status, text, headers = ask(port, one_video(60), NPZ)
        assert (status, headers["retry-after"]) == (503, "1"), text
        released.set()
        assert [each.result() for each in scores] == pytest.approx([v / 255 for v in (10, 20, 30, 40, 50)])
        assert batches == [1, 4]
        metrics = ask(port, None, path="/metrics")[1]
    counts = {'requests_total{status="200"}': 5, 'requests_total{status="503"}': 1, "batches_total": 2}
    counts |= {"videos_total": 5, "request_seconds_count": 6, 'request_seconds_bucket{le="+Inf"}': 6}
    assert all(f"yt8m_{name} {count:.1f}\n" in metrics for name, count in counts.items()), metrics


def test_metrics_are_in_the_format_of_prometheus_and_of_one_service(port):
    with serving() as other:
        assert ask(other, one_video(7), NPZ)[0] == 200
        status, text, headers = ask(other, None, path="/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    types = {name: family.type for name, family in families.items() if not name.endswith("_created")}
    assert types == {
        "yt8m_model_info": "gauge",
        "yt8m_requests": "counter",
        "yt8m_request_seconds": "histogram",
        "yt8m_batches": "counter",
        "yt8m_videos": "counter",
        "yt8m_waiting_videos": "gauge",
        "yt8m_label_score": "histogram",
        "yt8m_top_score": "histogram",
        "yt8m_labels": "counter",
    }
    assert all(family.documentation for family in families.values())
    (sample,) = families["yt8m_model_info"].samples
    assert (sample.labels["engine"], sample.labels["precision"]) == ("onnxruntime", "int8")
    (sample,) = families["yt8m_requests"].samples
    assert (sample.name, sample.labels, sample.value) == ("yt8m_requests_total", {"status": "200"}, 1.0)


def test_a_client_that_leaves_is_not_waited_for():
    entered, released, batches = threading.Event(), threading.Event(), []

    def slow(frames, num_frames):
        batches.append(int(frames[0, 0, 0]))
        entered.set()
        assert released.wait(30)
        return mean_bytes(frames, num_frames)

    with serving(slow) as port, ThreadPoolExecutor(1) as pool:
        begun(port, one_video(1), 5).close()
        wait_for(port, 'requests_total{status="499"} 1.0')
        first = pool.submit(ask, port, one_video(2), NPZ)
        assert entered.wait(30)
        left = begun(port, one_video(3), len(one_video(3)))
        wait_for(port, "waiting_videos 1.0")
        left.close()
        wait_for(port, 'requests_total{status="499"} 2.0')
        released.set()
        assert first.result()[0] == 200
        assert ask(port, one_video(4), NPZ)[0] == 200
    assert batches == [2, 4]


def test_no_more_is_received_at_a_time_than_fits(monkeypatch):
    monkeypatch.setattr(receiving, "BODIES_AT_ONCE", 1)
    body = npz(frames=np.zeros((1, 4000, FRAME_SIZE), np.uint8))
    with serving(max_request_mb=0.05) as port:
        first = begun(port, body, 30_000)
        answers = []
        while 503 not in answers:  # until the service has got the first's bytes
            answers.append(ask(port, body, NPZ)[0])
            assert len(answers) < 1000
        first.send(body[30_000:])
        assert first.getresponse().status == 200
        first.close()
        assert ask(port, body, NPZ)[0] == 200
    assert set(answers) <= {200, 503}


def test_the_interface_is_described_with_examples_that_work(port):
    described = json.loads(ask(port, None, path="/openapi.json")[1])
    route = described["paths"]["/predict"]["post"]
    bodies = route["requestBody"]["content"]
    assert set(bodies) == {JSON, NPZ, TFRECORD}
    assert all(body["example"] and body["schema"]["type"] for body in bodies.values())
    frame = bodies[JSON]["schema"]["properties"]["videos"]["items"]["properties"]["frames"]["items"]
    assert (frame["minItems"], frame["maxItems"], frame["items"]["maximum"]) == (FRAME_SIZE, FRAME_SIZE, 255)
    assert set(route["responses"]) == {"200", "400", "408", "413", "415", "503", "default"}
    status, text, _ = ask(port, json.dumps(bodies[JSON]["example"]).encode(), JSON)
    assert status == 200
    shown = route["responses"]["200"]["content"][JSON]["example"]["videos"][0]
    (video,) = json.loads(text)["videos"]
    assert (set(video), video["id"], video["frames"]) == (set(shown), shown["id"], shown["frames"])
    assert set(video["labels"][0]) == set(shown["labels"][0])
    health = described["components"]["schemas"]["Health"]["properties"]
    assert set(json.loads(ask(port, None, path="/health")[1])) == set(health)


def test_health_identifies_the_model_and_the_package(port):
    health = json.loads(ask(port, None, path="/health")[1])
    expected = {"status": "ok", "model": "NeXtVLAD", "which": "student", "frames": str(K)}
    file = {"sha256": "0123", "engine": "onnxruntime", "precision": "int8"}
    assert health == expected | file | {"version": __version__}


def test_each_request_is_a_line_of_the_log(monkeypatch):
    lines = []
    monkeypatch.setattr(access_log.log, "info", lambda form, *values: lines.append(form % values))

    def wait_for(number: int):  # of lines, which are written after the answers
        end = time.monotonic() + 10
        while len(lines) < number and time.monotonic() < end:
            time.sleep(0.01)

    with serving() as port:
        ask(port, one_video(7), NPZ, "/predict?top_k=1")
        wait_for(1)
        ask(port, b"{}", "text/plain")
        wait_for(2)
        ask(port, None, path="/a%0ab%20" + "c" * 5000)
        wait_for(3)
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"\x00\r\n\r\n")
            connection.recv(100)
        wait_for(4)
    form = r"127\.0\.0\.1 (.*) (\d+) (\d+) \d+\.\d"
    (predicted, refused, missing, bad) = (re.fullmatch(form, line).groups() for line in lines)
    assert predicted[:2] == ("POST /predict?top_k=1", "200")
    assert int(predicted[2]) > len('{"videos":[]}')
    assert refused[:2] == ("POST /predict", "415")
    assert missing[:2] == ("GET " + ("/a%0ab%20" + "c" * 5000)[:200], "404")
    assert bad[:2] == ("- -", "400")


def test_the_log_of_requests_can_be_turned_off(monkeypatch):
    monkeypatch.setattr(access_log.log, "info", lambda *_: pytest.fail("a line"))
    with serving(access_log=False) as port:
        assert ask(port, one_video(7), NPZ)[0] == 200


def test_labels_and_scores_in_answers_are_counted():
    with serving() as port:
        for value in (50, 50, 255):
            assert ask(port, one_video(value), NPZ)[0] == 200  # all classes equal, of which the first two are answered
        families = text_string_to_metric_families(ask(port, None, path="/metrics")[1])
        samples = {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}
    assert samples["yt8m_labels_total", "0", "a"] == samples["yt8m_labels_total", "1", "b"] == 3
    assert ("yt8m_labels_total", "2", "c") not in samples
    counts = [samples["yt8m_label_score_bucket", bound] for bound in ("0.1", "0.2", "0.95", "1.0", "+Inf")]
    assert counts == [0, 4, 4, 6, 6]
    assert samples["yt8m_label_score_sum",] == pytest.approx(2 * (50 + 50 + 255) / 255)
    assert (samples["yt8m_top_score_count",], samples["yt8m_top_score_bucket", "0.2"]) == (3, 2)


def in_floats(record: tf.train.SequenceExample) -> tf.train.SequenceExample:
    """A record with the numbers that its bytes stand for; the process that reads it has no memory for TensorFlow."""
    floats = tf.train.SequenceExample(context=record.context)
    for name, frames in record.feature_lists.feature_list.items():
        rows = floats.feature_lists.feature_list[name].feature
        for frame in frames.feature:
            numbers = np.frombuffer(frame.bytes_list.value[0], np.uint8) * (4 / 255) - 2
            rows.add().float_list.value.extend(numbers)
    return floats


def test_records_of_floats_are_read_as_bytes_in_the_ranges_of_the_model(port):
    answers = []
    for form in (lambda record: record, in_floats):
        body = b"".join(framed(form(record).SerializeToString()) for record in videos())
        status, text, _ = ask(port, body, TFRECORD)
        assert status == 200, text
        answers.append(json.loads(text))
    assert answers[0] == answers[1]


def test_labels_of_records_do_not_matter(port):
    record = videos()[3]
    record.context.feature["labels"].int64_list.value[:] = [CLASSES + 3]
    assert ask(port, framed(record.SerializeToString()), TFRECORD)[0] == 200


def test_a_failure_of_the_model_is_not_the_end():
    def failing(frames, num_frames):
        if frames[0, 0, 0] == 13:
            raise RuntimeError("unlucky")
        return mean_bytes(frames, num_frames)

    with serving(failing) as port:
        assert [ask(port, one_video(value), NPZ)[0] for value in (1, 13, 2)] == [200, 500, 200]
        assert json.loads(ask(port, None, path="/health")[1])["status"] == "ok"
