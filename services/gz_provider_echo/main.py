"""echo/v1: the smallest provider. It answers with what it is given: for first steps, tests and measurements."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from gleitzeit.errors import TaskError
from gleitzeit.provider import Provider

provider = Provider("echo", protocols=["echo/v1"], capacity=1024)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@provider.method("echo/echo")
def echo(message: Any = None) -> dict[str, Any]:
    return {"response": message, "echoed": message, "message": message, "timestamp": _now()}


@provider.method("echo/ping")
def ping() -> dict[str, Any]:
    return {"response": "pong", "message": "pong", "timestamp": _now()}


@provider.method("echo/timestamp")
def timestamp() -> dict[str, Any]:
    now = _now()
    unix_ms = round(datetime.fromisoformat(now).timestamp() * 1000)
    return {"response": now, "message": now, "timestamp": now, "unix_ms": unix_ms}


@provider.method("echo/delay")
async def delay(seconds: float = 1.0, delay: float | None = None, message: Any = None) -> dict[str, Any]:
    waited = seconds if delay is None else delay
    await asyncio.sleep(waited)
    return {**echo(message), "seconds": waited}


@provider.method("echo/error")
def error(type: str = "runtime", message: str = "an error was asked for") -> None:
    raise TaskError(message, {"type": type}, retryable=type == "runtime")


def run() -> None:
    """The console script `gz-provider-echo`."""
    provider.main()
