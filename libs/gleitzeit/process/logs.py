"""Logs of a service: text for people on a terminal, one JSON object a line for machines, always on stderr.

What a call passes as `extra` (`workflow_id`, `task_id`, `attempt`, …) becomes fields of the line.
"""

import logging
import sys
import time
from typing import Any, Literal

import msgspec

from gleitzeit.errors import ConfigurationError

Format = Literal["auto", "text", "json"]
LEVELS = ("debug", "info", "warning", "error")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CHATTY = ("websockets", "nats", "httpx", "httpcore", "aiohttp", "asyncio")


def configure(level: str = "info", format: Format = "auto", *, service: str = "") -> None:
    """Send all logging of this process to stderr. `level` is one of LEVELS; `service` is named in every JSON line.

    The libraries below us speak from warning upwards only, unless `level` is debug.
    """
    if level.lower() not in LEVELS:
        raise ConfigurationError(f"no such log level: {level!r}; there are {', '.join(LEVELS)}")
    as_text = format == "text" or (format == "auto" and sys.stderr.isatty())
    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(TextFormatter() if as_text else JsonFormatter(service))
    number = getattr(logging, level.upper())
    logging.basicConfig(level=number, handlers=[output], force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(number if level.lower() == "debug" else logging.WARNING)


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
