"""The submission file against the starter code's bytes, and what people get to read."""

import math

import numpy as np
import pytest

from tests.helpers import load_case
from yt8m_distill.errors import UserError
from yt8m_distill.prediction.submission import HEADER, PredictionsWriter, format_readable, format_row

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


def test_writing_outside_of_the_with_block(tmp_path):
    writer = PredictionsWriter(tmp_path / "x.csv")
    with pytest.raises(RuntimeError, match="outside its `with` block"):
        writer.write(["a"], np.ones((1, 2)))
    with writer:
        writer.write(["a"], np.ones((1, 2)))
    with pytest.raises(RuntimeError, match="outside its `with` block"):
        writer.write(["b"], np.ones((1, 2)))
    assert writer.rows == 1


def test_readable_listing():
    names = {0: "Game", 2: "Car"}
    assert format_readable(b"abcd", [0.5, 0.99996, 0.25, 0.1], names, top_k=3) == (
        "abcd\n  1.0000  class 1\n  0.5000  Game\n  0.2500  Car\n"
    )
    with pytest.raises(UserError, match="not finite"):
        format_readable("abcd", [math.nan], names)
