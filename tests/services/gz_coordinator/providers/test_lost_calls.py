"""A provider is asked about calls that take long; one that does not have them makes the connection end."""

import asyncio
from typing import Any

import msgspec
import pytest

from gleitzeit.jsonrpc.methods import Methods, Request
from gleitzeit.transport import PROTOCOL_ERROR, Connection
from gleitzeit.transport.memory import connect_memory
from gz_coordinator.providers.lost_calls import close_when_calls_are_lost

CHECK_SECONDS = 0.01


class Provider:
    """Loses `lost`, and has been asked `asked`."""

    def __init__(self, *lost: str) -> None:
        self.lost = set(lost)
        self.asked: list[list[str]] = []
        self.methods = Methods()
        self.changed = asyncio.Event()
        self.methods.add("call.check", self.check, bind=False)

    def check(self, request: Request) -> dict[str, Any]:
        asked = msgspec.json.decode(request.raw_params or b"")["callIds"]
        self.asked.append(asked)
        self.changed.set()
        return {"lost": [one for one in asked if one in self.lost]}

    async def until_asked(self, times: int) -> None:
        async with asyncio.timeout(30):
            while len(self.asked) < times:
                self.changed.clear()
                await self.changed.wait()


async def checked(methods: Methods, under_way: set[str]) -> tuple[Connection, "asyncio.Task[None]"]:
    connection, _ = await connect_memory(server_methods=methods)
    checking = close_when_calls_are_lost(connection, lambda connection: under_way, CHECK_SECONDS)
    return connection, asyncio.create_task(checking)


async def test_a_call_that_the_provider_does_not_have_ends_the_connection() -> None:
    provider = Provider("b")
    connection, checking = await checked(provider.methods, {"a", "b"})
    await asyncio.wait_for(checking, 30)
    assert connection.close_code == PROTOCOL_ERROR
    assert provider.asked == [["a", "b"], ["a", "b"]], "twice, before it is believed"


async def test_calls_that_run_are_left_alone() -> None:
    provider = Provider()
    connection, checking = await checked(provider.methods, {"a"})
    await provider.until_asked(4)
    assert not connection.closed
    checking.cancel()
    await connection.close()


async def test_what_is_answered_meanwhile_was_not_lost() -> None:
    provider, under_way = Provider("a"), {"a"}
    connection, checking = await checked(provider.methods, under_way)
    await provider.until_asked(1)
    under_way.clear()
    under_way.add("b")
    await provider.until_asked(3)
    assert not connection.closed
    checking.cancel()
    await connection.close()


@pytest.mark.parametrize("answer", [None, {"lost": 5}, {"lost": [5, {}]}])
async def test_nonsense_is_no_loss(answer: Any) -> None:
    methods, asked = Methods(), asyncio.Semaphore(0)

    def check(request: Request) -> Any:
        asked.release()
        return answer

    methods.add("call.check", check, bind=False)
    connection, checking = await checked(methods, {"a"})
    for _ in range(4):
        await asyncio.wait_for(asked.acquire(), 30)
    assert not connection.closed
    checking.cancel()
    await connection.close()


async def test_a_provider_that_cannot_be_asked_is_not_asked_again() -> None:
    connection, checking = await checked(Methods(), {"a"})
    await asyncio.wait_for(checking, 30)
    assert not connection.closed
    await connection.close()
