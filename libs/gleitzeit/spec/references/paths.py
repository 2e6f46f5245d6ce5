"""What a path finds in a task's result.

It is walked by one rule, which resolves what users of earlier versions wrote: first as it stands (a missing key by its
aliases), then without a leading `result`, then inside the object's own `result`. No path at all is the object's
`result`, or else the whole object.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec
from msgspec import Raw

from gleitzeit.model.blobs import INLINE_BYTES, Look, is_blob, look_into
from gleitzeit.schemas.words import near

ALIASES: Final = {
    "response": ("content", "text"),
    "content": ("response", "text"),
    "text": ("response", "content"),
    "result": ("response", "embedding", "output"),
}


class Missing:
    """There is no such value; perhaps it is known in `words` what there is."""

    __slots__ = ("words",)

    def __init__(self, words: str = "") -> None:
        self.words = words


MISSING: Final = Missing()

Load = Callable[[Look], object]
"""What a look into a blob finds, perhaps a blob again; or Missing. May raise whatever tells its caller to come again
when it is there."""


UNREAD: Final = "unread"
"""The member of an item that says why it has no content."""


def load_nothing(look: Look) -> object:
    """For who can do without the values of blobs."""
    return MISSING


def look_up(result: object, path: tuple[str, ...], load: Load = load_nothing) -> object:
    """The rule: the exact path with aliases; then without leading `result` (the envelope); then inside the payload.

    A blob on the way is looked into; one at its end stays what it is. Missing if there is nothing.
    """
    if is_blob(result):
        found = load(look_into(result, path, as_result=True))
        return result if found is MISSING and not path else found
    if one_level(result) is None:  # the task failed or was skipped, and its dependents run all the same
        return None
    if not path:
        members = one_level(result)
        return members.get("result", result) if isinstance(members, dict) else result
    paths = [path]
    while paths[-1] and paths[-1][0] == "result":
        paths.append(paths[-1][1:])
    missing = MISSING
    for start in (result, *_payload(result)):
        for steps in paths:
            value = walk(start, steps, load)
            if not isinstance(value, Missing):
                return value
            missing = missing if missing.words else value
    return missing


def _payload(result: object) -> tuple[object, ...]:
    members = one_level(result)
    payload = members.get("result") if isinstance(members, dict) else None
    return (payload,) if isinstance(one_level(payload), dict | list) else ()


def walk(value: object, path: tuple[str, ...], load: Load = load_nothing) -> object:
    """The value at the exact path, or MISSING. A blob on the way is looked into (see Load)."""
    for at, step in enumerate(path):
        if is_blob(value):
            return load(look_into(value, path[at:]))
        value = _step(value, step)
        if value is MISSING:
            break
    return value


class Unread:
    """A value as JSON of which one level is read when somebody looks inside, once."""

    __slots__ = ("_level", "raw")

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self._level: object = self

    def level(self) -> object:
        """An object or list with members that are Raw, or Unread if they are large. Raises msgspec.DecodeError."""
        if self._level is self:
            level = one_level(self.raw)
            if isinstance(level, dict):
                level |= {key: Unread(member) for key, member in level.items() if len(member) > INLINE_BYTES}
            elif isinstance(level, list):
                level[:] = [Unread(member) if len(member) > INLINE_BYTES else member for member in level]
            self._level = level
        return self._level


def one_level(value: object) -> object:
    """What is JSON still, with members that are; anything else as it is. Raises msgspec.DecodeError."""
    if isinstance(value, Unread):
        return value.level()
    if not isinstance(value, Raw):
        return value
    match bytes(memoryview(value)[:64]).lstrip()[:1]:
        case b"{":
            return msgspec.json.decode(value, type=dict[str, Raw])
        case b"[":
            return msgspec.json.decode(value, type=list[Raw])
    return msgspec.json.decode(value)


def _step(value: object, step: str) -> object:
    value = one_level(value)
    if isinstance(value, dict):
        if step in value:
            return value[step]
        for alias in ALIASES.get(step, ()):
            if alias in value:
                return value[alias]
    elif isinstance(value, list) and step.isascii() and step.isdigit() and len(step) < 10 and int(step) < len(value):
        return value[int(step)]
    return MISSING


def what_is_missing(result: object, path: tuple[str, ...]) -> str:
    """Of a task's result: the step at which the reading of `look_up` ends that comes furthest, and what there is
    instead. Of two that come as far, the one inside the payload: its keys are the author's own."""
    paths = [path]
    while paths[-1] and paths[-1][0] == "result":
        paths.append(paths[-1][1:])
    readings = [
        (len(path) - len(steps) + at, value, steps[at])
        for start in (*_payload(result), result)
        for steps in paths
        for at, value in _end_of(start, steps)
    ]
    if not readings:
        return "there is no such value"
    _, value, step = max(readings, key=lambda reading: reading[0])
    return _no_step(step, value, also=result)


