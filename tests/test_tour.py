"""docs/tour.md: the page's code runs, block after block, and gives what the page says."""

import pathlib
import re

import numpy as np

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "tour.md"


def test_the_tour_runs():
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert [(video.video_id, video.num_frames) for video in names["videos"]] == [(b"long", 40), (b"short", 2)]
    assert names["batch"]["student_indices"].tolist() == [[5, 15, 25, 35], [0, 1, 0, 0]]
    assert names["few"]["frames"].shape == (2, 4, 32)
    np.testing.assert_array_equal(names["few"]["frames"][0], names["batch"]["frames"][0, [5, 15, 25, 35]])
    assert names["outputs"]["representation"].shape == (2, 16)
    assert set(names["last"]) == {"loss", "rep", "pred", "ce", "regularization"}
    assert float(names["last"]["loss"]) < float(names["first"]["loss"])
    assert set(names["results"]) >= {"GAP@20", "mAP", "Hit@1", "PERR"}
    header, *rows = names["csv"].splitlines()
    assert header == "VideoId,LabelConfidencePairs"
    assert [row.partition(",")[0] for row in rows] == ["long", "short"]
    assert sum(bool(line.strip()) for block in blocks for line in block.splitlines()) <= 65  # read in ten minutes
