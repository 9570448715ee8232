"""The scoring of a submission of segments: against the original's repaired numbers, and wrong input."""

import json

import numpy as np
import pytest

from tests.helpers import TINY_FLAGS, load_case, rated_video, shared_path, write_records
from yt8m_distill.errors import UserError
from yt8m_distill.evaluation.segments import average_precision, evaluate_segments, read_label_cache
from yt8m_distill.prediction.segments import read_segments
from yt8m_distill.segment_eval import main as segment_eval_main


@pytest.fixture
def case(tmp_path):
    """The reference case, its files written."""
    case = load_case("d_segment_eval")
    (tmp_path / "submission.csv").write_bytes(case["submission"].tobytes())
    (tmp_path / "labels.csv").write_bytes(case["label_cache"].tobytes())
    return case


def test_agrees_with_the_original_without_its_line_end_fault(case, tmp_path):
    rated = read_label_cache(tmp_path / "labels.csv")
    submission = dict(read_segments(tmp_path / "submission.csv"))
    found = [average_precision(submission[each], rated[each]) for each in case["classes_sorted"].tolist()]
    np.testing.assert_allclose(found, case["aps_stripped_f64"], atol=1e-9)
    result = evaluate_segments(rated, str(tmp_path / "submission.csv"), 100_000)
    assert result["MAP@100000"] == pytest.approx(float(case["map_stripped_f64"]), abs=1e-9)
    assert (result["classes"], result["classes_missing"]) == (8, 0)


def test_the_first_three_of_each_class(case, tmp_path):
    """The original's value is right here, as all lines are longer."""
    result = evaluate_segments(read_label_cache(tmp_path / "labels.csv"), str(tmp_path / "submission.csv"), 3)
    assert result["MAP@3"] == pytest.approx(float(case["map_top3_f64"]), abs=1e-9)


def test_the_command_and_its_cache(tmp_path, capsys):
    records = [
        rated_video([(0, 1, 1.0), (5, 1, 0.0), (5, 2, 1.0)], "a"),
        rated_video([(10, 1, 1.0), (10, 1, 0.0), (99, 2, 1.0)], "b"),  # twice: the last counts; beyond the end: counts
        rated_video([], "c"),
        rated_video([(0, 3, 0.0), (0, 4, 1.0)], "d"),
    ]
    path = write_records(tmp_path / "validate.tfrecord", records)
    (tmp_path / "x.csv").write_text("Class,Segments\n1,b:10 z:0 a:0 a:0 a:5\n2,b:99\n3,d:0\n9,a:0\n")
    arguments = [f"--submission_file={tmp_path}/x.csv", f"--label_cache={tmp_path}/cache.csv"]
    output = f"--output_file={tmp_path}/metrics.json"
    data = f"--eval_data_pattern={path}"
    assert segment_eval_main(["segment_eval", data, "--num_classes=10", *TINY_FLAGS, output, *arguments]) == 0
    # Class 1: b:10 is negative, a:0 positive at rank 2; class 2: one of two; 3 has no positives; 4 is missing.
    expected = {"MAP@100000": (1 / 2 + 1 / 2 + 0) / 3, "classes": 3, "classes_missing": 1}
    result = json.loads((tmp_path / "metrics.json").read_text())
    assert {name: result[name] for name in expected} == pytest.approx(expected)
    assert "MAP@100000" in capsys.readouterr().out
    (tmp_path / "validate.tfrecord").unlink()
    assert segment_eval_main(["segment_eval", output, *arguments]) == 0
    assert json.loads((tmp_path / "metrics.json").read_text()) == result


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--submission_file is required"),
        (["--submission_file=x"], "--eval_data_pattern"),
        (["--submission_file=x", "--label_cache=none", "--top_n=0"], "top_n"),
        (["--submission_file=x", "--label_cache=none"], "--submission_file: 'x' cannot be read"),
        ([f"--submission_file={__file__}", "--label_cache=nothing.csv"], "--eval_data_pattern is needed"),
    ],
)
def test_senseless_command_lines(capsys, arguments, message):
    assert segment_eval_main(["segment_eval", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("line", ["a:0,1", "a:0,x,1", "a:0,1,2", "a:0,1,nan", "a:0,1,1,1", "a:0,9999999999,1"])
def test_wrong_caches(tmp_path, line):
    (tmp_path / "cache.csv").write_text(f"a:0,1,1.0\n{line}\n")
    with pytest.raises(UserError, match="line 2"):
        read_label_cache(tmp_path / "cache.csv")


@pytest.mark.parametrize("case", ["10_quoted_submission", "12_bom_submission"])
def test_submissions_of_other_programs(capsys, case):
    folder = shared_path(f"cases/{case}")
    data = f"--eval_data_pattern={folder}/val.tfrecord"
    assert segment_eval_main(["segment_eval", data, f"--submission_file={folder}/submission.csv"]) == 0
    assert capsys.readouterr().out.split()[:2] == ["MAP@100000", "1"]


RATED = {1: {"a:0": True, "a:5": False}, 2: {"b:0": True}, 3: {"c:0": False}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Class,Segments\n", "has no segments to score"),
        ("1,\n", "has no segments to score"),
        ("3,c:0\n7,a:0\n", "none of the 2 classes .* is rated positive; such have the classes 1, 2"),
        ("1,b'a':0 x:5\n2,a:0\n", "none of the segments .*, such as 'b'a':0', was rated .* 'a:0'"),
        ("1,a:1\n", "none of the segments"),
    ],
)
def test_nothing_that_can_be_scored(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        evaluate_segments(RATED, str(tmp_path / "x.csv"), 10)


def test_classes_without_a_rated_segment_are_counted(tmp_path, caplog):
    (tmp_path / "x.csv").write_text("1,a:0\n2,a:0\n")
    with caplog.at_level("WARNING", "yt8m_distill"):
        result = evaluate_segments(RATED, str(tmp_path / "x.csv"), 10)
    assert result == {"MAP@10": 0.5, "classes": 2, "classes_missing": 0}
    assert "of 1 classes no segment was rated" in caplog.text


def test_matches_beyond_the_first_segments_count_as_matches(tmp_path):
    (tmp_path / "x.csv").write_text("1,z:0 a:0\n")
    assert evaluate_segments(RATED, str(tmp_path / "x.csv"), 1)["MAP@1"] == 0


def test_caches_of_other_programs(tmp_path):
    (tmp_path / "cache.csv").write_text('\ufeff"a:0.0","1","1.0"\n"b:5","1.0","0"\n', encoding="utf-8")
    assert read_label_cache(tmp_path / "cache.csv") == {1: {"a:0": True, "b:5": False}}


def test_nothing_to_score_by(tmp_path):
    (tmp_path / "x.csv").write_text("1,a:0\n")
    for rated in ({}, {1: {"a:0": False}}):
        with pytest.raises(UserError, match="no rated segment is positive"):
            evaluate_segments(rated, str(tmp_path / "x.csv"), 10)
