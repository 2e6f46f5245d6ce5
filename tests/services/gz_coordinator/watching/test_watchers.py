"""Lines that tasks say reach a watcher between the events where they belong, whenever it begins to watch.

How their texts do is the matter of `test_streams.py`.
"""

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from tests.libs.engine.builders import NOW, raw, submitted, task

from gleitzeit import errors
from gleitzeit.engine.state.replay import replay
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.engine.underway import Call
from gleitzeit.journal.base import Append, Record
from gleitzeit.journal.memory import MemoryJournal
from gleitzeit.model import events as ev
from gleitzeit.transport import Connection
from gleitzeit.transport.memory import connect_memory
from gz_coordinator.streams.workflows import summary_of
from gz_coordinator.watching.notices import LINE, RESYNC, STREAM
from gz_coordinator.watching.watcher import Position, Watcher
from gz_coordinator.watching.watchers import AGAIN_SECONDS, Watchers

STARTED = ev.TaskStarted(NOW, "a", 1, "p", "p#1")
ENDED = (ev.TaskCompleted(NOW, "a", 1, raw(5)), ev.WorkflowCompleted(NOW, raw(None)))


class Frail(MemoryJournal):
    """One that says in turn, when it is read, what is in `trouble`; None stands for no trouble."""

    def __init__(self) -> None:
        super().__init__()
        self.trouble: list[errors.GleitzeitError | None] = []

    async def read(self, stream: str, after: int = 0, limit: int = 10_000) -> list[Record]:
        if self.trouble and (error := self.trouble.pop(0)) is not None:
            raise error
        return await super().read(stream, after, min(limit, 1))


class Scene:
    """A workflow whose events become durable by `append`, and one connection that may watch it."""

    def __init__(self) -> None:
        self.journal = Frail()
        self.watchers = Watchers(self.journal, self._read)
        self.events: list[ev.AnyEvent] = []
        self.call: Call | None = None
        """The one that writes."""
        self.seen: list[Any] = []

    async def begin(self) -> "Scene":
        await self.journal.claim("me")
        _, self.connection = await connect_memory(on_notification=self._notified)
        await self.append(submitted(task("a")), STARTED)
        return self

    @property
    def workflow(self) -> Workflow:
        return replay(self.events)

    async def append(self, *events: ev.AnyEvent) -> None:
        first = len(self.events) + 1
        self.events += events
        encoded = tuple(msgspec.json.encode(event) for event in events)
        await self.journal.append([Append("w", first, encoded, summary_of(self.workflow))])
        self.watchers.publish(self.workflow, first, encoded)

    def say(self, text: str) -> None:
        workflow = self.workflow
        call = Call(workflow, workflow.tasks["a"], 1, "w/a/1")
        self.watchers.forward(call, LINE, raw({"level": "info", "data": text, "progressToken": "w/a/1"}))

    async def writes(self, text: str, *after: ev.AnyEvent) -> None:
        """The task's call writes a text; then this happens."""
        if self.call is None:
            workflow = self.workflow
            self.call = Call(workflow, workflow.tasks["a"], 1, "w/a/1")
        self.watchers.forward(self.call, STREAM, raw({"delta": text}))
        for event in after:
            self.call.workflow.apply(event)
        if after:
            await self.append(*after)

    def watch(
        self, after: int = 0, *, workflow_id: str | None = "w", stream: bool = True, has: Position | None = None
    ) -> None:
        known = {"a": has} if has is not None else {}
        self.watchers.add(Watcher(self.connection, workflow_id, after, stream=stream, has=known))

    async def _read(self, workflow_id: str, look: Any) -> None:
        look(self.workflow)

    def _notified(self, connection: Connection, method: str, params: Raw | None) -> None:
        fields = msgspec.json.decode(params or b"{}")
        if method == LINE:
            assert {"workflow_id": "w", "task_id": "a", "attempt": 1, "level": "info"}.items() <= fields.items()
            assert "progressToken" not in fields
        if method == RESYNC:
            self.seen.append((fields["seq"], fields["error"]["data"]["name"]))
        elif method == STREAM:
            self.seen.append((fields["offset"], fields["delta"]))
        else:
            self.seen.append(fields["data"] if method == LINE else fields["event"]["type"])


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.fixture
async def scene() -> Scene:
    return await Scene().begin()


