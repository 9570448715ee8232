"""The evaluation metrics against the starter code's numbers, hand-calculated cases and a plain program."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import load_case
from yt8m_distill.errors import UserError
from yt8m_distill.metrics import ClassMetrics, EvaluationMetrics

WITHOUT_TIES = ["b_metrics_12", "b_metrics_30_noties", "b_metrics_3862_noties", "b_metrics_segments"]
WITH_TIES_BETWEEN_VIDEOS = ["b_metrics_30", "b_metrics_3862"]


def case_arrays(case):
    """Predictions and labels of a case; the wide cases store them as indices."""
    if "predictions" in case:
        return case["predictions"], case["labels"]
    predictions = case["grid"][case["predictions_grid_index"]]
    if "row_offset" in case:
        predictions = (predictions + case["row_offset"][:, None]).astype(np.float32)
    labels = np.zeros(predictions.shape, np.float32)
    labels[tuple(case["labels_index"].T)] = 1
    return predictions, labels


def evaluated_case(case, predictions, labels):
    metrics = EvaluationMetrics(predictions.shape[1], int(case["top_k"]))
    stops = np.cumsum(case["batch_sizes"])
    for stop, size, loss in zip(stops, case["batch_sizes"], case["batch_loss"], strict=True):
        metrics.update(predictions[stop - size : stop], labels[stop - size : stop], loss)
    return metrics


def assert_within(value, bounds):
    """`bounds` [worst, best]; the margin is for a case without ties, whose bounds are one number computed twice."""
    assert bounds[0] - 1e-12 <= value <= bounds[1] + 1e-12


@pytest.mark.parametrize("name", WITHOUT_TIES)
def test_reference_without_ties(name):
    case = load_case(name)
    metrics = evaluated_case(case, *case_arrays(case))
    result = metrics.result()
    assert list(result) == ["GAP@20", "mAP", "Hit@1", "PERR", "loss", "examples"]
    assert result["GAP@20"] == pytest.approx(float(case["gap_f64"]), abs=1e-9)
    assert result["mAP"] == pytest.approx(float(case["map_f64"]), abs=1e-9)
    assert result["Hit@1"] == pytest.approx(float(case["avg_hit_at_one_f64"]), abs=1e-7)
    assert result["PERR"] == pytest.approx(float(case["avg_perr_f64"]), abs=1e-9)
    # The case stores the losses of the batches rounded to float32.
    assert result["loss"] == pytest.approx(float(case["avg_loss_f64"]), rel=1e-7)
    assert result["examples"] == sum(case["batch_sizes"])
    with_positives = [row for row in metrics.per_class() if row.positives]
    assert [row.class_index for row in with_positives] == list(case["aps_class_index"])
    np.testing.assert_allclose([row.average_precision for row in with_positives], case["aps_f64"], atol=1e-9)


@pytest.mark.parametrize("name", WITH_TIES_BETWEEN_VIDEOS)
def test_reference_with_ties_between_videos(name):
    case = load_case(name)
    result = evaluated_case(case, *case_arrays(case)).result()
    assert result["Hit@1"] == pytest.approx(float(case["avg_hit_at_one_f64"]), abs=1e-7)
    assert result["PERR"] == pytest.approx(float(case["avg_perr_f64"]), abs=1e-9)
    assert_within(result["GAP@20"], case["gap_ties_worst_best_f64"])
    assert_within(result["mAP"], case["map_ties_worst_best_f64"])


def test_reference_with_ties_inside_videos():
    case = load_case("b_metrics_inrow_ties")
    predictions, labels = case_arrays(case)
    result = evaluated_case(case, predictions, labels).result()
    assert result["Hit@1"] == pytest.approx(float(case["avg_hit_at_one_f64"]), abs=1e-7)
    # The bounds hold for the reference's choice among the scores at the border: the others are put below it.
    others = np.ones(predictions.shape, bool)
    np.put_along_axis(others, case["topk_class_index"], False, axis=1)
    result = evaluated_case(case, np.where(others, predictions.min() - 1, predictions), labels).result()
    assert_within(result["GAP@20"], case["gap_ties_worst_best_f64"])
    assert_within(result["mAP"], case["map_ties_worst_best_f64"])


def test_segments_are_predictions_times_label_weights():
    case = load_case("b_metrics_segments")
    weighted = case["raw_predictions"] * case["label_weights"]
    result = evaluated_case(case, weighted, case["labels"]).result()
    assert result["GAP@20"] == pytest.approx(float(case["gap_f64"]), abs=1e-9)
    assert result["mAP"] == pytest.approx(float(case["map_f64"]), abs=1e-9)


def small_metrics(**arguments):
    """Two videos of four classes; see the two tests that calculate with it."""
    metrics = EvaluationMetrics(4, top_k=2, **arguments)
    metrics.update(
        np.array([[0.9, 0.8, 0.1, 0.3], [0.2, 0.7, 0.6, 0.5]]), np.array([[1, 0, 0, 0], [1, 0, 1, 0]]), loss=1.0
    )
    return metrics


def test_hand_calculated():
    # Kept: video 0: class 0 (.9, hit), 1 (.8); video 1: class 1 (.7), 2 (.6, hit). Pooled order: hit, miss, miss, hit.
    # PERR: 1 of 1; of the two best of video 1 (classes 1, 2) one is a label.
    metrics = small_metrics()
    assert metrics.result() == {
        "GAP@2": pytest.approx((1 / 1 + 2 / 4) / 3),
        "mAP": pytest.approx((1 / 2 + 1 / 1) / 2),  # Class 0: one of its two labels is found, at once.
        "Hit@1": 0.5,
        "PERR": (1 + 1 / 2) / 2,
        "loss": 1.0,
        "examples": 2,
    }
    assert metrics.per_class() == [
        ClassMetrics(0, 2, 0.5, None),
        ClassMetrics(1, 0, None, None),
        ClassMetrics(2, 1, 1.0, None),
        ClassMetrics(3, 0, None, None),
    ]


def test_full_map_hand_calculated():
    # Untruncated, the second label of class 0 (.2, in video 1) is found at rank 2.
    metrics = small_metrics(full_map=True)
    assert metrics.result()["mAP_full"] == 1.0
    assert metrics.result()["mAP"] == 0.75
    assert metrics.per_class()[0] == ClassMetrics(0, 2, 0.5, 1.0)
    # Two more videos put a miss before each of them: hits at ranks 2 and 4.
    metrics.update(np.array([[0.95, 0.9, 0.1, 0.1], [0.8, 0.9, 0.1, 0.1]]), np.zeros((2, 4)), loss=2.0)
    assert metrics.per_class()[0] == ClassMetrics(0, 2, pytest.approx(1 / 2 / 2), pytest.approx((1 / 2 + 2 / 4) / 2))
    assert metrics.result()["loss"] == 1.5


def test_class_that_no_top_k_holds_counts_zero_in_map():
    metrics = EvaluationMetrics(3, top_k=1)
    metrics.update(np.array([[0.9, 0.1, 0.0]]), np.array([[1, 1, 0]]))
    assert metrics.result()["mAP"] == 0.5
    assert metrics.result()["GAP@1"] == 0.5


def test_loss_is_weighted_by_batch_size_and_absent_when_never_given():
    metrics = EvaluationMetrics(2)
    metrics.update(np.ones((3, 2)), np.ones((3, 2)), loss=np.float32(2))
    metrics.update(np.ones((1, 2)), np.ones((1, 2)), 6)
    assert metrics.result()["loss"] == 3.0
    with pytest.raises(UserError, match="for some batches only"):
        metrics.update(np.ones((1, 2)), np.ones((1, 2)))
    silent = EvaluationMetrics(2)
    silent.update(np.ones((3, 2)), np.ones((3, 2)))
    assert "loss" not in silent.result()


def test_scores_of_zero_are_misses_in_perr_but_not_in_hit_at_one():
    metrics = EvaluationMetrics(3)
    metrics.update(np.array([[0.0, 0.0, -1.0]]), np.array([[1, 0, 0]]))
    assert metrics.result()["Hit@1"] == 1.0
    assert metrics.result()["PERR"] == 0.0


def test_perr_with_more_labels_than_top_k():
    metrics = EvaluationMetrics(5, top_k=2)
    scores = np.array([[0.9, 0.8, 0.7, 0.6, 0.5], [0.9, 0.8, 0.7, 0.6, 0.5], [0.9, 0.8, 0.7, 0.6, 0.5]])
    labels = np.array([[1, 1, 0, 0, 1], [1, 0, 1, 1, 1], [0, 1, 0, 0, 0]])
    metrics.update(scores, labels)
    assert metrics.result()["PERR"] == pytest.approx((2 / 3 + 3 / 4 + 0) / 3)


def test_video_without_labels_counts_zero_in_the_means():
    metrics = EvaluationMetrics(3)
    metrics.update(np.array([[0.9, 0.2, 0.1], [0.9, 0.2, 0.1]]), np.array([[1, 0, 0], [0, 0, 0]]))
    assert metrics.result()["PERR"] == 0.5
    assert metrics.result()["Hit@1"] == 0.5


def test_no_label_at_all_gives_zero_and_not_nan():
    metrics = EvaluationMetrics(3, full_map=True)
    metrics.update(np.full((2, 3), 0.5), np.zeros((2, 3)))
    assert metrics.result() == {"GAP@20": 0, "mAP": 0, "Hit@1": 0, "PERR": 0, "examples": 2, "mAP_full": 0}


def test_ties_between_videos_keep_the_order_of_arrival():
    hit_first, hit_last = EvaluationMetrics(1), EvaluationMetrics(1)
    hit_first.update(np.full((4, 1), 0.5), np.array([[1], [0], [0], [0]]))
    for label in (0, 0, 0, 1):
        hit_last.update(np.full((1, 1), 0.5), np.array([[label]]))
    assert hit_first.result()["GAP@20"] == hit_first.result()["mAP"] == 1.0
    assert hit_last.result()["GAP@20"] == hit_last.result()["mAP"] == 0.25


def test_ties_inside_a_video_take_the_lower_class():
    scores = np.full((1, 50), 0.5)
    scores[0, 40] = 0.9
    labels = np.zeros((1, 50))
    labels[0, [40, 18, 19]] = 1  # Kept are 40 and 0 to 18, so that 18 is the twentieth.
    metrics = EvaluationMetrics(50)
    metrics.update(scores, labels)
    assert metrics.result()["GAP@20"] == pytest.approx((1 + 2 / 20) / 3)
    assert metrics.per_class()[18].average_precision == 1.0
    assert metrics.per_class()[19].average_precision == 0.0
    assert metrics.result()["PERR"] == pytest.approx(1 / 3)  # The three best are 40, 0 and 1.


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, np.float64])
def test_any_label_dtype(dtype):
    case = load_case("b_metrics_30_noties")
    predictions, labels = case_arrays(case)
    result = evaluated_case(case, predictions, labels.astype(dtype)).result()
    assert result["GAP@20"] == pytest.approx(float(case["gap_f64"]), abs=1e-9)


def test_arrays_in_column_order_and_reused_buffers():
    case = load_case("b_metrics_30_noties")
    predictions, labels = case_arrays(case)
    metrics = EvaluationMetrics(30, full_map=True)
    buffer, label_buffer = np.empty((10, 30), np.float32, order="F"), np.empty((10, 30), order="F")
    for start in range(0, 30, 10):
        buffer[:], label_buffer[:] = predictions[start : start + 10], labels[start : start + 10]
        metrics.update(buffer, label_buffer)
    whole = EvaluationMetrics(30, full_map=True)
    whole.update(predictions, labels)
    assert metrics.result() == pytest.approx(whole.result(), abs=1e-12)
    assert metrics.result()["GAP@20"] == pytest.approx(float(case["gap_f64"]), abs=1e-9)


def plain_average_precision(entries, total):
    """`entries` (score, hit) in order of arrival."""
    found = precision = 0
    for rank, (_, hit) in enumerate(sorted(entries, key=lambda entry: -entry[0]), 1):
        found += hit
        precision += hit * found / rank
    return precision / total if total else 0.0


def plain_metrics(predictions, labels, top_k):
    """The definitions, written down without regard to speed."""
    pooled, by_class, perr = [], {c: [] for c in range(predictions.shape[1])}, []
    for scores, truth in zip(predictions.tolist(), labels.tolist(), strict=True):
        order = sorted(range(len(scores)), key=lambda c: -scores[c])
        for c in order[:top_k]:
            pooled.append((scores[c], truth[c]))
            by_class[c].append((scores[c], truth[c]))
        count = sum(truth)
        perr.append(sum(truth[c] for c in order[:count] if scores[c] > 0) / max(count, 1))
    totals = labels.sum(axis=0).tolist()
    known = [c for c, total in enumerate(totals) if total]
    full = {c: plain_average_precision(zip(predictions[:, c], labels[:, c], strict=True), totals[c]) for c in known}
    return {
        f"GAP@{top_k}": plain_average_precision(pooled, sum(totals)),
        "mAP": sum(plain_average_precision(by_class[c], totals[c]) for c in known) / max(len(known), 1),
        "Hit@1": float(np.mean(labels[np.arange(len(labels)), predictions.argmax(axis=1)])),
        "PERR": sum(perr) / len(perr),
        "examples": len(predictions),
        "mAP_full": sum(full.values()) / max(len(known), 1),
    }


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    videos=st.integers(1, 30),
    classes=st.integers(1, 12),
    top_k=st.integers(1, 15),
    levels=st.sampled_from([1, 3, 1000]),  # Few levels give many ties, inside videos and between them.
    label_rate=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    batch=st.integers(1, 30),
)
def test_equals_the_definitions_however_it_is_cut_into_batches(seed, videos, classes, top_k, levels, label_rate, batch):
    random = np.random.default_rng(seed)
    predictions = (random.integers(0, levels + 1, (videos, classes)) / levels - 0.1).astype(np.float32)
    labels = (random.random((videos, classes)) < label_rate).astype(int)
    metrics = EvaluationMetrics(classes, top_k, full_map=True)
    for start in range(0, videos, batch):
        metrics.update(predictions[start : start + batch], labels[start : start + batch])
    assert metrics.result() == pytest.approx(plain_metrics(predictions, labels, top_k), abs=1e-12)


def test_more_videos_than_a_chunk_and_a_block(monkeypatch):
    monkeypatch.setattr("yt8m_distill.metrics.evaluation_metrics._CHUNK_BYTES", 700)
    monkeypatch.setattr("yt8m_distill.metrics.evaluation_metrics._BLOCK_VALUES", 300)
    random = np.random.default_rng(0)
    predictions, labels = random.random((200, 40), np.float32), (random.random((200, 40)) < 0.1).astype(int)
    metrics = EvaluationMetrics(40, full_map=True)
    metrics.update(predictions, labels)
    assert metrics.result() == pytest.approx(plain_metrics(predictions, labels, 20), abs=1e-12)


def test_result_can_be_asked_for_on_the_way():
    metrics = EvaluationMetrics(2)
    metrics.update(np.array([[0.9, 0.1]]), np.array([[0, 1]]))
    assert metrics.result()["GAP@20"] == 0.5
    assert metrics.result()["GAP@20"] == 0.5
    metrics.update(np.array([[0.95, 0.1]]), np.array([[1, 0]]))
    assert metrics.result()["GAP@20"] == pytest.approx((1 + 2 / 3) / 2)  # .95 hit, .9 miss, .1 hit


def test_top_k_above_the_classes_keeps_its_name():
    metrics = EvaluationMetrics(2, 50)
    metrics.update(np.array([[0.9, 0.1]]), np.array([[1, 0]]))
    assert metrics.result()["GAP@50"] == 1.0


def test_no_examples():
    metrics = EvaluationMetrics(3)
    metrics.update(np.empty((0, 3)), np.empty((0, 3)), loss=math.nan)
    with pytest.raises(UserError, match="no examples"):
        metrics.result()
    with pytest.raises(UserError, match="no examples"):
        metrics.per_class()


@pytest.mark.parametrize(
    ("predictions", "labels", "loss", "message"),
    [
        (np.ones((2, 4)), np.ones((2, 4)), None, r"predictions have the shape \(2, 4\): \(batch, 3\) is needed"),
        (np.ones(3), np.ones(3), None, r"predictions have the shape \(3,\)"),
        (np.ones((2, 3)), np.ones((1, 3)), None, r"labels have the shape \(1, 3\), the predictions \(2, 3\)"),
        ([[1, 1, 1], [1, math.nan, 1]], np.ones((2, 3)), None, r"1 of the 2 videos of a batch hold NaN.* video 2 of"),
        (np.ones((2, 3)), [[0, 1, 0], [0, 0, 0.5]], None, r"labels hold 0\.5: only 0 and 1"),
        (np.ones((2, 3)), [[0, 1, 0], [0, 0, -1]], None, "labels hold -1"),
        (np.ones((2, 3)), [[0, 1, 0], [0, 0, math.nan]], None, "labels hold nan"),
        (np.ones((2, 3)), np.ones((2, 3)), math.nan, "loss of the batch that starts at video 1 is NaN"),
    ],
)
def test_wrong_batches_are_refused_and_leave_no_trace(predictions, labels, loss, message):
    metrics = EvaluationMetrics(3)
    given_loss = None if loss is None else 1.0
    metrics.update(np.array([[0.9, 0.5, 0.1]]), np.array([[0, 1, 0]]), given_loss)
    before = metrics.result()
    with pytest.raises(UserError, match=message):
        metrics.update(predictions, labels, loss)
    assert metrics.result() == before


@pytest.mark.parametrize("arguments", [(0,), (3, 0), (2.5,), ("3",), (3, -1)])
def test_wrong_sizes_are_refused(arguments):
    with pytest.raises(UserError, match="a whole number of at least 1 is needed"):
        EvaluationMetrics(*arguments)


def test_full_map_is_refused_with_the_memory_it_needs():
    # 1000 classes take 4000 bytes of scores, 125 of labels and 32 to rank a class, for each video.
    with pytest.raises(UserError, match=r"1000000 videos of 1000 classes need 3\.9 GiB of memory, 1\.0 GiB are"):
        EvaluationMetrics(1000, full_map=True, max_full_map_bytes=1 << 30, expected_examples=1_000_000)
    metrics = EvaluationMetrics(1000, full_map=True, max_full_map_bytes=2 * 4157)
    metrics.update(np.ones((2, 1000)), np.ones((2, 1000)))
    with pytest.raises(UserError, match=r"3 videos of 1000 classes need 12\.2 KiB of memory, 8\.1 KiB are allowed"):
        metrics.update(np.ones((1, 1000)), np.ones((1, 1000)))
    assert metrics.result()["examples"] == 2
    with pytest.raises(UserError, match="half of the memory available"):
        EvaluationMetrics(3862, full_map=True, expected_examples=10**12)