def missing_inside(value: object, path: tuple[str, ...]) -> str:
    """In words: the first step that leads nowhere, and what there is instead."""
    return next((_no_step(path[at], end) for at, end in _end_of(value, path)), "there is no such value")


def _end_of(value: object, path: tuple[str, ...]) -> Iterator[tuple[int, object]]:
    """The number of the first step that leads nowhere, and the value that does not have it."""
    for at, step in enumerate(path):
        inner = _step(value, step)
        if inner is MISSING:
            yield at, value
            return
        value = inner


def _no_step(step: str, value: object, also: object = None) -> str:
    """In words. What was meant may stand in `also`, too."""
    names = [key for where in (value, also) if isinstance(members := one_level(where), dict) for key in members]
    key, minus, _ = step.partition("-")
    if minus and key in names:
        return f"there is no '{step}'{which(value)}; a '-' with spaces around it subtracts"
    meant = near(step, names)
    return f"there is no '{step}'{which(value)}" + (f"; did you mean '{meant}'?" if meant else "")


def which(value: object) -> str:
    """In words, behind what is not there: the keys, the length, or the kind of the value."""
    value = one_level(value)
    match value:
        case dict():
            keys = [str(key) for key in value]
            return (
                f" (there are: {', '.join(keys[:20])}{', …' if len(keys) > 20 else ''})"
                if keys
                else " (there is nothing)"
            )
        case list():
            return f" (it is a list of {len(value)})"
        case Mapping():
            return which(dict(value))
    return " (it is null)" if value is None else f" (it is a {_KIND.get(type(value), 'value')})"


_KIND = {str: "text", int: "number", float: "number", bool: "truth value"}


class Joined:
    """The results of a task's items, in their order; with each whether it is one, or stands for one that is missing."""

    __slots__ = ("results",)

    def __init__(self, results: list[tuple[object, bool]]) -> None:
        self.results = results


def joined(result: Joined, path: tuple[str, ...], load: Load = load_nothing) -> object:
    """What a path means in them: a number first, one item; else the list of what it means in each, null where there is
    no result. Raises LookupError with words for the author."""
    steps = path
    while steps and steps[0] == "result" and steps[1:] and _is_index(steps[1]):
        steps = steps[1:]
    if steps and _is_index(steps[0]):
        number = int(steps[0])
        if number >= len(result.results):
            raise LookupError(f"there is no {number} (it is a list of {len(result.results)})")
        one, _ = result.results[number]
        return _in_one(one, steps[1:], number, load) if steps[1:] else payload(one)
    if all(step == "result" for step in steps):
        return [payload(one) if is_result else one for one, is_result in result.results]
    return [_in_one(one, steps, n, load) if is_result else None for n, (one, is_result) in enumerate(result.results)]


def payload(result: object) -> object:
    """What an item adds to the list: the text of an LLM, the value of a program."""
    found = look_up(result, ("result",))
    return result if isinstance(found, Missing) else found


def _in_one(result: object, path: tuple[str, ...], number: int, load: Load) -> object:
    value = look_up(result, path, load)
    if isinstance(value, Missing):
        raise LookupError(f"item {number}: {value.words or what_is_missing(result, path)}")
    return value


def _is_index(step: str) -> bool:
    return step.isascii() and step.isdigit() and len(step) < 10
