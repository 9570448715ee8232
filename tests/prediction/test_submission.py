"""The submission file against the starter code's bytes, and what people get to read."""

import gzip
import math
import pathlib

import numpy as np
import pytest

from tests.helpers import load_case, shared_path
from yt8m_distill.errors import UserError
from yt8m_distill.prediction.submission import HEADER, PredictionsWriter, format_readable, format_row
from yt8m_distill.prediction.vocabulary import load_vocabulary

CASES = [("ids", "predictions", "csv_top20"), ("ids_3862", "predictions_3862", "csv_3862_top20")]


def case_file(keys):
    case = load_case("d_csv_video")
    return case[keys[0]], case[keys[1]], case[keys[2]].tobytes()


@pytest.mark.parametrize("keys", CASES)
def test_rows_equal_the_reference_bytes(keys):
    ids, predictions, expected = case_file(keys)
    rows = [format_row(video_id, scores) for video_id, scores in zip(ids, predictions, strict=True)]
    lines = expected.decode().splitlines(keepends=True)
    start = 1 if lines[0] == HEADER else 0
    assert rows == lines[start:]


@pytest.mark.parametrize("keys", CASES)
def test_file_equals_the_reference_bytes(keys, tmp_path):
    ids, predictions, expected = case_file(keys)
    path = tmp_path / "predictions.csv"
    with PredictionsWriter(path) as writer:
        writer.write(ids[:1], predictions[:1])
        writer.write(ids[1:], predictions[1:])
    content = path.read_bytes()
    assert content.removeprefix(HEADER.encode()) == expected.removeprefix(HEADER.encode())
    assert content.startswith(HEADER.encode())
    assert writer.rows == len(ids)


def test_top5_of_the_whitelisted_predictions():
    case = load_case("d_csv_video")
    lines = case["lines_top5_whitelisted"].tobytes().decode().splitlines(keepends=True)
    masked = case["predictions"] * case["whitelist_mask"]
    assert [format_row(video_id, row, 5) for video_id, row in zip(case["ids"], masked, strict=True)] == lines


def test_id_as_text_or_bytes_and_fewer_classes_than_top_k():
    assert format_row("abcd", [0.25, 0.5, 1e-7]) == "abcd,1 0.5 0 0.25 2 1e-07\n"
    assert format_row(b"abcd", np.array([0.25, 0.5], np.float16), top_k=1) == "abcd,1 0.5\n"


def test_six_digits_of_the_number_given():
    # As float32 this is 0.123456500470638, which rounds to 0.123457.
    assert format_row("v", np.array([0.12345649])) == "v,0 0.123456\n"
    assert format_row("v", np.array([0.12345649], np.float32)) == f"v,0 {float(np.float32(0.12345649)):g}\n"


def test_equal_scores_take_the_lower_class():
    scores = np.zeros(100)
    scores[[70, 30]] = 0.5
    assert format_row("v", scores, top_k=4) == "v,30 0.5 70 0.5 0 0 1 0\n"
    assert format_row("v", np.ones(100, np.float32), top_k=3) == "v,0 1 1 1 2 1\n"


def test_a_batch_with_and_without_ties_equals_its_rows(tmp_path):
    random = np.random.default_rng(0)
    scores = np.concatenate([random.random((20, 60)), random.integers(0, 3, (20, 60)) / 2]).astype(np.float32)
    ids = [f"v{index}" for index in range(40)]
    with PredictionsWriter(tmp_path / "x.csv", top_k=7) as writer:
        writer.write(ids, scores)
    lines = (tmp_path / "x.csv").read_text().splitlines()[1:]
    for line, video_id, row in zip(lines, ids, scores, strict=True):
        order = sorted(range(60), key=lambda c: -row[c])[:7]
        assert line == f"{video_id}," + " ".join(f"{c} {row[c]:g}" for c in order)


@pytest.mark.parametrize(
    ("video_id", "scores", "top_k", "message"),
    [
        ("abcd", [0.1, math.nan, 0.3], 20, "predictions of video abcd are not finite"),
        ("abcd", [0.1, math.inf, 0.3], 20, "predictions of video abcd are not finite"),
        ("a,b", [0.1], 20, "'a,b' has a comma"),
        ("a\nb", [0.1], 20, "a line break"),
        (b"\xff", [0.1], 20, "not UTF-8"),
        ("\ud800", [0.1], 20, "not UTF-8"),
        ("abcd", [0.1, -math.inf, 0.3], 2, "predictions of video abcd are not finite"),
        ("abcd", [0.1], 0, "top_k is 0: at least 1"),
        ("abcd", [], 20, r"shape \(1, 0\) for 1 video ids"),
        ("abcd", [[0.1]], 20, r"shape \(1, 1, 1\)"),
    ],
)
def test_wrong_rows_are_refused(video_id, scores, top_k, message):
    with pytest.raises(UserError, match=message):
        format_row(video_id, scores, top_k)


def test_gz_is_compressed_and_the_same_every_time(tmp_path):
    ids, predictions, expected = case_file(CASES[0])
    for name in ("a.csv.gz", "b.csv.gz"):
        with PredictionsWriter(tmp_path / name) as writer:
            writer.write(ids, predictions)
    content = (tmp_path / "a.csv.gz").read_bytes()
    assert gzip.decompress(content).removeprefix(HEADER.encode()) == expected.removeprefix(HEADER.encode())
    assert content == (tmp_path / "b.csv.gz").read_bytes()
    assert content[4:8] == bytes(4)  # The time in the header.


