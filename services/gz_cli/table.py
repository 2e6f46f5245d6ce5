"""Rows in columns, for people."""

from collections.abc import Sequence

from gz_cli.ink import cells, clean, cut

GAP = "  "
NARROWEST = 8
"""Cells to which a column of text may be cut."""


def table(head: Sequence[str], rows: Sequence[Sequence[object]], *, width: int | None = None) -> str:
    """Aligned columns under a head in capitals; numbers to the right, None as nothing. No rows: only the head.

    With a `width` the columns after the first are cut to their titles, the widest first, until all fit; if that does
    not help, the last ones are left out.
    """
    texts = [[title.upper() for title in head], *([_text(cell) for cell in row] for row in rows)]
    numeric = [
        bool(rows) and all(isinstance(row[column], int | float | None) for row in rows) for column in range(len(head))
    ]
    widths = [max(cells(row[column]) for row in texts) for column in range(len(head))]
    if width is not None:
        least = [max(cells(title), NARROWEST) for title in head]
        widths = _fitting(
            widths, [have if right else low for have, low, right in zip(widths, least, numeric, strict=True)], width
        )
    return "\n".join(_line(row[: len(widths)], widths, numeric) for row in texts)


def _fitting(widths: list[int], least: Sequence[int], room: int) -> list[int]:
    """The widths of as many columns as there is room for."""
    while len(widths) > 1 and (over := sum(widths) + len(GAP) * (len(widths) - 1) - room) > 0:
        spare, column = max((widths[at] - least[at], at) for at in range(1, len(widths)))
        if spare > 0:
            widths = [*widths[:column], widths[column] - min(spare, over), *widths[column + 1 :]]
        else:
            widths = widths[:-1]
    return widths


def pairs(rows: Sequence[tuple[str, object]]) -> str:
    """`label: value` lines with the values in one column; rows whose value is None or "" are left out."""
    kept = [(f"{label}:", _text(value)) for label, value in rows if value not in (None, "")]
    width = max((cells(label) for label, _ in kept), default=0)
    return "\n".join(f"{_padded(label, width)}{GAP}{value}" for label, value in kept)


def _line(row: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    return GAP.join(
        " " * (width - cells(text)) + text if right else _padded(cut(text, width), width)
        for text, width, right in zip(row, widths, numeric, strict=False)
    ).rstrip()


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cells(text))


def _text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return f"{cell:,}" if isinstance(cell, int) else clean(str(cell))
