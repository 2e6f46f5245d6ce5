"""What a look into a blob finds, with the content at hand: of a large one no more is read than the path there wants."""

import re
from typing import Any, Final

import msgspec
from msgspec import Raw

from gleitzeit.errors import ParameterError, ResourceExhausted
from gleitzeit.model.blobs import INLINE_BYTES, Look, reference, value_of
from gleitzeit.spec.references.paths import Missing, Unread, look_up, walk, what_is_missing

MOST_VALUES: Final = 500_000
"""In a JSON that is read as a whole: each takes about a microsecond and 100 bytes."""
_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')


def inside(content: Unread, look: Look) -> bytes | Missing:
    """The value at the path, as JSON. Raises ParameterError for a content that cannot be read."""
    path = look.path or ()
    if look.form:
        what = "a text" if look.form == "text" else "a file"
        return Missing(f"there is no '{path[0]}' (it is {what})") if path else bytes(content.raw)
    try:
        found = look_up(content, path) if look.as_result else walk(content, path)
        if isinstance(found, Missing):
            return Missing(what_is_missing(content, path))
    except msgspec.MsgspecError as error:
        raise unreadable(look, error) from None
    if isinstance(found, Unread):
        found = found.raw
    return bytes(found) if isinstance(found, Raw) else msgspec.json.encode(found)


def as_found(look: Look, found: bytes, size_bytes: int) -> tuple[object, bytes]:
    """The value of what was found inside a content of `size_bytes`. What is large remains a blob: then with the content
    of that, if it has to be kept first, else b""."""
    if len(found) == size_bytes:
        same: dict[str, Any] = {"$blob": look.name, "size_bytes": size_bytes}
        return (same | {"as": look.form} if look.form else same), b""
    if len(found) > INLINE_BYTES:
        return reference(found), found
    return msgspec.json.decode(found), b""


def whole(content: bytes, look: Look) -> object:
    """All of it, at once. Raises ParameterError, and ResourceExhausted if that is too much."""
    if not look.form and too_many(content):
        raise too_much(look)
    try:
        return value_of({"as": look.form}, content)
    except msgspec.MsgspecError as error:
        raise unreadable(look, error) from None


def too_many(content: bytes) -> bool:
    """Whether a JSON is made of more values than are read as a whole."""
    return _values(content) > MOST_VALUES and _values(_TEXT.sub(b"", content)) > MOST_VALUES


def _values(content: bytes) -> int:
    """At most: what stands in texts is counted too."""
    return sum(map(content.count, (b",", b"{", b"[")))


def unreadable(look: Look, why: object) -> ParameterError:
    return ParameterError(f"the value {look.name} cannot be read: {why}")


def too_much(look: Look) -> ResourceExhausted:
    return ResourceExhausted(
        f"the value {look.name} is made of more than {MOST_VALUES:,} values, and is wanted as a whole:"
        " refer to a part of it, or give it to a task whole, as the only thing in a param"
    )
