"""Text for a terminal: spans with a style, cut to a width, with or without colours.

What is written here may come from strangers (names, messages): control characters never reach the terminal.
"""

import unicodedata
from collections.abc import Iterable

Span = tuple[str, str]
"""Text and the name of its style; "" is plain."""

_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "cyan": "36",
}


class Ink:
    """Writes spans as one line. `colour` off leaves the text alone."""

    def __init__(self, *, colour: bool) -> None:
        self.colour = colour

    def line(self, spans: Iterable[Span], width: int | None = None) -> str:
        """The spans one after the other, at most `width` cells wide; what is cut off shows as `…`."""
        kept = list(spans) if width is None else _cut(spans, width)
        return "".join(self.paint(text, style) for text, style in kept).rstrip()

    def paint(self, text: str, style: str) -> str:
        """One piece of text in a style; `style` is one of the names above or ""."""
        text = clean(text)
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.colour and style and text else text


def clean(text: str) -> str:
    """`text` on one line, without control characters: nobody's message may move the cursor."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def cells(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(_cells_of(character) for character in text)


def cut(text: str, width: int) -> str:
    """`text` in at most `width` cells; what is cut off shows as `…`."""
    return text if cells(text) <= width else _first_cells(text, width - 1) + "…"


def wrapped(text: str, width: int) -> list[str]:
    """`text` as lines of at most `width` cells, broken between words where it can be. At least one line, and in each at
    least one character, also of a terminal that is narrower than what stands beside the text."""
    lines, width = [""], max(1, width)
    for word in text.split(" "):
        if lines[-1] and cells(lines[-1]) + 1 + cells(word) <= width:
            lines[-1] += f" {word}"
            continue
        if lines[-1]:
            lines.append("")
        while cells(word) > width:
            lines[-1] = _first_cells(word, width) or word[:1]  # one character may be wider than the column
            word = word[len(lines[-1]) :]
            lines.append("")
        lines[-1] = word
    return lines if len(lines) == 1 or lines[-1] else lines[:-1]


def first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]


def _cells_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _cut(spans: Iterable[Span], width: int) -> list[Span]:
    kept: list[Span] = []
    left = width
    for text, style in spans:
        text = clean(text)
        needed = cells(text)
        if needed > left:
            return [*kept, (cut(text, left), style)] if left > 0 else kept
        kept.append((text, style))
        left -= needed
    return kept


def _first_cells(text: str, width: int) -> str:
    taken = 0
    for index, character in enumerate(text):
        taken += _cells_of(character)
        if taken > width:
            return text[:index]
    return text
