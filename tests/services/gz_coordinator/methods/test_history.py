"""`workflow.history` of a workflow whose events are larger than a message: pages, none of which hides the rest."""

from typing import Any, cast

import msgspec

from gleitzeit.journal.base import Append, Summary
from gleitzeit.journal.sqlite import SqliteJournal
from gleitzeit.model import events as ev
from gz_coordinator.methods.history import PAGE_EVENTS_BYTES, HistoryMethods
from gz_coordinator.watching.notices import MAX_EVENT_BYTES, shortened


async def test_pages_end_by_their_bytes_and_say_that_there_is_more(tmp_path: Any) -> None:
    journal = SqliteJournal(tmp_path / "journal.db")
    await journal.claim("me")
    summary = Summary("w", "workflow", "test", "running", True, 1, 1)
    sizes = [100_000] * 100 + [MAX_EVENT_BYTES + 1] * 3
    for seq, size in enumerate(sizes, 1):
        event = b'{"type":"TaskCompleted","result":"%b"}' % (b"x" * size)
        await journal.append([Append("w", seq, (event,), summary)])
    methods = HistoryMethods(journal)
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        page = await methods.history(cast(Any, None), workflow_id="w", after=after)
        seen += [event["seq"] for event in page["events"]]
        assert sum(len(bytes(event["event"])) for event in page["events"]) <= PAGE_EVENTS_BYTES
        last = page["events"][-1]
        after = page.get("next")
    assert seen == list(range(1, len(sizes) + 1))
    assert bytes(last["event"]) == b'{"type":"TaskCompleted","result":{"$omitted_bytes":%d}}' % (MAX_EVENT_BYTES + 3)
    await journal.close()


def test_an_error_that_is_too_large_for_a_message_is_still_one() -> None:
    failed = ev.WorkflowFailed(1, ev.Failure(-1, "m" * (MAX_EVENT_BYTES + 1), "ODD", task="a"))
    event = msgspec.json.decode(shortened(msgspec.json.encode(failed)), type=ev.AnyEvent)
    assert isinstance(event, ev.WorkflowFailed)
    assert (event.error.code, event.error.name, event.error.task) == (-1, "ODD", "a")
    assert event.error.message.startswith("mmm")
