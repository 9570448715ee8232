"""Requests of people who mean harm, and of some who do not: every kind, drawn by a seed, and what is answered."""

import contextlib
import functools
import http.client
import io
import json
import random
import socket
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from yt8m_distill.data.tfrecord import framed

JSON, NPZ, TFRECORD = "application/json", "application/x-npz", "application/x-tfrecord"
MOST_VIDEOS, LARGE = 64, 60_000_000
TIMEOUT = 120.0
EMPTY_FEATURES = (1000, 100_000, 20_000_000)
MANY_FILES = ((100_000, False), (220_000, True), (500, True))  # how many, and whether they are arrays
BOMBS = (10**6, 10**9)  # bytes, unpacked
NO_ANSWER = 0  # the connection was closed


@dataclass(frozen=True)
class Service:
    """What clients know of the service that they attack.

    Attributes:
        port: on this machine.
        frame_size: values of a frame.
        classes: of the model.
        patience: seconds after which it closes idle connections.
    """

    port: int
    frame_size: int
    classes: int
    patience: float


@dataclass(frozen=True)
class Attack:
    """One request as bytes.

    Attributes:
        head: everything before the body.
        body: may be large.
        pause: seconds between its first bytes and the others, of which one at a time is sent.
        reads: whether the client reads the answer.
    """

    head: bytes
    body: bytes = b""
    pause: float = 0.0
    reads: bool = True


def post(body: bytes, content_type: str, path: str = "/predict", headers: str = "", **options) -> Attack:
    length = "" if "Transfer-Encoding" in headers or "Content-Length" in headers else f"Content-Length: {len(body)}\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n{length}{headers}\r\n"
    return Attack(head.encode(), body, **options)


# --- bodies ---


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def honest_npz(rng: random.Random, service: Service) -> Attack:
    frames = np.full((rng.randint(1, 8), rng.randint(1, 40), service.frame_size), rng.randrange(256), np.uint8)
    return post(npz(frames=frames), NPZ)


def honest_json(rng: random.Random, service: Service) -> Attack:
    frames = [[rng.randrange(256)] * service.frame_size] * rng.randint(1, 20)
    return post(json.dumps({"videos": [{"id": "v", "frames": frames}]}).encode(), JSON)


def largest_answer(rng: random.Random, service: Service) -> Attack:
    body = npz(frames=np.zeros((MOST_VIDEOS, 1, service.frame_size), np.uint8))
    return post(body, NPZ, f"/predict?top_k={service.classes}", reads=rng.random() < 0.5)


def damaged(rng: random.Random, service: Service) -> Attack:
    """A body with some bytes changed, or cut short."""
    good = rng.choice((honest_npz, honest_json))(rng, service)
    content_type = NPZ if b"npz" in good.head else JSON
    body = bytearray(good.body)
    for _ in range(rng.randint(1, 20)):
        body[rng.randrange(len(body))] = rng.randrange(256)
    return post(bytes(body[: rng.choice((len(body), rng.randrange(len(body))))]), content_type)


def damaged_records(rng: random.Random, service: Service) -> Attack:
    data = framed(rng.randbytes(rng.randint(0, 3000))) * rng.randint(1, 50)
    return post(data[: rng.choice((len(data), rng.randrange(len(data))))], TFRECORD)


def empty_features(rng: random.Random, service: Service) -> Attack:
    """A record of very many features without content."""
    return post(_empty_features(rng.choice(EMPTY_FEATURES)), TFRECORD)


@functools.cache
def _empty_features(count: int) -> bytes:
    rows = b"\x0a\x00" * count
    entry = b"\x0a\x03rgb\x12" + _varint(len(rows)) + rows
    lists = b"\x0a" + _varint(len(entry)) + entry
    return framed(b"\x12" + _varint(len(lists)) + lists)


def _varint(number: int) -> bytes:
    low = []
    while number > 127:
        low.append(number & 127 | 128)
        number >>= 7
    return bytes([*low, number])


def wrong_json(rng: random.Random, service: Service) -> Attack:
    frames = [[0] * service.frame_size]
    value = rng.choice((1e300, -1, 256, 10**400, None, "a" * 9999))
    bad = rng.choice(
        [
            {"frames": [[value] * service.frame_size]},
            {"frames": "QUJD" * rng.choice((10, 1_000_000))},  # base64
            {"frames": frames, "id": rng.choice(("i" * 2_000_000, 7, ["v"]))},
            {"frames": frames * 3000, "id": rng.choice(("v", "i" * 2000))},
            {"frames": {}},
        ]
    )
    videos = rng.choice(([bad], [bad] * 2 + [{}] * 100, bad))
    return post(json.dumps({"videos": videos}).encode(), JSON)


