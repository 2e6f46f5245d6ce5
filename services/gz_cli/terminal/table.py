"""Rows in columns, for people."""

import sys
from collections.abc import Collection, Sequence

from gz_cli.terminal.ink import cells, clean, cut, wrapped
from gz_cli.terminal.screen import columns

GAP = "  "
NARROWEST = 8
"""Cells to which a column of text may be cut."""
NARROWEST_WRAPPED, LONGEST_WORD = 20, 28
"""Cells to which one may be wrapped that is not narrower by itself: more for a long word, but not for any."""
OVERFLOWS = 80
"""Cells: a longer one does not widen its column where there is room for all, it pushes only its own row."""


def fitted(head: Sequence[str], rows: Sequence[Sequence[object]], *, brief: Collection[str] = ()) -> str:
    """A table for stdout: as wide as the terminal, or with everything where there is none."""
    return table(head, rows, width=columns(sys.stdout), brief=brief)


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    width: int | None = None,
    brief: Collection[str] = (),
) -> str:
    """Aligned columns under a head in capitals; numbers to the right, None as nothing. No rows: only the head.

    With a `width` the columns after the first are narrowed, the widest first, until all fit: what is too long for its
    column goes on below, or, in the columns that are named in `brief`, is cut. If that does not help, each row is some
    lines below its first cell.
    """
    titles = [title.upper() for title in head]
    texts = [titles, *([_text(cell) for cell in row] for row in rows)]
    numeric = [
        bool(rows) and all(isinstance(row[column], int | float | None) for row in rows) for column in range(len(head))
    ]
    widths = [max(cells(row[column]) for row in texts) for column in range(len(head))]
    if width is None:
        widths = [_aligned([row[column] for row in texts]) for column in range(len(head))]
        return "\n".join(_line(row, widths, numeric) for row in texts)
    short = [title in brief for title in head]
    for longest in (LONGEST_WORD, NARROWEST_WRAPPED):
        least = [
            have if at == 0 or numeric[at] else min(have, max(cells(titles[at]), _narrowest(texts, at, longest, short)))
            for at, have in enumerate(widths)
        ]
        fitting = _fitting(widths, least, width - len(GAP) * (len(widths) - 1))
        if fitting is not None:
            return "\n".join(line for row in texts for line in _lines(row, fitting, numeric, short))
    return "\n".join(line for row in texts[1:] for line in _record(head, row, width)) or GAP.join(titles)


def _aligned(column: Sequence[str]) -> int:
    """How wide it is, but for what is far longer than the rest."""
    return max(width for width in map(cells, column) if width <= OVERFLOWS)


def _fitting(widths: Sequence[int], least: Sequence[int], room: int) -> list[int] | None:
    """The widths with which there is room for all columns, the widest narrowed to one width; None where there is no
    room."""

    def narrowed(most: int) -> list[int]:
        return [max(low, min(have, most)) for have, low in zip(widths, least, strict=True)]

    if sum(least) > room:
        return None
    return narrowed(max(most for most in range(min(room, max(widths)) + 1) if sum(narrowed(most)) <= room))


def _narrowest(texts: Sequence[Sequence[str]], at: int, longest: int, brief: Sequence[bool]) -> int:
    """To which width a column may go, with whole words of up to `longest` cells."""
    if brief[at]:
        return NARROWEST
    words = (cells(word) for row in texts for word in row[at].split(" "))
    return max(NARROWEST_WRAPPED, min(longest, max(words)))


def pairs(rows: Sequence[tuple[str, object]]) -> str:
    """`label: value` lines with the values in one column; rows whose value is None or "" are left out."""
    kept = [(f"{label}:", _text(value)) for label, value in rows if value not in (None, "")]
    width = max((cells(label) for label, _ in kept), default=0)
    return "\n".join(f"{_padded(label, width)}{GAP}{value}" for label, value in kept)


def _record(head: Sequence[str], row: Sequence[str], width: int) -> list[str]:
    """The first cell, and below it the others with their titles, as many in a line as there is room for."""
    lines = [row[0]]
    told = [f"{title}: {text}" if title else text for title, text in zip(head[1:], row[1:], strict=True) if text]
    line = ""
    for text in told:
        if line and cells(GAP + line + GAP + text) <= width:
            line += GAP + text
            continue
        if line:
            lines += [GAP + part for part in wrapped(line, width - len(GAP))]
        line = text
    return [*lines, *(GAP + part for part in wrapped(line, width - len(GAP)))] if line else lines


def _lines(row: Sequence[str], widths: Sequence[int], numeric: Sequence[bool], brief: Sequence[bool]) -> list[str]:
    """One row; what is too long goes on below."""
    parts = [
        [cut(text, width)] if short else wrapped(text, width)
        for text, width, short in zip(row, widths, brief, strict=True)
    ]
    height = max(len(part) for part in parts)
    return [_line([part[at] if at < len(part) else "" for part in parts], widths, numeric) for at in range(height)]


def _line(row: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    return GAP.join(
        " " * (width - cells(text)) + text if right else _padded(text, width)
        for text, width, right in zip(row, widths, numeric, strict=True)
    ).rstrip()


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cells(text))


def _text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return f"{cell:,}" if isinstance(cell, int) else clean(str(cell))
