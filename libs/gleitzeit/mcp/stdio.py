"""The wire that is a pair of pipes: one message a line, as MCP has it.

The other end is a stranger's program. What it prints that is no message is set aside; a line that is too long is read
to its end and answers its own request only; one that floods us is read no faster than others can bear.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable

from gleitzeit.errors import PayloadTooLarge
from gleitzeit.jsonrpc.codec import encode_failure
from gleitzeit.jsonrpc.codes import failure_of
from gleitzeit.jsonrpc.peer import MAX_FRAME_BYTES
from gleitzeit.transport.base import ABNORMAL, WireClosed

CHUNK_BYTES = 256 * 1024
QUEUED_BYTES = 4 * 1024 * 1024
QUEUED_LINES = 1_000
WINDOW_SECONDS = 0.05
LINES_A_WINDOW = 500
EDGE_BYTES = 512
_WHITESPACE = b" \t\r"
_ID_IN_FRONT = re.compile(rb'^\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d+)')
_METHOD = re.compile(rb'^\s*\{[^{]*"method"\s*:')
_ID_BEHIND = re.compile(rb'"id"\s*:\s*(\d+)\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')

OnNoise = Callable[[bytes], None]


class StdioWire:
    """See `transport.base.Wire`. `on_noise` hears lines that are no messages, cut to their beginning.

    Whoever owns the pipes sees to the end of the process; this end of them is closed by `close`.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        peer_name: str,
        *,
        on_noise: OnNoise = lambda line: None,
        max_frame_bytes: int = MAX_FRAME_BYTES,
    ) -> None:
        self.peer_name = peer_name
        self._reader = reader
        self._writer = writer
        self._lines: deque[bytes] = deque()
        self._lines_bytes = 0
        self._splitter = LineSplitter(self._put, on_noise, max_frame_bytes, lambda answer: self.write([answer]))
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()
        self._closed: WireClosed | None = None
        self._pump = asyncio.create_task(self._read_all(), name=f"read from {peer_name}")

    @property
    def buffered_bytes(self) -> int:
        return self._writer.transport.get_write_buffer_size()

    def write(self, frames: list[bytes]) -> None:
        if self._closed is None and not self._writer.transport.is_closing():
            self._writer.write(b"".join([one_line(frame) for frame in frames]))

    async def read(self) -> bytes:
        while not self._lines:
            if self._closed is not None:
                raise self._closed
            self._changed.clear()
            await self._changed.wait()
        line = self._lines.popleft()
        self._lines_bytes -= len(line)
        self._taken.set()
        return line

    async def drain(self) -> None:
        try:
            await self._writer.drain()
        except OSError:  # `read` tells that it is over
            return

    async def close(self, code: int, reason: str) -> None:
        self._end(code, reason)
        self._pump.cancel()
        self._writer.close()

    def _end(self, code: int, reason: str) -> None:
        self._closed = self._closed or WireClosed(code, reason)
        self._changed.set()

    def _put(self, line: bytes) -> None:
        self._lines.append(line)
        self._lines_bytes += len(line)
        self._changed.set()

    async def _read_all(self) -> None:
        loop = asyncio.get_running_loop()
        window_ends, lines = 0.0, 0
        while chunk := await self._read_chunk():
            lines += self._splitter.feed(chunk)
            now = loop.time()
            if now >= window_ends:
                window_ends, lines = now + WINDOW_SECONDS, 0
            elif lines > LINES_A_WINDOW:
                await asyncio.sleep(window_ends - now)
            elif len(chunk) == CHUNK_BYTES:
                await asyncio.sleep(0)  # more is there already, and others want their turn
            while len(self._lines) > QUEUED_LINES or self._lines_bytes > QUEUED_BYTES:
                self._taken.clear()
                await self._taken.wait()
        self._end(ABNORMAL, "it closed its output")

    async def _read_chunk(self) -> bytes:
        try:
            return await self._reader.read(CHUNK_BYTES)
        except OSError:
            return b""


class LineSplitter:
    """Bytes to lines. `feed` returns how many lines ended, of whatever kind. Holds at most one message in memory."""

    def __init__(
        self, put: Callable[[bytes], None], on_noise: OnNoise, max_line_bytes: int, refuse: Callable[[bytes], None]
    ) -> None:
        """`refuse` sends the answer to a request that is too long."""
        self._put = put
        self._refuse = refuse
        self._on_noise = on_noise
        self._max = max_line_bytes
        self._rest = bytearray()
        self._head = b""
        """The beginning of a line that is too long; while it is set, only the end of that line is looked for."""

    def feed(self, chunk: bytes) -> int:
        *ends, last = chunk.split(b"\n")
        for part in ends:
            self._add(part)
            self._end_line()
        self._add(last)
        return len(ends)

    def _add(self, part: bytes) -> None:
        self._rest += part
        if self._head:
            del self._rest[:-EDGE_BYTES]
        elif len(self._rest) > self._max:
            self._head = bytes(self._rest[:EDGE_BYTES])
            del self._rest[:-EDGE_BYTES]

    def _end_line(self) -> None:
        line, self._rest = bytes(self._rest), bytearray()
        head, self._head = self._head, b""
        if head:
            self._end_of_long_line(head, line)
            return
        stripped = line.strip(_WHITESPACE)
        if stripped[:1] in (b"{", b"["):
            self._put(stripped)
        elif stripped:
            self._on_noise(stripped[:EDGE_BYTES])

    def _end_of_long_line(self, head: bytes, tail: bytes) -> None:
        """Whoever waits for it learns why it will not come. A notification of that size is dropped."""
        found = _ID_IN_FRONT.match(head) or _ID_BEHIND.search(tail)
        if found is None:
            self._on_noise(head)
            return
        is_request = _METHOD.search(head) is not None
        what = "request" if is_request else "answer"
        error = PayloadTooLarge(f"the {what} is larger than {self._max} bytes", {"limit_bytes": self._max})
        (self._refuse if is_request else self._put)(encode_failure(found[1], failure_of(error)))


def one_line(frame: bytes) -> bytes:
    """JSON has line ends between its tokens only; inside strings they are escaped."""
    if b"\n" in frame or b"\r" in frame:
        frame = frame.replace(b"\n", b" ").replace(b"\r", b" ")
    return frame + b"\n"
