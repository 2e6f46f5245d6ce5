"""WebSockets that give a message away as it comes in. Out of the queue of websockets a task has to be woken for it."""

from collections.abc import Callable

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.connection import Connection
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.protocol import Event

from gleitzeit.transport.base import HIGH_WATER_BYTES, LARGE_FRAME_BYTES

_FRAME_BYTES = 4


class EagerConnection(Connection):
    """To be mixed into the connection of one side, in front of its own class."""

    take: Callable[[bytes], None] | None = None
    """Gets what is one frame, and not large, while `waits`; `recv` has all else, in its order."""
    waits = False
    """Whether somebody waits in `recv` and nothing is queued for him. To be set by him, before and after."""

    _pong_bytes = 0
    """Answers to pings that may not have been read."""

    def process_event(self, event: Event) -> None:
        if isinstance(event, Frame) and event.opcode is Opcode.PING:
            self._count_pong(len(event.data))
        if isinstance(event, Frame) and event.opcode in DATA_OPCODES:
            is_whole = event.fin and event.opcode is not Opcode.CONT
            if self.take is not None and self.waits and is_whole and len(event.data) <= LARGE_FRAME_BYTES:
                self.take(bytes(event.data))
                return
            self.waits = False
        super().process_event(event)

    def _count_pong(self, size_bytes: int) -> None:
        """websockets answers every ping, whether or not the other side reads: without a bound."""
        unread_bytes = self.transport.get_write_buffer_size()
        self._pong_bytes = min(self._pong_bytes + _FRAME_BYTES + size_bytes, unread_bytes)
        if self._pong_bytes > HIGH_WATER_BYTES:
            self.transport.abort()


class EagerClient(EagerConnection, ClientConnection):
    pass
