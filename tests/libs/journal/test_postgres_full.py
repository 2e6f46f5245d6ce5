"""A real PostgreSQL whose disk is full: of its tables, which it says, or of its log, of which it dies."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers import CrampedPostgres
from tests.small_disks import fill, small_disk_for_others

from gleitzeit.errors import JournalFull
from gleitzeit.journal.base import Append, Find, Summary
from gleitzeit.journal.postgres import PostgresJournal

LARGE = os.urandom(15_000).hex().encode()


def append(stream: str, seq: int = 1) -> Append:
    return Append(stream, seq, (LARGE,), Summary(stream, "workflow", "", "running", True, 0, 0))


@pytest.fixture
def cramped(request: pytest.FixtureRequest) -> Iterator[tuple[CrampedPostgres, Path]]:
    """The server, and the disk on which it has what the parameter says."""
    what, size = request.param
    with small_disk_for_others(size) as disk:
        server = CrampedPostgres(disk, what)
        try:
            yield server, disk
        finally:
            server.stop()


async def claimed(server: CrampedPostgres) -> PostgresJournal:
    journal = PostgresJournal(server.uri)
    await journal.claim("one")
    return journal


async def append_until_full(journal: PostgresJournal) -> int:
    """How many streams were acknowledged, `wf-0` and on, before the one that was refused."""
    for number in range(10_000):
        try:
            await journal.append([append(f"wf-{number}")])
        except JournalFull:
            return number
    raise AssertionError("a small disk took all of it")


async def streams(journal: PostgresJournal) -> set[str]:
    return {row.stream for row in await journal.find(Find("workflow", limit=10_000))}


@pytest.mark.parametrize("cramped", [("tables", "4m")], indirect=True)
async def test_no_space_for_tables_is_a_full_journal_that_reads_and_renews(
    cramped: tuple[CrampedPostgres, Path],
) -> None:
    server, disk = cramped
    journal = await claimed(server)
    ballast = fill_but(disk, 1 << 20)
    acknowledged = await append_until_full(journal)
    assert acknowledged > 3
    held = [append(f"wf-{acknowledged}"), append("wf-0", 2)]
    for _ in range(3):
        with pytest.raises(JournalFull, match="No space left"):
            await journal.append(held)
        await journal.renew()
        assert [record.event for record in await journal.read("wf-0")] == [LARGE]
    assert await streams(journal) == {f"wf-{number}" for number in range(acknowledged)}
    ballast.unlink()
    await journal.append(held)
    assert [record.event for record in await journal.read("wf-0")] == [LARGE, LARGE]
    await journal.close()


def fill_but(disk: Path, bytes_free: int) -> Path:
    ballast = fill(disk)
    os.truncate(ballast, ballast.stat().st_size - bytes_free)
    return ballast


@pytest.mark.parametrize("cramped", [("log", "12m")], indirect=True)
async def test_a_server_that_dies_of_a_full_disk_is_waited_for_and_nothing_is_lost_or_written_twice(
    cramped: tuple[CrampedPostgres, Path],
) -> None:
    server, disk = cramped
    journal = await claimed(server)
    ballast, acknowledged = fill(disk), list[str]()

    async def appends(name: str) -> None:
        for number in range(60):
            await journal.append([append(f"{name}-{number}")])
            acknowledged.append(f"{name}-{number}")

    writing = asyncio.gather(*map(appends, "abcd"))
    async with asyncio.timeout(20):
        while server.running:  # noqa: ASYNC110 - that it dies nobody tells us
            await asyncio.sleep(0.02)
    assert "PANIC" in server.said()
    assert "No space left on device" in server.said()
    before = set(acknowledged)
    assert not writing.done()
    ballast.unlink()
    await asyncio.to_thread(server.start_again)
    await writing
    everything = {f"{name}-{number}" for name in "abcd" for number in range(60)}
    assert await streams(journal) == everything == set(acknowledged)
    assert before < everything
    for stream in everything:
        assert len(await journal.read(stream)) == 1
    await journal.close()
