"""A coordinator of our own making: it speaks the coordinator's methods over a real socket, from a script of events."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from gleitzeit.client import Client
from gleitzeit.errors import DocumentError, WorkflowNotFound
from gleitzeit.jsonrpc.methods import Methods, Request
from gleitzeit.model import events as ev
from gleitzeit.transport import Connection
from gleitzeit.transport.server import Server

FINAL = {"WorkflowCompleted": "completed", "WorkflowFailed": "failed", "WorkflowCancelled": "cancelled"}


class FakeCoordinator:
    """`streams` are the events so far; `happens` appends one and tells the watchers."""

    def __init__(self) -> None:
        self.streams: dict[str, list[ev.AnyEvent]] = {}
        self.rows: list[dict[str, Any]] = []
        self.asked: list[tuple[str, Any]] = []
        self.watchers: dict[str, Connection] = {}
        self.problems: list[dict[str, Any]] = []
        self.answers_lost = 0
        """So many more signals and submits are taken, and not answered."""
        self.server = self._server(0)

    def _server(self, port: int) -> Server:
        methods = Methods()
        for name in ("workflow.submit", "workflow.get", "workflow.list", "workflow.cancel", "workflow.signal",
                     "provider.list", "workflow.watch", "workflow.unwatch"):  # fmt: skip
            methods.add(name, getattr(self, name.replace(".", "_")))
        return Server(methods, port=port)

    async def restart(self) -> None:
        """The same address, as after a crash."""
        port = int(self.server.url.rsplit(":", 1)[1].strip("/"))
        await self.server.close()
        self.watchers.clear()
        self.server = self._server(port)
        await self.server.start()

    def happens(self, workflow_id: str, *events: ev.AnyEvent) -> None:
        for event in events:
            self.streams.setdefault(workflow_id, []).append(event)
            seq = len(self.streams[workflow_id])
            self.say(workflow_id, "notifications/event", {"workflow_id": workflow_id, "seq": seq, "event": event})

    def say(self, workflow_id: str, method: str, params: dict[str, Any]) -> None:
        if workflow_id in self.watchers:
            self.watchers[workflow_id].notify(method, params)

    def status(self, workflow_id: str) -> str:
        types = [type(event).__name__ for event in self.streams[workflow_id]]
        return FINAL.get(types[-1], "running") if types else "pending"

    async def _lose(self, request: Request) -> None:
        if self.answers_lost:
            self.answers_lost -= 1
            await request.connection.close()

    async def workflow_submit(self, request: Request, /, **params: Any) -> dict[str, Any]:
        self.asked.append(("workflow.submit", params))
        await self._lose(request)
        if self.problems:
            raise DocumentError("1 problem", {"problems": self.problems})
        return {"workflow_id": "wf-1", "name": "Hello", "status": "pending", "created": True, "warnings": [], "new": 1}

    def workflow_get(self, request: Request, /, workflow_id: str, after: int = 0, limit: int = 1000) -> dict[str, Any]:
        if workflow_id not in self.streams:
            raise WorkflowNotFound(f"no workflow {workflow_id}")
        tasks = [{"task_id": f"t{i}", "name": f"t{i}", "method": "echo/echo", "status": "completed", "attempts": 1}
                 for i in range(after, min(after + limit, 3))]  # fmt: skip
        more = {"next": after + limit} if after + limit < 3 else {}
        return {"workflow_id": workflow_id, "name": "n", "status": "completed", "tasks_total": 3, "seq": 5,
                "counts": {"completed": 3}, "tasks": tasks, **more}  # fmt: skip

    def workflow_list(self, request: Request, /, **params: Any) -> dict[str, Any]:
        self.asked.append(("workflow.list", params))
        return {"workflows": self.rows}

    def workflow_cancel(self, request: Request, /, workflow_id: str, reason: str = "") -> dict[str, Any]:
        return {"workflow_id": workflow_id, "status": "cancelled", "held": False}

    async def workflow_signal(self, request: Request, /, **params: Any) -> dict[str, Any]:
        self.asked.append(("workflow.signal", params))
        await self._lose(request)
        return {"workflow_id": params["workflow_id"], "status": "running", "kept": True, "awaited": ["gone"]}

    def provider_list(self, request: Request, /) -> dict[str, Any]:
        return {"providers": [{"name": "echo", "instance": "i", "url": "ws://x/", "status": "ready", "calls": "v1"}]}

    def workflow_watch(
        self, request: Request, /, workflow_id: str, after: int = 0, stream: bool = True, batch: bool = False
    ) -> None:
        self.asked.append(("workflow.watch", after))
        if workflow_id not in self.streams:
            raise WorkflowNotFound(f"no workflow {workflow_id}")
        events = self.streams[workflow_id]
        request.connection.coalesce = 64 if batch else 1
        request.defer()
        request.answer({"workflow_id": workflow_id, "status": self.status(workflow_id), "seq": len(events)})
        self.watchers[workflow_id] = request.connection
        for seq, event in list(enumerate(events, 1))[after:]:
            params = {"workflow_id": workflow_id, "seq": seq, "event": event}
            request.connection.notify("notifications/event", msgspec.json.encode(params))

    def workflow_unwatch(self, request: Request, /, workflow_id: str) -> dict[str, Any]:
        self.asked.append(("workflow.unwatch", workflow_id))
        self.watchers.pop(workflow_id, None)
        return {}


@pytest.fixture
async def coordinator() -> AsyncIterator[FakeCoordinator]:
    fake = FakeCoordinator()
    await fake.server.start()
    yield fake
    await fake.server.close()


@pytest.fixture
async def client(coordinator: FakeCoordinator) -> AsyncIterator[Client]:
    async with await Client.connect(coordinator.server.url) as client:
        yield client
