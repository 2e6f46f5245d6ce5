"""echo/v1 over a real socket, by the letter of its schemas."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from gleitzeit.errors import InvalidParams, TaskCancelled, TaskError
from gleitzeit.schemas import builtin
from gleitzeit.transport import Connection, connect
from gz_provider_echo.main import provider


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    async with provider.serve() as service:
        connection = await connect(service.url)
        yield connection
        await connection.close()


def recent(text: str) -> bool:
    return abs((datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()) < 60


def test_it_serves_all_of_echo_v1_with_room_for_many() -> None:
    assert sorted(provider.methods) == builtin().names("echo/v1")
    assert provider.capacity == 1024


@pytest.mark.parametrize("message", ["hello", 3, None, {"nested": [1, {"deep": True}]}, "${not.touched}"])
async def test_echo_returns_what_it_got(connection: Connection, message: Any) -> None:
    result = await connection.call("echo/echo", {"message": message})
    assert (result["response"], result["echoed"], result["message"]) == (message, message, message)
    assert recent(result["timestamp"])


async def test_echo_without_params(connection: Connection) -> None:
    assert (await connection.call("echo/echo", {}))["response"] is None
    assert (await connection.call("echo/echo"))["response"] is None


async def test_wrong_params_are_named(connection: Connection) -> None:
    with pytest.raises(InvalidParams, match="mesage"):
        await connection.call("echo/echo", {"mesage": "hello"})


async def test_ping_and_timestamp(connection: Connection) -> None:
    ping = await connection.call("echo/ping", {})
    assert (ping["response"], ping["message"]) == ("pong", "pong")
    timestamp = await connection.call("echo/timestamp", {})
    assert recent(timestamp["response"])
    assert timestamp["unix_ms"] == round(datetime.fromisoformat(timestamp["timestamp"]).timestamp() * 1000)


@pytest.mark.parametrize("name", ["seconds", "delay"])
async def test_delay_waits_by_either_name(connection: Connection, name: str) -> None:
    began = asyncio.get_running_loop().time()
    result = await connection.call("echo/delay", {name: 0.05, "message": "later"})
    assert asyncio.get_running_loop().time() - began >= 0.05
    assert (result["response"], result["seconds"]) == ("later", 0.05)


@pytest.mark.parametrize("params", [{"seconds": 10.5}, {"seconds": -1}, {"seconds": 1, "delay": 1}, {"seconds": "1"}])
async def test_delay_has_bounds(connection: Connection, params: dict[str, Any]) -> None:
    with pytest.raises(InvalidParams):
        await connection.call("echo/delay", params)


async def test_delay_can_be_cancelled(connection: Connection) -> None:
    replies: list[Any] = []
    request_id = connection.send_request("echo/delay", b'{"seconds":10}', replies.append)
    await connection.call("echo/ping")
    connection.cancel(request_id)
    async with asyncio.timeout(30):
        while not replies:  # noqa: ASYNC110 - the answer comes over a socket
            await asyncio.sleep(0)
    assert replies[0].code == TaskCancelled.code


@pytest.mark.parametrize(("kind", "retryable"), [("value", False), ("runtime", True)])
async def test_error_fails_as_asked(connection: Connection, kind: str, retryable: bool) -> None:
    with pytest.raises(TaskError, match="on purpose") as caught:
        await connection.call("echo/error", {"type": kind, "message": "on purpose"})
    assert caught.value.code == TaskError.code
    assert caught.value.data is not None
    assert (caught.value.data["type"], caught.value.data["retryable"]) == (kind, retryable)
