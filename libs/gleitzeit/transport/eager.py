"""WebSockets that give a message away as it comes in. Out of the queue of websockets a task has to be woken for it."""

from collections.abc import Callable

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.connection import Connection
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.protocol import Event

from gleitzeit.transport.base import LARGE_FRAME_BYTES


class EagerConnection(Connection):
    """To be mixed into the connection of one side, in front of its own class."""

    take: Callable[[bytes], None] | None = None
    """Gets what is one frame, and not large, while `waits`; `recv` has all else, in its order."""
    waits = False
    """Whether somebody waits in `recv` and nothing is queued for him. To be set by him, before and after."""

    def process_event(self, event: Event) -> None:
        if isinstance(event, Frame) and event.opcode in DATA_OPCODES:
            is_whole = event.fin and event.opcode is not Opcode.CONT
            if self.take is not None and self.waits and is_whole and len(event.data) <= LARGE_FRAME_BYTES:
                self.take(bytes(event.data))
                return
            self.waits = False
        super().process_event(event)


class EagerClient(EagerConnection, ClientConnection):
    pass
