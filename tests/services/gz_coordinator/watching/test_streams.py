"""Texts reach every watcher whole: replayed from what is kept, then live, nothing twice, gaps said."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.engine.underway import Call
from gleitzeit.journal.memory import MemoryJournal
from gleitzeit.model.definition import Definition, TaskDefinition
from gleitzeit.model.events import CallLost, TaskCancelled, TaskStarted, WorkflowSubmitted
from gleitzeit.transport import Connection
from gz_coordinator.watching.texts import ENDED_SECONDS, Texts
from gz_coordinator.watching.watcher import MAX_LAG_BYTES, Position, Watcher
from gz_coordinator.watching.watchers import Watchers


class Socket:
    """The watcher's end: `heard` is what it was sent; it reads when it is told to."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.closed = False
        self.buffered_bytes = 0
        self.slow = False
        self._read = asyncio.Event()

    def notify(self, method: str, params: bytes) -> None:
        if self.slow:
            self.buffered_bytes += len(params)
        if method == "notifications/stream":
            self.heard.append(msgspec.json.decode(params))

    async def drain(self) -> None:
        while self.buffered_bytes > MAX_LAG_BYTES:
            self._read.clear()
            await self._read.wait()

    def read(self, *, slow: bool = False) -> None:
        self.buffered_bytes, self.slow = 0, slow
        self._read.set()

    @property
    def text(self) -> str:
        """What it has, by offsets; it must never go back, and only jump where a gap is said."""
        text, end = "", None
        for said in self.heard:
            assert end is None or said["offset"] == end or said.get("gap"), (end, said)
            end = said["offset"] + len(said["delta"])
            text += said["delta"]
        return text


class Scene:
    """A workflow `w` with a task `t` that runs, and its watchers."""

    def __init__(self) -> None:
        self.now = 0.0
        tasks = (TaskDefinition("t", "llm/chat"),)
        self.workflow = Workflow(WorkflowSubmitted(1, "w", Definition("w", tasks)))
        self.watchers = Watchers(MemoryJournal(), cast(Any, self._read))
        self.watchers.texts = Texts(lambda: self.now)
        self.seq = 0
        self.begin()

    async def _read(self, workflow_id: str, look: Callable[[Workflow], None]) -> Awaitable[None] | None:
        look(self.workflow)
        return None

    def begin(self) -> None:
        task = self.workflow.tasks["t"]
        self.workflow.apply(TaskStarted(1, "t", task.attempt + 1, "p", "p#1"))
        self.call = Call(self.workflow, task, task.attempt, f"w/t/{task.attempt}")
        self.seq = 0

    def say(self, delta: str) -> None:
        self.seq += 1
        said = {"progressToken": self.call.id, "seq": self.seq, "delta": delta}
        self.watchers.forward(self.call, "notifications/stream", Raw(msgspec.json.encode(said)))

    def watch(self, workflow_id: str | None = "w", **has: Position) -> Socket:
        socket = Socket()
        connection = cast(Connection, socket)
        watcher = Watcher(connection, workflow_id, self.workflow.seq, stream=True, has=has)
        watcher.live = True  # it has all events: those are not the matter here
        self.watchers.add(watcher)
        return socket

    def lose(self) -> None:
        self.workflow.apply(CallLost(2, "t", self.call.attempt, "gone"))
        self.watchers.publish(self.workflow, self.workflow.seq, [b"{}"])

    def end(self) -> None:
        self.workflow.apply(TaskCancelled(2, "t"))
        self.watchers.publish(self.workflow, self.workflow.seq, [b"{}"])


async def test_one_who_comes_late_hears_what_is_kept_and_then_what_is_new() -> None:
    scene = Scene()
    scene.say("Hel")
    early, everything = scene.watch(), scene.watch(None)
    scene.say("lo")
    late = scene.watch()
    scene.say(" you")
    for socket in (early, everything, late):
        assert socket.text == "Hello you"
    assert [said["offset"] for said in late.heard] == [0, 5]
    assert late.heard[-1] == {
        "workflow_id": "w", "task_id": "t", "attempt": 1, "seq": 3, "offset": 5, "delta": " you"
    }  # fmt: skip


