"""The functions of expressions. They raise TypeError for values that they are not for, and ValueError with why."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import jsonschema_rs

from gleitzeit.spec.cel import times
from gleitzeit.spec.cel.values import equal, is_number
from gleitzeit.spec.references.references import as_text

LONGEST_PATTERN: Final = 500
LONGEST_TEXT: Final = 10_000_000
"""Characters that replace() may make."""


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _size(value: Any) -> int:
    return len(value)


def _int(value: Any) -> int:
    if isinstance(value, datetime):
        return int(value.timestamp())
    return int(value.strip()) if isinstance(value, str) else int(value)


def _double(value: Any) -> float:
    return float(value.strip()) if isinstance(value, str) else float(value)


def _string(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return as_text(times.plain(value))


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError(f"{as_text(value)!r} is neither true nor false")


def _type(value: object) -> str:
    names: dict[type, str] = {bool: "bool", int: "int", float: "double", str: "string", list: "list", dict: "map"}
    names |= {datetime: "google.protobuf.Timestamp", timedelta: "google.protobuf.Duration"}
    return names.get(type(value), "null_type")


@lru_cache(maxsize=256)
def _pattern(text: str) -> Any:
    """By the linear-time engine of the schemas: a pattern of a stranger must not cost more than the text is long."""
    try:
        return jsonschema_rs.validator_for(
            {"pattern": text}, offline=True, pattern_options=jsonschema_rs.RegexOptions(size_limit=1 << 20)
        )
    except jsonschema_rs.ValidationError:
        return None


def _matches(text: str, pattern: str) -> bool:
    if len(_text(pattern)) > LONGEST_PATTERN:
        raise ValueError(f"a pattern of {len(pattern)} characters; {LONGEST_PATTERN} are allowed")
    compiled = _pattern(pattern)
    if compiled is None:
        raise ValueError(f"{pattern!r} is no regular expression")
    return bool(compiled.is_valid(_text(text)))


def _contains(whole: str | list[Any], part: Any) -> bool:
    return any(equal(part, one) for one in whole) if isinstance(whole, list) else _text(part) in _text(whole)


def _substring(text: str, start: int, end: int | None = None) -> str:
    stop = len(text) if end is None else end
    if not 0 <= start <= stop <= len(_text(text)):
        raise ValueError(f"there is nothing from {start} to {stop} in a text of {len(text)}")
    return text[start:stop]


def _replace(text: str, old: str, new: str) -> str:
    if _text(text).count(_text(old)) * len(_text(new)) > LONGEST_TEXT:
        raise ValueError("the text becomes too long")
    return text.replace(old, new)


def _join(items: list[Any], separator: str = "") -> str:
    return _text(separator).join(_string(item) for item in items)


def _round(value: float) -> int:
    return math.floor(abs(value) + 0.5) * (1 if value >= 0 else -1)


def _numbers(values: tuple[Any, ...]) -> list[Any]:
    numbers = values[0] if len(values) == 1 and isinstance(values[0], list) else list(values)
    if not numbers or not all(map(is_number, numbers)):
        raise TypeError
    return numbers


FUNCTIONS: Final[dict[str, tuple[Callable[..., Any], int, int]]] = {
    "size": (_size, 1, 1),
    "contains": (_contains, 2, 2),
    "startsWith": (lambda text, part: _text(text).startswith(_text(part)), 2, 2),
    "endsWith": (lambda text, part: _text(text).endswith(_text(part)), 2, 2),
    "matches": (_matches, 2, 2),
    "int": (_int, 1, 1),
    "double": (_double, 1, 1),
    "string": (_string, 1, 1),
    "bool": (_bool, 1, 1),
    "type": (_type, 1, 1),
    "lowerAscii": (lambda text: _text(text).lower(), 1, 1),
    "upperAscii": (lambda text: _text(text).upper(), 1, 1),
    "trim": (lambda text: _text(text).strip(), 1, 1),
    "split": (lambda text, part: _text(text).split(_text(part)), 2, 2),
    "join": (_join, 1, 2),
    "replace": (_replace, 3, 3),
    "substring": (_substring, 2, 3),
    "indexOf": (lambda text, part: _text(text).find(_text(part)), 2, 2),
    "greatest": (lambda *values: max(_numbers(values)), 1, 100),
    "least": (lambda *values: min(_numbers(values)), 1, 100),
    "abs": (abs, 1, 1),
    "ceil": (math.ceil, 1, 1),
    "floor": (math.floor, 1, 1),
    "round": (_round, 1, 1),
    **times.FUNCTIONS,
}
"""name -> function, least and most values; `text.contains(part)` is `contains(text, part)`."""
