"""A coordinator, as a Python program sees it."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from itertools import chain, repeat
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from gleitzeit.client.subscription import Overflow, Subscription
from gleitzeit.client.templates import Templates
from gleitzeit.client.views import (
    EventPage,
    Explained,
    ProtocolDetail,
    ProtocolView,
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
)
from gleitzeit.client.watch import (
    ConnectionItem,
    Newer,
    Resync,
    StreamItem,
    TextPositions,
    WatchEvent,
    WatchItem,
    decode,
)
from gleitzeit.errors import ConnectionLost, GleitzeitError, InvalidState, WorkflowNotFound
from gleitzeit.model import events
from gleitzeit.model.events import WORKFLOW_FINAL
from gleitzeit.transport import Connection, connect

View = TypeVar("View")

END_OF_WORKFLOW = (events.WorkflowCompleted, events.WorkflowFailed, events.WorkflowCancelled)
END_OF_TEXT = (events.TaskCompleted, events.TaskFailed, events.TaskCancelled)
RECONNECT_PAUSES_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Between attempts to reach the coordinator again; the last one repeats."""
SUCCESSOR_SECONDS = 2.0
"""For another stack to take the place of one that has died."""
PATIENCE_SECONDS = 60.0
"""How long a watcher tries to reach a coordinator that went away."""


MOST_CANDIDATES = 10


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