async def test_lines_from_before_the_watch_stand_where_they_were_said(scene: Scene) -> None:
    scene.say("one")
    scene.say("two")
    await scene.append(*ENDED)
    scene.watch()
    await settle()
    assert scene.seen == ["WorkflowSubmitted", "TaskStarted", "one", "two", "TaskCompleted", "WorkflowCompleted"]


async def test_a_line_while_a_watcher_catches_up_is_not_told_before_its_task_has_started(scene: Scene) -> None:
    scene.say("one")
    scene.watch()
    scene.say("two")
    await settle()
    scene.say("three")
    await scene.append(*ENDED)
    await settle()
    assert scene.seen[:5] == ["WorkflowSubmitted", "TaskStarted", "one", "two", "three"]
    assert scene.seen[5:] == ["TaskCompleted", "WorkflowCompleted"]


async def test_who_goes_on_watching_hears_no_line_twice(scene: Scene) -> None:
    scene.say("one")
    scene.watch(after=2)
    await settle()
    scene.say("two")
    await settle()
    assert scene.seen == ["two"]


async def test_who_watches_all_hears_what_comes(scene: Scene) -> None:
    scene.say("one")
    scene.watch(workflow_id=None)
    scene.say("two")
    await settle()
    assert scene.seen == ["two"]


@pytest.mark.parametrize("page", ["in memory", "in the journal"])
async def test_who_was_away_when_a_call_ended_has_the_end_of_its_text_first(scene: Scene, page: str) -> None:
    await scene.writes("abcdef", *ENDED)
    if page == "in the journal":
        scene.watchers.recent.clear()
    for after, has, rest in (
        (2, Position(4, 1), [(4, "ef")]),  # has a part
        (2, Position(6, 1), []),  # has all
        (2, None, [(0, "abcdef")]),  # had seen its task begin
        (1, None, []),  # had not: it gets what one gets who comes now
        (3, None, []),  # had seen it end
        (3, Position(4, 1), [(4, "ef")]),  # had seen that, too, and says what it has
        (4, Position(4, 1), [(4, "ef")]),
    ):
        scene.seen.clear()
        scene.watch(after, has=has)
        await settle()
        events = ["WorkflowSubmitted", "TaskStarted", "TaskCompleted", "WorkflowCompleted"][after:]
        at = events.index("TaskCompleted") if rest and "TaskCompleted" in events else 0
        assert scene.seen == [*events[:at], *rest, *events[at:]], (after, has)


async def test_a_call_that_ends_while_a_watcher_catches_up_is_heard_to_its_end(scene: Scene) -> None:
    await scene.writes("abc")
    scene.watchers.recent.clear()
    scene.watch()
    assert scene.seen == []
    await scene.writes("def", *ENDED)
    await settle()
    assert scene.seen == ["WorkflowSubmitted", "TaskStarted", (0, "abcdef"), "TaskCompleted", "WorkflowCompleted"]


async def test_who_wants_events_only_gets_no_lines(scene: Scene) -> None:
    scene.say("one")
    scene.watch(stream=False)
    await settle()
    scene.say("two")
    await settle()
    assert scene.seen == ["WorkflowSubmitted", "TaskStarted"]


async def test_who_watches_twice_is_told_once(scene: Scene) -> None:
    scene.watch()
    await settle()
    scene.watch(after=2)
    await scene.append(*ENDED)
    await settle()
    assert scene.seen == ["WorkflowSubmitted", "TaskStarted", "TaskCompleted", "WorkflowCompleted"]
    assert len(scene.watchers) == 1
    scene.watchers.remove(scene.connection)
    assert len(scene.watchers) == 0


async def test_who_watches_what_began_lately_has_all_of_it_at_once_and_asks_no_journal(scene: Scene) -> None:
    await scene.journal.close()
    scene.watch()
    scene.watchers.publish(scene.workflow, 3, [msgspec.json.encode(event) for event in ENDED])
    await settle()
    assert scene.seen == ["WorkflowSubmitted", "TaskStarted", "TaskCompleted", "WorkflowCompleted"]


