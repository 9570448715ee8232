"""Tables as text: aligned columns for the terminal, and Markdown."""

from collections.abc import Sequence

_PADDING = {"<": str.ljust, ">": str.rjust}
_RULES = {"<": "--", ">": "-:"}


def count_cell(count: int | None) -> str:
    """A count with separators; None is unknown.

    Example:
        >>> count_cell(1234567), count_cell(None)
        ('1,234,567', 'unknown')
    """
    return "unknown" if count is None else f"{count:,}"


def aligned_table(rows: Sequence[Sequence[str]], alignment: str = "<>") -> str:
    """Rows of cells as lines of aligned columns, two spaces apart.

    Args:
        rows: the head and the lines, with the same number of cells each.
        alignment: "<" (left) or ">" (right) for each column; the last character also applies to all columns after it.

    Returns:
        The lines without trailing spaces, joined by line ends.

    Example:
        >>> print(aligned_table([["model", "frames", "GAP@20"], ["teacher", "300", "0.8110"]]))
        model    frames  GAP@20
        teacher     300  0.8110
    """
    return "\n".join("  ".join(cells).rstrip() for cells in _padded(rows, alignment))


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as a Markdown table; the first row is its head.

    Args:
        rows: the head and the lines, with the same number of cells each.

    Example:
        >>> print(markdown_table([["file", "MB"], ["model.onnx", "1.25"]]))
        | file | MB |
        |---|---|
        | model.onnx | 1.25 |
    """
    head, *lines = [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join([head, f"|{'---|' * len(rows[0])}", *lines])


def aligned_markdown_table(rows: Sequence[Sequence[str]], alignment: str = "<>") -> str:
    """`markdown_table` with padded cells, which reads well as plain text, too.

    Args:
        rows: as `markdown_table`.
        alignment: as `aligned_table`.

    Example:
        >>> print(aligned_markdown_table([["layer", "30 frames"], ["lstm", "1,024"], ["total", "1,024"]]))
        | layer | 30 frames |
        |-------|----------:|
        | lstm  |     1,024 |
        | total |     1,024 |
    """
    head, *lines = [f"| {' | '.join(cells)} |" for cells in _padded(rows, alignment)]
    sides = _sides(alignment, len(rows[0]))
    rules = ["-" * width + _RULES[side] for width, side in zip(_widths(rows), sides, strict=True)]
    return "\n".join([head, f"|{'|'.join(rules)}|", *lines])


def _padded(rows: Sequence[Sequence[str]], alignment: str) -> list[list[str]]:
    """The cells, all of a column with the same width."""
    widths, sides = _widths(rows), _sides(alignment, len(rows[0]))
    return [[_PADDING[side](cell, width) for cell, width, side in zip(row, widths, sides, strict=True)] for row in rows]


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _sides(alignment: str, columns: int) -> str:
    return alignment.ljust(columns, alignment[-1])[:columns]
