"""The coordinator's own methods, as clients call them. What each takes and gives is described in `schemas/`."""

import functools
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from gleitzeit import errors
from gleitzeit.engine import inputs as inp
from gleitzeit.engine import view
from gleitzeit.engine.decisions.signals import awaited_signals
from gleitzeit.engine.graph import again
from gleitzeit.engine.state.naming import task_of
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.journal.base import Record
from gleitzeit.jsonrpc.methods import Methods, Request
from gleitzeit.model.blobs import INLINE_BYTES, split
from gleitzeit.schemas import builtin, openrpc
from gleitzeit.spec.problems import to_wire
from gz_coordinator.blobs.pieces import BlobMethods, keep
from gz_coordinator.keeping.deletion import DeletionMethods
from gz_coordinator.methods import mcp
from gz_coordinator.methods.approvals import ApprovalMethods
from gz_coordinator.methods.batches import BatchMethods
from gz_coordinator.methods.explanations import ExplainMethods
from gz_coordinator.methods.history import HistoryMethods
from gz_coordinator.methods.listing import ListMethods
from gz_coordinator.methods.providers import ProviderMethods
from gz_coordinator.methods.reruns import RerunMethods
from gz_coordinator.methods.retries import retry
from gz_coordinator.methods.schedules import ScheduleMethods
from gz_coordinator.methods.templates import TemplateMethods
from gz_coordinator.parts import Parts
from gz_coordinator.sharing.shared import BETWEEN_COORDINATORS
from gz_coordinator.submitting.documents import digest, trace_in
from gz_coordinator.submitting.submission import Submission, submit, submit_large, with_files
from gz_coordinator.watching.notices import COALESCE_WATCHERS
from gz_coordinator.watching.watcher import Watcher, positions

PAGE_TASKS = 1_000


def build(parts: Parts) -> Methods:
    """All methods; each is checked against its schema before it is called."""
    methods = Methods(discover=functools.cache(lambda: Raw(msgspec.json.encode(_openrpc(parts)))))
    functions: dict[str, Callable[..., Any]] = {}
    blobs = BlobMethods(parts.journal, parts.service.clock)
    schedules = ScheduleMethods(parts)

    async def resume(request: Request, workflow_id: str) -> Any:
        return await functions["workflow.resume"](request, workflow_id=workflow_id)

    for group in (
        WorkflowMethods(parts),
        ListMethods(parts),
        HistoryMethods(parts.journal),
        ExplainMethods(parts),
        ProviderMethods(parts),
        TemplateMethods(parts, schedules.follow),
        ApprovalMethods(parts),
        RerunMethods(parts),
        DeletionMethods(parts),
        parts.copies,
        schedules,
        blobs,
        BatchMethods(parts, resume),
    ):
        functions |= group.table()
    if parts.shared is not None:
        functions = {name: parts.shared.routed(name, function) for name, function in functions.items()}
        functions |= parts.shared.table()
    for name, function in functions.items():
        large = functools.partial(_submit_large, parts) if name == "workflow.submit" else None
        methods.add(name, function, params_schema=builtin().methods[name].take_params, large=large)
    mcp.install(methods, parts, functions)
    return methods


async def _submit_large(parts: Parts, request: Request) -> dict[str, Any] | None:
    return await submit_large(parts, bytes(request.raw_params or b""))


def _openrpc(parts: Parts) -> dict[str, Any]:
    about = {"name": "coordinator", "instance": parts.identity.owner, "cluster": parts.identity.cluster}
    left_out = BETWEEN_COORDINATORS if parts.shared is None else ()
    served = [m for m in builtin().coordinator_methods() if m.name not in left_out]
    return openrpc("gz-coordinator", parts.version, served, about)


