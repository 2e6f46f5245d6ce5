"""A provider at work: what is asked of it by whom. The rules are in `calls.py`, what runs in `running.py`."""

import asyncio
import os
import secrets
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from gleitzeit.errors import InvalidParams, TaskCancelled
from gleitzeit.jsonrpc.codes import failure_of
from gleitzeit.jsonrpc.methods import Methods, Request
from gleitzeit.model.blobs import may_have_blobs, references_in
from gleitzeit.provider.answers import Answers
from gleitzeit.provider.blobs import OWNER, BlobConnections, Owner, owner_of
from gleitzeit.provider.call import Meta
from gleitzeit.provider.calls import KEPT_BYTES_LIMIT, CallTable, Entry, Fence, Outcome
from gleitzeit.provider.method import Method
from gleitzeit.provider.running import STOP_SECONDS, Running
from gleitzeit.provider.secrets import Veil, revealed
from gleitzeit.transport import Connection

SWEEP_SECONDS = 60.0  # how often results that nobody fetches are looked for
BATCH_SIZE = 64
SUPERSEDED = 4001  # the close code for an older connection of the same owner

_NUMBER = "calls.number"
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
        self.url = ""
        self._describe = describe
        self._clock = clock
        self._connections: dict[int, Connection] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._blobs = BlobConnections()
        self._answers = Answers(self._blobs)
        self.running = Running(self.table, self._blobs, self._owning, clock)
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
            self.running.stop(entry, TaskCancelled("the connection of the call closed"))
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

    def _owning(self, entry: Entry) -> Connection | None:
        return None if entry.connection is None else self._connections.get(entry.connection)

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
        respond = partial(self._answers.send, request, meta.call_id, None)
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
            self.running.start(method, entry, params, meta, owner)
            self._wait(entry, number, request, respond)
        else:
            self.running.run_now(method, entry, params, meta)

    def _wait(self, entry: Entry, number: int, request: Request, respond: Respond) -> None:
        """Answer with the outcome when there is one."""
        if entry.outcome is not None:
            respond(entry.outcome)
            return
        request.defer()
        request.on_cancel(partial(self._cancel_by_request, entry, number, respond))

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
                connection.data[OWNER] = owner_of(meta.fence)
        if meta.batch == "split":
            connection.split_batches = True
            connection.coalesce = BATCH_SIZE
        return self._describe(self)

    def _attach(self, request: Request) -> None:
        asked = _converted(request.params, _Attach)
        number: int = request.connection.data[_NUMBER]
        if asked.fence is not None:
            self._bind(number, asked.fence)
        respond = partial(self._answers.send, request, asked.call_id, asked.max_result_bytes)
        entry = self.table.attach(asked.call_id, number, respond, lease_seconds=asked.lease_seconds)
        self._blobs.stir()
        self.running.say_again(entry, request.connection, asked.progress_token, asked.seq)
        self._wait(entry, number, request, respond)

    def _check(self, request: Request) -> dict[str, Any]:
        """`call.check {callIds}`: which of them will not be answered by this connection any more, having been answered
        or never asked for. What was swallowed on the way shows so."""
        asked = _converted(request.params, _CallIds)
        awaited = self.table.awaited(request.connection.data[_NUMBER]) | self._answers.call_ids
        return {"lost": [call_id for call_id in asked.call_ids if call_id not in awaited]}

    def _ack(self, request: Request) -> dict[str, Any]:
        acked = _converted(request.params, _CallIds)
        self.running.ack([*acked.call_ids, acked.call_id] if acked.call_id else acked.call_ids)
        return {}

    def _cancel_by_request(self, entry: Entry, number: int, respond: Respond, reason: str) -> None:
        """`notifications/cancelled {requestId}`. Only the owner stops the call; another who waits just leaves."""
        why = TaskCancelled(reason or "cancelled by the caller", retryable=False)
        if entry.connection == number:
            self.running.stop(entry, why)
        else:
            self.table.leave(entry, respond)
            respond(failure_of(why))

    def _cancel_by_call_id(self, request: Request) -> None:
        """`notifications/cancelled {callId}`, from one who may not have a request open for it."""
        asked = _converted(request.params, _CallIds)
        entry = self.table.cancel(asked.call_id, request.connection.data[_NUMBER])
        if entry is not None:
            reason = request.params.get("reason")
            self.running.stop(entry, TaskCancelled(str(reason or "cancelled by the caller"), retryable=False))

    # Time

    def expire(self) -> None:
        """Stop the calls whose lease has run out, and forget results that are too old. A timer calls it."""
        for entry in self.table.expire(self._clock()):
            self.running.stop(entry, TaskCancelled("nobody asked for the call for the length of its lease"))
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        expiry = self.table.next_expiry()
        delay = SWEEP_SECONDS if expiry is None else min(SWEEP_SECONDS, max(0.0, expiry - self._clock()))
        self._timer = asyncio.get_running_loop().call_later(delay, self.expire)

    async def close(self) -> None:
        """Stop everything, and wait until it has stopped; the connections are closed already."""
        if self._timer is not None:
            self._timer.cancel()
        await _settled([*self.running.stop_all(), *self._closing, *self._answers.stop()])


def _arguments(method: Method, params: dict[str, Any], veil: Veil | None) -> dict[str, Any]:
    """Raises InvalidParams that does not quote what is secret."""
    try:
        return method.arguments(params)
    except InvalidParams as error:
        if veil is None:
            raise
        raise InvalidParams(veil.text(error.message), veil.value(error.data)) from None


async def _settled(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    waiting = [task for task in tasks if not task.done()]
    if waiting:
        await asyncio.wait(waiting, timeout=STOP_SECONDS)


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