async def test_what_is_known_no_more_is_read_from_the_journal(scene: Scene) -> None:
    scene.watchers.leave(lambda workflow_id: True)
    await scene.append(*ENDED)
    scene.watch(after=1)
    await settle()
    assert scene.seen == ["TaskStarted", "TaskCompleted", "WorkflowCompleted"]


async def test_who_watches_no_more_while_it_catches_up_is_told_nothing_more(scene: Scene) -> None:
    scene.watchers.recent.clear()
    scene.say("one")
    reading, go_on = asyncio.Event(), asyncio.Event()
    real = scene._read

    async def read(workflow_id: str, look: Any) -> None:
        reading.set()
        await go_on.wait()
        await real(workflow_id, look)

    scene.watchers._read = read
    scene.watch(after=1)
    await reading.wait()
    scene.watch()  # in its place
    scene.watchers.remove(scene.connection)
    scene.say("two")
    before = list(scene.seen)
    go_on.set()
    await settle()
    assert before == ["TaskStarted"]
    assert scene.seen == before


async def test_who_cannot_be_told_the_past_is_hung_up_on_and_does_not_wait_for_ever(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gz_coordinator.watching.watchers.TRIES", 1)
    scene.watchers.recent.clear()
    await scene.journal.close()
    scene.watch()
    await settle()
    assert scene.connection.closed


@pytest.mark.parametrize("error", [errors.JournalCorrupt("a record is damaged"), errors.WorkflowNotFound("deleted")])
async def test_who_catches_up_and_comes_to_what_cannot_be_read_is_told_so(
    scene: Scene, error: errors.GleitzeitError
) -> None:
    scene.watchers.recent.clear()
    scene.journal.trouble = [None, error]
    scene.watch()
    await settle()
    assert scene.seen == ["WorkflowSubmitted", (1, error.name)]
    assert len(scene.watchers) == 0, "it watches no more"


async def test_a_first_page_that_is_damaged_is_an_error_for_who_asks(scene: Scene) -> None:
    assert await scene.watchers.first_page("w", 0) is None, "it is all in memory"
    scene.watchers.recent.clear()
    scene.journal.trouble = [errors.JournalCorrupt("a record is damaged")]
    with pytest.raises(errors.JournalCorrupt):
        await scene.watchers.first_page("w", 0)


async def test_a_first_page_that_was_read_is_not_read_again(scene: Scene) -> None:
    scene.watchers.recent.clear()
    page = await scene.watchers.first_page("w", 0)
    scene.watchers.add(Watcher(scene.connection, "w", 0, stream=True), page)
    await scene.append(*ENDED)
    await settle()
    assert scene.seen == ["WorkflowSubmitted", "TaskStarted", "TaskCompleted", "WorkflowCompleted"]


async def test_a_journal_that_is_away_for_a_while_costs_a_watcher_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gz_coordinator.watching.watchers.AGAIN_SECONDS", AGAIN_SECONDS / 1_000)
    scene.watchers.recent.clear()
    scene.journal.trouble = [None, errors.JournalError("it does not answer")] * 3
    scene.watch()
    await scene.append(*ENDED)
    for _ in range(10_000):
        await asyncio.sleep(AGAIN_SECONDS / 10_000 if len(scene.seen) < 4 else 0)
    assert scene.seen == ["WorkflowSubmitted", "TaskStarted", "TaskCompleted", "WorkflowCompleted"]


async def test_who_watches_what_moves_elsewhere_leaves_with_what_it_has_and_who_watches_all_stays(scene: Scene) -> None:
    scene.watch()
    scene.watch(workflow_id=None)
    await scene.writes("Hello")
    await settle()
    assert scene.watchers.leave("another".__eq__) == []
    ((watcher, has),) = scene.watchers.leave("w".__eq__)
    assert (watcher.workflow_id, has) == ("w", {"a": Position(5, 1)})
    assert len(scene.watchers) == 1
    scene.seen.clear()
    await scene.append(*ENDED)
    await settle()
    assert scene.seen == ["TaskCompleted", "WorkflowCompleted"], "told once, to who watches all"
