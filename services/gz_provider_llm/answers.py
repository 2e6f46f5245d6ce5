"""HTTP/1.1 answers as they arrive: bytes go in, a head and the pieces of a body come out. No I/O."""

from typing import Final

from msgspec import Struct

HEAD_LIMIT_BYTES: Final = 256 * 1024
"""Of what stands before a body, and of the lines within and after one that is sent in chunks."""

CLOSE_AFTER_STREAMS: Final = frozenset({b"llama.cpp"})
_HEAD, _SIZED, _CHUNK_LINE, _CHUNK, _CHUNK_END, _TRAILER, _TO_THE_END, _DONE = range(8)


class Malformed(ValueError):
    """What arrived is no HTTP/1.1."""


class Head(Struct, frozen=True):
    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    persistent: bool
    """Whether the server keeps the connection for another request."""

    @property
    def closes_unsaid(self) -> bool:
        """Whether the server is one that closes the connection after a stream without announcing it."""
        return b"chunked" in self.values(b"transfer-encoding") and not CLOSE_AFTER_STREAMS.isdisjoint(
            self.values(b"server")
        )

    def values(self, name: bytes) -> list[bytes]:
        """All that a header says, its parts in lower case; `name` in lower case."""
        lines = (value for key, value in self.headers if key.lower() == name)
        return [part.strip().lower() for line in lines for part in line.split(b",")]


class Answer:
    """One answer. `feed` what arrives and `end` when nothing more will; look at `head`, `done` and `take`.

    Both raise Malformed for what is none.
    """

    def __init__(self) -> None:
        self.head: Head | None = None
        self._state = _HEAD
        self._rest = b""
        """What came and is not understood yet: the beginning of a line, or what follows the answer."""
        self._missing = 0
        """Bytes of the body, or of the chunk, that are still to come."""
        self._pieces: list[bytes] = []
        self.waiting_bytes = 0
        """Of the body, not taken yet."""

    @property
    def done(self) -> bool:
        return self._state == _DONE

    @property
    def reusable(self) -> bool:
        """Whether the connection can take another request: this one is answered, and nobody said more."""
        head = self.head
        return self.done and not self._rest and head is not None and head.persistent and not head.closes_unsaid

    def take(self) -> bytes:
        """What has come of the body since the last time."""
        pieces, self._pieces, self.waiting_bytes = self._pieces, [], 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def feed(self, data: bytes) -> None:
        if self._rest:
            data, self._rest = self._rest + data, b""
        if self._state == _HEAD:
            data = self._take_head(data)
        if self._state == _SIZED:
            data = self._take_sized(data)
        elif self._state == _TO_THE_END:
            self._add(data)
            data = b""
        elif self._state not in (_HEAD, _DONE):
            data = self._take_chunks(data)
        self._rest = data

    def end(self) -> None:
        """The connection was closed by the server. That ends a body of unknown length as well as it can be."""
        if self._state == _TO_THE_END:
            self._state = _DONE
        elif self._state == _HEAD:
            raise Malformed("the connection was closed without an answer")
        elif self._state != _DONE:
            raise Malformed("the connection was closed in the middle of an answer")

    def _add(self, piece: bytes) -> None:
        if piece:
            self._pieces.append(piece)
            self.waiting_bytes += len(piece)

    def _take_head(self, data: bytes) -> bytes:
        while self._state == _HEAD:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                return _line_to_come(data)
            if end > HEAD_LIMIT_BYTES:
                raise Malformed("the head of the answer is too large")
            head, data = _head(data[:end].split(b"\r\n")), data[end + 4 :]
            if head.status >= 200:  # others announce the answer
                self.head = head
                self._expect_body(head)
        return data

    def _expect_body(self, head: Head) -> None:
        coding, lengths = head.values(b"transfer-encoding"), set(head.values(b"content-length"))
        if head.status in (204, 304):
            self._state = _DONE
        elif coding == [b"chunked"]:
            self._state = _CHUNK_LINE
        elif coding:
            raise Malformed("a transfer-encoding other than chunked")
        elif not lengths:
            self._state = _TO_THE_END
        elif len(lengths) == 1 and (length := lengths.pop()).isdigit():
            self._missing = int(length)
            self._state = _SIZED if self._missing else _DONE
        else:
            raise Malformed("a content-length that is no number")

    def _take_sized(self, data: bytes) -> bytes:
        piece, rest = data[: self._missing], data[self._missing :]
        self._add(piece)
        self._missing -= len(piece)
        if not self._missing:
            self._state = _DONE
        return rest

    def _take_chunks(self, data: bytes) -> bytes:
        """As far as they are there. What is returned is the beginning of something."""
        at = 0
        while self._state != _DONE:
            if self._state == _CHUNK:
                piece = data[at : at + self._missing]
                self._add(piece)
                at += len(piece)
                self._missing -= len(piece)
                if self._missing:
                    return b""
                self._state = _CHUNK_END
            end = data.find(b"\r\n", at)
            if end < 0:
                return _line_to_come(data[at:])
            line, at = data[at:end], end + 2
            self._take_line(line)
        return data[at:]

    def _take_line(self, line: bytes) -> None:
        """A line between chunks, or after the last one."""
        if self._state == _CHUNK_LINE:
            size = line.partition(b";")[0].strip()
            try:
                self._missing = int(size, 16) if size.isalnum() else -1
            except ValueError:
                self._missing = -1
            if self._missing < 0:
                raise Malformed("a chunk without its size")
            self._state = _CHUNK if self._missing else _TRAILER
        elif self._state == _CHUNK_END:
            if line:
                raise Malformed("a chunk that is longer than its size")
            self._state = _CHUNK_LINE
        elif not line:
            self._state = _DONE


def _line_to_come(data: bytes) -> bytes:
    if len(data) > HEAD_LIMIT_BYTES:
        raise Malformed("a line that does not end")
    return data


def _head(lines: list[bytes]) -> Head:
    version, _, said = lines[0].partition(b" ")
    status, _, reason = said.partition(b" ")
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or len(status) != 3 or not status.isdigit():
        raise Malformed("what the server says is no HTTP/1.1")
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise Malformed("a header without its name")
        headers.append((name, value.strip()))
    head = Head(int(status), reason, headers, version == b"HTTP/1.1")
    wishes = head.values(b"connection")
    persistent = b"close" not in wishes and (head.persistent or b"keep-alive" in wishes)
    return Head(head.status, head.reason, headers, persistent)
