"""The methods of a coordinator, typed."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
from msgspec.structs import replace

from gleitzeit.client.blobs import Contents
from gleitzeit.client.connecting import OnWaiting
from gleitzeit.client.session import PATIENCE_SECONDS, Session
from gleitzeit.client.subscription import Overflow, Subscription
from gleitzeit.client.views import (
    AnyWorkflow,
    Difference,
    EventPage,
    Explained,
    ProtocolDetail,
    ProtocolView,
    ProviderDetail,
    ProviderList,
    ProviderView,
    Signalled,
    State,
    Submitted,
    SystemStatus,
    TaskView,
    Validation,
    WorkflowPage,
    WorkflowResult,
    WorkflowRow,
    WorkflowView,
    id_of,
    understood,
)
from gleitzeit.client.watch import (
    ConnectionItem,
    Newer,
    Resync,
    StreamItem,
    TextPositions,
    WatchEvent,
    WatchItem,
)
from gleitzeit.errors import ConnectionLost, GleitzeitError, InvalidParams, InvalidState, WorkflowNotFound
from gleitzeit.model import events
from gleitzeit.model.events import WORKFLOW_FINAL
from gleitzeit.process.reach import Reach
from gleitzeit.schemas.words import near

OnItem = Callable[[WatchItem], object]

END_OF_WORKFLOW = (events.WorkflowCompleted, events.WorkflowFailed, events.WorkflowCancelled)
END_OF_TEXT = (events.TaskCompleted, events.TaskFailed, events.TaskCancelled)


MOST_CANDIDATES = 10
NEAR_NAMES = 100
"""Of the newest workflows, for the one that a misspelled name may mean."""


class AmbiguousId(GleitzeitError):
    """Several workflows answer to it; `data["candidates"]` has a line about each of the newest. Where they share a
    name, `data["newest"]` is what means the newest of them."""

    code = -32602
    name = "AMBIGUOUS_ID"

    def __init__(self, text: str, candidates: Sequence[WorkflowRow]) -> None:
        shown = candidates[:MOST_CANDIDATES]
        number = f"more than {len(shown)}" if len(shown) < len(candidates) else len(shown)
        data: dict[str, Any] = {"candidates": [f"{row.workflow_id}  {row.name}  {row.status}" for row in shown]}
        if not any(row.workflow_id.startswith(text) for row in shown):
            data["newest"] = f"{text}@latest"
        super().__init__(f"{text!r} is not one workflow: {number} answer to it", data)


class Coordinator(Session):
    """The methods of a coordinator, each raising the exception that stands for the coordinator's error.

    Where a method takes a `workflow_id` it wants the whole id (see `resolve_id`), or what `submit` returned.
    """

    async def bring(self, files: Contents | None) -> None:
        """The contents of files that a document refers to, before it is submitted. Raises ValueError for a file that
        has changed since the document was prepared."""
        if files is not None:
            await self.blobs.put_all(files)

    async def submit_definition(
        self,
        definition: object,
        *,
        inputs: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
        hold: bool = False,
    ) -> Submitted:
        """Durable when it returns. `definition` is plain data with nothing left to read here (see `prepare`);
        with `hold` nothing starts before `resume`. The same key with the same body makes no second workflow, so that
        with a key it is sent again when the answer is lost. Raises DocumentError."""
        asked = {"definition": definition, "inputs": inputs or None, "hold": hold or None}
        if not idempotency_key:
            return await self._view(Submitted, "workflow.submit", **asked)
        return understood(await self._call_once("workflow.submit", asked, idempotency_key), Submitted)

    async def validate(self, definition: object) -> Validation:
        """What the coordinator, which knows its providers' methods, says of a definition."""
        return await self._view(Validation, "workflow.validate", definition=definition)

    async def get(
        self, workflow_id: AnyWorkflow, *, after: int = 0, limit: int = 1000, items_of: str = ""
    ) -> WorkflowView:
        """Status and one page of tasks: those after the first `after`. With `items_of`, of the items of that task."""
        only = {"items_of": items_of} if items_of else {}
        return await self._view(WorkflowView, "workflow.get", workflow_id=workflow_id, after=after, limit=limit, **only)

    async def result(self, workflow_id: AnyWorkflow, *, whole: bool = True) -> WorkflowResult:
        """Large values are fetched, unless `whole` is false: then `{"$blob": …}` stands for each."""
        result = await self._view(WorkflowResult, "workflow.result", workflow_id=workflow_id)
        if not whole:
            return result
        results, outputs = await self.blobs.whole([result.results, result.outputs])
        return replace(result, results=results, outputs=outputs)

    async def task(self, workflow_id: AnyWorkflow, task_id: str, *, whole: bool = True) -> TaskView:
        """With its whole result."""
        task = await self._view(TaskView, "task.get", workflow_id=workflow_id, task_id=task_id)
        return replace(task, result=await self.blobs.whole(task.result)) if whole else task

    async def list(
        self,
        *,
        status: Sequence[str] = (),
        name: str | None = None,
        id: str | None = None,
        limit: int | None = None,
        before: tuple[int, str] | None = None,
    ) -> WorkflowPage:
        """Newest first. `id` is a prefix of ids, a name or a document's own `id`, `@latest`, or `NAME@latest`."""
        statuses = [*status] or None
        return await self._view(
            WorkflowPage, "workflow.list", status=statuses, name=name, id=id, limit=limit, before=before
        )

    async def resolve_id(self, text: str) -> str:
        """The id that a person means by an id, a unique prefix of one, a name, `@latest` or `NAME@latest`.

        Raises WorkflowNotFound, AmbiguousId if several workflows answer to it, and InvalidParams for nothing at all: a
        variable of a shell that is not set must not mean the only workflow that there is.
        """
        if not text.strip():
            raise InvalidParams("no workflow is named: its id is empty")
        rows = (await self.list(id=text, limit=MOST_CANDIDATES + 1)).workflows
        exact = [row for row in rows if row.workflow_id == text]
        candidates = exact or rows
        if not candidates:
            suggestion = near(text, {row.name for row in (await self.list(limit=NEAR_NAMES)).workflows})
            meant = f" (did you mean '{suggestion}'?)" if suggestion else ""
            raise WorkflowNotFound(f"there is no workflow {text!r}{meant}", {"suggestion": suggestion})
        if len(candidates) > 1:
            raise AmbiguousId(text, candidates)
        return candidates[0].workflow_id

    async def cancel(self, workflow_id: AnyWorkflow, *, reason: str | None = None) -> State:
        """Start nothing more and stop what runs. What runs `always`, or undoes, runs first (`cancelling`
        says why); cancelled once more it ends at once. Raises InvalidState if it has completed or failed."""
        return await self._view(State, "workflow.cancel", workflow_id=workflow_id, reason=reason)

    async def delete(self, workflow_id: AnyWorkflow) -> int:
        """Forget a workflow that has ended, with those that were its tasks; returns how many workflows are gone."""
        deleted: int = (await self.call("workflow.delete", {"workflow_id": id_of(workflow_id)}))["deleted"]
        return deleted

    async def pause(self, workflow_id: AnyWorkflow) -> State:
        """Nothing new starts; what runs goes on."""
        return await self._view(State, "workflow.pause", workflow_id=workflow_id)

    async def resume(self, workflow_id: AnyWorkflow) -> State:
        """The end of a pause and of a hold."""
        return await self._view(State, "workflow.resume", workflow_id=workflow_id)

    async def hold(self, workflow_id: AnyWorkflow) -> State:
        """Nothing starts until `resume`, also not after a restart of the coordinator."""
        return await self._view(State, "workflow.hold", workflow_id=workflow_id)

    async def retry(self, workflow_id: AnyWorkflow, task_id: str | None = None) -> State:
        """Run again what failed, was skipped or cancelled: all of it, or one task with what depends on it."""
        return await self._view(State, "workflow.retry", workflow_id=workflow_id, task_id=task_id)

    async def retry_task(self, workflow_id: AnyWorkflow, task_id: str) -> State:
        """As `retry` of one task, but raises InvalidState where it is not this task that needs it."""
        return await self._view(State, "task.retry", workflow_id=workflow_id, task_id=task_id)

    async def rerun(
        self,
        workflow_id: AnyWorkflow,
        *,
        from_task: str | None = None,
        inputs: Mapping[str, object] | None = None,
        params: Mapping[str, Mapping[str, object]] | None = None,
        hold: bool = False,
        idempotency_key: str | None = None,
    ) -> State:
        """Run one that has ended once more, as a new one; what nothing has changed for takes its old result. `inputs`
        and `params` (of tasks) are those that are to be different. The same key makes no second one."""
        what = {"workflow_id": workflow_id, "from_task": from_task, "set": inputs, "params": params, "hold": hold}
        return understood(await self._call_once("workflow.rerun", what, idempotency_key), State)

    async def diff(self, a: AnyWorkflow, b: AnyWorkflow) -> Difference:
        """What two workflows were given and what came of it, task by task."""
        return await self._view(Difference, "workflow.diff", a=id_of(a), b=id_of(b))

    async def signal(
        self, workflow_id: AnyWorkflow, name: str, payload: object = None, *, idempotency_key: str | None = None
    ) -> Signalled:
        """Kept until a task waits for it. The same key with the same name and payload is the same signal."""
        params = {"workflow_id": workflow_id, "name": name, "payload": payload}
        return understood(await self._call_once("workflow.signal", params, idempotency_key), Signalled)

    async def history(
        self, workflow_id: AnyWorkflow, *, after: int = 0, limit: int | None = None, events: Sequence[str] = ()
    ) -> EventPage:
        """`events` are the types of those that are wanted; earlier names (`task:completed`) and `*` are understood."""
        only = {"events": [*events]} if events else {}
        return await self._view(
            EventPage, "workflow.history", workflow_id=workflow_id, after=after, limit=limit, **only
        )

    async def approve(
        self,
        workflow_id: AnyWorkflow,
        task_id: str,
        *,
        approved: bool = True,
        values: Mapping[str, object] | None = None,
        comment: str = "",
        by: str = "",
        attempt: int | None = None,
    ) -> State:
        """Answer a task that asks a person: with `attempt`, only if it is this one that asks. Raises InvalidState if it
        does not, or was answered before, InvalidParams with all that does not fit its form."""
        params = {"workflow_id": workflow_id, "task_id": task_id, "approved": approved, "values": values or {}}
        return await self._view(State, "task.complete", **params, comment=comment, by=by, attempt=attempt)

    async def explain(self, workflow_id: AnyWorkflow, task_id: str | None = None) -> Explained:
        """Why its tasks stand where they stand."""
        return await self._view(Explained, "workflow.explain", workflow_id=workflow_id, task_id=task_id)

    # ------------------------------------------------------------------------------------------------- the system

    async def providers(self) -> tuple[ProviderView, ...]:
        """One for every process that the coordinator knows, also of those that are not well (`problem`)."""
        return (await self.provider_list()).providers

    async def provider_list(self) -> ProviderList:
        """They, and what is to be known of all together."""
        return await self._view(ProviderList, "provider.list")

    async def provider(self, name: str) -> ProviderDetail:
        """Raises ProviderNotFound."""
        return await self._view(ProviderDetail, "provider.get", name=name)

    async def drain(self, name: str, instance: str | None = None, *, undo: bool = False) -> ProviderDetail:
        """Nothing new is sent to a provider, or to one instance of it; with `undo` that ends. It holds after a restart
        of the coordinator, and for a name also for instances that start later. Raises ProviderNotFound."""
        return await self._view(ProviderDetail, "provider.drain", name=name, instance=instance, undo=undo or None)

    async def protocols(self) -> tuple[ProtocolView, ...]:
        """Those that tasks can use, also where nobody is there who serves them."""
        return (await self._view(_Protocols, "protocol.list")).protocols

    async def protocol(self, protocol: str) -> ProtocolDetail:
        """Its methods with their schemas; `protocol` with its version, as `llm/v1`. Raises ProtocolNotFound."""
        return await self._view(ProtocolDetail, "protocol.get", protocol=protocol)

    async def status(self) -> SystemStatus:
        """Of the coordinator that answers; `warnings` are for people."""
        return await self._view(SystemStatus, "system.status")

    # ------------------------------------------------------------------------------------------------- watching

    async def watch(
        self,
        workflow_id: AnyWorkflow,
        *,
        after: int = 0,
        stream: bool = True,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> AsyncGenerator[WatchItem, None]:
        """Every event numbered above `after`, in order and none twice, until the workflow has ended; between them what
        its tasks say, with `stream`.

        When the connection drops it is opened again and the events go on where they were; so do the texts of tasks that
        run (a StreamItem with `gap` says where a part is lost), but progress and logs may be missing. Raises
        ConnectionLost if the coordinator is away for longer than `patience_seconds`, WorkflowNotFound. One watcher of a
        workflow per client.
        """
        workflow_id = id_of(workflow_id)
        if workflow_id in self._subscriptions:
            raise InvalidState(f"this client already watches {workflow_id}")
        seq, texts = after, TextPositions()
        while True:
            try:
                async with aclosing(self._watch_once(workflow_id, seq, stream, texts)) as items:
                    async for item in items:
                        if isinstance(item, WatchEvent):
                            seq = item.seq
                            if isinstance(item.event, END_OF_TEXT):
                                texts.forget(item.event.task)
                        yield item
                return
            except Overflow:
                continue
            except ConnectionLost as lost:
                if self._closed:
                    raise
                yield ConnectionItem(connected=False, message=lost.message)
                await self._reconnect(patience_seconds)
                yield ConnectionItem(connected=True)

    async def wait(
        self, workflow_id: AnyWorkflow, *, timeout_seconds: float | None = None, on_item: OnItem | None = None
    ) -> WorkflowResult:
        """Until a workflow has ended. Raises TimeoutError; the workflow goes on."""
        try:
            async with asyncio.timeout(timeout_seconds) as limit:
                async with aclosing(self.watch(workflow_id, stream=on_item is not None)) as items:
                    async for item in items:
                        if on_item is not None:
                            on_item(item)
                return await self.result(workflow_id)
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimeoutError(f"{id_of(workflow_id)} has not ended within {timeout_seconds:g} s") from None

    async def _watch_once(
        self, workflow_id: str, after: int, stream: bool, texts: TextPositions
    ) -> AsyncGenerator[WatchItem, None]:
        """One subscription, to the end of the workflow. Raises Overflow and ConnectionLost: then subscribe again."""
        connection = await self._connected()
        inbox = self._subscriptions[workflow_id] = Subscription()
        watching = False
        try:
            params: dict[str, Any] = {"workflow_id": workflow_id, "after": after, "stream": stream, "batch": True}
            if known := texts.known():
                params["streams"] = known
            start = msgspec.json.decode(await connection.call_raw("workflow.watch", params), type=_Watching)
            watching = True
            seq = after
            while not (start.status in WORKFLOW_FINAL and seq >= start.seq):
                item = await inbox.get()
                if isinstance(item, Resync):
                    raise Overflow
                if isinstance(item, WatchEvent | Newer):
                    # What is ahead was on its way when we subscribed again: it comes once more, in its place.
                    if item.seq != seq + 1:
                        continue
                    seq = item.seq
                if isinstance(item, StreamItem):
                    if (new := texts.take(item)) is not None:
                        yield new
                elif not isinstance(item, Newer):
                    yield item
                if isinstance(item, WatchEvent) and isinstance(item.event, END_OF_WORKFLOW) and seq >= start.seq:
                    return
        finally:
            del self._subscriptions[workflow_id]
            if watching and not connection.closed:
                connection.notify("workflow.unwatch", {"workflow_id": workflow_id})


class _Watching(msgspec.Struct, frozen=True):
    workflow_id: str
    status: str
    seq: int


class _Protocols(msgspec.Struct, frozen=True):
    protocols: tuple[ProtocolView, ...]


async def coordinator_at(reach: Reach, on_waiting: OnWaiting = lambda words: None) -> Coordinator:
    """Connected to what was found, or is coming up, already. `on_waiting` is told when that, or a call, waits for a
    coordinator that has gone. Raises ConnectionLost, Unauthorized, DetachedFailed, and ConfigurationError for a
    certificate that is not trusted."""

    async def found() -> Reach:
        coordinator._find = None  # who found it once says what to do when it is lost
        return reach

    coordinator = Coordinator(None, found)
    coordinator.on_waiting = on_waiting
    await coordinator._connected()
    return coordinator
