"""What a child prints, kept within a bound: its beginning and its end."""

MAX_KEPT_BYTES = 1 << 20


class Output:
    """Feed it bytes; it keeps the first and the last half of `bound` bytes and counts all of them.

    `on_text` gets the text as it comes, cut at line ends, and no more than `bound` bytes of it in all.
    """

    def __init__(self, bound: int = MAX_KEPT_BYTES) -> None:
        self._half = bound // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._unsent = bytearray()
        self._sendable = bound
        self.total_bytes = 0

    @property
    def dropped_bytes(self) -> int:
        return self.total_bytes - len(self._head) - min(len(self._tail), self._half)

    @property
    def whole(self) -> bool:
        return self.dropped_bytes == 0

    def feed(self, data: bytes) -> str:
        """Take `data`, and return what of the stream can be shown now: complete lines, or "" if there are none."""
        self.total_bytes += len(data)
        room = self._half - len(self._head)
        self._head += data[:room] if room > 0 else b""
        self._tail += data[room:] if room > 0 else data
        if len(self._tail) > 4 * self._half:  # now and then, not at every read: a bytearray that shifts is a copy
            del self._tail[: -self._half]
        return self._lines(data)

    def rest(self) -> str:
        """The last line, when the stream has ended without a newline."""
        rest, self._unsent = self._unsent, bytearray()
        return rest.decode(errors="replace")

    def text(self) -> str:
        """What was kept; a line in the middle says how much is missing."""
        tail = self._tail[-self._half :]
        if self.whole:
            return (self._head + tail).decode(errors="replace")
        gap = f"\n… {self.dropped_bytes:,} bytes left out …\n"
        return self._head.decode(errors="replace") + gap + tail.decode(errors="replace")

    def _lines(self, data: bytes) -> str:
        if self._sendable <= 0:
            return ""
        self._sendable -= len(data)
        self._unsent += data
        if self._sendable <= 0:
            return self.rest() + "\n… more follows; the result holds the beginning and the end …\n"
        end = self._unsent.rfind(b"\n") + 1
        if end == 0:
            return ""
        lines = self._unsent[:end].decode(errors="replace")
        del self._unsent[:end]
        return lines
