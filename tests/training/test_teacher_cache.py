"""What a teacher cache stores of a batch, and that one process writes it; trainings with one are in end_to_end."""

import dataclasses

import numpy as np
import pytest

from yt8m_distill.errors import UserError
from yt8m_distill.training import teacher_cache
from yt8m_distill.training.teacher_cache import Contents, TeacherCache

CONTENTS = Contents("t", ("rgb",), (4,), 300, classes=5, top=2, dim=None, files=[], fraction=1.0)


def test_values_beyond_float16_are_refused():
    contents = dataclasses.replace(CONTENTS, classes=3, top=None, dim=2)
    outputs = {"representation": np.full((1, 2), -7e4), "predictions": np.zeros((1, 3))}
    with pytest.raises(UserError, match="beyond 65504"):
        contents.rows_of(np.zeros(1, "<u8"), outputs)


def test_top_classes_and_the_mean_of_the_others():
    scores = np.array([[0.1, 0.5, 0.02, 0.9, 0.03], [0.2] * 5], np.float32)
    rows = CONTENTS.rows_of(np.zeros(2, "<u8"), {"predictions": scores})
    np.testing.assert_array_equal(rows[1], [[3, 1], [0, 1]])
    np.testing.assert_allclose(rows[2], [[0.9, 0.5], [0.2, 0.2]], rtol=1e-3)
    np.testing.assert_allclose(rows[3], [[0.05], [0.2]], rtol=1e-3)
    assert CONTENTS.bytes_per_video() == 8 + 2 * (4 + 2) + 2


def test_a_flipped_bit_is_found(tmp_path):
    contents = dataclasses.replace(CONTENTS, dim=3, videos=4, with_checksums=True)
    ids, rng = [b"a", b"b", b"c", b"d"], np.random.default_rng(0)
    outputs = {name: rng.random((4, size), np.float32) for name, size in (("representation", 3), ("predictions", 5))}
    for name, rows in zip(contents.arrays(), contents.rows_of(teacher_cache._keys_of(ids), outputs), strict=True):
        rows.tofile(tmp_path / f"{name}.bin")
    stored = TeacherCache(tmp_path, contents).of(ids)["teacher_representation"]
    np.testing.assert_allclose(stored, outputs["representation"], atol=1e-3)
    for path in tmp_path.iterdir():
        content = bytearray(path.read_bytes())
        for place in range(0, 8 * len(content), 5):
            content[place // 8] ^= 1 << place % 8
            path.write_bytes(content)
            with pytest.raises(UserError, match=r"is damaged|is not in the teacher cache"):
                TeacherCache(tmp_path, contents).of(ids)
            content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
