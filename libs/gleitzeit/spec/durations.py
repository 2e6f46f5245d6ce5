"""Lengths of time as authors write them (`90`, `1.5`, `"30s"`, `"5m"`, `"1h30m"`, `"2d"`, `"250ms"`) and as people
read them."""

import re
from typing import Final

LONGEST_SECONDS: Final = 366 * 86_400.0

_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PIECE = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*")


def parse_duration(value: object) -> float:
    """In seconds, 0 to a year. Raises ValueError, in words for the author."""
    seconds = _of_text(value) if isinstance(value, str) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ValueError("a duration is a number of seconds or a text like '30s', '5m', '2h', '1h30m'")
    if not 0 <= seconds <= LONGEST_SECONDS:  # false for nan too
        raise ValueError(f"a duration is between 0 and 366 days, not {str(value)[:40]}")
    return float(seconds)


def in_words(seconds: float) -> str:
    """`40 ms`, `5 s`, `4.2 s`, `2 min 5 s`, `1 h 12 min`, `3 d 4 h`. What is below zero counts as nothing."""
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    for unit, above, size in (("d", "h", 86_400), ("h", "min", 3_600)):
        if whole >= size:
            rest = whole % size // (3_600 if above == "h" else 60)
            return f"{whole // size} {unit} {rest} {above}" if rest else f"{whole // size} {unit}"
    return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"


def how_soon(seconds: float) -> str:
    """`in 5 s`, `in 2 h`; `at once` where no clock would tell the difference."""
    return f"in {in_words(seconds)}" if seconds >= 0.05 else "at once"


def _of_text(text: str) -> float:
    rest = text.strip().lower()
    if re.fullmatch(r"\d+(?:\.\d+)?", rest):
        return float(rest)
    seconds, at = 0.0, 0
    while piece := _PIECE.match(rest, at):
        seconds += float(piece[1]) * _UNIT_SECONDS[piece[2]]
        at = piece.end()
    if at == 0 or at < len(rest):
        raise ValueError(f"'{text[:40]}' is not a duration like '30s', '5m', '2h' or '1h30m'")
    return seconds
