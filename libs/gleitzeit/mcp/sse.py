"""Server-sent events: bytes to events. Pure."""

from collections.abc import Iterator

from msgspec import Struct

from gleitzeit.errors import PayloadTooLarge


class Event(Struct, frozen=True):
    """`id` is what a stream can be resumed after; "" if it has none."""

    data: bytes
    id: str = ""
    kind: str = "message"


class EventStream:
    """Only what MCP uses of the format. An event is complete with the empty line behind it."""

    def __init__(self, max_event_bytes: int) -> None:
        self._max = max_event_bytes
        self._rest = b""
        self._data: list[bytes] = []
        self._size_bytes = 0
        self._id = ""
        self._kind = "message"

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Raises PayloadTooLarge; of no use after that."""
        self._size_bytes += len(chunk)
        if b"\n" not in chunk and b"\r" not in chunk:
            self._rest += chunk
            self._check()
            return
        whole = self._rest + chunk
        held = b"\r" if whole.endswith(b"\r") else b""  # half of a line end, perhaps
        whole = whole.removesuffix(held).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = whole.split(b"\n")
        self._rest = rest + held
        for line in lines:
            if line:
                self._field(line)
            elif self._data or self._id:
                yield Event(b"\n".join(self._data), self._id, self._kind)
                self._data, self._id, self._kind, self._size_bytes = [], "", "message", len(self._rest)
            else:
                self._size_bytes = len(self._rest)
        self._check()

    def _check(self) -> None:
        if self._size_bytes > self._max:
            raise PayloadTooLarge(f"an event is larger than {self._max} bytes", {"limit_bytes": self._max})

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._data.append(value)
            case b"id":
                self._id = value.decode(errors="replace")
            case b"event":
                self._kind = value.decode(errors="replace")
