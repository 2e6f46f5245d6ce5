"""What an unquoted YAML scalar means. No surprises: `no`, `012`, `1_000`, `12:30`, `2026-01-01` are texts."""

import math
import re
from collections.abc import Mapping
from typing import Final

from gleitzeit.schemas.words import CURLY_QUOTES
from gleitzeit.spec.problems import Path

_WORDS: Final[dict[str, bool | None]] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)?(?:\.[0-9]+|(?<=[0-9])\.)?(?:(?<=[0-9.])[eE][-+]?[0-9]+)?")
_FIRST_OF_NUMBER: Final = frozenset("+-.0123456789")
_LARGEST: Final = 2**63 - 1


def plain_scalar(text: str) -> str | int | float | bool | None:
    """Numbers that JSON peers would not read alike (beyond 64 bits, infinite) stay texts."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _FIRST_OF_NUMBER or not text.isascii():
        return text
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _NUMBER.fullmatch(text) and text.strip("+-.eE"):
        number = float(text)
        return number if math.isfinite(number) else text
    return text


def not_finite(value: object) -> Path | None:
    """Where in a plain value there is a number that JSON cannot express; encoders may write null in its place."""
    stack: list[tuple[Path, object]] = [((), value)]
    while stack:
        path, top = stack.pop()
        if isinstance(top, float) and not math.isfinite(top):
            return path
        if isinstance(top, Mapping):
            stack.extend(((*path, str(key)), inner) for key, inner in top.items())
        elif isinstance(top, list | tuple):
            stack.extend(((*path, index), inner) for index, inner in enumerate(top))
    return None


def whole_number(value: object) -> int | None:
    """The int that a value is: JSON and JSON Schema take 2.0 for one, too. None for all else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def in_curly_quotes(text: str) -> bool:
    """Whether it was meant to stand in quotes, which these are not: word processors write them."""
    return len(text) > 1 and text[0] in CURLY_QUOTES and text[-1] in CURLY_QUOTES


def _integer(text: str) -> int | str:
    if len(text) > 20:  # Python refuses to read very long ones, and needs long for the others
        return text
    number = int(text)
    return number if abs(number) <= _LARGEST else text
