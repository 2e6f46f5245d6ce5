"""A coordinator in a room: all its methods over its own wire, a journal in memory, a provider that echoes, and a clock
that moves when it is told to."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from msgspec import Raw

from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.params import Identity
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.engine.underway import Call
from gleitzeit.journal.memory import MemoryJournal, MemoryStore
from gleitzeit.schemas import builtin
from gleitzeit.transport.memory import connect_memory
from gz_coordinator.methods.workflows import build
from gz_coordinator.parts import Parts
from gz_coordinator.service import Service
from gz_coordinator.streams.recovery import recover

NOW = 1_800_000_000_000


class Echo:
    """Answers every call with its params."""

    def __init__(self, room: "Room") -> None:
        self.room = room
        self.busy = False
        """While it is, calls stay unanswered."""
        self.calls: list[Call] = []

    def perform(self, effects: Sequence[fx.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, fx.CallProvider | fx.AttachCall):
                self.calls.append(effect.call)
                if not self.busy:
                    self.answer(effect.call)

    def answer(self, call: Call) -> None:
        params = msgspec.json.decode(self.room.service.engine.params_of(call), type=dict[str, Any])
        params.pop("_meta")
        result = {"response": params.get("message"), "message": params.get("message")}
        self.room.service.post(inp.CallCompleted(call, Raw(msgspec.json.encode(result))))

    def publish(self, workflow: Workflow, first_seq: int, encoded: Sequence[bytes]) -> None:
        pass


class Room:
    def __init__(self, store: MemoryStore, now: int) -> None:
        self.now = now
        self.journal = MemoryJournal(store)
        identity = Identity("c", 1, "me")
        self.service = Service(Engine(builtin(), identity), self.journal, lambda: self.now)
        self.echo = self.service.performer = self.service.audience = Echo(self)
        self.parts = Parts(self.service, self.journal, identity, "memory:")
        self.call: Any = None

    async def call_once(self, method: str, params: Mapping[str, Any], idempotency_key: str | None) -> Any:
        return await self.call(method, {**params, "idempotency_key": idempotency_key or "a key"})

    async def until(self, workflow_id: str, *statuses: str) -> dict[str, Any]:
        """The workflow, as soon as it has one of the statuses."""
        for _ in range(10_000):
            view: dict[str, Any] = await self.call("workflow.get", {"workflow_id": workflow_id})
            if view["status"] in statuses:
                return view
            await asyncio.sleep(0)
        raise AssertionError(f"{workflow_id} is {view['status']}")

    async def result(self, workflow_id: str) -> dict[str, Any]:
        """As soon as it has ended."""
        await self.until(workflow_id, "completed", "failed", "cancelled")
        answer: dict[str, Any] = await self.call("workflow.result", {"workflow_id": workflow_id})
        return answer

    async def wait(self, seconds: float) -> None:
        """Let time pass, and the loop see it."""
        self.now += round(seconds * 1000)
        self.service.wake()
        await self.turns()

    async def turns(self, number: int = 20) -> None:
        for _ in range(number):
            await asyncio.sleep(0)


@asynccontextmanager
async def room(store: MemoryStore | None = None, now: int = NOW) -> AsyncIterator[Room]:
    """With the same `store` a second one is the first after a restart."""
    there = Room(store or MemoryStore(), now)
    await there.journal.claim("me")
    await recover(there.service, held=False)
    there.service.post(inp.ProviderReady("echo", "echo#1", frozenset({"echo/echo"}), 100))
    running = asyncio.create_task(there.service.run())
    near, _ = await connect_memory(server_methods=build(there.parts))
    there.call = near.call
    try:
        yield there
    finally:
        await near.close()
        there.service.stop()
        await running
        await there.journal.close()
