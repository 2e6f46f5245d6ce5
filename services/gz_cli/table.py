"""Rows in columns, for people."""

from collections.abc import Sequence

from gz_cli.ink import cells, clean

GAP = "  "


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned columns under a head in capitals; numbers to the right, None as nothing. No rows: only the head."""
    texts = [[_text(cell) for cell in row] for row in rows]
    titles = [title.upper() for title in head]
    widths = [max(cells(row[column]) for row in [titles, *texts]) for column in range(len(head))]
    numeric = [
        bool(rows) and all(isinstance(row[column], int | float | None) for row in rows) for column in range(len(head))
    ]
    return "\n".join(_line(row, widths, numeric) for row in [titles, *texts])


def pairs(rows: Sequence[tuple[str, object]]) -> str:
    """`label: value` lines with the values in one column; rows whose value is None or "" are left out."""
    kept = [(f"{label}:", _text(value)) for label, value in rows if value not in (None, "")]
    width = max((cells(label) for label, _ in kept), default=0)
    return "\n".join(f"{_padded(label, width)}{GAP}{value}" for label, value in kept)


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