class Client:
    """`async with await Client.connect(url) as client`, or `close` it. One socket; calls may run side by side.

    Every method raises the exception that stands for the coordinator's error (`gleitzeit.errors`), and ConnectionLost
    if the socket closes before the answer: it is unknown then whether the call was carried out. The next call connects
    again. Only `watch` does so by itself. Where a method takes a `workflow_id` it wants the whole id: see `resolve_id`.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        open_timeout_seconds: float = 5.0,
        may_return: Callable[[], bool] | None = None,
    ) -> None:
        self.url = url
        self._may_return = may_return
        self._token = token
        self._tls = tls
        self._open_timeout_seconds = open_timeout_seconds
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._subscriptions: dict[str, Subscription] = {}
        self.templates = Templates(self.call)

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        open_timeout_seconds: float = 5.0,
        may_return: Callable[[], bool] | None = None,
    ) -> "Client":
        """`tls` says whom to trust at a wss:// url (`gleitzeit.transport.trust`), by default whom the system trusts.
        `may_return` is asked while the coordinator is away: a watcher gives up soon once nobody is left who starts it.

        Raises ConnectionLost if nobody answers there, Unauthorized if the token is not accepted, ConfigurationError if
        the certificate is not trusted.
        """
        client = cls(url, token=token, tls=tls, open_timeout_seconds=open_timeout_seconds, may_return=may_return)
        await client._connected()
        return client

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Workflows go on without us. Watchers get ConnectionLost."""
        if self._connection is not None:
            await self._connection.close()

    # ------------------------------------------------------------------------------------------------- any method

    async def call(self, method: str, params: object = None, *, timeout_seconds: float | None = None) -> Any:
        """Call any method of the coordinator; the decoded result. Raises TimeoutError after `timeout_seconds`."""
        connection = await self._connected()
        return await connection.call(method, params, timeout_seconds=timeout_seconds)

    async def _view(self, cls: type[View], method: str, /, **params: object) -> View:
        connection = await self._connected()
        given = {name: value for name, value in params.items() if value is not None}
        return msgspec.json.decode(await connection.call_raw(method, given), type=cls)

    # ------------------------------------------------------------------------------------------------- workflows

    async def submit(
        self,
        definition: object,
        *,
        inputs: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
        hold: bool = False,
    ) -> Submitted:
        """Durable when it returns. `definition` is the document as plain data (see `prepare`); with `hold` nothing
        starts before `resume`. The same key with the same body makes no second workflow. Raises DocumentError."""
        return await self._view(
            Submitted,
            "workflow.submit",
            definition=definition,
            inputs=inputs or None,
            idempotency_key=idempotency_key,
            hold=hold or None,
        )

    async def validate(self, definition: object) -> Validation:
        """What the coordinator, which knows its providers' methods, says of a definition."""
        return await self._view(Validation, "workflow.validate", definition=definition)

    async def get(self, workflow_id: str, *, after: int = 0, limit: int = 1000) -> WorkflowView:
        """Status and one page of tasks: those after the first `after`."""
        return await self._view(WorkflowView, "workflow.get", workflow_id=workflow_id, after=after, limit=limit)

    async def result(self, workflow_id: str) -> WorkflowResult:
        return await self._view(WorkflowResult, "workflow.result", workflow_id=workflow_id)

    async def task(self, workflow_id: str, task_id: str) -> TaskView:
        """With its whole result."""
        return await self._view(TaskView, "task.get", workflow_id=workflow_id, task_id=task_id)

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

        Raises WorkflowNotFound, or AmbiguousId if several workflows answer to it.
        """
        rows = (await self.list(id=text, limit=MOST_CANDIDATES + 1)).workflows
        exact = [row for row in rows if row.workflow_id == text]
        candidates = exact or rows
        if not candidates:
            raise WorkflowNotFound(f"there is no workflow {text!r}")
        if len(candidates) > 1:
            raise AmbiguousId(text, candidates)
        return candidates[0].workflow_id

    async def cancel(self, workflow_id: str, *, reason: str | None = None) -> State:
        return await self._view(State, "workflow.cancel", workflow_id=workflow_id, reason=reason)

    async def pause(self, workflow_id: str) -> State:
        """Nothing new starts; what runs goes on."""
        return await self._view(State, "workflow.pause", workflow_id=workflow_id)

    async def resume(self, workflow_id: str) -> State:
        """The end of a pause and of a hold."""
        return await self._view(State, "workflow.resume", workflow_id=workflow_id)

    async def hold(self, workflow_id: str) -> State:
        """Nothing starts until `resume`, also not after a restart of the coordinator."""
        return await self._view(State, "workflow.hold", workflow_id=workflow_id)

    async def retry(self, workflow_id: str, task_id: str | None = None) -> State:
        """Run again what failed, was skipped or cancelled: all of it, or one task with what depends on it."""
        return await self._view(State, "workflow.retry", workflow_id=workflow_id, task_id=task_id)

    async def signal(self, workflow_id: str, name: str, payload: object = None) -> Signalled:
        """Kept until a task waits for it."""
        params = {"workflow_id": workflow_id, "name": name, "payload": payload}
        return msgspec.convert(await self.call("workflow.signal", params), Signalled)

    async def history(self, workflow_id: str, *, after: int = 0, limit: int | None = None) -> EventPage:
        return await self._view(EventPage, "workflow.history", workflow_id=workflow_id, after=after, limit=limit)

    async def explain(self, workflow_id: str, task_id: str | None = None) -> Explained:
        """Why its tasks stand where they stand."""
        return await self._view(Explained, "workflow.explain", workflow_id=workflow_id, task_id=task_id)

    # ------------------------------------------------------------------------------------------------- the system

    async def providers(self) -> tuple[ProviderView, ...]:
        return (await self._view(_Providers, "provider.list")).providers

    async def protocols(self) -> tuple[ProtocolView, ...]:
        return (await self._view(_Protocols, "protocol.list")).protocols

    async def protocol(self, protocol: str) -> ProtocolDetail:
        return await self._view(ProtocolDetail, "protocol.get", protocol=protocol)

    async def status(self) -> SystemStatus:
        return await self._view(SystemStatus, "system.status")

    # ------------------------------------------------------------------------------------------------- watching

    async def watch(
        self, workflow_id: str, *, after: int = 0, stream: bool = True, patience_seconds: float = PATIENCE_SECONDS
    ) -> AsyncGenerator[WatchItem, None]:
        """Every event numbered above `after`, in order and none twice, until the workflow has ended; between them what
        its tasks say, with `stream`.

        When the connection drops it is opened again and the events go on where they were; so do the texts of tasks that
        run (a StreamItem with `gap` says where a part is lost), but progress and logs may be missing. Raises
        ConnectionLost if the coordinator is away for longer than `patience_seconds`, WorkflowNotFound. One watcher of a
        workflow per client.
        """
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
                yield ConnectionItem(connected=False, message=lost.message)
                await self._reconnect(patience_seconds)
                yield ConnectionItem(connected=True)

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

    # ------------------------------------------------------------------------------------------------- the socket

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is None or self._connection.closed:
                self._connection = await connect(
                    self.url,
                    on_notification=self._notified,
                    token=self._token,
                    tls=self._tls,
                    open_timeout_seconds=self._open_timeout_seconds,
                )
                self._connection.add_close_callback(self._lost)
            return self._connection

    async def _reconnect(self, patience_seconds: float) -> None:
        """Raises the last ConnectionLost when patience is at an end."""
        now = asyncio.get_running_loop().time
        deadline, hopeless_since = now() + patience_seconds, None
        for pause in chain(RECONNECT_PAUSES_SECONDS, repeat(RECONNECT_PAUSES_SECONDS[-1])):
            try:
                await self._connected()
                return
            except ConnectionLost as lost:
                if now() + pause > deadline:
                    raise
                if self._may_return is None or self._may_return():
                    hopeless_since = None
                elif hopeless_since is None:
                    hopeless_since = now()
                elif now() - hopeless_since > SUCCESSOR_SECONDS:
                    raise ConnectionLost("the stack has died; `gz up` goes on with what was under way") from lost
            await asyncio.sleep(pause)

    def _notified(self, _connection: Connection, method: str, params: Raw | None) -> None:
        item = decode(method, params)
        if item is not None and (inbox := self._subscriptions.get(item.workflow_id)) is not None:
            inbox.put(item)

    def _lost(self, connection: Connection) -> None:
        reason = connection.close_reason or f"the connection to {self.url} was closed"
        for inbox in self._subscriptions.values():
            inbox.lose(reason)


class _Watching(msgspec.Struct, frozen=True):
    workflow_id: str
    status: str
    seq: int


class _Providers(msgspec.Struct, frozen=True):
    providers: tuple[ProviderView, ...]


class _Protocols(msgspec.Struct, frozen=True):
    protocols: tuple[ProtocolView, ...]
