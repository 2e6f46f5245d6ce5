"""Requests that one coordinator has passed on to another, and that may get lost on a connection that goes on.

What stands between two coordinators may swallow some seconds and then go on: neither side hears of it. So the other one
is asked now and then about requests that have waited for a while. What never came to it can be asked again, whatever it
is; of what it has answered the answer was lost. One that does not even answer that is not waited for.
"""

import asyncio
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Raw

from gleitzeit import errors
from gleitzeit.transport import PROTOCOL_ERROR, Connection

FORWARD = "coordinator.forward"
CHECK = "coordinator.check_requests"
CHECKS_PER_LEASE = 8
SILENCES_PER_LEASE = 2
MOST_AT_ONCE = 1_000
REMEMBERED = 10_000
ANSWER_SECONDS = 600.0
"""For what is being worked on all the time."""


class PassedOn:
    """What went to another coordinator by one connection, and waits for its answer."""

    def __init__(self, connection: Connection, lease_seconds: float) -> None:
        self._connection = connection
        self._check_seconds = lease_seconds / CHECKS_PER_LEASE
        self._silence_seconds = lease_seconds / SILENCES_PER_LEASE
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Raw]] = {}
        self._lost: dict[int, errors.GleitzeitError] = {}
        self._stirred = asyncio.Event()
        """Something waits, or the connection is closed."""
        connection.add_close_callback(lambda _: self._stirred.set())

    async def ask(self, method: str, params: Mapping[str, Any], workflow_id: str) -> Raw:
        """Raises ShardElsewhere if it has not counted, ConnectionLost if nobody knows, and what the other one
        answers."""
        number = next(self._numbers)
        asked = {"method": method, "params": params, "workflow_id": workflow_id, "number": number}
        waiting = asyncio.ensure_future(self._connection.call_raw(FORWARD, asked, timeout_seconds=ANSWER_SECONDS))
        self._waiting[number] = waiting
        self._stirred.set()
        try:
            return await waiting
        except TimeoutError as error:
            raise errors.ConnectionLost(str(error)) from None
        except asyncio.CancelledError:
            lost = self._lost.get(number)
            if lost is not None:
                raise lost from None
            raise
        finally:
            del self._waiting[number]
            self._lost.pop(number, None)

    async def look_after(self) -> None:
        """Until the connection is closed, or for one that cannot be asked."""
        before, missing_before = set[int](), set[int]()
        while not self._connection.closed:
            if not self._waiting:
                self._stirred.clear()
                await self._stirred.wait()
            await asyncio.sleep(self._check_seconds)
            now = set(self._waiting)
            old, before = sorted(now & before)[:MOST_AT_ONCE], now
            try:
                unknown, answered = await self._asked_about(old) if old else (set[int](), set[int]())
            except TimeoutError:
                await self._connection.close(PROTOCOL_ERROR, "the other coordinator does not answer")
                return
            except errors.GleitzeitError:
                return
            # Twice, as what it says may cross with what it was asked.
            missing = unknown | answered
            self._give_up(missing & missing_before & unknown, errors.ShardElsewhere("the request was lost on the way"))
            self._give_up(missing & missing_before & answered, errors.ConnectionLost("the answer was lost on the way"))
            missing_before = missing

    async def _asked_about(self, numbers: list[int]) -> tuple[set[int], set[int]]:
        found = await self._connection.call(CHECK, {"numbers": numbers}, timeout_seconds=self._silence_seconds)
        return set(found["unknown"]), set(found["answered"])

    def _give_up(self, numbers: Iterable[int], error: errors.GleitzeitError) -> None:
        for number in numbers:
            waiting = self._waiting.get(number)
            if waiting is not None and not waiting.done():
                self._lost[number] = error
                waiting.cancel()


class Arrived:
    """What has come by one connection from another coordinator."""

    def __init__(self) -> None:
        self._under_way: set[int] = set()
        self._seen: dict[int, None] = {}
        """The last of them, as they came."""

    def begin(self, number: int) -> None:
        self._under_way.add(number)
        self._seen[number] = None
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def end(self, number: int) -> None:
        self._under_way.discard(number)

    def check(self, numbers: list[int]) -> dict[str, Any]:
        forgotten = next(iter(self._seen), 0) if len(self._seen) == REMEMBERED else 0
        unknown = [number for number in numbers if number not in self._seen and number >= forgotten]
        answered = set(numbers) - self._under_way - set(unknown)
        return {"unknown": unknown, "answered": sorted(answered)}