async def test_one_who_has_a_part_hears_the_rest() -> None:
    scene = Scene()
    scene.say("Hello")
    assert scene.watch(t=Position(3)).text == "lo"
    assert scene.watch(t=Position(3, attempt=1)).text == "lo"
    assert scene.watch(t=Position(5)).text == ""
    assert scene.watch(t=Position(3, attempt=7)).text == "Hello"


async def test_one_who_is_ahead_after_a_restart_hears_nothing_twice() -> None:
    scene = Scene()
    socket = scene.watch(t=Position(4, attempt=1))
    scene.say("Hel")
    scene.say("lo")
    scene.say(" you")
    assert socket.text == "o you"


async def test_a_new_attempt_begins_anew() -> None:
    scene = Scene()
    socket = scene.watch(t=Position(2, attempt=1))
    scene.say("Hello")
    scene.lose()
    scene.begin()
    scene.say("Bye")
    assert [(said["attempt"], said["offset"], said["delta"]) for said in socket.heard] == [(1, 2, "llo"), (2, 0, "Bye")]


async def test_a_slow_watcher_costs_no_more_than_the_bound_and_gets_the_rest_when_it_reads() -> None:
    scene = Scene()
    socket = scene.watch()
    socket.slow = True
    for _ in range(60):
        scene.say("x" * 30_000)
    assert socket.buffered_bytes < MAX_LAG_BYTES + 40_000
    socket.read()
    for _ in range(5):
        await asyncio.sleep(0)
    scene.say("end")
    gaps = [said for said in socket.heard if said.get("gap")]
    assert socket.text.endswith("end")
    assert all(said["delta"] == "" for said in gaps)
    last = socket.heard[-1]
    assert last["offset"] + 3 == 60 * 30_000 + 3


async def test_a_slow_watcher_that_watches_no_more_is_sent_nothing_more() -> None:
    scene = Scene()
    socket = scene.watch()
    socket.slow = True
    for _ in range(60):
        scene.say("x" * 30_000)
    before = len(socket.heard)
    scene.watchers.remove(cast(Connection, socket))
    socket.read()
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(socket.heard) == before


async def test_a_slow_watcher_gets_the_rest_also_when_the_call_has_ended() -> None:
    scene = Scene()
    socket = scene.watch()
    socket.slow = True
    for _ in range(40):
        scene.say("x" * 30_000)
    scene.end()
    socket.read()
    for _ in range(5):
        await asyncio.sleep(0)
    assert socket.text == "x" * 30_000 * 40


async def test_what_was_lost_is_said_also_when_the_call_has_ended_long_ago() -> None:
    scene = Scene()
    socket = scene.watch()
    socket.slow = True
    for _ in range(60):
        scene.say("x" * 30_000)
    scene.end()
    scene.now = ENDED_SECONDS
    assert scene.watchers.texts.ended_of("w") == []
    socket.read()
    for _ in range(5):
        await asyncio.sleep(0)
    assert socket.heard[-1]["gap"] is True
    assert socket.heard[-1]["offset"] == 60 * 30_000


async def test_nonsense_of_a_provider_is_not_passed_on() -> None:
    scene = Scene()
    socket = scene.watch()
    for params in (b"1", b'{"delta":1}', b'{"seq":"x","delta":"a"}', b"{}"):
        scene.watchers.forward(scene.call, "notifications/stream", Raw(params))
    assert socket.heard == []


@given(st.lists(st.one_of(st.text(max_size=5), st.sampled_from(["watch", "slow", "read"]).map(lambda w: (w,)))))
def test_every_watcher_has_the_whole_text(steps: list[Any]) -> None:
    async def play() -> None:
        scene, sockets, said = Scene(), [], ""
        for step in steps:
            if isinstance(step, str):
                scene.say(step)
                said += step
            elif step == ("watch",):
                sockets.append(scene.watch())
            elif sockets:
                sockets[-1].buffered_bytes = MAX_LAG_BYTES + 1 if step == ("slow",) else 0
        for socket in sockets:
            socket.read()
        for _ in range(5):
            await asyncio.sleep(0)
        scene.say("!")
        assert [socket.text for socket in sockets] == [said + "!"] * len(sockets)

    asyncio.run(play())
