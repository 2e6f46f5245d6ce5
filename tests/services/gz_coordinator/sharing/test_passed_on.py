"""Requests between coordinators that are lost on a connection that goes on: nobody waits for them for long."""

import asyncio
import functools
from typing import Any

import pytest

from gleitzeit import errors
from gleitzeit.jsonrpc.methods import Methods, Request
from gleitzeit.transport import Connection
from gleitzeit.transport.memory import connect_memory
from gz_coordinator.sharing.passed_on import CHECK, FORWARD, REMEMBERED, Arrived, PassedOn

LEASE_SECONDS = 0.2


class Other:
    """Another coordinator. It loses requests for `lost` before they come, and answers to `swallowed`."""

    def __init__(self) -> None:
        self.arrived = Arrived()
        self.methods = Methods()
        self.silent = False
        self.checks = 0
        self.checked = asyncio.Event()
        self.release = asyncio.Event()
        self.methods.add(FORWARD, self.forward)
        self.methods.add(CHECK, self.check)

    async def forward(self, request: Request, /, method: str, params: Any, workflow_id: str, number: int) -> Any:
        if method == "lost":
            request.defer()
            return None
        self.arrived.begin(number)
        if method == "slow":
            await self.release.wait()
        self.arrived.end(number)
        if method == "swallowed":
            request.defer()
        return f"done {method}"

    async def check(self, request: Request, /, numbers: list[int]) -> Any:
        self.checks += 1
        self.checked.set()
        if self.silent:
            request.defer()
        return self.arrived.check(numbers)

    async def until_checked(self, times: int) -> None:
        while self.checks < times:
            self.checked.clear()
            await asyncio.wait_for(self.checked.wait(), 30)


async def asker(other: Other) -> tuple[PassedOn, Connection, "asyncio.Task[None]"]:
    connection, _ = await connect_memory(server_methods=other.methods)
    passed_on = PassedOn(connection, LEASE_SECONDS)
    return passed_on, connection, asyncio.create_task(passed_on.look_after())


@pytest.mark.parametrize(("fate", "error"), [("lost", errors.ShardElsewhere), ("swallowed", errors.ConnectionLost)])
async def test_what_is_lost_is_known_soon_and_nothing_else_suffers(fate: str, error: type[Exception]) -> None:
    other = Other()
    passed_on, connection, checking = await asker(other)
    ask = functools.partial(passed_on.ask, params={}, workflow_id="w")
    slow = asyncio.create_task(ask("slow"))
    with pytest.raises(error, match="lost on the way"):
        await asyncio.wait_for(ask(fate), 30)
    assert bytes(await asyncio.wait_for(ask("quick"), 30)) == b'"done quick"'
    await other.until_checked(other.checks + 3)
    assert not slow.done()
    other.release.set()
    assert bytes(await asyncio.wait_for(slow, 30)) == b'"done slow"'
    checking.cancel()
    await connection.close()


async def test_one_that_does_not_even_answer_that_is_not_waited_for() -> None:
    other = Other()
    other.silent = True
    passed_on, connection, checking = await asker(other)
    with pytest.raises(errors.ConnectionLost):
        await asyncio.wait_for(passed_on.ask("slow", {}, "w"), 30)
    await asyncio.wait_for(checking, 30)
    assert connection.closed


async def test_who_gives_up_itself_is_cancelled() -> None:
    other = Other()
    passed_on, connection, checking = await asker(other)
    slow = asyncio.create_task(passed_on.ask("slow", {}, "w"))
    await other.until_checked(1)
    slow.cancel()
    await asyncio.wait({slow}, timeout=5)
    assert slow.cancelled()
    checking.cancel()
    await connection.close()


def test_what_was_forgotten_is_not_called_unknown() -> None:
    arrived = Arrived()
    for number in range(1, REMEMBERED + 3):
        arrived.begin(number)
        arrived.end(number)
    assert arrived.check([1, 2, REMEMBERED]) == {"unknown": [], "answered": [1, 2, REMEMBERED]}
    arrived.begin(REMEMBERED + 4)
    assert arrived.check([REMEMBERED + 3, REMEMBERED + 4]) == {"unknown": [REMEMBERED + 3], "answered": []}
