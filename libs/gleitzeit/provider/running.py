"""What runs for the calls of a provider: from the start of each until it has an outcome, or has been told to stop."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gleitzeit.errors import GleitzeitError, TaskCancelled, TaskError, TaskTimeout
from gleitzeit.jsonrpc.codes import failure_of
from gleitzeit.provider.blobs import OWNER, BlobConnections, Owner, WhoNow
from gleitzeit.provider.call import Call, Meta
from gleitzeit.provider.calls import CallTable, Entry, Outcome
from gleitzeit.provider.method import Method, failure_for
from gleitzeit.provider.secrets import Sieve
from gleitzeit.spec.durations import in_words
from gleitzeit.transport import Connection

STOP_SECONDS = 2.0  # for a call to end after it was told to
ACK_SECONDS = 1.0  # for a coordinator to acknowledge the last results before the process ends
# What is said besides results is dropped for a peer that does not read; who attaches again gets the last of the stream.
UNREAD_LIMIT_BYTES = 4 * 1024 * 1024


class Work(Struct):
    """What runs for an entry. `stop` is why it was told to stop: the answer if it obeys."""

    call: Call
    task: "asyncio.Task[None]"
    timer: asyncio.TimerHandle | None = None
    stop: GleitzeitError | None = None


class Running:
    """What runs for the entries of `table`. `connection_of(entry)` is its owner's, if that is open."""

    def __init__(
        self,
        table: CallTable,
        blobs: BlobConnections,
        connection_of: Callable[[Entry], Connection | None],
        clock: Callable[[], float],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._table = table
        self._blobs = blobs
        self._connection_of = connection_of
        self._clock = clock
        self._turn = asyncio.Event()

    def start(
        self, method: Method, entry: Entry, params: dict[str, Any], meta: Meta, owner: Owner | None = None
    ) -> None:
        """With an `owner` of blobs, what these hold is fetched first."""
        loop = asyncio.get_running_loop()
        call = self._call(method, entry, meta)
        if owner is None:
            running = _run(method, call, params)
        else:
            running = self._run_whole(method, call, params, partial(self._owner_now, entry, owner))
        task = loop.create_task(self._answered(entry, running))
        entry.work = work = Work(call, task)
        if meta.deadline_seconds is not None:
            late = TaskTimeout(f"took longer than its timeout of {in_words(meta.deadline_seconds)}")
            work.timer = loop.call_later(meta.deadline_seconds, self.stop, entry, late)
        task.add_done_callback(partial(self._ended, entry, work, running))

    async def _answered(self, entry: Entry, running: Coroutine[Any, Any, Outcome]) -> None:
        """The answer leaves before the loop gets to what the method has left to be cleaned up, a connection say."""
        outcome = await running
        self._end(entry, outcome)

    def run_now(self, method: Method, entry: Entry, params: dict[str, Any], meta: Meta) -> None:
        """To its end, before anything else is looked at."""
        call = self._call(method, entry, meta) if method.wants_call else None
        outcome = _run_plain(method, call, params, _fields(meta))
        if call is not None:
            call.end()
        self._finish(entry, outcome)

    def _call(self, method: Method, entry: Entry, meta: Meta) -> Call:
        sieve = None if entry.veil is None else Sieve(entry.veil)
        return Call(method.schema.name, meta, partial(self._say, entry), sieve)

    def _owner_now(self, entry: Entry, first: Owner) -> Owner | None:
        """Who has the call, and so its large values: after a restart of the coordinator it is somebody else."""
        connection = self._connection_of(entry)
        return None if connection is None else connection.data.get(OWNER, first)

    async def _run_whole(self, method: Method, call: Call, params: dict[str, Any], owner: WhoNow) -> Outcome:
        try:
            meta = call.meta
            said = {"params": params, "dependencies": meta.dependencies, "inputs": meta.inputs}
            whole = await self._blobs.resolved(owner, said)
            params = method.arguments(whole["params"])
        except GleitzeitError as error:
            return failure_of(error)
        call.meta = replace(meta, dependencies=whole["dependencies"], inputs=whole["inputs"])
        if method.is_async:
            return await _run(method, call, params)
        return _run_plain(method, call if method.wants_call else None, params, call.log_fields)

    def _ended(
        self, entry: Entry, work: Work, running: Coroutine[Any, Any, Outcome], task: "asyncio.Task[None]"
    ) -> None:
        if not task.cancelled():
            task.result()
            return
        running.close()  # if it was cancelled before its first step
        self._end(entry, failure_of(work.stop or _unasked(work.call.method)))

    def _end(self, entry: Entry, outcome: Outcome) -> None:
        work: Work = entry.work
        if work.timer is not None:
            work.timer.cancel()
        work.call.end()
        self._finish(entry, outcome)

    def _finish(self, entry: Entry, outcome: Outcome) -> None:
        if entry.veil is not None:
            outcome = entry.veil.outcome(outcome)
        self.counts["completed" if isinstance(outcome, bytes) else "failed"] += 1
        work: Work | None = entry.work
        said = work.call.streamed if work is not None else None
        size_bytes = said.size_bytes if said is not None else 0
        for respond in self._table.finish(entry, outcome, self._clock(), said=said, said_bytes=size_bytes):
            respond(outcome)
        if self._table.draining:
            self._turn.set()

    def stop(self, entry: Entry, why: GleitzeitError) -> None:
        """Tell a running call to end. Its first reason stands; one that did not obey is told again."""
        work: Work | None = entry.work
        if work is None:
            return
        if work.stop is None:
            work.stop = why
        work.call.cancel()
        work.task.cancel()

    def _say(self, entry: Entry, method: str, params: dict[str, Any]) -> None:
        connection = self._connection_of(entry)
        if entry.outcome is None and connection is not None:
            _tell(connection, entry, method, params)

    def say_again(self, entry: Entry, connection: Connection, token: str | int | None, seq: int) -> None:
        """What was streamed after `seq`, to one who attaches by `connection`."""
        work: Work | None = entry.work
        if work is not None:
            if token is not None:
                work.call.token = token
            work.call.replay(seq)
        elif entry.said is not None and token is not None:
            for said in entry.said.messages(token, seq):  # it ended while nobody listened
                _tell(connection, entry, "notifications/stream", said)

    def ack(self, call_ids: Iterable[str]) -> None:
        """The outcomes are durable elsewhere."""
        self._table.ack(call_ids)
        if self._table.draining:
            self._turn.set()

    def stop_all(self) -> "list[asyncio.Task[None]]":
        """The provider stops. Returns what ends then."""
        works = [(entry, entry.work) for entry in self._table.entries_running()]
        for entry, _ in works:
            self.stop(entry, TaskCancelled("the provider stops"))
        return [work.task for _, work in works if work is not None]

    async def drain(self, seconds: float) -> None:
        """Start nothing more, wait until all is finished and acknowledged. What runs after `seconds` is stopped."""
        self._table.draining = True
        await self._until(lambda: self._table.running == 0, seconds)
        self.stop_all()
        await self._until(lambda: self._table.running == 0, STOP_SECONDS)
        await self._until(lambda: self._table.owed == 0, ACK_SECONDS)

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    self._turn.clear()
                    await self._turn.wait()


def _tell(connection: Connection, entry: Entry, method: str, params: dict[str, Any]) -> None:
    if connection.buffered_bytes < UNREAD_LIMIT_BYTES:
        connection.notify(method, params if entry.veil is None else entry.veil.value(params))


def _unasked(method: str) -> TaskError:
    return TaskError(f"{method} ended with CancelledError, though nobody had cancelled the call")


async def _run(method: Method, call: Call, params: dict[str, Any]) -> Outcome:
    try:
        if method.wants_call:
            return method.outcome(await method.function(call, **params))
        return method.outcome(await method.function(**params))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's function, which must not end the provider
        return failure_for(error, call.log_fields)


def _run_plain(method: Method, call: Call | None, params: dict[str, Any], fields: dict[str, Any]) -> Outcome:
    try:
        if call is not None:
            return method.outcome(method.function(call, **params))
        return method.outcome(method.function(**params))
    except asyncio.CancelledError:
        return failure_of(_unasked(method.schema.name))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's function, which must not end the provider
        return failure_for(error, fields)


def _fields(meta: Meta) -> dict[str, Any]:
    return {"workflow_id": meta.workflow_id, "task_id": meta.task_id, "attempt": meta.attempt}
