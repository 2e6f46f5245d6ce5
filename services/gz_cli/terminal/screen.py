"""A few lines at the bottom of a terminal that are drawn again in place."""

import os
from collections.abc import Sequence
from typing import TextIO

from gz_cli.terminal.ink import Ink, Span

_CLEAR_BELOW = "\x1b[J"
_WRAP_OFF, _WRAP_ON = "\x1b[?7l", "\x1b[?7h"
_CURSOR_OFF, _CURSOR_ON = "\x1b[?25l", "\x1b[?25h"


def is_live(stream: TextIO) -> bool:
    """Whether a picture may be drawn again in place there."""
    return stream.isatty() and os.environ.get("TERM", "") != "dumb"


def has_colour(stream: TextIO) -> bool:
    return is_live(stream) and not os.environ.get("NO_COLOR")


def columns(stream: TextIO) -> int | None:
    """How wide the terminal is; None for what is no terminal."""
    return _size(stream).columns if stream.isatty() else None


def _size(stream: TextIO) -> os.terminal_size:
    """COLUMNS and LINES count more than what the terminal says of itself, which may be nothing."""
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except OSError:
        columns, lines = 0, 0
    return os.terminal_size((_number("COLUMNS") or columns or 80, _number("LINES") or lines or 24))


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else 0


class Screen:
    """Use as a context manager: at the end the last picture stays and the cursor is back."""

    def __init__(self, stream: TextIO, ink: Ink) -> None:
        self._stream = stream
        self._ink = ink
        self._drawn = 0

    def __enter__(self) -> "Screen":
        self._write(_CURSOR_OFF)
        return self

    def __exit__(self, *_: object) -> None:
        self._write(_CURSOR_ON)

    @property
    def height(self) -> int:
        """Lines that a picture may take: one is left for the cursor."""
        return max(1, _size(self._stream).lines - 1)

    @property
    def width(self) -> int:
        return _size(self._stream).columns

    def draw(self, picture: Sequence[Sequence[Span]]) -> None:
        """Replace what was drawn last."""
        width = self.width
        text = "".join(self._ink.line(line, width) + "\n" for line in picture)
        self._write(self._back() + _WRAP_OFF + text + _WRAP_ON)
        self._drawn = len(picture)

    def say(self, line: Sequence[Span]) -> None:
        """A line that stays, above the picture; draw the picture again afterwards."""
        self._write(self._back() + self._ink.line(line) + "\n")
        self._drawn = 0

    def _back(self) -> str:
        return (f"\x1b[{self._drawn}A" if self._drawn else "") + "\r" + _CLEAR_BELOW

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
