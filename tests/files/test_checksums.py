"""A flipped bit in a file is found by the checksums beside it."""

import hashlib
import json

import pytest

from yt8m_distill.errors import UserError
from yt8m_distill.files.checksums import check_file, write_checksums


def test_every_flipped_bit_is_found(tmp_path):
    path, stored = tmp_path / "weights.h5", tmp_path / "checksums.json"
    path.write_bytes(bytes(range(20)))
    (tmp_path / "logs.json").touch()
    write_checksums(tmp_path, leave_out=["logs.json"])
    assert json.loads(stored.read_text()) == {"weights.h5": hashlib.sha256(bytes(range(20))).hexdigest()}
    check_file(path, "Train it again")
    for file in (path, stored):
        content = bytearray(file.read_bytes())
        for place in range(8 * len(content)):
            content[place // 8] ^= 1 << place % 8
            file.write_bytes(content)
            if file == path or json_differs(stored, path):
                with pytest.raises(UserError, match=r"weights\.h5|checksums\.json"):
                    check_file(path, "Train it again")
            content[place // 8] ^= 1 << place % 8
        file.write_bytes(content)
    check_file(path, "Train it again")


def json_differs(stored, path) -> bool:
    """Whether the checksum of the file is another one; spaces and line ends may be flipped into each other."""
    try:
        return json.loads(stored.read_text()).get(path.name) != hashlib.sha256(path.read_bytes()).hexdigest()
    except ValueError:
        return True


def test_messages(tmp_path):
    path = tmp_path / "weights.h5"
    path.write_bytes(b"weights")
    check_file(path, "Train it again")  # a folder of an earlier version has no checksums
    write_checksums(tmp_path)
    path.write_bytes(b"wEights")
    with pytest.raises(UserError, match=r"weights\.h5' is damaged: .* Train it again\. If you have .*delete"):
        check_file(path, "Train it again")
    (tmp_path / "checksums.json").write_text("{}")
    with pytest.raises(UserError, match=r"weights\.h5' is not among the files of .*checksums\.json"):
        check_file(path, "Train it again")
    path.unlink()
    write_checksums(tmp_path)
    with pytest.raises(UserError, match=r"weights\.h5' is not among|cannot be read"):
        check_file(path, "Train it again")
