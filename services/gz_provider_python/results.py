"""From the value a script leaves to JSON.

| Python | JSON |
|---|---|
| None, bool, int, float, str, list, tuple, dict | as usual; NaN and infinities are refused; keys become text |
| set, frozenset, deque, range, views, arrays | array |
| datetime, date, time, timedelta | ISO 8601 text |
| Decimal, Fraction, UUID, Path | text |
| bytes, bytearray, memoryview | base64 text |
| Enum | its value |
| dataclass, attrs, msgspec, pydantic, any Mapping | object |
| numpy and pandas | what their `tolist()` gives; a DataFrame is an array of row objects |

NaN and infinities are refused wherever they stand, be it in an array: JSON has none, and `null` would hide them.
Everything else (functions, generators, open files …) is refused with the place and the type of what stands in the way.
"""

import collections.abc
import dataclasses
import math
import re
import sys
from fractions import Fraction
from pathlib import PurePath
from typing import Any

import msgspec

from gz_provider_python.wire import MAX_REPORT_BYTES

MAX_DEPTH = 56
"""Frames nest at most 64 deep, and the result stands a few levels down in its frame."""

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_NO_BRACKETS = re.compile(rb"[^][{}]+")


class NotSerialisable(Exception):
    """The value cannot be expressed as JSON; the message says where and why, for the script's author."""


def to_json(value: object) -> bytes:
    """`value` as JSON text. Raises NotSerialisable."""
    try:
        text = msgspec.json.encode(value, enc_hook=_as_plain)
    except RecursionError:
        raise NotSerialisable(f"result contains itself, or is nested more than {MAX_DEPTH} levels deep") from None
    except UnicodeEncodeError as error:
        raise NotSerialisable(f"result holds text that is not valid Unicode: {error.reason}") from None
    except (NotImplementedError, TypeError, ValueError, OverflowError) as error:
        raise NotSerialisable(_complaint(value, "result") or f"result cannot be expressed as JSON: {error}") from None
    if depth_of(text) > MAX_DEPTH:
        raise NotSerialisable(f"result is nested more than {MAX_DEPTH} levels deep")
    if b"null" in text and (complaint := _not_finite(msgspec.to_builtins(value, enc_hook=_as_plain), "result")):
        raise NotSerialisable(complaint)
    if len(text) > MAX_REPORT_BYTES:
        size = f"{len(text):,} bytes as JSON, the limit is {MAX_REPORT_BYTES:,}"
        raise NotSerialisable(f"result has {size}; write it to a file and return its path")
    return text


def from_output(text: str, *, whole: bool = True) -> object:
    """The result of a script that named none: what it printed.

    All of it if that is JSON, else its last line if that is JSON, else the text; None if there is none. `whole` is
    false where the middle of a long output was dropped: then only the last line is looked at.
    """
    text = text.strip()
    if not text:
        return None
    candidates = (text, text.rsplit("\n", 1)[-1]) if whole else (text.rsplit("\n", 1)[-1],)
    for candidate in candidates:
        try:
            return msgspec.json.decode(candidate)
        except (msgspec.DecodeError, RecursionError):
            continue
    return text


def depth_of(text: bytes) -> int:
    """How deep a JSON text nests; beyond MAX_DEPTH it is only told that it is beyond."""
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return 0  # the common case: too few brackets to matter
    brackets = _NO_BRACKETS.sub(b"", _STRING.sub(b"", text)).replace(b"{", b"[").replace(b"}", b"]")
    depth = 0
    while brackets and depth <= MAX_DEPTH:
        brackets = brackets.replace(b"[]", b"")  # takes the innermost level away
        depth += 1
    return depth


def _as_plain(value: Any) -> object:
    """msgspec asks here for what it does not know: subclasses of scalars, odd keys, and the types of strangers."""
    if value is None or isinstance(value, bool):  # only as a key of an object: elsewhere msgspec knows them
        return {None: "null", True: "true", False: "false"}[value]
    if type(value) in (tuple, list, dict, set, frozenset):  # as a key, too
        raise NotImplementedError
    for scalar in (str, int, float):
        if isinstance(value, scalar):
            return scalar.__str__(value) if scalar is str else scalar(value)
    if isinstance(value, PurePath | Fraction):
        return str(value)
    return _from_library(value)


def _from_library(value: Any) -> object:
    if isinstance(value, type):
        raise NotImplementedError
    if callable(getattr(value, "model_dump", None)):  # pydantic
        return value.model_dump(mode="json")
    if callable(getattr(value, "tolist", None)):  # numpy's arrays and scalars, a pandas Series or Index, array.array
        return value.tolist()
    if callable(getattr(value, "to_dict", None)) and hasattr(value, "columns"):  # a pandas DataFrame
        return value.to_dict(orient="records")
    if isinstance(value, collections.abc.Mapping):
        return dict(value)
    if isinstance(value, collections.abc.Collection):
        return list(value)
    raise NotImplementedError


def _complaint(value: object, path: str, depth: int = 0) -> str:
    """The first place that stands in the way, as `result.rows[3]: a generator …`; "" if none is found."""
    if depth > MAX_DEPTH:
        return ""
    for key, child, where in _children(value, path):
        if key is not None and not isinstance(key, str | int | float | bool):
            return f"{path} has a key of type {type(key).__name__}; keys of a JSON object are text"
        if complaint := _complaint(child, where, depth + 1):
            return complaint
    try:
        msgspec.json.encode(value, enc_hook=_as_plain)
    except (NotImplementedError, TypeError, ValueError, OverflowError):
        if isinstance(value, int):
            return f"{path} is an integer of more than {sys.get_int_max_str_digits():,} digits; give hex() of it"
        return f"{path} is of type {_type_name(value)}, which cannot be expressed as JSON{_advice(value)}"
    return ""


def _not_finite(value: object, path: str) -> str:
    """The first number that JSON does not have, which msgspec writes as null; "" if there is none."""
    if isinstance(value, float) and not math.isfinite(value):
        shown = "NaN" if math.isnan(value) else "infinite"
        return f"{path} is {shown}, which JSON cannot express; give None or a text in its place"
    complaints = (_not_finite(child, where) for _, child, where in _children(value, path))
    return next((complaint for complaint in complaints if complaint), "")


def _children(value: object, path: str) -> list[tuple[object, object, str]]:
    if isinstance(value, dict):
        return [(key, child, f"{path}.{key}") for key, child in value.items()]
    if isinstance(value, list | tuple):
        return [(None, child, f"{path}[{index}]") for index, child in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(None, getattr(value, field.name), f"{path}.{field.name}") for field in dataclasses.fields(value)]
    return []


def _type_name(value: object) -> str:
    cls = type(value)
    return cls.__name__ if cls.__module__ in ("builtins", "__main__") else f"{cls.__module__}.{cls.__name__}"


def _advice(value: object) -> str:
    if isinstance(value, collections.abc.Coroutine):
        return "; `await` it"
    if isinstance(value, collections.abc.Iterator):
        return "; make a list of it"
    return "; call it and keep what it returns" if callable(value) else ""
