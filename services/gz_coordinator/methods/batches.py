"""`batch.*`: what came of many files, and going on with what is missing."""

from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any

import msgspec

from gleitzeit import errors
from gleitzeit.engine import inputs as inp
from gleitzeit.engine import view
from gleitzeit.engine.state.task import Task
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.journal.base import Find, Summary
from gleitzeit.jsonrpc.methods import Request
from gleitzeit.schemas import near
from gleitzeit.spec.files.batches import TASK
from gleitzeit.spec.references.paths import payload
from gleitzeit.spec.references.references import substitute
from gz_coordinator.parts import Parts
from gz_coordinator.streams.own_ids import BATCH, OWN_ID, is_batch, workflow_of
from gz_coordinator.submitting.submission import new_id_here

PAGE = 50
COMPARED = 1_000
"""Of the newest batches, for the one that a misspelled id may mean."""
PAGE_FILES = 1_000
PAGE_BYTES = 4 << 20


class BatchMethods:
    def __init__(self, parts: Parts, resume: Callable[[Request, str], Awaitable[Any]]) -> None:
        """`resume` is workflow.resume, wherever the workflow is."""
        self._parts = parts
        self._service = parts.service
        self._resume = resume

    def table(self) -> dict[str, Callable[..., Any]]:
        return {"batch.list": self.find, "batch.get": self.get, "batch.resume": self.resume}

    async def find(self, request: Request, /, limit: int = PAGE, before: list[Any] | None = None) -> dict[str, Any]:
        since = (int(before[0]), str(before[1])) if before else None
        rows = await self._parts.journal.find(Find(kind=OWN_ID, statuses=(BATCH,), before=since, limit=limit))
        listed = [(row, await self._row(workflow_of(row))) for row in rows]
        answer: dict[str, Any] = {"batches": [self._shown(row.key, of) for row, of in listed if of is not None]}
        if len(rows) == limit:
            answer["next"] = [rows[-1].created_at, rows[-1].stream]
        return answer

    def _shown(self, batch_id: str, row: Summary) -> dict[str, Any]:
        held = row.stream in self._service.engine.scheduler.held
        return {
            "batch_id": batch_id, "workflow_id": row.stream, "name": row.key, "status": row.status, "held": held,
            "created_at": view.iso(row.created_at),
        }  # fmt: skip

    async def _row(self, workflow_id: str) -> Summary | None:
        rows = await self._parts.journal.find(Find(kind="workflow", stream_prefix=workflow_id, limit=1))
        return rows[0] if rows and rows[0].stream == workflow_id else None

    async def get(self, request: Request, /, batch_id: str, after: int = 0, limit: int = PAGE_FILES) -> dict[str, Any]:
        workflow_id = await self._newest(batch_id)
        held = self._service.engine.scheduler.held
        return await self._service.read(workflow_id, lambda workflow: _page(workflow, held, after, limit))

    async def resume(self, request: Request, /, batch_id: str) -> dict[str, Any]:
        workflow_id = await self._newest(batch_id)
        old = await self._service.read(workflow_id, lambda workflow: workflow)
        own = str(old.definition.metadata.get("id", batch_id))
        if not old.final:
            if old.state == "paused" or workflow_id in self._service.engine.scheduler.held:
                await self._resume(request, workflow_id)
            return {"batch_id": own, "workflow_id": workflow_id, "status": old.state}
        new_id = new_id_here(self._parts)
        answer = await self._service.ask(lambda token: inp.Submit(token, new_id, old.definition, old.inputs))
        assert answer.workflow is not None
        return {"batch_id": own, "workflow_id": new_id, "status": answer.workflow.state}

    async def _newest(self, batch_id: str) -> str:
        """The latest workflow of a batch. Raises WorkflowNotFound."""
        rows = await self._parts.journal.find(Find(kind=OWN_ID, keys=(batch_id,), statuses=(BATCH,), limit=1))
        if rows:
            return workflow_of(rows[0])
        row = await self._row(batch_id)
        if row is not None and await self._service.read(batch_id, lambda workflow: is_batch(workflow.definition)):
            return batch_id
        kept = await self._parts.journal.find(Find(kind=OWN_ID, statuses=(BATCH,), limit=COMPARED))
        suggestion = near(batch_id, [row.key for row in kept])
        meant = f" (did you mean '{suggestion}'?)" if suggestion else ""
        data = {"batch": batch_id, "suggestion": suggestion}
        raise errors.WorkflowNotFound(f"there is no batch {batch_id!r}{meant}", data)


def _page(workflow: Workflow, held: Collection[str], after: int, limit: int) -> dict[str, Any]:
    task = workflow.tasks[TASK]
    items = task.fan.items if task.fan is not None else []
    paths = list(_paths(task))
    counted = [item.state for item in items]
    successful = counted.count("completed")
    about = workflow.definition.metadata.get("batch")
    answer: dict[str, Any] = {
        "batch_id": workflow.definition.metadata.get("id", workflow.id), "workflow_id": workflow.id,
        "name": workflow.definition.name, "status": workflow.state, "held": workflow.id in held,
        "created_at": view.iso(workflow.created_at),
        "summary": {
            "total": len(paths), "successful": successful, "failed": counted.count("failed"),
            "processing_time": view.workflow_head(workflow, held)["duration_seconds"],
        },
        "parameters": about.get("parameters", {}) if isinstance(about, dict) else {},
    }  # fmt: skip
    results: dict[str, Any] = {}
    size_bytes, number = 0, after
    for number in range(after, min(after + limit, len(items))):
        item = items[number]
        size_bytes += len(item.result or b"")
        if results and size_bytes > PAGE_BYTES:
            break
        if item.state == "completed":
            content = payload(msgspec.json.decode(item.result or b"null"))
            results[paths[number]] = {"status": "success", "content": content}
        elif item.ended:
            results[paths[number]] = {"status": "failed", "error": item.error.message if item.error else item.state}
    else:
        number = min(after + limit, len(items))
    return {**answer, "results": results, **({"next": number} if number < len(items) else {})}


def _paths(task: Task) -> Iterator[str]:
    """Of the files, in the order of the items."""
    assert task.definition.for_each is not None
    for item in msgspec.json.decode(task.definition.for_each.over):
        yield str(substitute(item["path"], lambda reference: reference.source))
