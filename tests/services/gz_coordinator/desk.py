"""A coordinator's loop at a desk: no sockets, a journal that can be shut and full, a provider that echoes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from msgspec import Raw
from tests.libs.engine.builders import CATALOGUE, NOW, definition, task

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.params import Identity
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.journal.base import Append
from gleitzeit.journal.memory import MemoryJournal
from gleitzeit.model.definition import Definition
from gz_coordinator.service import Service


class Echo:
    """A provider that answers every call at once with the same result, and an audience that does not listen."""

    def __init__(self, service: Service, result: bytes) -> None:
        self.service = service
        self.result = Raw(result)
        self.busy = False
        """It answers no more calls."""

    def perform(self, effects: Sequence[fx.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, fx.CallProvider) and not self.busy:
                self.service.post(inp.CallCompleted(effect.call, self.result))

    def publish(self, workflow: Workflow, first_seq: int, encoded: Sequence[bytes]) -> None:
        pass


class Gated(MemoryJournal):
    """Appends wait while it is shut, and are refused while it is full."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.room: int | None = None
        """So many appends until it is full."""
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = asyncio.Event()

    async def append(self, commit: Sequence[Append]) -> None:
        self.waiting.set()
        await self.open.wait()
        self.full = self.full or self.room == 0
        if self.room:
            self.room -= 1
        if self.full:
            raise errors.JournalFull("no space")
        await super().append(commit)


class Desk:
    """A service that turns, and what it works with."""

    def __init__(self, journal: Gated) -> None:
        self.journal = journal
        self.engine = Engine(CATALOGUE, Identity("c", 1, "me"))
        self.service = Service(self.engine, journal, lambda: NOW)
        self.echo = Echo(self.service, b'"%b"' % (b"x" * 1_000))
        self.service.performer = self.service.audience = self.echo

    async def submit(self, workflow_id: str, document: Definition) -> None:
        await self.service.ask(lambda token: inp.Submit(token, workflow_id, document, Raw(b"{}")))

    async def run(self, workflow_id: str, tasks: int = 2) -> None:
        """Submit, and wait until it has ended."""
        await self.submit(workflow_id, definition(*(task(f"t{i}") for i in range(tasks))))
        await self.until_ended(workflow_id)

    async def until_ended(self, workflow_id: str) -> None:
        async with asyncio.timeout(30):
            while not await self.service.read(workflow_id, lambda workflow: workflow.final):  # noqa: ASYNC110
                await asyncio.sleep(0)


@asynccontextmanager
async def at_desk() -> AsyncIterator[Desk]:
    journal = Gated()
    await journal.claim("me")
    desk = Desk(journal)
    desk.service.post(inp.ProviderReady("p", "p#1", frozenset({"echo/echo"}), 100))
    running = asyncio.create_task(desk.service.run())
    yield desk
    desk.service.stop()
    await running
