"""The cache in the journal: found again while it is young, also by another process; never in anybody's way."""

import asyncio
from typing import Any, cast

from msgspec import Raw

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.underway import Lookup
from gleitzeit.journal.base import Find, Summary
from gleitzeit.journal.memory import MemoryJournal
from gz_coordinator.streams import shelf
from gz_coordinator.streams.shelf import CacheShelf

NOW = 1_000_000


class Thoughtful(MemoryJournal):
    """Looks for entries only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let = asyncio.Event(), asyncio.Event()

    async def find(self, query: Find) -> list[Summary]:
        self.asked.set()
        await self.let.wait()
        return await super().find(query)


class Desk:
    def __init__(self, journal: MemoryJournal) -> None:
        self.journal = journal
        self.now = NOW
        self.answers: list[inp.LookedUp] = []
        self.shelf = CacheShelf(journal, lambda: self.now, cast(Any, self.answers.append))

    def keep(self, key: str, result: bytes = b"1", ttl: float = 60.0) -> None:
        self.shelf.ask(fx.KeepResult(key, "llm/chat", Raw(result), self.now, ttl))

    async def find(self, key: str, ttl: float = 3600.0) -> Raw | None:
        lookup = Lookup(cast(Any, None), cast(Any, None), cast(Any, None), key, ttl)
        self.shelf.ask(fx.LookUp(lookup))
        await self.shelf.close()
        assert self.answers[-1].lookup is lookup
        return self.answers[-1].result


async def desk() -> Desk:
    journal = MemoryJournal()
    await journal.claim("me")
    return Desk(journal)


async def test_what_was_kept_is_found_also_by_the_next_process() -> None:
    one = await desk()
    one.keep("k", b'{"x":1}')
    one.keep("l")
    assert await one.find("k") == Raw(b'{"x":1}')
    assert one.answers[-1].stored_at == NOW
    assert await Desk(one.journal).find("k") == Raw(b'{"x":1}')
    assert await one.find("unknown") is None


async def test_it_ends_with_its_time_or_with_the_patience_of_who_asks() -> None:
    one = await desk()
    one.keep("k", ttl=60.0)
    one.now += 30_000
    assert await one.find("k", ttl=30.0) is None
    assert await one.find("k", ttl=31.0) is not None
    one.now += 30_000
    assert await one.find("k") is None


async def test_a_newer_result_replaces_an_older_one() -> None:
    one = await desk()
    for number in range(3):
        one.keep("k", b"%d" % number)
        assert await one.find("k") == Raw(b"%d" % number)
    assert len(await one.journal.read("$cache/k")) == 1


async def test_what_is_too_large_is_not_kept() -> None:
    one = await desk()
    one.keep("k", b'"%b"' % (b"x" * shelf.MAX_ENTRY_BYTES))
    assert await one.find("k") is None


async def test_who_asks_while_it_is_swept_is_answered() -> None:
    journal = Thoughtful()
    await journal.claim("me")
    one = Desk(journal)
    one.keep("k")
    await journal.asked.wait()
    one.shelf.ask(fx.LookUp(Lookup(cast(Any, None), cast(Any, None), cast(Any, None), "k", 60.0)))
    journal.let.set()
    await one.shelf.close()
    assert [answer.result for answer in one.answers] == [Raw(b"1")]


async def test_the_oldest_and_the_expired_are_swept(monkeypatch: Any) -> None:
    monkeypatch.setattr(shelf, "MAX_ENTRIES", 3)
    one = await desk()
    one.shelf._sweep_at = float("inf")
    for number in range(6):
        one.now += 1
        one.keep(f"k{number}", ttl=0.001 if number == 5 else 60.0)
    await one.shelf.close()
    one.now += 10
    one.shelf._sweep_at = 0.0
    await one.find("k0")
    rows = await one.journal.find(Find(kind="cache"))
    assert {row.stream for row in rows} == {"$cache/k3", "$cache/k4"}


async def test_a_journal_in_trouble_is_a_cache_that_knows_nothing() -> None:
    class Full(MemoryJournal):
        async def append(self, commit: Any) -> None:
            raise errors.JournalFull("no space")

        async def read(self, *about: Any, **more: Any) -> Any:
            raise errors.JournalCorrupt("a checksum")

    one = Desk(Full())
    await one.journal.claim("me")
    one.keep("k")
    assert await one.find("k") is None
    await asyncio.sleep(0)
