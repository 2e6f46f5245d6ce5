"""What a journal owes callers: one suite for all adapters. A *place* is what outlives a journal: a file, a store."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw, structs

from gleitzeit.errors import (
    BlobNotFound,
    InvalidParams,
    JournalConflict,
    JournalError,
    JournalFull,
    JournalLocked,
    PayloadTooLarge,
)
from gleitzeit.journal import open_journal
from gleitzeit.journal.base import SHORT_BYTES, Append, Find, OwnedJournal, Record, Summary, Unfinished
from gleitzeit.journal.blobs import MAX_BLOB_BYTES, MAX_CHUNK_BYTES
from gleitzeit.journal.memory import MemoryJournal, MemoryStore
from gleitzeit.journal.sqlite import SqliteJournal
from gleitzeit.model.blobs import name_of
from gleitzeit.model.shards import SHARDS

Open = Callable[[], OwnedJournal]
ROOM_BYTES = 400_000  # of a bounded place; an SQLite file needs some for its tables
LOCAL = ["memory", "sqlite"]
SHARED = ["shared memory", "postgres", "redis"]


def place(kind: str, folder: Path, request: pytest.FixtureRequest, capacity_bytes: int | None = None) -> Open:
    match kind:
        case "memory" | "shared memory":
            store = MemoryStore(capacity_bytes, shards=SHARDS if kind == "shared memory" else 1)
            return lambda: MemoryJournal(store)
        case "sqlite":
            return lambda: SqliteJournal(folder / "journal.db", max_bytes=capacity_bytes)
        case _:
            url = request.getfixturevalue(kind).place()
            return lambda: open_journal(url)


@pytest.fixture(params=LOCAL + SHARED)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Open:
    return place(kind, tmp_path, request)


@pytest.fixture
async def journal(open_: Open) -> AsyncIterator[OwnedJournal]:
    journal = open_()
    await journal.claim("test")
    yield journal
    await journal.close()


def summary(stream: str, **fields: object) -> Summary:
    return structs.replace(Summary(stream, "workflow", "a name", "running", True, 1000, 2000), **fields)


def append(stream: str, seq: int, *events: bytes, **fields: object) -> Append:
    return Append(stream, seq, events, summary(stream, **fields))


async def events(journal: OwnedJournal, stream: str) -> list[bytes]:
    records = await journal.read(stream)
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    return [record.event for record in records]


# -- append and read


async def test_what_was_appended_is_read_in_order(journal: OwnedJournal) -> None:
    await journal.append([append("a", 1, b"1", b"2"), append("b", 1, b"x")])
    await journal.append([append("a", 3, b"3")])
    assert await journal.read("a") == [Record(1, b"1"), Record(2, b"2"), Record(3, b"3")]
    assert await journal.read("b") == [Record(1, b"x")]
    assert await journal.read("c") == []


async def test_what_is_unfinished_is_read_with_its_events(journal: OwnedJournal) -> None:
    await journal.append([append("a", 1, b"1", b"2"), append("b", 1, b"x"), append("long", 1, b"1")])
    await journal.append([append("long", 2, b"2")])
    await journal.append([append("large", 1, b"x" * 100_000), append("none", 1), append("unwanted", 1, b"1")])
    await journal.append([append("ended", 1, b"1", active=False), append("other", 1, b"1", kind="child")])
    pages, before = list[list[Unfinished]](), None
    while page := await journal.unfinished("workflow", lambda name: name != "unwanted", before, limit=2):
        pages.append(page)
        before = page[-1].created_at, page[-1].stream
    assert [len(page) for page in pages] == [2, 2, 2]
    found = {one.stream: one.events for page in pages for one in page}
    assert list(found) == ["unwanted", "none", "long", "large", "b", "a"], "newest first, then by name"
    assert (found["a"], found["b"], found["none"]) == ([b"1", b"2"], [b"x"], [])
    for name in ("long", "large"):
        assert found[name] in ([], await events(journal, name))
    assert {(one.created_at, one.updated_at) for page in pages for one in page} == {(1000, 2000)}


@pytest.mark.parametrize("after", range(8))
async def test_read_starts_anywhere_also_between_the_events_of_one_append(journal: OwnedJournal, after: int) -> None:
    await journal.append([append("a", 1, b"1", b"2", b"3")])
    await journal.append([append("a", 4, b"4", b"5")])
    await journal.append([append("a", 6, b"6", b"7")])
    assert [record.seq for record in await journal.read("a", after)] == list(range(after + 1, 8))
    page = await journal.read("a", after, limit=2)
    assert [record.seq for record in page] == list(range(after + 1, min(after + 3, 8)))


async def test_the_first_page_of_a_short_stream_is_all_of_it(journal: OwnedJournal) -> None:
    event = b'"%b"' % (b"x" * 9_998)
    count = (SHORT_BYTES - 1) // len(event)
    for seq in range(1, count + 1):
        await journal.append([append("a", seq, event)])
    assert [record.seq for record in await journal.read("a", limit=count + 1)] == list(range(1, count + 1))


async def test_large_events_come_in_pages_that_lead_to_the_end(journal: OwnedJournal) -> None:
    written = [bytes([65 + number]) * 1_000_000 for number in range(20)]
    await journal.append([append("a", 1, *written)])
    seen: list[Record] = []
    while page := await journal.read("a", len(seen)):
        seen += page
    assert [record.event for record in seen] == written
    assert [record.seq for record in seen] == list(range(1, 21))


TEXT = b'{"id": "t", "method": "echo/echo", "params": {}}' * 5_000
NOISE = random.Random(1).randbytes(200_000).replace(b"\n", b"")


async def test_what_shrinks_very_much_comes_in_pages_too(journal: OwnedJournal) -> None:
    """However little room it takes in the journal."""
    event = b"x" * 1_000_000
    for seq in range(1, 41):
        await journal.append([append("a", seq, event)])
    pages, end = list[int](), 0
    while page := await journal.read("a", end):
        pages.append(sum(len(record.event) for record in page))
        end = page[-1].seq
    assert end == 40
    if not isinstance(journal, MemoryJournal):
        assert max(pages) < 10_000_000


async def test_a_page_has_no_more_than_was_asked_for_however_the_events_came(journal: OwnedJournal) -> None:
    parts = [(b"1",), (TEXT, b"2"), tuple(b"%d" % n for n in range(700)), (b"3", NOISE), (TEXT,), (b"4",) * 30]
    events: list[bytes] = []
    for part in parts:
        await journal.append([append("a", len(events) + 1, *part)])
        events += part
    for limit in (1, 2, 3, 500, 10_000):
        found: list[bytes] = []
        while page := await journal.read("a", len(found), limit):
            assert len(page) <= limit
            assert page[0].seq == len(found) + 1
            found += [record.event for record in page]
        assert found == events


async def test_a_stream_may_come_twice_in_one_commit(journal: OwnedJournal) -> None:
    await journal.append([append("a", 1, b"1"), append("a", 2, b"2", status="completed")])
    assert await events(journal, "a") == [b"1", b"2"]
    assert [found.status for found in await journal.find(Find("workflow"))] == ["completed"]


async def test_empty_events_and_an_append_of_none_are_kept_apart(journal: OwnedJournal) -> None:
    await journal.append([append("a", 1)])
    assert await events(journal, "a") == []
    await journal.append([append("a", 1, b"", b"")])
    await journal.append([append("a", 3, status="completed")])
    assert await events(journal, "a") == [b"", b""]
    assert [found.status for found in await journal.find(Find("workflow"))] == ["completed"]


async def test_an_empty_commit_is_nothing(journal: OwnedJournal) -> None:
    await journal.append([])
    assert await journal.find(Find("workflow")) == []


@pytest.mark.parametrize("seq", [0, 1, 2, 4])
async def test_a_conflict_changes_nothing(journal: OwnedJournal, seq: int) -> None:
    await journal.append([append("a", 1, b"1", b"2")])
    with pytest.raises(JournalConflict, match="a ends at 2"):
        await journal.append([append("new", 1, b"n"), append("a", seq, b"x", status="failed")])
    assert await events(journal, "a") == [b"1", b"2"]
    assert [(found.stream, found.status) for found in await journal.find(Find("workflow"))] == [("a", "running")]
    await journal.append([append("a", 3, b"3"), append("new", 1, b"n")])


async def test_a_new_stream_starts_at_one(journal: OwnedJournal) -> None:
    with pytest.raises(JournalConflict):
        await journal.append([append("a", 2, b"2")])
    assert await journal.find(Find("workflow")) == []


async def test_of_overlapping_appends_to_one_end_exactly_one_wins(journal: OwnedJournal) -> None:
    appends = [journal.append([append("a", 1, b"%d" % number), append(f"s{number}", 1, b"x")]) for number in range(20)]
    outcomes = await asyncio.gather(*appends, return_exceptions=True)
    won = [number for number, outcome in enumerate(outcomes) if outcome is None]
    assert len(won) == 1
    assert all(isinstance(outcome, JournalConflict) for outcome in outcomes if outcome is not None)
    assert await events(journal, "a") == [b"%d" % won[0]]
    assert {found.stream for found in await journal.find(Find("workflow"))} == {"a", f"s{won[0]}"}


@pytest.mark.parametrize(
    "wrong",
    [Append("a", 1, (b"{\n}",), summary("a")), Append("a", 1, (b"{}",), summary("b"))],
    ids=["newline in an event", "summary of another stream"],
)
async def test_a_malformed_append_is_refused_and_harms_no_other(journal: OwnedJournal, wrong: Append) -> None:
    refused, taken = await asyncio.gather(
        journal.append([wrong]), journal.append([append("c", 1, b"1")]), return_exceptions=True
    )
    assert isinstance(refused, ValueError)
    assert taken is None
    assert [found.stream for found in await journal.find(Find("workflow"))] == ["c"]


# -- find


async def test_a_summary_comes_back_as_it_was_given(journal: OwnedJournal) -> None:
    first = summary("ä/1", kind="$kind", key="schlüssel", due_at=5, expires_at=2**60, counts=Raw(b'{"a":1}'))
    await journal.append([Append("ä/1", 1, (b"{}",), first)])
    [found] = await journal.find(Find("$kind"))
    assert structs.replace(found, counts=Raw()) == structs.replace(first, counts=Raw())
    assert bytes(found.counts) == b'{"a":1}'
    # all of it is replaced, also what seldom changes
    second = Summary("ä/1", "other", "key 2", "completed", False, 7, 8)
    await journal.append([Append("ä/1", 2, (b"{}",), second)])
    assert await journal.find(Find("$kind")) == []
    [found] = await journal.find(Find("other"))
    assert structs.replace(found, counts=Raw()) == structs.replace(second, counts=Raw())


async def test_pages_follow_each_other_without_gap_or_repeat(journal: OwnedJournal) -> None:
    await journal.append([append(f"s{number:03}", 1, b"{}", created_at=number // 4) for number in range(50)])
    seen: list[str] = []
    before = None
    while page := await journal.find(Find("workflow", before=before, limit=7)):
        seen += [found.stream for found in page]
        before = page[-1].created_at, page[-1].stream
    assert seen == [f"s{number:03}" for number in reversed(range(50))]


# -- delete


async def test_a_deleted_stream_is_gone_and_may_start_anew(journal: OwnedJournal) -> None:
    await journal.append([append("a", 1, b"1", b"2"), append("b", 1, b"x")])
    await journal.append([append("a", 3, b"3")])
    await journal.delete(["a", "unknown", "a"])
    assert await journal.read("a") == []
    assert [found.stream for found in await journal.find(Find("workflow"))] == ["b"]
    await journal.append([append("a", 1, b"anew")])
    assert await events(journal, "a") == [b"anew"]
    assert await events(journal, "b") == [b"x"]


# -- blobs

CONTENT = bytes(range(256)) * 1000
BLOB = name_of(CONTENT)


async def put(journal: OwnedJournal, content: bytes, *, chunk: int = 100_000, now: int = 1000) -> str:
    name, offset = name_of(content), 0
    while True:
        offset = await journal.put(name, len(content), offset, content[offset : offset + chunk], now)
        if offset == len(content):
            return name


async def test_a_blob_is_put_in_pieces_and_got_by_range(journal: OwnedJournal) -> None:
    assert await journal.size(BLOB) is None
    assert await put(journal, CONTENT) == BLOB
    assert await journal.size(BLOB) == len(CONTENT)
    assert await journal.get(BLOB) == CONTENT
    for offset, limit in [(0, 1), (1, 99_999), (99_999, 2), (100_000, 100_001), (255_000, 5_000), (256_000, 10)]:
        assert await journal.get(BLOB, offset, limit) == CONTENT[offset : offset + limit]


async def test_a_blob_of_nothing_and_one_of_several_megabytes(journal: OwnedJournal) -> None:
    nothing = await put(journal, b"")
    assert (await journal.size(nothing), await journal.get(nothing)) == (0, b"")
    large = bytes(1000) + CONTENT * 12
    name = await put(journal, large, chunk=MAX_CHUNK_BYTES)
    got = b""
    while piece := await journal.get(name, len(got)):
        assert len(piece) <= MAX_CHUNK_BYTES
        got += piece
    assert got == large


async def test_a_blob_that_is_not_whole_cannot_be_got_and_goes_on_where_it_ended(open_: Open) -> None:
    first = open_()
    await first.claim("one")
    assert await first.put(BLOB, len(CONTENT), 0, CONTENT[:1000], 1) == 1000
    assert await first.put(BLOB, len(CONTENT), 5000, CONTENT[5000:6000], 1) == 1000  # not what comes next
    assert await first.put(BLOB, len(CONTENT), 0, CONTENT[:1000], 1) == 1000
    with pytest.raises(BlobNotFound):
        await first.get(BLOB)
    await first.close()
    second = open_()
    await second.claim("two")
    assert await second.put(BLOB, len(CONTENT), 1000, CONTENT[1000:], 1) == len(CONTENT)
    assert await second.put(BLOB, len(CONTENT), 0, CONTENT[:1000], 1) == len(CONTENT)
    assert await second.get(BLOB) == CONTENT
    await second.close()


async def test_content_of_another_name_is_refused_and_can_be_sent_again(journal: OwnedJournal) -> None:
    await journal.put(BLOB, len(CONTENT), 0, CONTENT[:1000], 1)
    with pytest.raises(InvalidParams, match="bytes"):
        await journal.put(BLOB, len(CONTENT) + 1, 1000, CONTENT[1000:], 1)
    with pytest.raises(InvalidParams):
        await journal.put(BLOB, len(CONTENT), 1000, bytes(len(CONTENT) - 1000), 1)
    assert await journal.size(BLOB) is None
    assert await put(journal, CONTENT) == BLOB
    assert await journal.get(BLOB, 0, 100) == CONTENT[:100]


async def test_what_is_no_blob_is_refused(journal: OwnedJournal) -> None:
    for name in ("", "sha256:xyz", "md5:" + "0" * 64, "sha256:" + "A" * 64, "sha256:" + "0" * 64 + "\n"):
        with pytest.raises(InvalidParams):
            await journal.put(name, 1, 0, b"x", 1)
        with pytest.raises(InvalidParams):
            await journal.get(name)
    with pytest.raises(PayloadTooLarge):
        await journal.put(BLOB, MAX_BLOB_BYTES + 1, 0, b"x", 1)
    with pytest.raises(PayloadTooLarge):
        await journal.put(BLOB, MAX_BLOB_BYTES, 0, bytes(MAX_CHUNK_BYTES + 1), 1)
    for size_bytes, offset, chunk in [(10, 5, b"123456"), (10, -1, b"1"), (-1, 0, b""), (10, 0, b"")]:
        with pytest.raises(InvalidParams):
            await journal.put(BLOB, size_bytes, offset, chunk, 1)


async def test_blobs_live_as_long_as_a_stream_refers_to_them(journal: OwnedJournal) -> None:
    kept, shared, loose = [await put(journal, bytes([n]) * 10, now=n) for n in (1, 2, 3)]
    await journal.append([Append("a", 1, (b"{}",), summary("a"), (kept, shared))])
    await journal.append(
        [Append("a", 2, (b"{}",), summary("a"), (shared,)), Append("b", 1, (), summary("b"), (shared,))]
    )
    assert await journal.sweep(unused_since=3) == 0  # `loose` was used at 3
    assert await journal.sweep(unused_since=4) == 1
    assert [await journal.size(name) for name in (kept, shared, loose)] == [10, 10, None]
    await journal.delete(["a"])
    assert await journal.sweep(unused_since=1) == 0
    assert await journal.sweep(unused_since=4) == 1
    assert [await journal.size(name) for name in (kept, shared)] == [None, 10]
    await put(journal, bytes([2]) * 10, now=50)  # it counts as used again
    await journal.delete(["b"])
    assert await journal.sweep(unused_since=50) == 0
    assert await journal.sweep(unused_since=51) == 1
    with pytest.raises(BlobNotFound):
        await journal.get(shared)
    await put(journal, bytes([1]) * 10)
    assert await journal.size(kept) == 10


# -- ownership and life


async def test_all_is_there_after_close_and_open(open_: Open) -> None:
    first = open_()
    await first.claim("one")
    await first.append([append("a", 1, b"1", b"2")])
    await first.close()
    second = open_()
    await second.claim("two")
    await second.append([append("a", 3, b"3"), append("b", 1, b"x")])
    assert await events(second, "a") == [b"1", b"2", b"3"]
    assert len(await second.find(Find("workflow"))) == 2
    await second.close()


async def test_epochs_only_rise(open_: Open) -> None:
    seen = []
    for owner in ("one", "two", "one"):
        journal = open_()
        seen.append((await journal.claim(owner))[0])
        await journal.release()
        seen.append((await journal.claim(owner))[0])
        await journal.close()
    assert seen == sorted(set(seen))
    assert seen[0] >= 1


async def test_a_second_owner_is_refused_until_the_first_lets_go(open_: Open) -> None:
    first, second = open_(), open_()
    await first.claim("one")
    with pytest.raises(JournalLocked):
        await second.claim("two")
    if first.shards == 1:
        with pytest.raises(JournalLocked):
            await first.claim("one")
    await first.append([append("a", 1, b"1")])  # the refusals took nothing from it
    await first.release()
    await second.claim("two")
    with pytest.raises(JournalError):
        await first.append([append("a", 2, b"2")])
    assert await events(second, "a") == [b"1"]
    await second.close()


async def test_without_a_claim_nothing_works_and_close_is_harmless(open_: Open) -> None:
    journal = open_()
    with pytest.raises(JournalError):
        await journal.append([append("a", 1, b"1")])
    with pytest.raises(JournalError):
        await journal.read("a")
    with pytest.raises(JournalError):
        await journal.find(Find("workflow"))
    with pytest.raises(JournalError):
        await journal.delete(["a"])
    await journal.close()
    await journal.claim("one")
    await journal.close()
    await journal.close()
    await journal.release()


async def test_close_waits_for_what_is_under_way(open_: Open) -> None:
    journal = open_()
    await journal.claim("one")
    tasks = [asyncio.ensure_future(journal.append([append(f"s{number}", 1, b"x")])) for number in range(20)]
    await asyncio.sleep(0)  # each task has handed its append over
    await journal.close()
    assert await asyncio.gather(*tasks) == [None] * 20


@pytest.mark.parametrize("kind", LOCAL)
async def test_a_full_journal_writes_nothing_and_goes_on_when_there_is_space(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    journal = place(kind, tmp_path, request, ROOM_BYTES)()
    await journal.claim("one")
    noise = os.urandom(250_000).replace(b"\n", b"x").replace(b"\0", b"x")  # nothing of it can be compressed
    await journal.append([append("old", 1, noise[:150_000])])
    large = [append("new", 1, noise), append("old", 2, b"z", status="completed")]
    with pytest.raises(JournalFull):
        await journal.append(large)
    assert await journal.read("new") == []
    assert len((await events(journal, "old"))[0]) == 150_000
    assert [(found.stream, found.status) for found in await journal.find(Find("workflow"))] == [("old", "running")]
    await journal.append([append("small", 1, b"s")])
    await journal.delete(["old"])
    await journal.append([large[0]])
    assert [len(event) for event in await events(journal, "new")] == [250_000]
    await journal.close()


# -- against a model

STREAMS = ["a", "ab", "b", "ba", "ü"]
text = st.sampled_from(["", "x", "y"])
summaries = st.builds(
    Summary, st.just(""), text, text, text, st.booleans(), st.integers(0, 3), st.integers(0, 9), st.none(), st.none()
)
one_append = st.tuples(
    st.sampled_from(STREAMS),
    st.sampled_from([0, 0, 0, 0, 0, 0, -1, 1]),  # mostly right: how far `seq` is off
    st.lists(st.sampled_from([b"", b"{}", b"[1]"]), max_size=4).map(tuple),
    summaries,
)
step = st.one_of(
    st.tuples(st.just("append"), st.lists(one_append, max_size=4)),
    st.tuples(st.just("append"), st.lists(one_append, max_size=4)),
    st.tuples(st.just("delete"), st.lists(st.sampled_from(STREAMS), max_size=2)),
    st.tuples(st.just("reopen"), st.none()),
)
query = st.builds(
    Find,
    text,
    st.lists(text, max_size=2).map(tuple),
    st.lists(text, max_size=2).map(tuple),
    st.sampled_from(["", "a", "ab", "ü", "z"]),
    st.sampled_from([None, True, False]),
    st.one_of(st.none(), st.tuples(st.integers(0, 4), st.sampled_from(STREAMS))),
    st.sampled_from([None, None, "", "a", "aa", "b", "ü"]),
    st.integers(0, 6),
)


class Model:
    """The obvious journal: a dict."""

    def __init__(self) -> None:
        self.streams: dict[str, tuple[tuple[bytes, ...], Summary]] = {}

    def commit(self, parts: list[tuple[str, int, tuple[bytes, ...], Summary]]) -> tuple[list[Append], bool]:
        """The appends, and whether they fit; if so they are taken."""
        after, appends, fits = dict(self.streams), [], True
        for stream, off, new, rest in parts:
            old = after[stream][0] if stream in after else ()
            about = structs.replace(rest, stream=stream)
            appends.append(Append(stream, len(old) + 1 + off, new, about))
            fits = fits and off == 0
            after[stream] = old + new, about
        if fits:
            self.streams = after
        return appends, fits

    def find(self, query: Find) -> list[Summary]:
        all_ = sorted((s for _, s in self.streams.values()), key=lambda s: (s.created_at, s.stream), reverse=True)
        if query.after is not None:
            all_.sort(key=lambda s: s.stream)
        return [
            s
            for s in all_
            if s.kind == query.kind
            and (s.key in query.keys or not query.keys)
            and (s.status in query.statuses or not query.statuses)
            and s.stream.startswith(query.stream_prefix)
            and query.active in (None, s.active)
            and (query.before is None or (s.created_at, s.stream) < query.before)
            and (query.after is None or s.stream > query.after)
        ][: query.limit]


quick = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
steps_and_queries = given(steps=st.lists(step, max_size=12), queries=st.lists(query, min_size=1, max_size=6))


@pytest.mark.parametrize("kind", ["memory", "sqlite", "shared memory"])
@quick
@steps_and_queries
def test_it_behaves_like_a_dict(
    kind: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, steps: list, queries: list
) -> None:
    asyncio.run(play(place(kind, tmp_path_factory.mktemp("place"), request), steps, queries))


@pytest.mark.parametrize("kind", ["postgres", "redis"])
@settings(quick, max_examples=15)
@steps_and_queries
def test_a_server_behaves_like_a_dict(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, steps: list, queries: list
) -> None:
    asyncio.run(play(place(kind, tmp_path, request), steps, queries))


async def play(open_: Open, steps: list[tuple[str, list]], queries: list[Find]) -> None:
    model, journal = Model(), open_()
    await journal.claim("model")
    for name, argument in steps:
        if name == "append":
            appends, fits = model.commit(argument)
            try:
                await journal.append(appends)
                assert fits
            except JournalConflict:
                assert not fits
        elif name == "delete":
            await journal.delete(argument)
            for stream in argument:
                model.streams.pop(stream, None)
        else:
            await journal.close()
            journal = open_()
            await journal.claim("model")
    for stream in STREAMS:
        assert await events(journal, stream) == list(model.streams.get(stream, ((), None))[0])
    for query in queries:
        found = [structs.replace(s, counts=Raw()) for s in await journal.find(query)]
        assert found == [structs.replace(s, counts=Raw()) for s in model.find(query)]
    await journal.close()
