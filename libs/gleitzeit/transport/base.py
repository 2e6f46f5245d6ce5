"""The two ports of a Connection: the wire below it, and the methods above it."""

from collections.abc import Coroutine
from typing import Any, Protocol

from gleitzeit.jsonrpc.request import Request

# `drain` waits while more than this is buffered; a peer that lets more than CLOSE_ABOVE_BYTES pile up is disconnected.
HIGH_WATER_BYTES = 1024 * 1024
CLOSE_ABOVE_BYTES = 64 * 1024 * 1024
# To look through more than this takes long.
LARGE_FRAME_BYTES = 1024 * 1024

NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
ABNORMAL = 1006
MESSAGE_TOO_BIG = 1009
TRY_AGAIN_LATER = 1013


class WireClosed(Exception):
    """No frame will come any more. Code and reason are those of the side that closed; 1006 if the wire just broke."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Wire(Protocol):
    """Frames go out and come in, in order, until it is closed. Two adapters: a WebSocket, and a pair of queues in
    memory.
    """

    peer_name: str

    @property
    def buffered_bytes(self) -> int:
        """What was written and has not been taken over by the kernel (or the other end)."""

    def write(self, frames: list[bytes]) -> None:
        """Send each as one text frame, without waiting. Does nothing when the wire is closed: `read` tells."""

    async def read(self) -> bytes:
        """The next frame. Raises WireClosed when all that came before the end has been read."""

    async def drain(self) -> None:
        """Wait until at most HIGH_WATER_BYTES are buffered, or the wire is closed."""

    async def close(self, code: int, reason: str) -> None:
        """Close and wait until it is. What was written before is sent first. May be called more than once."""


class Methods(Protocol):
    """What answers requests: `jsonrpc.methods.Methods`. Importing that costs 0.1 s, and many connections only ask."""

    def knows(self, name: str) -> bool:
        """Whether there is a method of that name."""

    def dispatch(self, request: Request) -> Coroutine[Any, Any, None] | None:
        """Answer the request now, or return the coroutine that will, to be run as a task. Never raises."""
