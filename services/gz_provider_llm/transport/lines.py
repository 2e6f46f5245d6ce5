"""An answer in lines, and server-sent events in these. No I/O."""

from codecs import BOM_UTF8

from msgspec import Struct

from gz_provider_llm.errors import ServerError

LINE_LIMIT_BYTES = 64 * 1024 * 1024
"""As much as an answer may have that comes all at once."""
_FIELDS = frozenset({b"", b"data", b"event", b"id", b"retry", b"error"})


class Event(Struct, frozen=True):
    """A server-sent event."""

    name: str
    data: str


class Splitter:
    """Into lines, by line feeds only: JSON may hold characters that Python, too, takes for the end of a line.

    With `returns` a carriage return alone ends one, too, as the specification of server-sent events has it.
    """

    def __init__(self, shown_url: str, *, returns: bool = False) -> None:
        self._shown_url = shown_url
        self._returns = returns
        self._returned = False
        """The last line ended with a carriage return: a line feed that follows belongs to it."""
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that are complete now, without what is white around them. Raises ServerError if one never is."""
        if self._returns and (self._returned or b"\r" in chunk):
            chunk = self._with_line_feeds(chunk)
        self._rest += chunk
        if b"\n" not in chunk:
            if len(self._rest) > LINE_LIMIT_BYTES:
                raise ServerError(f"{self._shown_url} sent a line of more than {LINE_LIMIT_BYTES >> 20} MiB")
            return []
        *complete, last = bytes(self._rest).split(b"\n")
        self._rest = bytearray(last)
        return [line.strip() for line in complete]

    def _with_line_feeds(self, chunk: bytes) -> bytes:
        if self._returned:
            chunk = chunk.removeprefix(b"\n")
        self._returned = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def rest(self) -> bytes:
        """The last line, which nothing ended."""
        return bytes(self._rest).strip()


class EventReader:
    """Puts events together. Only fields that anybody uses.

    What does not begin like a stream of events is one event as a whole: the answer of a server that does not stream, or
    the page of somebody else.
    """

    def __init__(self) -> None:
        self._name = ""
        self._data: list[str] = []
        self._begun = False
        self._body: bytearray | None = None

    def take(self, line: bytes) -> Event | None:
        """An event, if the line ends one."""
        if self._body is not None:
            if len(self._body) < LINE_LIMIT_BYTES:
                self._body += b"\n" + line
            return None
        if not line:
            name, data, self._name, self._data = self._name, self._data, "", []
            return Event(name, data[0] if len(data) == 1 else "\n".join(data)) if any(data) else None
        if not self._begun:
            self._begun, line = True, line.removeprefix(BOM_UTF8)
            if line.partition(b":")[0] not in _FIELDS:
                self._body = bytearray(line)
                return None
        field, _, value = line.decode(errors="replace").partition(":")
        if field == "data":
            self._data.append(value.removeprefix(" "))
        elif field == "event":
            self._name = value.strip()
        elif field == "error":  # llama.cpp's way to report one
            self._name, self._data = "error", [value]
        return None

    def end(self, rest: bytes) -> Event | None:
        """The last event, which counts also without the empty line after it; `rest` is what no line feed ended."""
        if rest and not self._begun and any(field.startswith(rest) for field in _FIELDS):
            return None  # it has ended in the first word of all
        if rest:
            self.take(rest)
        return self.take(b"") if self._body is None else Event("", self._body.decode(errors="replace"))
