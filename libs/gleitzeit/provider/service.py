"""A provider at work: requests come in from connections, calls run, answers go out. The rules are in `calls.py`."""

import asyncio
import contextlib
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gleitzeit.errors import GleitzeitError, InvalidParams, PayloadTooLarge, TaskCancelled, TaskError, TaskTimeout
from gleitzeit.jsonrpc.codes import failure_of
from gleitzeit.jsonrpc.methods import Methods, Request
from gleitzeit.model.blobs import INLINE_BYTES, may_have_blobs, references_in
from gleitzeit.provider.blobs import BlobConnections, Owner, WhoNow, owner_of
from gleitzeit.provider.call import Call, Meta
from gleitzeit.provider.calls import KEPT_BYTES_LIMIT, CallTable, Entry, Fence, Outcome
from gleitzeit.provider.method import INLINE_LIMIT_BYTES, Method, failure_for
from gleitzeit.provider.secrets import Sieve, Veil, revealed
from gleitzeit.spec.durations import in_words
from gleitzeit.transport import Connection

SWEEP_SECONDS = 60.0  # how often results that nobody fetches are looked for
STOP_SECONDS = 2.0  # for a call to end after it was told to
ACK_SECONDS = 1.0  # for a coordinator to acknowledge the last results before the process ends
BATCH_SIZE = 64
# What is said besides results is dropped for a peer that does not read; who attaches again gets the last of the stream.
UNREAD_LIMIT_BYTES = 4 * 1024 * 1024
SUPERSEDED = 4001  # the close code for an older connection of the same owner

_NUMBER = "calls.number"
_OWNER = "blobs.owner"
_NO_META = Meta()
_T = TypeVar("_T")

Respond = Callable[[Outcome], None]


class _Attach(Struct, frozen=True, rename="camel"):
    """Params of `call.attach`. `seq` is the last piece of the stream that the caller has."""

    call_id: str
    fence: Fence | None = None
    progress_token: str | int | None = None
    seq: int = 0
    lease_seconds: float | None = None
    max_result_bytes: int | None = None


class _CallIds(Struct, frozen=True, rename="camel"):
    call_ids: list[str] = []
    call_id: str = ""


class _Work(Struct):
    """What runs for an entry. `stop` is why it was told to stop: the answer if it obeys."""

    call: Call
    task: "asyncio.Task[None]"
    timer: asyncio.TimerHandle | None = None
    stop: GleitzeitError | None = None


