"""A look at a journal that others work on: all that it shows is of one moment."""

import pytest
from tests.servers import Postgres, Redis

from gleitzeit.errors import BlobNotFound, ConfigurationError, JournalConflict, JournalError
from gleitzeit.journal import JournalView, OwnedJournal, open_journal, open_view
from gleitzeit.journal.base import Append, Find, Summary
from gleitzeit.model.blobs import name_of


@pytest.fixture(params=["postgres", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    server: Postgres | Redis = request.getfixturevalue(request.param)
    return server.place()


async def worked_on(url: str) -> OwnedJournal:
    journal = open_journal(url)
    await journal.claim("one")
    return journal


async def viewed(url: str) -> JournalView:
    view = await open_view(url)
    assert view is not None
    return view


def append(stream: str, seq: int, *events: bytes, status: str = "running", blobs: tuple[str, ...] = ()) -> Append:
    return Append(stream, seq, events, Summary(stream, "workflow", "k", status, True, len(stream), 0), blobs)


async def test_what_is_written_after_the_look_is_not_in_it(url: str) -> None:
    journal = await worked_on(url)
    blob = name_of(b"large")
    await journal.put(blob, 5, 0, b"large", 1)
    await journal.append([append("wf-1", 1, b"1", b"2", blobs=(blob,)), append("wf-10", 1, b"1")])
    view = await viewed(url)
    await journal.append([append("wf-1", 3, b"3", status="completed"), append("wf-2", 1, b"x")])
    await journal.append([append("wf-1", 4, b"4", status="completed")])
    assert [(row.stream, row.status) for row in await view.find(Find("workflow"))] == [
        ("wf-10", "running"),
        ("wf-1", "running"),
    ]
    assert [row.stream for row in await view.find(Find("workflow", limit=1))] == ["wf-10"]
    assert await view.find(Find("child")) == []
    assert [record.event for record in await view.read("wf-1")] == [b"1", b"2"]
    assert [record.event for record in await view.read("wf-1", after=1)] == [b"2"]
    assert await view.read("wf-1", after=2) == []
    assert (await view.get(blob, 1, 3), await view.size(blob)) == (b"arg", 5)
    with pytest.raises(BlobNotFound):
        await view.get(name_of(b"other"))
    await view.close()
    assert len(await journal.read("wf-1")) == 4
    await journal.close()


async def test_what_is_deleted_after_the_look_is_read_or_said_to_be_gone(url: str) -> None:
    journal = await worked_on(url)
    await journal.append([append("wf-1", 1, b"1")])
    view = await viewed(url)
    await journal.delete(["wf-1"])
    assert len(await view.find(Find("workflow"))) == 1
    if url.startswith("redis"):
        with pytest.raises(JournalConflict, match="was deleted"):
            await view.read("wf-1")
    else:
        assert len(await view.read("wf-1")) == 1
    await view.close()
    await journal.close()


async def test_a_look_writes_nothing_and_takes_nothing(url: str) -> None:
    view_of_nothing = open_view(url)
    with pytest.raises(ConfigurationError, match="there is no journal at"):
        await view_of_nothing
    with pytest.raises(ConfigurationError, match="there is no journal at"):
        await open_view(url)
    journal = await worked_on(url)
    view = await viewed(url)
    assert [lease.owner for lease in await journal.owners()] == ["one"]
    await journal.close()
    other = await worked_on(url)  # although somebody looks
    await view.close()
    await other.close()


async def test_a_look_whose_connection_is_lost_does_not_go_on_at_another_moment(postgres: Postgres) -> None:
    url = postgres.place()
    journal = await worked_on(url)
    await journal.append([append("wf-1", 1, b"1")])
    view = await viewed(url)
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gleitzeit view'")
    for _ in range(2):
        with pytest.raises(JournalError, match=r"was lost|cannot be reached"):
            await view.read("wf-1")
    await view.close()
    await journal.close()


async def test_a_file_and_a_memory_have_no_second_reader() -> None:
    assert await open_view("sqlite:///nowhere.db") is None
    assert await open_view("memory:") is None
