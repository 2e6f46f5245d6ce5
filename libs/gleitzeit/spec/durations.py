"""Lengths of time as authors write them: `90`, `1.5`, `"30s"`, `"5m"`, `"1h30m"`, `"2d"`, `"250ms"`."""

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
