"""Lengths of time, moments and sizes in the words of people."""

from datetime import UTC, datetime


def duration(seconds: float) -> str:
    """`40 ms`, `4.2 s`, `2 min 5 s`, `1 h 12 min`, `3 d 4 h`. What is below zero (clocks differ) counts as nothing."""
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, above, size in (("d", "h", 86_400), ("h", "min", 3_600), ("min", "s", 60)):
        if whole >= size:
            rest = whole % size // {"h": 3_600, "min": 60, "s": 1}[above]
            return f"{whole // size} {unit} {rest} {above}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


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
