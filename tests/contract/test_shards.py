"""What a journal owes several coordinators that share it: one suite for all that can be shared."""
# ruff: noqa: ASYNC110 - what a server will do soon nobody tells us

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.contract.test_journal import SHARED, Open, append, events, place

from gleitzeit.errors import JournalConflict, JournalError, JournalFenced, JournalLocked
from gleitzeit.journal.base import Find, OwnedJournal
from gleitzeit.model.shards import SHARDS, shard_of

ALL = range(SHARDS)
EVEN, ODD = range(0, SHARDS, 2), range(1, SHARDS, 2)
SHORT = 0.05  # seconds of a lease that is meant to run out


def stream_in(shards: range, number: int = 0) -> str:
    """A name whose shard is one of these."""
    return next(name for i in range(1000) if shard_of(name := f"wf-{number}-{i}", SHARDS) in shards)


E, O = stream_in(EVEN), stream_in(ODD)  # noqa: E741 - even and odd


@pytest.fixture(params=SHARED)
def open_(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    return place(str(request.param), tmp_path, request)


@pytest.fixture
async def two(open_: Open) -> AsyncIterator[tuple[OwnedJournal, OwnedJournal]]:
    """Two coordinators' journals, neither claimed."""
    first, second = open_(), open_()
    yield first, second
    await first.close()
    await second.close()


async def until(what: Callable[[], Any]) -> Any:
    """A lease runs out by the clock of the server: wait for it."""
    async with asyncio.timeout(30):
        while not (found := await what()):
            await asyncio.sleep(0.01)
        return found


async def deposed(first: OwnedJournal, second: OwnedJournal) -> dict[int, int]:
    """`first` has claimed everything and has gone on being late until `second` took it."""
    await first.claim("one", lease_seconds=SHORT)
    return await until(lambda: second.claim("two", ALL))


async def test_shards_are_divided_and_seen_by_all(two: tuple[OwnedJournal, OwnedJournal]) -> None:
    first, second = two
    assert set(await first.claim("one", EVEN, url="ws://one")) == set(EVEN)
    assert set(await second.claim("two", ALL, url="ws://two")) == set(ODD)
    for journal in two:
        leases = await journal.owners()
        assert [(lease.owner, lease.url, set(lease.shards)) for lease in leases] == [
            ("one", "ws://one", set(EVEN)),
            ("two", "ws://two", set(ODD)),
        ]
        assert all(epoch >= 1 for lease in leases for epoch in lease.shards.values())
    assert await first.claim("one", ODD) == {}
    assert [lease.url for lease in await first.owners()] == ["ws://one", "ws://two"]
    await first.append([append(E, 1, b"1")])
    await second.append([append(O, 1, b"1")])
    for journal in two:
        assert {found.stream for found in await journal.find(Find("workflow"))} == {E, O}
        assert await events(journal, E) == [b"1"]


async def test_an_owner_without_shards_is_known_too(two: tuple[OwnedJournal, OwnedJournal]) -> None:
    first, second = two
    await first.claim("one")
    assert await second.claim("two", ()) == {}
    assert {lease.owner: len(lease.shards) for lease in await second.owners()} == {"one": SHARDS, "two": 0}


async def test_what_was_not_claimed_is_not_written(two: tuple[OwnedJournal, OwnedJournal]) -> None:
    first, _ = two
    await first.claim("one", EVEN)
    with pytest.raises(ValueError, match="not claimed"):
        await first.append([append(E, 1, b"1"), append(O, 1, b"1")])
    with pytest.raises(ValueError, match="not claimed"):
        await first.delete([O])
    assert await first.find(Find("workflow")) == []


async def test_all_or_nothing_is_refused_while_another_has_any(two: tuple[OwnedJournal, OwnedJournal]) -> None:
    first, second = two
    await first.claim("one", [3])
    with pytest.raises(JournalLocked):
        await second.claim("two")
    assert [lease.owner for lease in await first.owners()] == ["one"]
    assert set(await first.claim("one", ALL)) == set(ALL)


async def test_a_deposed_owner_cannot_write_delete_or_renew(two: tuple[OwnedJournal, OwnedJournal]) -> None:
    first, second = two
    before = await first.claim("one")
    await first.append([append(E, 1, b"1"), append(O, 1, b"1")])
    after = await deposed(first, second)
    assert set(after) == set(ALL)
    assert all(after[shard] > before[shard] for shard in ALL)
    for refused in (
        first.append([append(E, 2, b"late")]),
        first.append([append(E, 2, status="failed")]),
        first.append([append("$cache/x", 1, b"late")]),
        first.delete([E]),
        first.delete(["$cache/x"]),
        first.renew(),
        first.claim("one", ALL),
    ):
        with pytest.raises(JournalFenced):
            await refused
    assert await events(second, E) == [b"1"]
    assert {found.status for found in await second.find(Find("workflow"))} == {"running"}
    await second.append([append(E, 2, b"2")])
    assert [lease.owner for lease in await second.owners()] == ["two"]


async def test_an_owner_that_lost_one_shard_has_lost_all(two: tuple[OwnedJournal, OwnedJournal]) -> None:
    first, second = two
    await first.claim("one", lease_seconds=SHORT)
    shard = shard_of(E, SHARDS)
    assert shard is not None
    await until(lambda: second.claim("two", [shard]))
    with pytest.raises(JournalFenced):
        await first.append([append(O, 1, b"late")])
    assert set(await second.claim("two", ALL)) == set(ALL)


async def test_an_owner_that_is_late_goes_on_if_nobody_took_over(two: tuple[OwnedJournal, OwnedJournal]) -> None:
    first, second = two
    await first.claim("one", lease_seconds=SHORT)
    await until(lambda: _nobody_lives(first))
    await first.append([append(E, 1, b"1")])
    await first.renew()
    assert await second.claim("two", ALL) == {}
    await first.append([append(E, 2, b"2")])


async def _nobody_lives(journal: OwnedJournal) -> bool:
    return await journal.owners() == []


async def test_renewing_keeps_what_would_have_run_out(two: tuple[OwnedJournal, OwnedJournal]) -> None:
    first, second = two
    await first.claim("one", lease_seconds=SHORT)
    await first.renew(30)
    await asyncio.sleep(2 * SHORT)
    assert await second.claim("two", ALL) == {}


async def test_a_shard_goes_from_hand_to_hand(two: tuple[OwnedJournal, OwnedJournal]) -> None:
    first, second = two
    epochs = await first.claim("one")
    await second.claim("two", ())
    await first.append([append(E, 1, b"1"), append(O, 1, b"1")])
    await first.release(EVEN)
    taken = await second.claim("two", ALL)
    assert set(taken) == set(EVEN)
    assert all(taken[shard] > epochs[shard] for shard in EVEN)
    await second.append([append(E, 2, b"2")])
    await first.append([append(O, 2, b"2")])
    with pytest.raises(ValueError, match="not claimed"):
        await first.append([append(E, 3, b"3")])
    await second.release(EVEN)
    back = await first.claim("one", EVEN)
    assert all(back[shard] > taken[shard] for shard in EVEN)
    await first.append([append(E, 3, b"3")])
    assert await events(first, E) == [b"1", b"2", b"3"]


async def test_who_leaves_leaves_everything(two: tuple[OwnedJournal, OwnedJournal]) -> None:
    first, second = two
    await first.claim("one", EVEN)
    await second.claim("two", ODD)
    await first.close()
    assert [lease.owner for lease in await second.owners()] == ["two"]
    assert set(await second.claim("two", ALL)) == set(ALL)
    with pytest.raises(JournalError):
        await first.append([append(E, 1, b"1")])


async def test_what_is_anybodys_is_written_by_anybody_and_conflicts_are_seen(
    two: tuple[OwnedJournal, OwnedJournal],
) -> None:
    first, second = two
    await first.claim("one")
    await second.claim("two", ())
    await second.append([append("$provider/a", 1, b"by two")])
    with pytest.raises(JournalConflict):
        await first.append([append("$provider/a", 1, b"by one")])
    await first.append([append("$provider/a", 2, b"by one")])
    assert await events(second, "$provider/a") == [b"by two", b"by one"]


async def test_of_two_that_write_what_is_anybodys_at_once_one_wins(two: tuple[OwnedJournal, OwnedJournal]) -> None:
    await two[0].claim("one", ())
    await two[1].claim("two", ())
    for number in range(10):
        name = f"$cache/{number}"
        outcomes = await asyncio.gather(
            *(journal.append([append(name, 1, *[b"x"] * n)]) for n, journal in enumerate(two, 1)),
            return_exceptions=True,
        )
        assert sorted(map(type, outcomes), key=str) == sorted([type(None), JournalConflict], key=str)
        assert len(await events(two[0], name)) == 1 + outcomes.index(None)


async def test_children_and_own_ids_live_in_their_workflows_shard() -> None:
    for number in range(50):
        name = f"wf-{number}"
        assert len({shard_of(n, SHARDS) for n in (name, f"{name}~task~1", f"{name}~a~1~b~2", f"$id/{name}")}) == 1
    assert len({shard_of(f"wf-{number}", SHARDS) for number in range(1000)}) == SHARDS


async def test_a_cancellation_is_never_swallowed(two: tuple[OwnedJournal, OwnedJournal]) -> None:
    """Whatever the moment: a coordinator that ends cancels what looks after its shards, and waits for it."""
    journal, _ = two
    await journal.claim("a", ALL)
    for turns in range(60):
        looking = asyncio.create_task(journal.owners())
        for _ in range(turns):
            await asyncio.sleep(0)
        heard = looking.cancel()
        await asyncio.wait({looking})
        assert looking.cancelled() == heard, f"after {turns} turns of the loop"
    assert [lease.owner for lease in await journal.owners()] == ["a"]
