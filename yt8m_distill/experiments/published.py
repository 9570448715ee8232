"""The paper's numbers for YouTube-8M, which are shown beside measured ones and never as such.

Source: Bhardwaj, Srinivasan, Khapra: Efficient Video Classification Using Fewer Frames (CVPR 2019), tables 1 to 6.
"""

from collections.abc import Iterator
from dataclasses import dataclass

DATA = "YouTube-8M 2017, trained on 5,738,718 videos"
TABLE_1 = {
    "Uniform-k": (".715 .266", ".759 .324", ".777 .350", ".785 .363", ".795 .378"),
    "Random-k": (".679 .246", ".681 .254", ".717 .268", ".763 .329", ".774 .339"),
    "First-k": (".478 .133", ".539 .163", ".595 .199", ".632 .223", ".676 .258"),
    "Middle-k": (".577 .178", ".600 .198", ".620 .214", ".638 .229", ".665 .250"),
    "Last-k": (".255 .062", ".267 .067", ".282 .077", ".294 .083", ".317 .094"),
    "First-Middle-Last-k": (".640 .215", ".671 .242", ".680 .249", ".698 .268", ".721 .287"),
    "Parallel rep": (".724 .280", ".762 .331", ".785 .365", ".794 .380", ".803 .392"),
    "Parallel rep, CE": (".726 .285", ".766 .334", ".785 .362", ".795 .381", ".804 .396"),
    "Parallel rep, pred, CE": (".729 .292", ".770 .337", ".789 .371", ".796 .388", ".806 .404"),
    "Serial rep": (".727 .288", ".768 .339", ".786 .365", ".795 .381", ".802 .394"),
    "Serial pred": (".722 .287", ".766 .341", ".784 .367", ".793 .383", ".798 .390"),
    "Serial rep, CE": (".728 .291", ".769 .341", ".786 .368", ".794 .383", ".803 .399"),
    "Serial pred, CE": (".724 .289", ".763 .341", ".785 .369", ".795 .386", ".799 .391"),
    "Serial rep, pred, CE": (".731 .297", ".771 .349", ".789 .375", ".798 .390", ".806 .405"),
}
TABLE_2 = {
    "Serial rep, pred, CE": (".774 .345", ".788 .369", ".796 .373"),
    "Uniform-k": (".718 .220", ".756 .301", ".776 .349"),
}
# The paper's "rep + pred" has, for final matching, the numbers of "rep, pred, CE" in its table 1.
TABLE_4 = {
    "Parallel rep": (".803 .393", ".803 .392"),
    "Parallel rep, CE": (".803 .396", ".804 .396"),
    "Parallel rep, pred, CE": (".804 .400", ".806 .404"),
    "Serial rep": (".804 .395", ".802 .394"),
    "Serial rep, CE": (".803 .397", ".803 .399"),
    "Serial rep, pred, CE": (".806 .405", ".806 .405"),
}


@dataclass(frozen=True)
class Figure:
    """One cell of a table of the paper.

    Attributes:
        experiment: the table.
        model: name of the model.
        row: label of the row, as in our tables.
        k: frames; None: all.
        column: in tables whose columns are not k: "10 %", "intermediate".
        gap, map: GAP@20 and mAP, as printed.
        gigaflops: as printed, in the paper's convention.
    """

    experiment: str
    model: str
    row: str
    k: int | None
    column: str
    gap: str
    map: str
    gigaflops: str = ""


def figures() -> list[Figure]:
    """All cells of all tables."""
    return [*_hierarchical_rnn(), *_vlads()]


def _hierarchical_rnn() -> Iterator[Figure]:
    model = "HierarchicalRNN"
    flops = {None: "5.058", 10: ".167", 20: ".268", 30: ".520"}  # of table 3
    yield Figure("table1", model, "Teacher-Skyline", None, "", ".811", ".414", flops[None])
    for row, cells in TABLE_1.items():
        for k, cell in zip((6, 10, 15, 20, 30), cells, strict=True):
            yield Figure("table1", model, row, k, "", *cell.split(), flops.get(k, ""))
    for row, cells in TABLE_2.items():
        for share, cell in zip(("10 %", "25 %", "50 %"), cells, strict=True):
            yield Figure("table2", model, row, 30, share, *cell.split())
    for row, cells in TABLE_4.items():
        for matching, cell in zip(("intermediate", "final"), cells, strict=True):
            yield Figure("table4", model, row, 30, matching, *cell.split())


def _vlads() -> Iterator[Figure]:
    student, uniform, teacher = "Serial rep, pred, CE", "Uniform-k", "Teacher-Skyline"
    yield Figure("table5", "NetVLAD", teacher, None, "", ".823", ".462")
    yield Figure("table5", "NetVLAD", uniform, 10, "", ".773", ".364")
    yield Figure("table5", "NetVLAD", student, 10, "", ".784", ".383")
    yield Figure("table5", "NetVLAD", uniform, 30, "", ".803", ".421")
    yield Figure("table5", "NetVLAD", student, 30, "", ".812", ".436")
    yield Figure("table6", "NeXtVLAD", teacher, None, "", ".831", ".464", "1.337")
    yield Figure("table6", "NeXtVLAD", uniform, 30, "", ".812", ".424", ".134")
    yield Figure("table6", "NeXtVLAD", student, 30, "", ".818", ".439", ".134")
