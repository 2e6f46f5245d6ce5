"""Values in expressions: of what kind they are, when two are equal, and how numbers are calculated with."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def kind(value: object) -> str:
    """`a number`, as a person says it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case dict():
            return "a map"
        case datetime():
            return "a time"
        case timedelta():
            return "a length of time"
    return "a value"


def equal(left: object, right: object) -> bool:
    """1 and 1.0 are equal, 1 and true are not. Needs no call stack: depth is no matter."""
    stack = [(left, right)]
    while stack:
        one, other = stack.pop()
        if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            stack.extend(zip(one, other, strict=True))
        elif isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
            stack.extend((value, other[key]) for key, value in one.items())
        elif isinstance(one, bool) is not isinstance(other, bool) or one != other:
            return False
    return True


def _divide(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        quotient = abs(left) // abs(right)
        return quotient if (left < 0) == (right < 0) else -quotient
    return left / right


def _modulo(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        return left - right * _divide(left, right)
    return math.fmod(left, right)


ARITHMETIC: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": _divide,
    "%": _modulo,
}
