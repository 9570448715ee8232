"""The scoring of a submission of segments: against the original's repaired numbers, and wrong input."""

import json

import numpy as np
import pytest

from tests.helpers import load_case, rated_video, write_records
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
    assert segment_eval_main(["segment_eval", data, "--num_classes=10", output, *arguments]) == 0
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
        (["--submission_file=x", "--label_cache=nothing.csv"], "--eval_data_pattern is needed"),
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


def test_nothing_to_score_by(tmp_path):
    (tmp_path / "x.csv").write_text("1,a:0\n")
    for rated in ({}, {1: {"a:0": False}}):
        with pytest.raises(UserError, match="no rated segment is positive"):
            evaluate_segments(rated, str(tmp_path / "x.csv"), 10)
