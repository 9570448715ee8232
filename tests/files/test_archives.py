"""Packed models from elsewhere: only regular files of a run come out of an archive, within bounds."""

import gzip
import pathlib
import resource
import tarfile
import time

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.attempts import attempt
from tests.fuzz.records import CHANGES, mutated
from yt8m_distill.errors import UserError
from yt8m_distill.files import atomic
from yt8m_distill.files.archives import unpack
from yt8m_distill.runs.packing import PACKED_FILES as NAMES

MOST_MEMORY_MB = 100  # that a refusal may take
MOST_SECONDS = 20


def _member(name: str, content: bytes = b"{}", **fields) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    return member, content


def _archive(path: pathlib.Path, *members: tuple[tarfile.TarInfo, bytes], end: bytes = bytes(1024)):
    """An archive by hand: `tarfile` would not write sizes that are not true."""
    blocks = []
    for member, content in members:
        blocks += [member.tobuf(tarfile.GNU_FORMAT), content, bytes(-len(content) % 512)]
    path.write_bytes(gzip.compress(b"".join([*blocks, end]), compresslevel=1))


def _pax_header(size: int) -> tuple[tarfile.TarInfo, bytes]:
    return _member("././@PaxHeader", bytes(size), type=tarfile.XHDTYPE)


HOSTILE_ARCHIVES = {
    "a path upwards": [_member("../outside/config.json")],
    "a path upwards in the middle": [_member("best/../../outside/config.json")],
    "an absolute path": [_member("/tmp/config.json")],
    "a link": [_member("config.json", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")],
    "a folder that is a link": [_member("best", b"", type=tarfile.SYMTYPE, linkname="../outside")],
    "a hard link": [_member("config.json", b"", type=tarfile.LNKTYPE, linkname="/etc/passwd")],
    "a pipe": [_member("config.json", b"", type=tarfile.FIFOTYPE)],
    "a device": [_member("config.json", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=5)],
    "a folder of that name": [_member("config.json", b"", type=tarfile.DIRTYPE)],
    "a file twice": [_member("config.json"), _member("config.json")],
    "a pickle": [_member("config.json"), _member("best/student.weights.pkl")],
    "a Keras file": [_member("config.json"), _member("best/student.keras")],
    "a sparse file": [_member("config.json", b"", type=tarfile.GNUTYPE_SPARSE, size=0)],
    "terabytes by the header": [_member("config.json", b"{}", size=8 << 40)],
    "more than is there": [_member("config.json", b"{}", size=1 << 20)],
    "a long header": [_pax_header(64 << 20), _member("config.json")],
    "a thousand headers": [*[_pax_header(0)] * 3000, _member("config.json")],
    "a long name": [_member("././@LongLink", b"x" * (4 << 20), type=tarfile.GNUTYPE_LONGNAME), _member("x")],
    "zeros without end": [_member("best/student.weights.h5", bytes(80 << 20))],
}


def test_plain_files_are_written(tmp_path):
    contents = {"config.json": b"{}", "best/student.weights.h5": bytes(range(256)) * 1000}
    _archive(tmp_path / "model.tgz", *(_member(name, content) for name, content in contents.items()))
    (tmp_path / "folder").mkdir()
    unpack(tmp_path / "model.tgz", tmp_path / "folder", NAMES)
    assert {name: (tmp_path / "folder" / name).read_bytes() for name in contents} == contents


@pytest.mark.parametrize("members", HOSTILE_ARCHIVES.values(), ids=HOSTILE_ARCHIVES)
def test_hostile_archives(tmp_path, members):
    """Refused in time and memory, without writing large files or outside of the folder."""
    _archive(tmp_path / "model.tgz", *members)
    folder = tmp_path / "inside" / "folder"
    folder.mkdir(parents=True)
    begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"model\.tgz' is not a (model packed by|packed model)"):
        unpack(tmp_path / "model.tgz", folder, NAMES)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MOST_MEMORY_MB
    assert time.monotonic() - begin < MOST_SECONDS
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "model.tgz"]
    assert all(path.relative_to(folder).as_posix() == "config.json" for path in written)
    assert sum(path.stat().st_size for path in written) < 100
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_other_files(tmp_path, content):
    (tmp_path / "model.tgz").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.tgz' is not a model packed by"):
        unpack(tmp_path / "model.tgz", tmp_path / "folder", NAMES)


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    _archive(tmp_path / "model.tgz", _member("config.json", bytes(2_000_000)))
    usage = atomic.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
    with pytest.raises(UserError, match=r"'config\.json' of the packed model .* 1\.0 MB are free"):
        unpack(tmp_path / "model.tgz", tmp_path, NAMES)


@settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(changes=CHANGES)
def test_damaged_archives(tmp_path_factory, changes):
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / "model.tgz"
    _archive(path, _member("config.json", b"{}"))
    raw = gzip.decompress(path.read_bytes())
    for number, content in enumerate((mutated(path.read_bytes(), changes), gzip.compress(mutated(raw, changes)))):
        path.write_bytes(content)
        (folder / str(number)).mkdir()
        _, message = attempt(lambda: unpack(path, folder / str(number), NAMES))  # noqa: B023
        assert message is None or "model.tgz" in message


def test_every_flipped_bit_of_the_content_is_found(tmp_path):
    content = bytes(range(256)) * 4
    _archive(tmp_path / "model.tgz", _member("config.json"), _member("best/student.weights.h5", content))
    packed = (tmp_path / "model.tgz").read_bytes()
    for place in range(8 * len(packed)):
        flipped = bytearray(packed)
        flipped[place // 8] ^= 1 << place % 8
        (tmp_path / "model.tgz").write_bytes(flipped)
        folder = tmp_path / str(place)
        folder.mkdir()
        _, message = attempt(lambda: unpack(tmp_path / "model.tgz", folder, NAMES))  # noqa: B023
        if message is None:  # not all bits say something about the content: the time, codes that do not occur
            assert (folder / "config.json").read_bytes() == b"{}"
            assert (folder / "best" / "student.weights.h5").read_bytes() == content
