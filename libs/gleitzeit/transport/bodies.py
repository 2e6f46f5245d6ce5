"""Requests with a body, which no WebSocket begins with: who sends one (`curl -d`) is answered, too.

websockets hangs up on them without a word. Here the head is shown to it without what announces a body, and the body is
thrown away: so they come to where all other requests are answered.
"""

import re
from typing import Any

from websockets.asyncio.server import ServerConnection

from gleitzeit.transport.eager import EagerConnection

_END = b"\r\n\r\n"
_REQUEST_LINE = re.compile(rb"[!-~]{1,40} [!-~]+ HTTP/1\.[01]\r\n")
_ANNOUNCES_BODY = re.compile(rb"(?i)\r\n(?:transfer-encoding|content-length(?!:[ \t]*0[ \t]*(?:\r|$))):[^\r\n]*")
_MAX_HEAD_BYTES = 64 * 1024
"""What has a longer one is left to websockets, which says what is too long."""


class BodyConnection(EagerConnection, ServerConnection):
    """`has_body` is true of a request that announced one. It must be refused."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.has_body = False
        self._head = bytearray()
        """As much of it as is held back."""
        self._is_through = False

    def data_received(self, data: bytes) -> None:
        if self._is_through:
            if not self.has_body:
                super().data_received(data)
            return
        self._head += data
        if not _is_unfinished(self._head):
            self._show(bytes(self._head))

    def eof_received(self) -> None:
        if not self._is_through:
            self._show(bytes(self._head))
        super().eof_received()

    def _show(self, received: bytes) -> None:
        self._is_through = True
        self._head.clear()
        head, end, _body = received.partition(_END)
        if end and _ANNOUNCES_BODY.search(head):
            self.has_body = True
            received = _ANNOUNCES_BODY.sub(b"", head) + end
        super().data_received(received)


def _is_unfinished(received: bytearray) -> bool:
    """Whether more of what is a request by its first line is to come. All else is not ours to judge."""
    line = received.find(b"\n") + 1
    if not line or len(received) > _MAX_HEAD_BYTES:
        return False
    return _END not in received and _REQUEST_LINE.fullmatch(received, 0, line) is not None
