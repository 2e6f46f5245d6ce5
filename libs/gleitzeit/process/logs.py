"""Logs of a service: text for people on a terminal, one JSON object a line for machines, always on stderr.

What a call passes as `extra` (`workflow_id`, `task_id`, `attempt`, …) becomes fields of the line.
"""

import logging
import os
import select
import stat
import sys
import time
from typing import Any, Literal, TextIO

import msgspec

from gleitzeit.errors import ConfigurationError

Format = Literal["auto", "text", "json"]
LEVELS = ("debug", "info", "warning", "error")

PIECE_BYTES = 4_096
"""What a pipe that can be written to takes without waiting."""
PATIENCE_MS = 20
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CHATTY = ("websockets", "nats", "httpx", "httpcore", "aiohttp", "asyncio")


def configure(level: str = "info", format: Format = "auto", *, service: str = "") -> None:
    """Send all logging of this process to stderr. `level` is one of LEVELS; `service` is named in every JSON line.

    The libraries below us speak from warning upwards only, unless `level` is debug.
    """
    if level.lower() not in LEVELS:
        raise ConfigurationError(f"no such log level: {level!r}; there are {', '.join(LEVELS)}")
    as_text = format == "text" or (format == "auto" and sys.stderr.isatty())
    output = _handler(sys.stderr)
    output.setFormatter(TextFormatter() if as_text else JsonFormatter(service))
    number = getattr(logging, level.upper())
    logging.basicConfig(level=number, handlers=[output], force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(number if level.lower() == "debug" else logging.WARNING)


class ToPipe(logging.Handler):
    """To a pipe or socket, without waiting: of lines for which there is no place, as who should read them does not, the
    number is said when there is place again."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._left_out and self._has_place():
                count, self._left_out = self._left_out, 0
                said = "nobody was reading: %d lines of the log, or their ends, are left out here"
                self._write(logging.LogRecord(__name__, logging.WARNING, __file__, 0, said, (count,), None), b"\n")
            self._write(record)
        except OSError:  # closed at the other end, say: then nobody reads it
            self._left_out += 1

    def _has_place(self) -> bool:
        """For PIECE_BYTES. A reader that is just slow is given a moment, once."""
        return bool(self._poll.poll(0 if self._left_out else PATIENCE_MS))

    def _write(self, record: logging.LogRecord, before: bytes = b"") -> None:
        line = before + self.format(record).encode(errors="replace") + b"\n"
        for start in range(0, len(line), PIECE_BYTES):
            if not self._has_place():
                self._left_out += 1
                return
            os.write(self._descriptor, line[start : start + PIECE_BYTES])


def _handler(stream: TextIO) -> logging.Handler:
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):  # it is no file of the system
        return logging.StreamHandler(stream)
    is_pipe = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
    return ToPipe(stream.fileno()) if is_pipe else logging.StreamHandler(stream)


class JsonFormatter(logging.Formatter):
    """`{"time", "level", "logger", "message", "service"?, …extra, "exception"?}`; the time is ISO 8601 UTC with ms."""

    def __init__(self, service: str = "") -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._service:
            line["service"] = self._service
        line.update({key: value for key, value in _extra(record).items() if key not in line})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=repr).decode()


class TextFormatter(logging.Formatter):
    """`14:03:22.512 warning the message  workflow_id=… task_id=…`, in local time."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        extra = "".join(f" {key}={value}" for key, value in _extra(record).items())
        line = f"{clock}.{int(record.msecs):03d} {record.levelname.lower():7} {record.getMessage()}"
        line += f" {extra}" if extra else ""
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"
