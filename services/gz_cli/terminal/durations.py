"""Lengths of time, moments and sizes in the words of people."""

import time
from datetime import UTC, datetime

from gleitzeit.spec.durations import in_words


def duration(seconds: float) -> str:
    """As `in_words`, and always with a tenth of a second: what runs before one's eyes keeps its width."""
    return f"{seconds:.1f} s" if 0.9995 <= seconds < 59.95 else in_words(seconds)


def ago(moment: str, now_ms: int) -> str:
    """How long before `now_ms` (UTC milliseconds) an ISO 8601 moment was; the text itself if it is none."""
    milliseconds = to_ms(moment)
    if milliseconds is None:
        return moment
    seconds = (now_ms - milliseconds) / 1000
    if seconds < 1:
        return "just now"
    return f"{round(seconds)} s ago" if seconds < 59.5 else f"{duration(max(60, seconds))} ago"


def to_ms(moment: str) -> int | None:
    """UTC milliseconds of an ISO 8601 moment; without an offset it is UTC. None if it cannot be read."""
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError:
        return None
    return round((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)


def now_ms() -> int:
    """UTC milliseconds."""
    return time.time_ns() // 1_000_000


def clock(at_ms: int) -> str:
    """The local time of day, `13:46:00`."""
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).astimezone().strftime("%H:%M:%S")


def size(size_bytes: int) -> str:
    """`512 bytes`, `4.0 KiB`, `16.0 MiB`."""
    if size_bytes < 1024:
        return f"{size_bytes} bytes"
    amount = size_bytes / 1024
    for unit in ("KiB", "MiB"):
        if amount < 1023.95:
            return f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def counted(number: int, word: str = "task") -> str:
    """`1 task`, `1,200 tasks`"""
    return f"{number:,} {word}{'s' * (number != 1)}"
