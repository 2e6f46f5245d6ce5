"""What an operator drains stays drained: over restarts, for others on the journal, and until it is undone."""

import asyncio

import pytest
from tests.services.gz_coordinator.room import NOW

from gleitzeit import errors
from gleitzeit.engine import inputs as inp
from gleitzeit.journal.memory import MemoryJournal, MemoryStore
from gleitzeit.model.shards import SHARDS
from gz_coordinator.providers.drains import MOST_INSTANCES, Drain, Drains
from gz_coordinator.streams.last_events import LastEvents

NOTHING = inp.ProvidersDrained()


async def beginning(store: MemoryStore, owner: str = "me") -> tuple[Drains, list[inp.Input]]:
    """At a coordinator of its own, with what its engine is told."""
    journal, told = MemoryJournal(store), list[inp.Input]()
    await journal.claim(owner, ())
    drains = Drains(journal, lambda: NOW, told.append, LastEvents(journal, []))
    await drains.restore()
    return drains, told


async def test_the_next_coordinator_tells_its_engine_what_the_last_was_told() -> None:
    store = MemoryStore(shards=SHARDS)
    first, told = await beginning(store)
    await first.drain("echo", None)
    await first.drain("http://a/b ä", "one")
    expected = inp.ProvidersDrained(frozenset({"echo"}), frozenset({"one"}))
    assert told[-1] == expected
    second, retold = await beginning(store)
    assert retold == [expected]
    assert second.holds("echo", "started later")
    assert second.names == ["echo"], "also while nobody of that name is there"
    assert second.holds("http://a/b ä", "one")
    assert not second.holds("http://a/b ä", "two")
    await second.undo("echo", None)
    await second.undo("http://a/b ä", "one")
    assert retold[-1] == NOTHING
    await first.restore()
    assert told[-1] == NOTHING
    assert (await beginning(store))[1] == []


async def test_to_undo_a_name_is_to_undo_its_instances() -> None:
    drains, told = await beginning(MemoryStore(shards=SHARDS))
    await drains.drain("p", "one")
    await drains.drain("p", None)
    with pytest.raises(errors.InvalidState, match="undo it for p"):
        await drains.undo("p", "one")
    await drains.undo("p", None)
    assert told[-1] == NOTHING


async def test_what_is_said_twice_is_written_once() -> None:
    store = MemoryStore(shards=SHARDS)
    drains, told = await beginning(store)
    for _ in range(3):
        await drains.drain("p", None)
        await drains.undo("never drained", None)
    assert len(told) == 1
    assert [record.seq for record in await drains.journal.read("$drain/p")] == [1]
    assert await drains.journal.read("$drain/never drained") == []


async def test_of_two_at_once_neither_is_lost() -> None:
    store = MemoryStore(shards=SHARDS)
    (one, _), (two, told) = await beginning(store, "one"), await beginning(store, "two")
    await asyncio.gather(*(drains.drain("p", f"{drains is one}{n}") for n in range(3) for drains in (one, two)))
    await two.restore()
    assert isinstance(told[-1], inp.ProvidersDrained)
    assert len(told[-1].instances) == 6


async def test_instances_of_long_ago_are_forgotten() -> None:
    drains, _ = await beginning(MemoryStore(shards=SHARDS))
    for number in range(MOST_INSTANCES + 3):
        await drains.drain("p", f"{number}")
    assert drains.of("p") == Drain("p", False, tuple(f"{number}" for number in range(3, MOST_INSTANCES + 3)))
