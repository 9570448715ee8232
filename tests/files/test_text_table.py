"""Tables as text: alignment, and the forms that reports had before they shared one writer."""

from yt8m_distill.files.text_table import aligned_markdown_table, aligned_table, markdown_table

ROWS = [["file", "records", "bad", "problem"], ["a.tfrecord", "1,000", "0", ""], ["b", "7", "12", "record 1: cut"]]


def test_aligned():
    assert aligned_table(ROWS, "<>><").splitlines() == [
        "file        records  bad  problem",
        "a.tfrecord    1,000    0",
        "b                 7   12  record 1: cut",
    ]
    assert aligned_table(ROWS).splitlines()[0] == "file        records  bad        problem"


def test_markdown():
    assert markdown_table(ROWS[:2]).splitlines() == [
        "| file | records | bad | problem |",
        "|---|---|---|---|",
        "| a.tfrecord | 1,000 | 0 |  |",
    ]
    assert aligned_markdown_table(ROWS[::2]).splitlines() == [
        "| file | records | bad |       problem |",
        "|------|--------:|----:|--------------:|",
        "| b    |       7 |  12 | record 1: cut |",
    ]
