import pytest

from gleitzeit.errors import JournalError
from gleitzeit.journal.base import Append, Record, Summary
from gleitzeit.journal.memory import MemoryJournal, MemoryStore


async def test_a_store_outlives_a_journal_that_was_killed() -> None:
    store = MemoryStore()
    killed = MemoryJournal(store)
    await killed.claim("one")
    await killed.append([Append("a", 1, (b"1",), Summary("a", "workflow", "", "running", True, 0, 0))])
    killed.abandon()
    heir = MemoryJournal(store)
    assert await heir.claim("two") == {0: 2}
    assert await heir.read("a") == [Record(1, b"1")]
    with pytest.raises(JournalError):
        await killed.read("a")
    killed.abandon()  # must not take the place from its heir
    assert await heir.read("a") == [Record(1, b"1")]