class WorkflowMethods:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._service = parts.service
        self._engine = parts.service.engine

    def table(self) -> dict[str, Callable[..., Any]]:
        return {
            "workflow.submit": self.submit,
            "workflow.validate": self.validate,
            "workflow.get": self.get,
            "workflow.result": self.result,
            "workflow.watch": self.watch,
            "workflow.unwatch": self.unwatch,
            "workflow.cancel": self.cancel,
            "workflow.pause": self.pause,
            "workflow.resume": self.resume,
            "workflow.hold": self.hold,
            "workflow.retry": self.retry,
            "workflow.signal": self.signal,
            "task.get": self.task,
            "task.retry": self.retry_task,
        }

    async def submit(
        self,
        request: Request,
        /,
        definition: Any,
        inputs: dict[str, Any] | None = None,
        idempotency_key: str = "",
        hold: bool = False,
    ) -> dict[str, Any]:
        size_bytes = await self._parts.documents.size_of(request)
        what = Submission(definition, definition, size_bytes, inputs or {}, idempotency_key, hold)
        what = replace(what, traceparent=trace_in(request.params))
        return await submit(self._parts, what)

    async def validate(self, request: Request, /, definition: Any) -> dict[str, Any]:
        try:
            size_bytes = await self._parts.documents.size_of(request)
            found, more_bytes, _ = await with_files(self._parts, definition, None, keeps=False)
            whole = await self._parts.templates.taken_in(found)
        except errors.DocumentError as error:
            return {"valid": False, "problems": (error.data or {})["problems"]}
        verdict = await self._parts.documents.check(whole, None, size_bytes + more_bytes, self._engine.catalogue)
        return {"valid": verdict.definition is not None, "problems": [to_wire(problem) for problem in verdict.problems]}

    async def get(
        self, request: Request, /, workflow_id: str, after: int = 0, limit: int = PAGE_TASKS, items_of: str = ""
    ) -> dict[str, Any]:
        most, held = min(limit, PAGE_TASKS), self._engine.scheduler.held
        return await self._service.read(
            workflow_id, lambda w: view.workflow_view(w, held, after=after, limit=most, items_of=items_of)
        )

    async def result(self, request: Request, /, workflow_id: str) -> dict[str, Any]:
        answer = await self._service.read(workflow_id, view.result_view)
        return await self._divided(answer, [answer, answer["results"]])

    async def task(self, request: Request, /, workflow_id: str, task_id: str) -> dict[str, Any]:
        answer = await self._service.read(workflow_id, lambda w: view.task_view(task_of(w, task_id), inline_bytes=None))
        return await self._divided(answer, [answer])

    async def _divided(self, answer: dict[str, Any], places: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """What is large in one of the places becomes a blob: the outputs, or the result of a provider without blobs."""
        for place in places:
            for key, value in place.items():
                if isinstance(value, Raw) and len(value) > INLINE_BYTES:
                    small, blobs = split(bytes(value))
                    await keep(self._parts.journal, self._service.clock, blobs)
                    place[key] = Raw(small)
        return answer

    async def watch(
        self,
        request: Request,
        /,
        workflow_id: str | None = None,
        after: int = 0,
        stream: bool = True,
        batch: bool = False,
        streams: dict[str, Any] | None = None,
    ) -> None:
        answer: dict[str, Any] = {"workflow_id": None}
        page: deque[Record] | None = None
        if workflow_id is not None:
            page = await self._parts.watchers.first_page(workflow_id, after)  # damage is an answer, not a silence
            answer = await self._service.read(workflow_id, lambda w: {**self._status(w), "seq": w.seq})
            if not self._engine.owns(workflow_id):  # what follows is told elsewhere
                raise errors.ShardElsewhere(f"{workflow_id} was given away while it was read")
        if batch:
            request.connection.coalesce = COALESCE_WATCHERS
        has = positions(streams)
        request.defer()
        request.answer(answer)
        self._parts.watchers.add(Watcher(request.connection, workflow_id, after, stream=stream, has=has), page)

    def unwatch(self, request: Request, /, workflow_id: str | None = None) -> dict[str, Any]:
        self._parts.watchers.remove(request.connection, workflow_id)
        return {}

    async def cancel(self, request: Request, /, workflow_id: str, reason: str = "") -> dict[str, Any]:
        return await self._change(workflow_id, lambda token: inp.Cancel(token, workflow_id, reason))

    async def pause(self, request: Request, /, workflow_id: str) -> dict[str, Any]:
        return await self._change(workflow_id, lambda token: inp.Pause(token, workflow_id))

    async def resume(self, request: Request, /, workflow_id: str) -> dict[str, Any]:
        return await self._change(workflow_id, lambda token: inp.Resume(token, workflow_id))

    async def hold(self, request: Request, /, workflow_id: str) -> dict[str, Any]:
        return await self._change(workflow_id, lambda token: inp.Hold(token, workflow_id))

    async def retry(self, request: Request, /, workflow_id: str, task_id: str | None = None) -> dict[str, Any]:
        tasks: tuple[str, ...] = ()
        if task_id is not None:
            wanted = task_id
            tasks = (await self._service.read(workflow_id, lambda w: task_of(w, wanted).id),)
        answer = await retry(self._service, workflow_id, tasks)
        assert answer.workflow is not None
        return {**self._status(answer.workflow), "tasks": answer.tasks}

    async def retry_task(self, request: Request, /, workflow_id: str, task_id: str) -> dict[str, Any]:
        def check(workflow: Workflow) -> None:
            task = task_of(workflow, task_id)
            if workflow.final and not again.is_to_repeat(task):
                why = "only what failed, was cancelled, or was skipped because of that can be retried"
                raise errors.InvalidState(f"task {task_id} is {task.state}: {why}", {"status": task.state})

        await self._service.read(workflow_id, check)
        return await self.retry(request, workflow_id, task_id)

    async def signal(
        self, request: Request, /, workflow_id: str, name: str, payload: Any = None, idempotency_key: str = ""
    ) -> dict[str, Any]:
        encoded = Raw(msgspec.json.encode(payload))
        body = digest([name, payload]) if idempotency_key else ""
        await self._service.ended.bring_back(workflow_id)
        answer = await self._service.ask(
            lambda token: inp.Signal(token, workflow_id, name, encoded, "", idempotency_key, body)
        )
        workflow = answer.workflow
        assert workflow is not None
        kept = any(signal.name == name for signal in workflow.signals)
        return {**self._status(workflow), "kept": kept, "awaited": awaited_signals(workflow), "created": answer.created}

    async def _change(self, workflow_id: str, make: Callable[[Any], inp.Input]) -> dict[str, Any]:
        await self._service.ended.bring_back(workflow_id)
        answer = await self._service.ask(make)
        assert answer.workflow is not None
        return self._status(answer.workflow)

    def _status(self, workflow: Workflow) -> dict[str, Any]:
        return view.status_view(workflow, self._engine.scheduler.held)
