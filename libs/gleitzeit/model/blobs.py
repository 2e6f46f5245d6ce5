"""Large values, which travel and are stored beside the message that means them: `{"$blob": NAME, "size_bytes": n}`.

NAME is `sha256:` and 64 hex digits of the content. The content is JSON, or with `as: text` and `as: base64` the bytes
of a file, to be taken as a text and as base64.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeGuard

import msgspec
from msgspec import Raw, Struct

KEY: Final = "$blob"
INLINE_BYTES: Final = 256 << 10
"""A larger value travels as a blob."""
CHUNK_BYTES: Final = 256 << 10
"""Of a blob, in one message."""
MAX_BLOB_BYTES: Final = 64 << 20
_LEAST_MEMBER_BYTES: Final = 8 << 10
"""A smaller member of a large result is left where it is."""
_MEMBERS: Final = frozenset({KEY, "size_bytes", "as"})
_MARK: Final = b'"$blob"'
_NAME = re.compile(r"sha256:[0-9a-f]{64}")
_IN_JSON = re.compile(rb'"\$blob"\s*:\s*"(sha256:[0-9a-f]{64})"')

Reference = Mapping[str, Any]


class Look(Struct, frozen=True):
    """What of a blob is wanted: what stands at `path`, or with None the whole; `form` is its reference's `as`.
    `as_result`: it is a task's result, whose path is walked by the rule for these."""

    name: str
    form: str = ""
    path: tuple[str, ...] | None = None
    as_result: bool = False


def look_into(blob: Reference, path: tuple[str, ...] | None = None, *, as_result: bool = False) -> Look:
    """What to ask for where a path leads into a blob."""
    return Look(str(blob[KEY]), str(blob.get("as", "")), path, as_result)


def name_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def reference(content: bytes, form: str = "") -> dict[str, Any]:
    """What stands for `content`; `form` is text, base64 or "" for JSON."""
    found: dict[str, Any] = {KEY: name_of(content), "size_bytes": len(content)}
    return found | {"as": form} if form else found


def is_blob(value: object) -> TypeGuard[Reference]:
    """Whether a value stands for a blob: exactly that, and nothing else beside it."""
    if not isinstance(value, dict) or KEY not in value or not _MEMBERS.issuperset(value):
        return False
    return isinstance(value[KEY], str) and _NAME.fullmatch(value[KEY]) is not None


def may_have_blobs(encoded: bytes) -> bool:
    """Of a value as JSON. Never wrongly false."""
    return _MARK in encoded


def names_in(encoded: bytes) -> Iterator[str]:
    """The blobs that a value, as JSON, refers to; perhaps one that it only looks like."""
    if _MARK in encoded:
        yield from (name.decode() for name in _IN_JSON.findall(encoded))


def references_in(value: object) -> Iterator[Reference]:
    """Every one in a decoded value, at any depth."""
    stack = [value]
    while stack:
        top = stack.pop()
        if isinstance(top, dict):
            if is_blob(top):
                yield top
            else:
                stack.extend(top.values())
        elif isinstance(top, list):
            stack.extend(top)


def replaced(value: Any, content_of: Callable[[Reference], Any]) -> Any:
    """`value` with each reference replaced by what `content_of` gives; what came from a blob is not looked into."""
    if isinstance(value, dict):
        if is_blob(value):
            return content_of(value)
        return {key: replaced(inner, content_of) for key, inner in value.items()}
    if isinstance(value, list):
        return [replaced(inner, content_of) for inner in value]
    return value


def value_of(blob: Reference, content: bytes) -> Any:
    """What a reference means, with its content at hand. Raises msgspec.DecodeError for what is no JSON."""
    match blob.get("as"):
        case "text":
            return _text(content)
        case "base64":
            return base64.b64encode(content).decode()
    return msgspec.json.decode(content)


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def split(encoded: bytes, limit_bytes: int = INLINE_BYTES) -> tuple[bytes, dict[str, bytes]]:
    """A value as JSON of at most `limit_bytes`, and the blobs that it refers to then, by name.

    Of objects and lists the largest members become blobs, at any depth, so that what refers to a member need not read
    the others; what has too many small ones becomes one as a whole. No blob refers to another, so what has references
    in it already may stay larger.
    """
    blobs: dict[str, bytes] = {}
    return _split(encoded, limit_bytes, blobs), blobs


def _split(encoded: bytes, limit_bytes: int, blobs: dict[str, bytes]) -> bytes:
    if len(encoded) <= limit_bytes:
        return encoded
    found: dict[str, bytes] = {}
    divided = _without_large_members(encoded, limit_bytes, found)
    if len(divided) > limit_bytes and _MARK not in encoded:
        whole = reference(encoded)
        blobs[whole[KEY]] = encoded
        return msgspec.json.encode(whole)
    blobs |= found
    return divided


def _without_large_members(encoded: bytes, limit_bytes: int, blobs: dict[str, bytes]) -> bytes:
    """Perhaps that is not enough."""
    members: dict[Any, Raw]
    first = encoded.lstrip()[:1]
    if first == b"{":
        members = msgspec.json.decode(encoded, type=dict[str, Raw])
    elif first == b"[":
        members = dict(enumerate(msgspec.json.decode(encoded, type=list[Raw])))
    else:
        return encoded
    size_bytes = len(encoded)
    for key, member in sorted(members.items(), key=lambda item: len(item[1]), reverse=True):
        if size_bytes <= limit_bytes or len(member) < _LEAST_MEMBER_BYTES:
            break
        members[key] = Raw(_split(bytes(member), min(limit_bytes // 4, len(member) - 1), blobs))
        size_bytes -= len(member) - len(members[key])
    return msgspec.json.encode(members if first == b"{" else list(members.values()))