def test_file_appears_only_when_complete(tmp_path):
    path = tmp_path / "new" / "folder" / "x.csv"
    with PredictionsWriter(path) as writer:
        writer.write(["a"], np.ones((1, 2)))
        assert not path.exists()
        assert path.with_name("x.csv.partial").exists()
    assert path.read_text() == f"{HEADER}a,0 1 1 1\n"
    assert [file.name for file in path.parent.iterdir()] == ["x.csv"]


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_an_exception_leaves_the_older_file_and_nothing_else(tmp_path, name):
    path = tmp_path / name
    path.write_text("older")
    with pytest.raises(UserError, match="not finite"), PredictionsWriter(path) as writer:  # noqa: PT012
        writer.write(["a"], np.ones((1, 2)))
        writer.write(["b"], np.full((1, 2), math.nan))
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_set_gives_the_header_alone(tmp_path):
    with PredictionsWriter(tmp_path / "x.csv") as writer:
        writer.write([], np.empty((0, 3)))
    assert (tmp_path / "x.csv").read_text() == HEADER
    assert writer.rows == 0


def test_as_many_ids_as_predictions(tmp_path):
    with pytest.raises(UserError, match=r"shape \(2, 3\) for 1 video ids"), PredictionsWriter(tmp_path / "x") as writer:
        writer.write(["a"], np.ones((2, 3)))


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/x\.csv cannot be written: "), PredictionsWriter(tmp_path / "file/x.csv"):
        pass
    with pytest.raises(UserError, match="is not an ordinary file"), PredictionsWriter(tmp_path):
        pass
    with pytest.raises(UserError, match="/dev/null is not an ordinary file"), PredictionsWriter("/dev/null"):
        pass


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_a_full_disk_is_reported(tmp_path, name):
    (tmp_path / f"{name}.partial").symlink_to("/dev/full")
    with pytest.raises(UserError, match="cannot be written: No space left"), PredictionsWriter(tmp_path / name):
        pass
    assert list(tmp_path.iterdir()) == []


def test_writing_outside_of_the_with_block(tmp_path):
    writer = PredictionsWriter(tmp_path / "x.csv")
    with pytest.raises(RuntimeError, match="outside of its `with` block"):
        writer.write(["a"], np.ones((1, 2)))
    with writer:
        writer.write(["a"], np.ones((1, 2)))
    with pytest.raises(RuntimeError, match="outside of its `with` block"):
        writer.write(["b"], np.ones((1, 2)))
    assert writer.rows == 1


def test_vocabularies_of_the_editions():
    youtube = load_vocabulary(shared_path("data/vocabulary/yt8m_2018.csv"))
    assert sorted(youtube) == list(range(3862))
    assert (youtube[0], youtube[271], youtube[2533]) == ("Game", "Nike, Inc.", 'Toys "R" Us')
    assert youtube[120] == "/m/0dxrf"  # The file has no name for it.
    audioset = load_vocabulary(shared_path("data/vocabulary/audioset.csv"))
    assert sorted(audioset) == list(range(527))
    assert audioset[1] == "Male speech, man speaking"


def test_vocabulary_columns_in_any_order(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text('\ufeffNAME,Extra,Index\r\n"Car, red",x,7\r\n\r\n,y,2\r\n', encoding="utf-8")
    assert load_vocabulary(path) == {7: "Car, red", 2: "class 2"}


def test_names_stay_in_one_line(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text('index,name\n0,"a\nb\u2028 c"\n', encoding="utf-8")
    assert load_vocabulary(path) == {0: "a b c"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: a vocabulary begins with column names"),
        (b"Index\n3\n", r"line 1: .*'display_name'; here they are \['index'\]"),
        (b"index,name\n", "no classes"),
        (b"index,name\n0,a\nx,b\n", "line 3: the index is 'x'"),
        (b"index,name\n-1,a\n", "line 2: the index is '-1'"),
        (b"index,name\n0,a\n\n0,b\n", "line 4: index 0 is there twice"),
        (b"index,name\n0\n", "line 2: 1 values for 2 columns"),
        (b"index,name\n" + b"9" * 5000 + b",a\n", "line 2: the index is '9+[.]{3}9+', a whole number"),
        (b"\x1f\x8b\xff\x00", "not a CSV text file in UTF-8"),
    ],
)
def test_wrong_vocabularies_name_file_and_line(tmp_path, content, message):
    path = tmp_path / "names.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as raised:
        load_vocabulary(path)
    assert str(path) in str(raised.value)


def test_missing_vocabulary(tmp_path):
    with pytest.raises(UserError, match=r"none\.csv cannot be read: No such file"):
        load_vocabulary(tmp_path / "none.csv")


def test_readable_listing():
    names = {0: "Game", 2: "Car"}
    assert format_readable(b"abcd", [0.5, 0.99996, 0.25, 0.1], names, top_k=3) == (
        "abcd\n  1.0000  class 1\n  0.5000  Game\n  0.2500  Car\n"
    )
    with pytest.raises(UserError, match="not finite"):
        format_readable("abcd", [math.nan], names)