LARGE_JSON: dict[str, Callable[[], bytes]] = {
    "lists": lambda: b'{"videos":[' + b"[]," * (LARGE // 3) + b"[]]}",
    "nested lists": lambda: b"[" * LARGE,
    "nested objects": lambda: b'{"a":' * (LARGE // 5),
    "objects": lambda: b'{"videos":[' + b"{}," * (LARGE // 3) + b"{}]}",
    "keys": lambda: b"{" + b",".join(b'"%d":0' % i for i in range(LARGE // 11)) + b"}",
    "floats": lambda: b'{"videos":[' + b"1e9," * (LARGE // 4) + b"1]}",
    "numbers": lambda: b'{"videos":[{"frames":[[' + b"999," * (LARGE // 4) + b"1]]}]}",
    "digits": lambda: b'{"videos":[' + b"9" * LARGE + b"]}",
    "text": lambda: b'{"videos":["' + b"a" * LARGE + b'"]}',
    "escapes": lambda: b'{"videos":["' + rb"\u1234" * (LARGE // 6) + b'"]}',
    "spaces": lambda: b" " * LARGE,
}


def large_json(rng: random.Random, service: Service) -> Attack:
    return post(_large_json(rng.choice(list(LARGE_JSON))), JSON)


@functools.cache
def _large_json(kind: str) -> bytes:
    return LARGE_JSON[kind]()


def many_files(rng: random.Random, service: Service) -> Attack:
    """An `.npz` file of very many arrays or empty files."""
    return post(_many_files(*rng.choice(MANY_FILES)), NPZ)


@functools.cache
def _many_files(count: int, arrays: bool) -> bytes:
    file = io.BytesIO()
    if arrays:
        np.save(file, np.zeros(1, np.uint8))
    content = file.getvalue()
    checksum, parts, directory, offset = zlib.crc32(content), [], [], 0
    for number in range(count):
        name = b"%06d.npy" % number
        sizes = struct.pack("<IIIHH", checksum, len(content), len(content), len(name), 0)
        parts.append(b"PK\3\4" + struct.pack("<HHHHH", 20, 0, 0, 0, 0x21) + sizes + name + content)
        place = struct.pack("<HHHII", 0, 0, 0, 0, offset)
        directory.append(b"PK\1\2" + struct.pack("<HHHHHH", 20, 20, 0, 0, 0, 0x21) + sizes + place + name)
        offset += len(parts[-1])
    size, shown = sum(map(len, directory)), min(count, 0xFFFF)
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, shown, shown, size, offset, 0)
    return b"".join((*parts, *directory, end))


def zip_bomb(rng: random.Random, service: Service) -> Attack:
    return post(_zip_bomb(rng.choice(BOMBS)), NPZ)


@functools.cache
def _zip_bomb(num_bytes: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("frames.npy", "w") as array:
        for _ in range(num_bytes // 10**6):
            array.write(bytes(10**6))
    return file.getvalue()


def false_header(rng: random.Random, service: Service) -> Attack:
    """An array whose header promises other values than there are, or is costly to read."""
    shape = rng.choice(("(1, 1000000000, 1152)", "(10**9,)", "(" * 5000, "(-1, 2, 3)", "1" * 9000, "[0]*10**9"))
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("frames.npy", np.lib.format.magic(1, 0) + len(text).to_bytes(2, "little") + text + bytes(99))
    return post(file.getvalue(), NPZ)


# --- HTTP ---


def wrong_http(rng: random.Random, service: Service) -> Attack:
    head = rng.choice(
        [
            b"\x16\x03\x01" + rng.randbytes(200),
            b"GET / HTTP/9.9\r\n\r\n",
            b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
            b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 40_000 + b"\r\n",
            b"GET /health HTTP/1.1\r\nHost: a\r\na: " + b"b" * 1_000_000 + b"\r\n\r\n",
            b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /predict\r\n\r\n",
        ]
    )
    return Attack(head)


def wrong_request(rng: random.Random, service: Service) -> Attack:
    method, path = rng.choice(("GET", "PUT", "DELETE", "POST", "X" * 99)), rng.choice(("/predict", "/%00", "/a/../b"))
    query = rng.choice(("", "?top_k=-1", "?top_k=" + "9" * 4000, "?top_k=1&top_k=x", "?" + "a" * 5000))
    content_type = rng.choice(("text/plain", JSON, NPZ, TFRECORD, "x" * 5000))
    attack = post(rng.randbytes(rng.randrange(1000)), content_type, path + query)
    return Attack(attack.head.replace(b"POST", method.encode(), 1), attack.body)


def too_large(rng: random.Random, service: Service) -> Attack:
    return post(bytes(70_000_000), rng.choice((JSON, NPZ)))


def tiny_chunks(rng: random.Random, service: Service) -> Attack:
    return post(b"1\r\na\r\n" * 1_000_000 + b"0\r\n\r\n", JSON, headers="Transfer-Encoding: chunked\r\n")


def slow_body(rng: random.Random, service: Service) -> Attack:
    return post(bytes(1000), NPZ, pause=service.patience / 4)


def slow_head(rng: random.Random, service: Service) -> Attack:
    return Attack(b"GET /health HT", b"TP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 100, pause=service.patience / 10)


def idle(rng: random.Random, service: Service) -> Attack:
    return Attack(b"")


@dataclass(frozen=True)
class Kind:
    """A kind of request.

    Attributes:
        make: draws one.
        share: how often it is drawn, compared with others.
        closed: whether the connection may be closed without an answer.
    """

    make: Callable[[random.Random, Service], Attack]
    share: float
    closed: bool = False


KINDS = {
    "honest .npz": Kind(honest_npz, 15),
    "honest JSON": Kind(honest_json, 5),
    "largest answer": Kind(largest_answer, 2, closed=True),
    "damaged .npz or JSON": Kind(damaged, 20),
    "damaged records": Kind(damaged_records, 12),
    "records of empty features": Kind(empty_features, 1),
    "wrong JSON": Kind(wrong_json, 10),
    "60 MB of JSON": Kind(large_json, 2),
    ".npz of many files": Kind(many_files, 1),
    "zip bombs": Kind(zip_bomb, 3),
    "false array headers": Kind(false_header, 8),
    "not HTTP": Kind(wrong_http, 8),
    "wrong methods, paths, types": Kind(wrong_request, 10),
    "too large": Kind(too_large, 0.3),
    "tiny chunks": Kind(tiny_chunks, 0.7),
    "slow bodies": Kind(slow_body, 0.7),
    "slow headers": Kind(slow_head, 0.7, closed=True),
    "nothing sent": Kind(idle, 0.6, closed=True),
}


def prepare():
    """Makes the largest bodies, once for all requests of this process."""
    for name in LARGE_JSON:
        _large_json(name)
    for choice in MANY_FILES:
        _many_files(*choice)
    for num_bytes in BOMBS:
        _zip_bomb(num_bytes)
    for count in EMPTY_FEATURES:
        _empty_features(count)


# --- clients ---


@dataclass
class Answers:
    """What the requests of each kind got.

    Attributes:
        statuses: by kind, how often each status was answered; `NO_ANSWER`: the connection was closed.
    """

    statuses: dict[str, dict[int, int]] = field(default_factory=dict)

    def add(self, kind: str, status: int, count: int = 1):
        counts = self.statuses.setdefault(kind, {})
        counts[status] = counts.get(status, 0) + count

    def merge(self, other: "Answers"):
        for kind, counts in other.statuses.items():
            for status, count in counts.items():
                self.add(kind, status, count)

    def wrong(self) -> int:
        """Answers that no service should give: others than 200, 4xx and 503, or none where there should be one."""
        return sum(
            count
            for kind, counts in self.statuses.items()
            for status, count in counts.items()
            if not (status in (200, 503) or 400 <= status < 500 or (status == NO_ANSWER and KINDS[kind].closed))
        )


def attack(service: Service, seed: int, number: int) -> tuple[str, int]:
    """Sends one request, which the seed and its number decide; returns its kind and the status."""
    rng = random.Random(f"{seed} {number}")
    kind = rng.choices(list(KINDS), [each.share for each in KINDS.values()])[0]
    return kind, send(service.port, KINDS[kind].make(rng, service), service.patience)


def send(port: int, request: Attack, patience: float) -> int:
    """The status of the answer; `NO_ANSWER`: the connection was closed without one."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
        with contextlib.suppress(OSError):  # refused before its end; the answer may still be there
            _send_all(connection, request)
        if not request.reads:
            time.sleep(2 * patience)
        try:
            response = http.client.HTTPResponse(connection)
            response.begin()
            response.read()
        except (OSError, http.client.HTTPException):
            return NO_ANSWER
        return response.status


def _send_all(connection: socket.socket, request: Attack):
    connection.sendall(request.head)
    if not request.pause:
        connection.sendall(request.body)
        return
    for byte in request.body:
        connection.sendall(bytes([byte]))
        time.sleep(request.pause)
