"""What happens before there is a coordinator: which journal it gets, and whose."""

from pathlib import Path

import pytest

from gleitzeit.errors import ConfigurationError, JournalError, JournalLocked
from gleitzeit.journal.memory import MemoryJournal, MemoryStore
from gleitzeit.journal.sqlite import SqliteJournal
from gleitzeit.model.shards import SHARDS
from gz_coordinator import options
from gz_coordinator.main import agree_on_cluster, take_first

NOBODY = "redis://:hunter2@127.0.0.1:1/0"


async def test_the_first_journal_that_can_be_reached_is_taken_loudly(tmp_path: Path) -> None:
    journal, epochs, warnings = await take_first([NOBODY, f"sqlite://{tmp_path}/journal.db"], "me")
    assert isinstance(journal, SqliteJournal)
    assert epochs == {0: 1}
    (warning,) = warnings
    assert "127.0.0.1:1" in warning
    assert "elsewhere" in warning
    assert "hunter2" not in warning
    await journal.close()


async def test_without_a_fallback_a_journal_that_cannot_be_reached_is_an_error() -> None:
    with pytest.raises(JournalError, match="cannot be reached"):
        await take_first([NOBODY], "me")


async def test_a_journal_that_another_has_is_no_reason_to_fall_back(tmp_path: Path) -> None:
    file = tmp_path / "journal.db"
    other = SqliteJournal(file)
    await other.claim("other")
    with pytest.raises(JournalLocked):
        await take_first([f"sqlite://{file}", "memory:"], "me")
    await other.close()


def test_fallbacks_come_in_their_order() -> None:
    chosen = options.options(["--journal", "redis://a/0", "--journal-fallback", "sqlite:///b.db,memory:"])
    assert options.journal_urls(chosen) == ["redis://a/0", "sqlite:///b.db", "memory:"]


async def test_coordinators_on_one_journal_have_one_cluster() -> None:
    store = MemoryStore(shards=SHARDS)
    one, two = MemoryJournal(store), MemoryJournal(store)
    await one.claim("one", ())
    await two.claim("two", ())
    await agree_on_cluster(one, "blue", 1)
    await agree_on_cluster(two, "blue", 2)
    with pytest.raises(ConfigurationError, match="set cluster to blue"):
        await agree_on_cluster(two, "green", 3)
