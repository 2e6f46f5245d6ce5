"""What only the Redis adapter promises: a server that loses nothing, its death and return, and its memory's end."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import asyncio as client
from tests.servers import Redis
from tests.small_disks import fill, small_disk

from gleitzeit.errors import ConfigurationError, JournalConflict, JournalError, JournalFull
from gleitzeit.journal.base import Append, Summary
from gleitzeit.journal.redis import RedisJournal
from gleitzeit.journal.redis_scripts import FORMAT


def append(stream: str, seq: int, *events: bytes) -> Append:
    return Append(stream, seq, events, Summary(stream, "workflow", "", "running", True, 0, 0))


@pytest.fixture
def own() -> Iterator[Redis]:
    """A server of the test's own."""
    server = Redis()
    yield server
    server.stop()


async def settle(server: Redis, **settings: object) -> None:
    redis = client.Redis(port=server.port)
    for name, value in settings.items():
        await redis.config_set(name.replace("_", "-"), value)
    await redis.aclose()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"appendonly": "no"}, "appendonly is off"),
        ({"appendfsync": "everysec"}, "appendfsync is everysec"),
        ({"maxmemory": "100mb", "maxmemory_policy": "allkeys-lru"}, "throws streams away"),
    ],
)
async def test_a_server_that_may_lose_something_is_refused_or_says_so(
    own: Redis, settings: dict[str, str], complaint: str
) -> None:
    await settle(own, **settings)
    with pytest.raises(ConfigurationError, match=complaint):
        await RedisJournal(own.place()).claim("one")
    journal = RedisJournal(own.place() + "&weak=yes")
    await journal.claim("one")
    assert complaint in journal.warnings[0]
    await journal.close()


async def test_what_was_acknowledged_is_there_after_the_server_was_killed(own: Redis) -> None:
    journal = RedisJournal(own.place())
    await journal.claim("one")
    acknowledged = 0

    async def appends() -> None:
        nonlocal acknowledged
        for seq in range(1, 400):
            await journal.append([append("wf-1", seq, b"%d" % seq)])
            acknowledged = seq

    appending = asyncio.ensure_future(appends())
    for target in (100, 200, 300):
        async with asyncio.timeout(20):
            while acknowledged < target and not appending.done():  # noqa: ASYNC110 - it counts what an outsider sees
                await asyncio.sleep(0.001)
        await asyncio.to_thread(own.kill)
        await asyncio.to_thread(own.start)
    await appending
    assert [record.event for record in await journal.read("wf-1")] == [b"%d" % seq for seq in range(1, 400)]
    with pytest.raises(JournalConflict):
        await journal.append([append("wf-1", 399, b"399")])
    await journal.close()


async def test_a_server_without_memory_is_a_full_journal_and_goes_on_when_there_is_some(own: Redis) -> None:
    journal = RedisJournal(own.place())
    await journal.claim("one")
    await journal.append([append("wf-1", 1, b"1")])
    await settle(own, maxmemory="1")
    with pytest.raises(JournalFull):
        await journal.append([append("wf-1", 2, b"2"), append("wf-2", 1, b"x")])
    assert len(await journal.read("wf-1")) == 1
    await settle(own, maxmemory="0")
    await journal.append([append("wf-1", 2, b"2"), append("wf-2", 1, b"x")])
    await journal.close()


async def test_a_server_that_dies_of_a_full_disk_is_waited_for_and_nothing_is_lost_or_written_twice(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        server = Redis(folder=disk)
        journal = RedisJournal(server.place())
        await journal.claim("one")
        ballast, acknowledged = fill(disk), list[int]()
        os.truncate(ballast, ballast.stat().st_size - 300_000)

        async def appends() -> None:
            for seq in range(1, 61):
                await journal.append([append("wf-1", seq, b"%d" % seq + bytes(10_000))])
                acknowledged.append(seq)

        writing = asyncio.ensure_future(appends())
        assert await asyncio.to_thread(server.process.wait, 20) == 1
        died_at = len(acknowledged)
        assert 10 < died_at < 60
        ballast.unlink()
        await asyncio.to_thread(server.start)
        await writing
        found = [int(record.event.rstrip(b"\0")) for record in await journal.read("wf-1")]
        assert found == acknowledged == list(range(1, 61))
        await journal.close()
        server.stop()


async def test_an_unreachable_server_is_named_without_its_password() -> None:
    journal = RedisJournal("redis://someone:hunter2@127.0.0.1:1/0")
    with pytest.raises(JournalError, match="cannot be reached") as caught:
        await journal.claim("one")
    assert "127.0.0.1:1" in str(caught.value)
    assert "hunter" not in str(caught.value)


async def test_a_wrong_password_is_a_matter_of_configuration(own: Redis) -> None:
    await settle(own, requirepass="secret")
    journal = RedisJournal(own.place().replace("127.0.0.1", ":hunter2@127.0.0.1"))
    with pytest.raises(ConfigurationError) as caught:
        await journal.claim("one")
    assert "hunter" not in str(caught.value)
    right = RedisJournal(own.place().replace("127.0.0.1", ":secret@127.0.0.1"))
    await right.claim("one")
    await right.close()


async def test_a_newer_journal_is_refused(redis: Redis) -> None:
    url = redis.place()
    direct = client.Redis(port=redis.port)
    await direct.hset(url.partition("prefix=")[2] + "meta", "format", FORMAT + 1)
    await direct.aclose()
    with pytest.raises(ConfigurationError, match=f"format {FORMAT + 1}.*upgrade"):
        await RedisJournal(url).claim("one")


async def test_an_older_journal_is_of_this_format_from_the_first_claim_on(redis: Redis) -> None:
    url = redis.place()
    key = url.partition("prefix=")[2] + "meta"
    direct = client.Redis(port=redis.port)
    await direct.hset(key, "format", FORMAT - 1)
    journal = RedisJournal(url)
    await journal.claim("one")
    assert await direct.hget(key, "format") == b"%d" % FORMAT
    await journal.close()
    await direct.aclose()
