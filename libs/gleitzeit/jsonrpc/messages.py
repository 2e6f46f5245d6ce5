"""What JSON-RPC 2.0 messages are to the rest of the house: small structs, no behaviour.

`params`, `result` and `error.data` stay `msgspec.Raw`: they mostly pass through. A Raw is a view into the frame it came
in; who keeps one for long takes `raw.copy()`, or the whole frame stays in memory with it.
"""

from typing import Literal, TypeAlias

from msgspec import UNSET, Raw, Struct, UnsetType

ABSENT = Raw(b"")
NULL = b"null"

# JSON that is encoded already. Wherever a value is asked for, this is taken as it is and never encoded again.
Encoded: TypeAlias = bytes | Raw


class Message(Struct, frozen=True, gc=False):
    """A member of a frame whose envelope is in order: a request, a notification or a response. Absent members are
    `ABSENT`.
    """

    jsonrpc: Literal["2.0"]
    method: str | UnsetType = UNSET
    params: Raw = ABSENT
    id: Raw = ABSENT
    result: Raw = ABSENT
    error: Raw = ABSENT


class Malformed(Struct, frozen=True, gc=False):
    """A member of a frame that is no JSON-RPC message. `id` is its id if it has a usable one, else `null`."""

    id: bytes
    reason: str
    is_request: bool = True
    """False if it has no method: it may as well have been meant as the answer to a request of ours."""


class Result(Struct, frozen=True, gc=False):
    """The call succeeded. `nesting` is a bound for how deep the value is nested if it was looked through: then all of
    it can be read as well; 0 if nobody has."""

    raw: Raw
    nesting: int = 0


class Failure(Struct, frozen=True, gc=False):
    """The call was answered with an error object."""

    code: int
    message: str
    data: Raw | None = None


class Lost(Struct, frozen=True, gc=False):
    """The connection closed before an answer came: the call may or may not have been executed."""

    reason: str


Reply: TypeAlias = Result | Failure | Lost
