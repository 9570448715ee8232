"""Connections that idle, dribble, or cost more than they bring: closed, and never in the way of others."""

import http.client
import json
import socket
import threading
import time

import numpy as np
import pytest

from tests.deployment.exports import FRAME_SIZE
from tests.serving.services import JSON, NPZ, ask, begun, mean_bytes, npz, one_video, serving, wait_for
from yt8m_distill.serving.connections import ARRIVAL_SECONDS

SHORT = 0.4  # seconds


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 30)


def seconds_until_closed(connection: socket.socket, dribble: bytes = b"") -> float:
    """Until the service closes, while one byte after the other is sent."""
    start = time.monotonic()
    connection.settimeout(0.05)
    for byte in (*dribble, *[None] * 600):
        try:
            if byte is not None:
                connection.sendall(bytes([byte]))
            if connection.recv(1000) == b"":
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    else:
        raise AssertionError("it stays open")
    return time.monotonic() - start


@pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nHost: here\r\n" + b"a: b\r\n" * 100])
def test_connections_without_a_request_are_closed(sent):
    with serving(idle_timeout=SHORT) as port, connected(port) as connection:
        assert SHORT * 0.9 <= seconds_until_closed(connection, sent) < SHORT + 2


def test_connections_are_closed_some_time_after_an_answer():
    with serving(idle_timeout=SHORT) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.connect()
        kept = connection.sock
        for _ in range(3):  # more than the time in all
            time.sleep(SHORT / 2)
            connection.request("GET", "/health")
            assert connection.getresponse().read()
        assert connection.sock is kept
        assert SHORT * 0.9 <= seconds_until_closed(kept) < SHORT + 2


def test_slow_bodies_are_answered_with_408():
    with serving(body_timeout=SHORT) as port:
        connection = begun(port, one_video(1), 5)
        start = time.monotonic()
        response = connection.getresponse()
        assert (response.status, SHORT * 0.9 <= time.monotonic() - start < SHORT + 2) == (408, True)
        assert json.loads(response.read())["detail"] == "the request was not received within 0.4 seconds"
        assert response.getheader("connection") == "close"


def test_a_client_that_does_not_read_its_answer_is_cut_off():
    videos = [{"id": f"{index:0>1000}", "frames": []} for index in range(20_000)]
    with serving(max_batch=len(videos), body_timeout=1, idle_timeout=1) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        body = json.dumps({"videos": videos}).encode()
        connection.request("POST", "/predict", body, {"Content-Type": JSON})
        response = connection.getresponse()  # it has begun to answer
        time.sleep(3)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()
        status, text, _ = ask(port, body, JSON)  # who reads gets all
        assert (status, len(json.loads(text)["videos"])) == (200, len(videos))


def test_idle_connections_make_room_for_others():
    with serving(max_connections=3) as port:
        idle = [connected(port) for _ in range(8)]
        time.sleep(2 * ARRIVAL_SECONDS)
        assert ask(port, None, path="/health")[0] == 200
        assert ask(port, one_video(1), NPZ)[0] == 200
        assert seconds_until_closed(idle[0]) < 2
        for connection in idle:
            connection.close()


def test_too_many_requests_at_a_time_are_refused_and_health_is_answered():
    entered, released = threading.Event(), threading.Event()

    def slow(frames: np.ndarray, num_frames: np.ndarray) -> np.ndarray:
        entered.set()
        assert released.wait(30)
        return mean_bytes(frames, num_frames)

    with serving(slow, max_connections=2) as port:
        waiting = [begun(port, one_video(1), len(one_video(1)))]
        assert entered.wait(30)
        waiting.append(begun(port, one_video(2), len(one_video(2))))
        wait_for(port, "waiting_videos 1.0")
        status, text, headers = ask(port, one_video(3), NPZ)
        assert (status, headers["retry-after"], "too many connections" in text) == (503, "1", True)
        assert ask(port, None, path="/health")[0] == 200
        released.set()
        assert [connection.getresponse().status for connection in waiting] == [200, 200]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"1\r\na\r\n" * 500_000,
        b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 100_000 + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    ],
    ids=["tiny chunks", "many headers", "long path", "negative length"],
)
def test_costly_or_false_http_is_answered_with_400(request_bytes):
    with serving() as port, connected(port) as connection:
        start = time.monotonic()
        connection.sendall(request_bytes)
        assert connection.recv(1000).startswith(b"HTTP/1.1 400")
        assert time.monotonic() - start < 5


def test_chunks_of_a_usual_size_are_read():
    body = npz(frames=np.zeros((1, 4000, FRAME_SIZE), np.uint8))
    with serving() as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        pieces = (body[begin : begin + 100] for begin in range(0, len(body), 100))
        connection.request("POST", "/predict", pieces, {"Content-Type": NPZ}, encode_chunked=True)
        assert connection.getresponse().status == 200


def test_the_answer_to_a_request_that_is_too_large_arrives():
    with serving(max_request_mb=0.05) as port:
        for _ in range(5):
            assert ask(port, bytes(20_000_000), NPZ)[0] == 413
