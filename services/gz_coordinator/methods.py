"""The coordinator's own methods, as clients call them. What each takes and gives is described in `schemas/`."""

import functools
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from gleitzeit import errors
from gleitzeit.engine import again, view
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.explain import Reason, explain
from gleitzeit.engine.naming import task_of
from gleitzeit.engine.signals import awaited_signals
from gleitzeit.engine.task import Task
from gleitzeit.engine.workflow import Workflow
from gleitzeit.journal.base import Find, Record, Summary
from gleitzeit.jsonrpc.methods import Methods, Request
from gleitzeit.model import earlier
from gleitzeit.model.blobs import INLINE_BYTES, split
from gleitzeit.schemas import builtin, openrpc
from gleitzeit.spec.problems import to_wire
from gz_coordinator import mcp
from gz_coordinator.approvals import ApprovalMethods, link_of
from gz_coordinator.batches import BatchMethods
from gz_coordinator.blobs import BlobMethods, keep
from gz_coordinator.deletion import DeletionMethods
from gz_coordinator.documents import digest, trace_in
from gz_coordinator.notices import COALESCE_WATCHERS, shortened
from gz_coordinator.own_ids import OWN_ID, workflow_of
from gz_coordinator.parts import Parts
from gz_coordinator.providers import ProviderMethods
from gz_coordinator.reruns import RerunMethods
from gz_coordinator.retries import retry
from gz_coordinator.schedules import ScheduleMethods
from gz_coordinator.shared import BETWEEN_COORDINATORS
from gz_coordinator.submission import Submission, submit, submit_large, with_files
from gz_coordinator.templates import TemplateMethods
from gz_coordinator.watcher import Watcher, positions
from gz_coordinator.workflow_streams import CHILD

