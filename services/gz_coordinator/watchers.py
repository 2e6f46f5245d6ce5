"""Who watches which workflow, and what they are sent: events once they are durable, streams and progress as they come.

A watcher that does not read is not waited for and costs a bounded amount: beyond MAX_LAG_BYTES in its socket nothing
more is queued for it, and once it has caught up it gets `notifications/resync` with the number to go on from.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from msgspec import Raw

from gleitzeit.engine.effects import Call
from gleitzeit.engine.workflow import Workflow
from gleitzeit.journal.base import Journal
from gleitzeit.transport import Connection

MAX_LAG_BYTES = 1 << 20
MAX_EVENT_BYTES = 256 << 10
PAGE = 4_000
COALESCE_WATCHERS = 64
"""Events in one frame, for a watcher that asked for batches."""
_json = msgspec.json.Encoder().encode
_OUT_OF_BAND = frozenset({"notifications/stream", "notifications/progress", "notifications/message"})


def event_params(workflow_id: str, seq: int, event: bytes) -> bytes:
    """Params of `notifications/event`. What is too large for a message is named by its size, and read by `task.get`."""
    if len(event) > MAX_EVENT_BYTES:
        event = _shorten(event)
    return b'{"workflow_id":%b,"seq":%d,"event":%b}' % (_json(workflow_id), seq, event)


def _shorten(event: bytes) -> bytes:
    fields = msgspec.json.decode(event, type=dict[str, Raw])
    for name, value in fields.items():
        size = len(bytes(value))
        if size > MAX_EVENT_BYTES // 4:
            fields[name] = Raw(b'{"$omitted_bytes":%d}' % size)
    return _json(fields)


class Watcher:
    """One `workflow.watch` of one connection: of one workflow, or with `workflow_id` None of all."""

    def __init__(self, connection: Connection, workflow_id: str | None, sent: int, *, stream: bool) -> None:
        self.connection = connection
        self.workflow_id = workflow_id
        self.stream = stream
        self.sent = sent
        """The last number sent (of its one workflow)."""
        self.live = workflow_id is None
        """Has everything before, and takes what comes."""
        self.lagging = False

    def send(self, workflow_id: str, seq: int, event: bytes) -> None:
        if not self.connection.closed and not self.lagging:
            self.connection.notify("notifications/event", event_params(workflow_id, seq, event))
            self.sent = seq
            self.lagging = self.connection.buffered_bytes > MAX_LAG_BYTES


class Watchers:
    def __init__(self, journal: Journal, read: Callable[[str, Callable[[Workflow], None]], Awaitable[None]]) -> None:
        """`read` looks at a workflow between turns, as `Service.read` does."""
        self._journal = journal
        self._read = read
        self._by_workflow: dict[str | None, set[Watcher]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return sum(len(watchers) for watchers in self._by_workflow.values())

    def add(self, watcher: Watcher) -> None:
        """Send what is past, then what comes. The caller has answered the request."""
        self._by_workflow.setdefault(watcher.workflow_id, set()).add(watcher)
        if not watcher.live:
            self._spawn(self._catch_up(watcher))

    def remove(self, connection: Connection, workflow_id: str | None = None) -> None:
        """Forget what a connection watches: one workflow, or with None all."""
        for key in [workflow_id] if workflow_id is not None else list(self._by_workflow):
            kept = {w for w in self._by_workflow.get(key, ()) if w.connection is not connection}
            if kept:
                self._by_workflow[key] = kept
            else:
                self._by_workflow.pop(key, None)

    def publish(self, workflow: Workflow, first_seq: int, encoded: Sequence[bytes]) -> None:
        """Events that have just become durable."""
        for key in (workflow.id, None):
            for watcher in self._by_workflow.get(key, ()):
                if watcher.live:
                    self._send_live(watcher, workflow.id, first_seq, encoded)

    def _send_live(self, watcher: Watcher, workflow_id: str, first_seq: int, encoded: Sequence[bytes]) -> None:
        was_lagging = watcher.lagging
        for seq, event in enumerate(encoded, first_seq):
            if watcher.workflow_id is None or seq > watcher.sent:
                watcher.send(workflow_id, seq, event)
        if watcher.lagging and not was_lagging:
            self._spawn(self._resync(watcher))

    def forward(self, call: Call, method: str, params: Raw) -> None:
        """Something out of band of a running call: a piece of its text, its progress, a line of its log."""
        watchers = [w for key in (call.workflow.id, None) for w in self._by_workflow.get(key, ()) if w.stream]
        if not watchers or method not in _OUT_OF_BAND:
            return
        try:
            fields = msgspec.json.decode(params, type=dict[str, Raw])
        except msgspec.MsgspecError:
            return  # the provider's nonsense is not passed on
        fields.pop("progressToken", None)
        head = {"workflow_id": call.workflow.id, "task_id": call.task.id, "attempt": call.attempt}
        encoded = _json({**fields, **head})
        for watcher in watchers:
            if not watcher.connection.closed and watcher.connection.buffered_bytes <= MAX_LAG_BYTES:
                watcher.connection.notify(method, encoded)

    async def _catch_up(self, watcher: Watcher) -> None:
        """From the journal, page by page, until nothing durable is missing; then live, without a gap."""
        workflow_id = watcher.workflow_id
        if workflow_id is None:
            return
        while not watcher.connection.closed:
            page = await self._journal.read(workflow_id, after=watcher.sent, limit=PAGE)
            for record in page:
                watcher.connection.notify("notifications/event", event_params(workflow_id, record.seq, record.event))
                watcher.sent = record.seq
            await watcher.connection.drain()
            await self._read(workflow_id, lambda workflow: self._go_live(watcher, workflow))
            if watcher.live:
                return

    def _go_live(self, watcher: Watcher, workflow: Workflow) -> None:
        """Called between turns: what the workflow has reached is durable, and nothing is being published."""
        watcher.live = watcher.sent >= workflow.seq

    async def _resync(self, watcher: Watcher) -> None:
        """Wait until the watcher has read, say where the gap is, and go on."""
        await watcher.connection.drain()
        watcher.lagging = False
        if not watcher.connection.closed:
            where = {"workflow_id": watcher.workflow_id, "seq": watcher.sent}
            watcher.connection.notify("notifications/resync", where)
            if watcher.workflow_id is not None:
                watcher.live = False
                await self._catch_up(watcher)

    def _spawn(self, work: "Awaitable[None]") -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
