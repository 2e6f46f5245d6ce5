"""What only the PostgreSQL adapter promises: locks, lost connections, a full disk, and what it refuses."""
# ruff: noqa: ASYNC110 - what a server will do soon nobody tells us

import asyncio

import asyncpg
import pytest
from tests.servers import Postgres

from gleitzeit.errors import ConfigurationError, JournalConflict, JournalCorrupt, JournalError, JournalFenced
from gleitzeit.journal.base import Append, Summary
from gleitzeit.journal.merging import merged
from gleitzeit.journal.postgres import PostgresJournal, _columns
from gleitzeit.journal.postgres_link import RETRY_SECONDS, Link
from gleitzeit.journal.postgres_tables import APPEND, FORMAT


def append(stream: str, seq: int, *events: bytes) -> Append:
    return Append(stream, seq, events, Summary(stream, "workflow", "", "running", True, 0, 0))


async def test_a_write_waits_for_a_claim_that_is_not_committed_and_is_then_refused(postgres: Postgres) -> None:
    """Without FOR SHARE the write would look at the row as it was, and get through."""
    url = postgres.place()
    journal = PostgresJournal(url)
    await journal.claim("one")
    heir = await asyncpg.connect(url)
    claim = heir.transaction()
    await claim.start()
    await heir.execute("UPDATE gz_shard SET owner = 'two', epoch = epoch + 1")
    writing = asyncio.ensure_future(journal.append([append("wf-1", 1, b"late")]))
    deleting = asyncio.ensure_future(journal.delete(["wf-2"]))
    waiting = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT granted AND query ~ $1"
    async with asyncio.timeout(30):
        while not await heir.fetchval(waiting, "fence AS MATERIALIZED"):
            await asyncio.sleep(0.01)
    await claim.commit()
    for late in (writing, deleting):
        with pytest.raises(JournalFenced):
            await late
    assert await heir.fetchval("SELECT count(*) FROM gz_record") == 0
    await heir.close()
    await journal.close()


async def test_a_schema_that_is_not_there_is_named(postgres: Postgres) -> None:
    journal = PostgresJournal(f"{postgres.uri}&search_path=nowhere")
    with pytest.raises(ConfigurationError, match="`CREATE SCHEMA nowhere`"):
        await journal.claim("one")
    await journal.close()


async def test_appends_outlive_their_connections_and_nothing_is_written_twice(postgres: Postgres) -> None:
    url = postgres.place()
    journal = PostgresJournal(url)
    await journal.claim("one")
    killer = await asyncpg.connect(url)
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'gleitzeit%'"
    killed = 0
    for seq in range(1, 100):
        appending = asyncio.ensure_future(journal.append([append("wf-1", seq, b"%d" % seq)]))
        if seq % 10 == 0:
            killed += len(await killer.fetch(kill))
        await appending
    assert [record.event for record in await journal.read("wf-1")] == [b"%d" % seq for seq in range(1, 100)]
    assert killed >= 9
    await killer.close()
    await journal.close()


async def test_a_commit_whose_answer_was_lost_is_known_again(postgres: Postgres) -> None:
    journal = PostgresJournal(postgres.place())
    await journal.claim("one")
    await journal.append([append("wf-1", 1, b"1")])
    run, tries = Link.run, []

    async def answer_lost(self: Link, work: object) -> object:
        async def twice(connection: object, again: bool) -> object:
            tries.append(again)
            if not again:
                await work(connection, again)  # type: ignore[operator]
                raise ConnectionResetError
            return await work(connection, again)  # type: ignore[operator]

        return await run(self, twice)

    journal._writer.run = answer_lost.__get__(journal._writer)  # type: ignore[method-assign]
    await journal.append([append("wf-1", 2, b"2"), append("wf-2", 1, b"x")])
    assert tries == [False, True]
    del journal._writer.run  # type: ignore[method-assign]
    assert [record.event for record in await journal.read("wf-1")] == [b"1", b"2"]
    with pytest.raises(JournalConflict):  # without a lost connection the same commit is one too many
        await journal.append([append("wf-1", 2, b"2")])
    await journal.close()


async def test_a_commit_that_lands_while_it_is_tried_again_is_known(postgres: Postgres) -> None:
    url = postgres.place()
    journal = PostgresJournal(url)
    await journal.claim("one")
    commit = [append("wf-1", 1, b"1")]
    entries = merged(commit, journal.shards)
    earlier = await asyncpg.connect(url)
    trying = earlier.transaction()
    await trying.start()
    await earlier.fetchrow(APPEND, *journal._fence(["wf-1"]), *_columns(entries))
    appending = asyncio.ensure_future(journal.append(commit))
    async with asyncio.timeout(30):
        while not await earlier.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
    await trying.commit()
    await appending
    assert [record.event for record in await journal.read("wf-1")] == [b"1"]
    with pytest.raises(JournalConflict, match="ends at 1"):
        await journal.append([append("wf-1", 1, b"another")])
    await earlier.close()
    await journal.close()