PAGE_TASKS = 1_000
PAGE_EVENTS = 1_000
PAGE_EVENTS_BYTES = 4 << 20
PAGE_WORKFLOWS = 50
LATEST = "@latest"


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
            "workflow.list": self.find,
            "workflow.watch": self.watch,
            "workflow.unwatch": self.unwatch,
            "workflow.cancel": self.cancel,
            "workflow.pause": self.pause,
            "workflow.resume": self.resume,
            "workflow.hold": self.hold,
            "workflow.retry": self.retry,
            "workflow.history": self.history,
            "workflow.explain": self.explain,
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
        most = min(limit, PAGE_TASKS)
        return await self._service.read(
            workflow_id,
            lambda w: view.workflow_view(w, held=self._held(w), after=after, limit=most, items_of=items_of),
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

    async def find(
        self,
        request: Request,
        /,
        status: str | list[str] | None = None,
        name: str | None = None,
        id: str | None = None,
        limit: int = PAGE_WORKFLOWS,
        before: list[Any] | None = None,
        parent: str | None = None,
    ) -> dict[str, Any]:
        statuses = [status] if isinstance(status, str) else status or []
        find = Find(
            kind=CHILD if parent is not None or "~" in (id or "") else "workflow",
            stream_prefix=f"{parent}~" if parent is not None else "",
            keys=(name,) if name is not None else (),
            statuses=tuple(earlier.STATUSES.get(status, status) for status in statuses),
            before=(int(before[0]), str(before[1])) if before else None,
            limit=limit,
        )
        rows = await self._rows(find, id)
        answer: dict[str, Any] = {"workflows": [self._row(row) for row in rows]}
        if len(rows) == limit and id is None:
            answer["next"] = [rows[-1].created_at, rows[-1].stream]
        return answer

    async def _rows(self, find: Find, wanted: str | None) -> list[Summary]:
        """`wanted` is a workflow id, the beginning of one, a name, a document's own `id`, or the newest: @latest or
        NAME@latest."""
        journal = self._parts.journal
        if wanted is None:
            return await journal.find(find)
        if wanted == LATEST:
            return await journal.find(replace(find, limit=1))
        rows = await journal.find(replace(find, stream_prefix=wanted))
        exact = [row for row in rows if row.stream == wanted]
        found = exact or rows or await self._named(find, wanted)
        if not found and wanted.endswith(LATEST):
            return (await self._named(find, wanted.removesuffix(LATEST)))[:1]
        return found

    async def _named(self, find: Find, wanted: str) -> list[Summary]:
        """By name, or by the `id` that the document gave itself."""
        journal = self._parts.journal
        rows = {row.stream: row for row in await journal.find(replace(find, keys=(wanted,)))}
        for own in await journal.find(Find(kind=OWN_ID, keys=(wanted,), limit=find.limit)):
            for row in await journal.find(replace(find, stream_prefix=workflow_of(own), limit=1)):
                rows[row.stream] = row
        return sorted(rows.values(), key=lambda row: (row.created_at, row.stream), reverse=True)[: find.limit]

    def _row(self, row: Summary) -> dict[str, Any]:
        counts = msgspec.json.decode(row.counts, type=dict[str, int])
        why = self._service.quarantined.get(row.stream)
        return {
            **({"quarantined": why} if why is not None else {}),
            "workflow_id": row.stream,
            "name": row.key,
            "status": row.status,
            "held": row.stream in self._engine.scheduler.held,
            "created_at": view.iso(row.created_at),
            "updated_at": view.iso(row.updated_at),
            "counts": counts,
            "tasks_total": sum(counts.values()),
        }

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

    async def history(
        self,
        request: Request,
        /,
        workflow_id: str,
        after: int = 0,
        limit: int = PAGE_EVENTS,
        events: list[str] | None = None,
    ) -> dict[str, Any]:
        wanted, limit = _wanted(events), min(limit, PAGE_EVENTS)
        records = await self._parts.journal.read(workflow_id, after=after, limit=limit)
        if not records and after == 0:
            raise errors.WorkflowNotFound(f"no workflow {workflow_id}")
        page: list[dict[str, Any]] = []
        size_bytes, last = 0, after
        for record in records:
            if wanted is None or msgspec.json.decode(record.event, type=_Kind).type in wanted:
                event = shortened(record.event)
                size_bytes += len(event)
                if page and size_bytes > PAGE_EVENTS_BYTES:
                    break
                page.append({"seq": record.seq, "event": Raw(event)})
            last = record.seq
        answer: dict[str, Any] = {"workflow_id": workflow_id, "events": page}
        # The journal, too, ends a page early that has become large.
        if records and await self._parts.journal.read(workflow_id, after=last, limit=1):
            answer["next"] = last
        return answer

    async def explain(self, request: Request, /, workflow_id: str, task_id: str | None = None) -> dict[str, Any]:
        def look(workflow: Workflow) -> dict[str, Any]:
            if task_id is not None:
                tasks = [task_of(workflow, task_id)]
            else:
                tasks = [t for t in workflow.tasks.values() if t.state != "completed"][:PAGE_TASKS]
            now = self._service.clock()
            reasons = [self._reason(workflow, t, now) for t in tasks]
            why = {"error": view.error_view(workflow.error)} if workflow.error is not None else {}
            return {**self._status(workflow), **why, "tasks": reasons}

        answer = await self._service.read(workflow_id, look)
        if (shared := self._parts.shared) is not None and (limits := _limits_in(answer["tasks"])):
            told = await shared.permits.holders(limits)
            holders = {limit: self._engine.tell_holders(known) for limit, known in told.items()}
            answer["tasks"] = [_with_holders(reason, holders) for reason in answer["tasks"]]
        return answer

    def _reason(self, workflow: Workflow, task: Task, now: int) -> Reason:
        return self._with_links(explain(self._engine, workflow, task, now), workflow)

    def _with_links(self, reason: Reason, workflow: Workflow) -> Reason:
        """Where a person is asked, the link by which to answer."""
        if reason.inner is not None:
            within = self._engine.workflows.get(reason.inner.workflow_id, workflow)
            reason = replace(reason, inner=self._with_links(reason.inner, within))
        task = task_of(workflow, reason.task_id)
        if task.approval is None:
            return reason
        return replace(reason, message=f"{reason.message} {link_of(self._parts, workflow.id, task)}")

    def _held(self, workflow: Workflow) -> bool:
        return workflow.id in self._engine.scheduler.held

    def _status(self, workflow: Workflow) -> dict[str, Any]:
        return view.status_view(workflow, held=self._held(workflow))


def _limits_in(reasons: Iterable[Reason | None]) -> list[str]:
    """Those whose holders another coordinator knows."""
    found = [limit for one in reasons if one is not None for limit in (one.limit, *_limits_in([one.inner])) if limit]
    return list(dict.fromkeys(found))


def _with_holders(reason: Reason, holders: Mapping[str, str]) -> Reason:
    inner = None if reason.inner is None else _with_holders(reason.inner, holders)
    return replace(reason, message=reason.message + holders.get(reason.limit, ""), limit="", inner=inner)


class _Kind(Struct):
    """Of an event in the journal."""

    type: str


def _wanted(names: list[str] | None) -> frozenset[str] | None:
    """The types of events that are asked for; None: all. Raises InvalidParams."""
    try:
        return earlier.event_types(names) if names else None
    except ValueError as error:
        raise errors.InvalidParams(str(error)) from None