class Service:
    """Serves methods to the connections that `on_connect` and `on_close` report. One object, one instance.

    `describe()` gives the OpenRPC document. `clock()` gives seconds and never goes back.
    """

    def __init__(
        self, capacity: int, describe: Callable[["Service"], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.instance = secrets.token_hex(8)
        self.table = CallTable(self.instance, capacity)
        self.methods = Methods()
        self.counts: Counter[str] = Counter()
        self.url = ""
        self._describe = describe
        self._clock = clock
        self._connections: dict[int, Connection] = {}
        self._turn = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._answering: dict[asyncio.Task[None], str] = {}
        """What is large and on its way, with the id of its call."""
        self._blobs = BlobConnections()
        self.methods.add("rpc.discover", self._discover, bind=False)
        self.methods.add("call.attach", self._attach, bind=False)
        self.methods.add("call.check", self._check, bind=False)
        self.methods.add("blob.serve", self._serve_blobs, bind=False)
        self.methods.add("call.ack", self._ack, bind=False)
        self.methods.add("notifications/cancelled", self._cancel_by_call_id, bind=False)

    def add(self, method: Method) -> None:
        """Serve a method, by its name and its aliases."""
        name = method.schema.name
        self.methods.add(name, partial(self._serve, method), bind=False)
        for alias in method.schema.aliases:
            self.methods.alias(alias, name)

    def remove(self, name: str) -> None:
        """Serve a method no longer, nor what else it was called; calls that run go on."""
        self.methods.remove(name)

    def changed(self) -> None:
        """Tell everybody that the methods, or what they look like, are no longer the same."""
        for connection in self._connections.values():
            connection.notify("notifications/methods/list_changed", {})

    # Connections

    def on_connect(self, connection: Connection) -> None:
        # Whoever attaches is answered with all kept results at once: their sum is what is limited.
        connection.close_above_bytes = 2 * KEPT_BYTES_LIMIT
        number = connection.data[_NUMBER] = self.table.opened()
        self._connections[number] = connection

    def on_close(self, connection: Connection) -> None:
        self._blobs.lose(connection)
        self._lose(connection.data[_NUMBER])

    def _lose(self, number: int) -> None:
        self._connections.pop(number, None)
        for entry in self.table.lost(number, self._clock()):
            self._stop(entry, TaskCancelled("the connection of the call closed"))
        self._arm()

    def _bind(self, number: int, fence: Fence) -> None:
        older = self.table.bind(number, fence)
        if older is None:
            return
        connection = self._connections.get(older)
        self._lose(older)
        if connection is not None:
            reason = "a newer connection of the same owner took over"
            closing = asyncio.get_running_loop().create_task(connection.close(SUPERSEDED, reason))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    # Calls

    def _serve(self, method: Method, request: Request) -> None:
        """A request for one of the provider's own methods: refused by raising, or answered from here, now or later."""
        number: int = request.connection.data[_NUMBER]
        params, meta = _split(request.params)
        if meta.fence is not None:
            self._bind(number, meta.fence)
        owner = _owner_of_blobs(request, params, meta)
        veil = revealed(params, meta.secrets, os.environ) if meta.secrets else None
        if owner is None:
            params = _arguments(method, params, veil)
        respond = partial(self._answer, request, meta.call_id, None)
        if meta.call_id:
            entry, start = self.table.send(
                meta.call_id, number, respond, lease_seconds=meta.lease_seconds, instance=meta.instance
            )
        else:
            entry, start = self.table.send_plain(number, respond), True
        if start:
            entry.veil = veil
        if not start:
            self._wait(entry, number, request, respond)
        elif method.is_async or owner is not None:
            self._start(method, entry, params, meta, owner)
            self._wait(entry, number, request, respond)
        else:
            self._finish(entry, self._run_inline(method, entry, params, meta))

    def _wait(self, entry: Entry, number: int, request: Request, respond: Respond) -> None:
        """Answer with the outcome when there is one."""
        if entry.outcome is not None:
            respond(entry.outcome)
            return
        request.defer()
        request.on_cancel(partial(self._cancel_by_request, entry, number, respond))

    def _call(self, method: Method, entry: Entry, meta: Meta) -> Call:
        sieve = None if entry.veil is None else Sieve(entry.veil)
        return Call(method.schema.name, meta, partial(self._say, entry), sieve)

    def _run_inline(self, method: Method, entry: Entry, params: dict[str, Any], meta: Meta) -> Outcome:
        call = self._call(method, entry, meta) if method.wants_call else None
        outcome = _run_plain(method, call, params, _fields(meta))
        if call is not None:
            call.end()
        return outcome

    def _start(
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
        entry.work = work = _Work(call, task)
        if meta.deadline_seconds is not None:
            late = TaskTimeout(f"took longer than its timeout of {in_words(meta.deadline_seconds)}")
            work.timer = loop.call_later(meta.deadline_seconds, self._stop, entry, late)
        task.add_done_callback(partial(self._ended, entry, work, running))

    async def _answered(self, entry: Entry, running: Coroutine[Any, Any, Outcome]) -> None:
        """The answer leaves before the loop gets to what the method has left to be cleaned up, a connection say."""
        outcome = await running
        self._end(entry, outcome)

    def _owner_now(self, entry: Entry, first: Owner) -> Owner | None:
        """Who has the call, and so its large values: after a restart of the coordinator it is somebody else."""
        connection = self._connections.get(entry.connection) if entry.connection is not None else None
        return None if connection is None else connection.data.get(_OWNER, first)

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

    def _answer(self, request: Request, call_id: str, max_result_bytes: int | None, outcome: Outcome) -> None:
        """With the outcome as it is; or, to a coordinator that takes them, with blobs for what is large."""
        owner: Owner | None = request.connection.data.get(_OWNER)
        if owner is None or not isinstance(outcome, bytes) or len(outcome) <= INLINE_BYTES:
            _respond(request, max_result_bytes, outcome)
            return
        request.defer()
        answering = asyncio.get_running_loop().create_task(self._divide(request, max_result_bytes, outcome, owner))
        self._answering[answering] = call_id
        answering.add_done_callback(self._answering.pop)

    async def _divide(self, request: Request, max_result_bytes: int | None, outcome: bytes, owner: Owner) -> None:
        try:
            divided: Outcome = await self._blobs.divided(owner, outcome)
        except GleitzeitError as error:
            divided = failure_of(error)
        _respond(request, max_result_bytes, divided)

    def _ended(
        self, entry: Entry, work: _Work, running: Coroutine[Any, Any, Outcome], task: "asyncio.Task[None]"
    ) -> None:
        if not task.cancelled():
            task.result()
            return
        running.close()  # if it was cancelled before its first step
        self._end(entry, failure_of(work.stop or _unasked(work.call.method)))

    def _end(self, entry: Entry, outcome: Outcome) -> None:
        work: _Work = entry.work
        if work.timer is not None:
            work.timer.cancel()
        work.call.end()
        self._finish(entry, outcome)

    def _finish(self, entry: Entry, outcome: Outcome) -> None:
        if entry.veil is not None:
            outcome = entry.veil.outcome(outcome)
        self.counts["completed" if isinstance(outcome, bytes) else "failed"] += 1
        work: _Work | None = entry.work
        said = work.call.streamed if work is not None else None
        size_bytes = said.size_bytes if said is not None else 0
        for respond in self.table.finish(entry, outcome, self._clock(), said=said, said_bytes=size_bytes):
            respond(outcome)
        if self.table.draining:
            self._turn.set()

    def _stop(self, entry: Entry, why: GleitzeitError) -> None:
        """Tell a running call to end. Its first reason stands; one that did not obey is told again."""
        work: _Work | None = entry.work
        if work is None:
            return
        if work.stop is None:
            work.stop = why
        work.call.cancel()
        work.task.cancel()

    def _say(self, entry: Entry, method: str, params: dict[str, Any]) -> None:
        if entry.outcome is not None or entry.connection is None:
            return
        connection = self._connections.get(entry.connection)
        if connection is not None and connection.buffered_bytes < UNREAD_LIMIT_BYTES:
            connection.notify(method, params if entry.veil is None else entry.veil.value(params))

    # What a coordinator asks about calls

    def _serve_blobs(self, request: Request) -> dict[str, Any]:
        """By the connection that this came by, large values of its owner are fetched and brought."""
        _, meta = _split(request.params)
        if meta.fence is None:
            raise InvalidParams("blob.serve wants a fence")
        self._blobs.serve(owner_of(meta.fence), request.connection)
        return {}

    def _discover(self, request: Request) -> object:
        _, meta = _split(request.params)
        connection: Connection = request.connection
        if meta.fence is not None:
            self._bind(connection.data[_NUMBER], meta.fence)
            if meta.blobs == "v1":
                connection.data[_OWNER] = owner_of(meta.fence)
        if meta.batch == "split":
            connection.split_batches = True
            connection.coalesce = BATCH_SIZE
        return self._describe(self)

    def _attach(self, request: Request) -> None:
        asked = _converted(request.params, _Attach)
        number: int = request.connection.data[_NUMBER]
        if asked.fence is not None:
            self._bind(number, asked.fence)
        respond = partial(self._answer, request, asked.call_id, asked.max_result_bytes)
        entry = self.table.attach(asked.call_id, number, respond, lease_seconds=asked.lease_seconds)
        self._blobs.stir()
        work: _Work | None = entry.work
        if work is not None:
            if asked.progress_token is not None:
                work.call.token = asked.progress_token
            work.call.replay(asked.seq)
        elif entry.said is not None and asked.progress_token is not None:
            for said in entry.said.messages(asked.progress_token, asked.seq):  # it ended while nobody listened
                if request.connection.buffered_bytes < UNREAD_LIMIT_BYTES:
                    shown = said if entry.veil is None else entry.veil.value(said)
                    request.connection.notify("notifications/stream", shown)
        self._wait(entry, number, request, respond)

    def _check(self, request: Request) -> dict[str, Any]:
        """`call.check {callIds}`: which of them will not be answered by this connection any more, having been answered
        or never asked for. What was swallowed on the way shows so."""
        asked = _converted(request.params, _CallIds)
        awaited = self.table.awaited(request.connection.data[_NUMBER]) | set(self._answering.values())
        return {"lost": [call_id for call_id in asked.call_ids if call_id not in awaited]}

    def _ack(self, request: Request) -> dict[str, Any]:
        acked = _converted(request.params, _CallIds)
        self.table.ack([*acked.call_ids, acked.call_id] if acked.call_id else acked.call_ids)
        if self.table.draining:
            self._turn.set()
        return {}

    def _cancel_by_request(self, entry: Entry, number: int, respond: Respond, reason: str) -> None:
        """`notifications/cancelled {requestId}`. Only the owner stops the call; another who waits just leaves."""
        why = TaskCancelled(reason or "cancelled by the caller", retryable=False)
        if entry.connection == number:
            self._stop(entry, why)
        else:
            self.table.leave(entry, respond)
            respond(failure_of(why))

    def _cancel_by_call_id(self, request: Request) -> None:
        """`notifications/cancelled {callId}`, from one who may not have a request open for it."""
        asked = _converted(request.params, _CallIds)
        entry = self.table.cancel(asked.call_id, request.connection.data[_NUMBER])
        if entry is not None:
            reason = request.params.get("reason")
            self._stop(entry, TaskCancelled(str(reason or "cancelled by the caller"), retryable=False))

    # Time

    def expire(self) -> None:
        """Stop the calls whose lease has run out, and forget results that are too old. A timer calls it."""
        for entry in self.table.expire(self._clock()):
            self._stop(entry, TaskCancelled("nobody asked for the call for the length of its lease"))
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        expiry = self.table.next_expiry()
        delay = SWEEP_SECONDS if expiry is None else min(SWEEP_SECONDS, max(0.0, expiry - self._clock()))
        self._timer = asyncio.get_running_loop().call_later(delay, self.expire)

    async def drain(self, seconds: float) -> None:
        """Start nothing more, wait until all is finished and acknowledged. What runs after `seconds` is stopped."""
        self.table.draining = True
        await self._until(lambda: self.table.running == 0, seconds)
        for entry in self.table.entries_running():
            self._stop(entry, TaskCancelled("the provider stops"))
        await self._until(lambda: self.table.running == 0, STOP_SECONDS)
        await self._until(lambda: self.table.owed == 0, ACK_SECONDS)

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    self._turn.clear()
                    await self._turn.wait()

    async def close(self) -> None:
        """Stop everything, and wait until it has stopped; the connections are closed already."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = [entry.work.task for entry in self.table.entries_running() if entry.work is not None]
        for entry in self.table.entries_running():
            self._stop(entry, TaskCancelled("the provider stops"))
        for answering in self._answering:
            answering.cancel()
        await _settled([*tasks, *self._closing, *self._answering])


def _arguments(method: Method, params: dict[str, Any], veil: Veil | None) -> dict[str, Any]:
    """Raises InvalidParams that does not quote what is secret."""
    try:
        return method.arguments(params)
    except InvalidParams as error:
        if veil is None:
            raise
        raise InvalidParams(veil.text(error.message), veil.value(error.data)) from None


def _unasked(method: str) -> TaskError:
    return TaskError(f"{method} ended with CancelledError, though nobody had cancelled the call")


async def _run(method: Method, call: Call, params: dict[str, Any]) -> Outcome:
    try:
        if method.wants_call:
            return method.outcome(await method.function(call, **params))
        return method.outcome(await method.function(**params))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's function, which must not end the provider
        return failure_for(error, call.log_fields)


async def _settled(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    waiting = [task for task in tasks if not task.done()]
    if waiting:
        await asyncio.wait(waiting, timeout=STOP_SECONDS)


def _run_plain(method: Method, call: Call | None, params: dict[str, Any], fields: dict[str, Any]) -> Outcome:
    try:
        if call is not None:
            return method.outcome(method.function(call, **params))
        return method.outcome(method.function(**params))
    except asyncio.CancelledError:
        return failure_of(_unasked(method.schema.name))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's function, which must not end the provider
        return failure_for(error, fields)


def _respond(request: Request, max_result_bytes: int | None, outcome: Outcome) -> None:
    if not isinstance(outcome, bytes):
        request.fail(outcome)
    elif max_result_bytes is not None and len(outcome) > max_result_bytes:
        request.fail(PayloadTooLarge("the result is larger than asked for", {"size_bytes": len(outcome)}))
    elif len(outcome) > INLINE_LIMIT_BYTES:
        request.fail(PayloadTooLarge(f"the result has {len(outcome)} bytes, {INLINE_LIMIT_BYTES} can be sent"))
    else:
        request.answer(outcome)


def _owner_of_blobs(request: Request, params: dict[str, Any], meta: Meta) -> Owner | None:
    """Whom to ask for what stands for large values in a call; None if there is nothing to ask for, or nobody."""
    if meta.fence is None or not may_have_blobs(bytes(request.raw_params or b"")):
        return None
    found = any(references_in([params, meta.dependencies, meta.inputs]))
    return owner_of(meta.fence) if found else None


def _split(params: Any) -> tuple[dict[str, Any], Meta]:
    """The params for the method, and what stands beside them for us."""
    if params is None:
        return {}, _NO_META
    if not isinstance(params, dict):
        raise InvalidParams("this method takes its params by name")
    meta = params.pop("_meta", None)
    return params, _NO_META if meta is None else _converted(meta, Meta)


def _converted(value: Any, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidParams(f"wrong params: {error}") from None


def _fields(meta: Meta) -> dict[str, Any]:
    return {"workflow_id": meta.workflow_id, "task_id": meta.task_id, "attempt": meta.attempt}