async def test_a_stream_that_lacks_its_last_events_is_no_shorter_one(postgres: Postgres) -> None:
    url = postgres.place()
    journal = PostgresJournal(url)
    await journal.claim("one")
    for seq in (1, 2, 3):
        await journal.append([append("wf-1", seq, b"%d" % seq)])
    postgres.execute(f"DELETE FROM {url.partition('search_path=')[2]}.gz_record WHERE first = 3")
    assert [record.seq for record in await journal.read("wf-1", limit=2)] == [1, 2]
    assert await journal.read("wf-1", after=3) == []
    for after in (0, 2):
        with pytest.raises(JournalCorrupt, match="lacks its last events: it should end at 3"):
            await journal.read("wf-1", after=after)
    await journal.close()


@pytest.mark.parametrize("rest", ["u@localhost:abc/x", "localhost/x?sslmode=nonsense", "[::1/x"])
async def test_a_url_that_cannot_be_understood_is_a_matter_of_configuration(rest: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^the URL of the journal postgresql:.* cannot be understood: "):
        await PostgresJournal(f"postgresql://{rest}").claim("one")


async def test_an_unreachable_server_is_named_without_its_password() -> None:
    journal = PostgresJournal("postgresql://someone:hunter2@127.0.0.1:1/db?password=hunter3")
    with pytest.raises(JournalError, match="cannot be reached") as caught:
        await journal.claim("one")
    assert "127.0.0.1:1" in str(caught.value)
    assert "hunter" not in str(caught.value)
    await journal.close()


async def test_what_the_server_will_never_accept_is_a_matter_of_configuration(postgres: Postgres) -> None:
    journal = PostgresJournal(postgres.uri.replace("/postgres?", "/nowhere?"))
    with pytest.raises(ConfigurationError, match="nowhere"):
        await journal.claim("one")


async def test_a_server_that_takes_no_more_connections_is_waited_for(postgres: Postgres) -> None:
    url = postgres.place()
    schema = url.partition("search_path=")[2]
    postgres.execute(f"CREATE ROLE {schema} LOGIN CONNECTION LIMIT 1; GRANT ALL ON SCHEMA {schema} TO {schema}")
    url = url.replace("postgres:@", f"{schema}:@")
    journal = PostgresJournal(url)
    await journal.claim("one")  # which is one connection, until something is read
    postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{schema}'")
    async with asyncio.timeout(30):
        while (other := await connected(url)) is None:
            await asyncio.sleep(0.01)
    appending = asyncio.ensure_future(journal.append([append("wf-1", 1, b"1")]))
    await asyncio.sleep(2 * RETRY_SECONDS)
    assert not appending.done()
    await other.close()
    await appending
    await journal.close()


async def connected(url: str) -> asyncpg.Connection | None:
    try:
        return await asyncpg.connect(url)
    except asyncpg.TooManyConnectionsError:
        return None


async def test_a_newer_journal_is_refused(postgres: Postgres) -> None:
    url = postgres.place()
    journal = PostgresJournal(url)
    await journal.claim("one")
    await journal.close()
    schema = url.partition("search_path=")[2]
    postgres.execute(f"UPDATE {schema}.gz_meta SET value = {FORMAT + 1} WHERE name = 'format'")
    with pytest.raises(ConfigurationError, match=f"format {FORMAT + 1}.*upgrade"):
        await PostgresJournal(url).claim("one")


async def test_an_older_journal_is_of_this_format_from_the_first_claim_on(postgres: Postgres) -> None:
    url = postgres.place()
    schema = url.partition("search_path=")[2]
    for version in (FORMAT, FORMAT - 1):
        journal = PostgresJournal(url)
        await journal.claim("one")
        assert postgres.execute(f"SELECT value FROM {schema}.gz_meta WHERE name = 'format'").split()[2] == str(FORMAT)
        await journal.close()
        postgres.execute(f"UPDATE {schema}.gz_meta SET value = {version - 1} WHERE name = 'format'")


async def test_two_that_start_at_once_make_the_tables_once(postgres: Postgres) -> None:
    url = postgres.place()
    journals = [PostgresJournal(url) for _ in range(4)]
    taken = await asyncio.gather(*(j.claim(f"o{n}", range(64)) for n, j in enumerate(journals)))
    assert sum(map(len, taken)) == 64
    for journal in journals:
        await journal.close()
