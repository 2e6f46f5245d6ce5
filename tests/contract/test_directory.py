"""What every implementation of the port to discovery promises, over memory and over a real NATS."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from gleitzeit.discovery.base import Announcer, Directory, ProviderChanged, ProviderLost, ProviderSeen, Report
from gleitzeit.discovery.memory import MemoryAnnouncer, MemoryDirectory, MemoryExchange
from gleitzeit.discovery.nats import NatsAnnouncer, NatsDirectory
from gleitzeit.process.nats_server import start_nats_server

ECHO = ProviderSeen("echo", "e1", "ws://127.0.0.1:1/", ("echo/v1",))
MODEL = ProviderSeen("my.model", "m1", "ws://127.0.0.1:2/", ("llm/v1", "embeddings/v1"))


class Reports:
    """What a directory has reported, to be awaited one by one."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Report] = asyncio.Queue()
        self.put = self._queue.put_nowait

    async def next(self) -> Report:
        async with asyncio.timeout(30):
            return await self._queue.get()

    @property
    def waiting(self) -> int:
        return self._queue.qsize()


class Place:
    """Where the two sides meet; closes what it made."""

    def __init__(self, directory: Callable[[str], Directory], announcer: Callable[[str], Announcer]) -> None:
        self._directory, self._announcer = directory, announcer
        self.closers: list[Callable[[], Awaitable[None]]] = []

    async def watch(self, cluster: str = "c1") -> Reports:
        directory = self._directory(cluster)
        self.closers.append(directory.close)
        reports = Reports()
        await directory.watch(reports.put)
        return reports

    async def announce(self, provider: ProviderSeen, cluster: str = "c1") -> Announcer:
        announcer = self._announcer(cluster)
        self.closers.append(announcer.withdraw)
        await announcer.announce(provider, dict)
        return announcer


@pytest.fixture(params=["memory", "nats"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "memory":
        exchange = MemoryExchange()
        place = Place(lambda c: MemoryDirectory(exchange, c), lambda c: MemoryAnnouncer(exchange, c))
    else:
        server = await start_nats_server(tmp_path, environ=os.environ, log=tmp_path / "log")
        url = await server.ready
        place = Place(lambda c: NatsDirectory(url, c), lambda c: NatsAnnouncer(url, c))
    yield place
    for close in reversed(place.closers):
        await close()
    if request.param == "nats":
        await server.stop(5)


async def test_one_that_comes_later_is_seen(place: Place) -> None:
    reports = await place.watch()
    await place.announce(ECHO)
    assert await reports.next() == ECHO
    await place.announce(MODEL)
    assert await reports.next() == MODEL


async def test_one_that_is_there_already_is_seen(place: Place) -> None:
    early = await place.watch()
    await place.announce(ECHO)
    await place.announce(MODEL)
    assert {await early.next(), await early.next()} == {ECHO, MODEL}
    late = await place.watch()
    assert {await late.next(), await late.next()} == {ECHO, MODEL}


async def test_a_change_is_told_to_everybody_who_watches(place: Place) -> None:
    watchers = [await place.watch(), await place.watch()]
    announcer = await place.announce(ECHO)
    for reports in watchers:
        assert await reports.next() == ECHO
    await announcer.changed()
    for reports in watchers:
        assert await reports.next() == ProviderChanged("e1")


async def test_a_goodbye_is_told_and_those_who_come_later_see_nothing(place: Place) -> None:
    reports = await place.watch()
    echo = await place.announce(ECHO)
    assert await reports.next() == ECHO
    await echo.withdraw()
    assert await reports.next() == ProviderLost("e1", "withdrawn")
    assert not echo.connected
    late = await place.watch()
    await place.announce(MODEL)
    assert await late.next() == MODEL


async def test_a_new_instance_of_the_same_name_is_another_provider(place: Place) -> None:
    reports = await place.watch()
    first = await place.announce(ECHO)
    assert await reports.next() == ECHO
    again = ProviderSeen("echo", "e2", "ws://127.0.0.1:9/", ("echo/v1",))
    await place.announce(again)
    assert await reports.next() == again
    await first.withdraw()
    assert await reports.next() == ProviderLost("e1", "withdrawn")


async def test_clusters_never_see_each_other(place: Place) -> None:
    reports, foreign_reports = await place.watch("c1"), await place.watch("c2")
    foreign = await place.announce(ECHO, "c2")
    assert await foreign_reports.next() == ECHO
    await foreign.changed()
    assert await foreign_reports.next() == ProviderChanged("e1")
    await foreign.withdraw()
    assert await foreign_reports.next() == ProviderLost("e1", "withdrawn")
    await place.announce(MODEL, "c1")
    assert await reports.next() == MODEL  # and nothing of the three before it
    assert reports.waiting == foreign_reports.waiting == 0


async def test_nothing_is_reported_after_close(place: Place) -> None:
    reports = await place.watch()
    close = place.closers[-1]
    await close()
    witness = await place.watch()
    await place.announce(ECHO)
    assert await witness.next() == ECHO
    assert reports.waiting == 0


async def test_a_goodbye_twice_is_one(place: Place) -> None:
    reports = await place.watch()
    echo = await place.announce(ECHO)
    assert await reports.next() == ECHO
    await echo.withdraw()
    await echo.withdraw()
    await echo.changed()
    await place.announce(MODEL)
    assert [await reports.next(), await reports.next()] == [ProviderLost("e1", "withdrawn"), MODEL]
