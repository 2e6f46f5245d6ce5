"""Effects become messages to providers; their answers become inputs of the engine."""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.blobs import BlobNeeded
from gleitzeit.engine.failures import bounded
from gleitzeit.engine.state.meter import Cost, cost_of
from gleitzeit.engine.underway import Call
from gleitzeit.jsonrpc.codec import MAX_NESTING, is_nested_deeper
from gleitzeit.jsonrpc.messages import Failure, Reply, Result
from gleitzeit.jsonrpc.peer import MAX_FRAME_BYTES
from gleitzeit.model.blobs import (
    INLINE_BYTES,
    KEY,
    Look,
    Reference,
    may_have_blobs,
    references_in,
    replaced,
    split,
    value_of,
)
from gleitzeit.transport import Connection
from gz_coordinator.errands import Errands

MAX_RESULT_NESTING = MAX_NESTING - 4
"""What stands around a result in the messages that carry it on, to providers and to clients, is nested too."""
MAX_RESULT_BYTES = MAX_FRAME_BYTES - 4096
"""Of a call that is attached: what is larger than a frame would close the socket again and again."""
MAX_BUFFERED_BYTES = 8 << 20
"""In the socket of a provider; calls beyond it wait here, without their params."""
TAKES_BLOBS = "takes blobs"
"""In a connection's `data`: its provider has said so."""
_json = msgspec.json.Encoder().encode


KeepBlobs = Callable[[Mapping[str, bytes]], Awaitable[None]]
"""Stores contents by their names."""


class CallPerformer:
    def __init__(
        self,
        connection: Callable[[str], Connection | None],
        post: Callable[[inp.Input], None],
        fence_of: Callable[[str], dict[str, object]],
        on_fenced: Callable[[str], None],
        params_of: Callable[[Call], bytes],
        *,
        stream_seq: Callable[[str], int] = lambda call_id: 0,
        ask_cache: Callable[[fx.LookUp | fx.KeepResult], None] | None = None,
        load_blob: Callable[[str], Awaitable[bytes]] | None = None,
        keep_blobs: KeepBlobs | None = None,
        look_into: Callable[[Look], Awaitable[inp.LookedInto]] | None = None,
        ask_others: Callable[[fx.ForOthers], None] = lambda effect: None,
    ) -> None:
        """`connection` finds the socket of a provider's instance, `fence_of` the fence of a workflow. `on_fenced` hears
        that we were deposed. `params_of` makes the params of a call that had to wait. `stream_seq` says how far a
        call's stream has come here (0: not at all); without `ask_cache` nothing is known, without `load_blob` and
        `look_into` there are no blobs, and without `ask_others` no other coordinators."""
        self._connection = connection
        self._post = post
        self._fence_of = fence_of
        self._on_fenced = on_fenced
        self._params_of = params_of
        self._stream_seq = stream_seq
        self._ask_cache = ask_cache or self._know_nothing
        self._load_blob = load_blob or _no_blob
        self._keep_blobs = keep_blobs
        self._look_into = look_into or _look_nowhere
        self._ask_others = ask_others
        self._requests: dict[str, tuple[Connection, int]] = {}
        """The request that stands for a call at the moment, by call id."""
        self._waiting: dict[Connection, deque[Call]] = {}
        """Calls to send when their provider has read what was sent before."""
        self._errands = Errands()

    def under_way(self, connection: Connection) -> list[str]:
        """The ids of the calls that wait for their answer on this connection."""
        return [call_id for call_id, (at, _) in self._requests.items() if at is connection]

    def end_calls(self, connection: Connection, reason: str) -> None:
        """Tell the other side that none of them is wanted any more."""
        for at, request_id in self._requests.values():
            if at is connection and not connection.closed:
                connection.cancel(request_id, reason)

    def perform(self, effects: Sequence[fx.Effect]) -> None:
        """What has no connection is left alone: the provider's return, or its end, brings the engine back to it."""
        acks: dict[str, list[str]] = {}
        for effect in effects:
            match effect:
                case fx.CallProvider(call):
                    self._start(call)
                case fx.AckCall(call):
                    acks.setdefault(call.instance, []).append(call.id)
                case fx.AttachCall(call):
                    seq = self._stream_seq(call.id)
                    fence = self._fence_of(call.workflow.id)
                    attach = {"callId": call.id, "fence": fence, "progressToken": call.id, "seq": seq}
                    attach["maxResultBytes"] = MAX_RESULT_BYTES
                    if (connection := self._open(call)) is not None:
                        self._send(connection, call, "call.attach", _json(attach))
                case fx.CancelCall(call, reason):
                    self._cancel(call, reason)
                case fx.LookUp() | fx.KeepResult():
                    self._ask_cache(effect)
                case fx.LookInto(look):
                    self._errands.start(self._look(look))
                case _:
                    self._ask_others(effect)
        for instance, call_ids in acks.items():
            connection = self._connection(instance)
            if connection is not None and not connection.closed:
                connection.notify("call.ack", _json({"callIds": call_ids}))

    def _know_nothing(self, effect: fx.LookUp | fx.KeepResult) -> None:
        if isinstance(effect, fx.LookUp):
            self._post(inp.LookedUp(effect.lookup))

    async def _look(self, look: Look) -> None:
        self._post(await self._look_into(look))

    def _open(self, call: Call) -> Connection | None:
        connection = self._connection(call.instance)
        return None if connection is None or connection.closed else connection

    def _start(self, call: Call) -> None:
        connection = self._open(call)
        if connection is None:
            return
        waiting = self._waiting.get(connection)
        if waiting is None and connection.buffered_bytes <= MAX_BUFFERED_BYTES:
            self._send_call(connection, call)
        elif waiting is None:
            self._waiting[connection] = deque([call])
            self._errands.start(self._send_waiting(connection))
        else:
            waiting.append(call)
        call.params = b""

    async def _send_waiting(self, connection: Connection) -> None:
        waiting = self._waiting[connection]
        while waiting and not connection.closed:
            await connection.drain()
            while waiting and not connection.closed:
                call = waiting.popleft()
                if call.current:
                    self._send_call(connection, call)
                if connection.buffered_bytes > MAX_BUFFERED_BYTES:
                    break
        del self._waiting[connection]

    def _send_call(self, connection: Connection, call: Call) -> None:
        try:
            params = call.params or self._params_of(call)
        except BlobNeeded:
            self._post(inp.CallUnknown(call, call.instance))
            return
        takes_blobs = connection.data.get(TAKES_BLOBS)
        if may_have_blobs(params) and not takes_blobs:
            self._errands.start(self._send_whole(connection, call, params))
        elif len(params) > INLINE_BYTES and takes_blobs and self._keep_blobs is not None:
            self._errands.start(self._send_divided(connection, call, params, self._keep_blobs))
        else:
            self._send(connection, call, call.method, params)

    async def _send_divided(self, connection: Connection, call: Call, params: bytes, keep: KeepBlobs) -> None:
        """What is large goes beside the call."""
        params, blobs = split(params)
        try:
            await keep(blobs)
        except errors.GleitzeitError as error:
            data = Raw(_json({"name": error.name}))
            self._post(inp.CallFailed(call, error.code, f"the params cannot be sent: {error.message}", data))
            return
        if call.current and not connection.closed:
            self._send(connection, call, call.method, params)

    async def _send_whole(self, connection: Connection, call: Call, params: bytes) -> None:
        """To a provider that knows nothing of blobs: as long as it fits into a frame."""
        value = msgspec.json.decode(params)
        try:
            found = {blob[KEY]: blob for blob in references_in(value)}
            if sum(blob.get("size_bytes", 0) for blob in found.values()) > MAX_FRAME_BYTES:
                raise errors.PayloadTooLarge(f"they have large values, and {call.provider} takes none beside the call")
            contents = {name: await self._load_blob(name) for name in found}
            whole = _json(replaced(value, lambda blob: _content(blob, contents[blob[KEY]])))
        except (errors.GleitzeitError, msgspec.MsgspecError) as error:
            kind = errors.PayloadTooLarge if isinstance(error, errors.PayloadTooLarge) else errors.ParameterError
            data = Raw(_json({"name": kind.name}))
            self._post(inp.CallFailed(call, kind.code, f"the params cannot be sent: {error}", data))
            return
        if call.current and not connection.closed:
            self._send(connection, call, call.method, whole)

    def _send(self, connection: Connection, call: Call, method: str, params: bytes) -> None:
        call.sent = True
        try:
            request_id = connection.send_request(method, params, lambda reply: self._replied(call, connection, reply))
        except errors.PayloadTooLarge as error:
            self._post(inp.CallFailed(call, error.code, f"the params are too large: {error.message}", None))
        else:
            self._requests[call.id] = connection, request_id

    def _cancel(self, call: Call, reason: str) -> None:
        connection, request_id = self._requests.get(call.id, (None, 0))
        if connection is not None and not connection.closed:
            connection.cancel(request_id, reason)

    def _replied(self, call: Call, connection: Connection, reply: Reply) -> None:
        current, _ = self._requests.get(call.id, (None, 0))
        if current is connection:  # it may be attached to by another one already
            del self._requests[call.id]
        if isinstance(reply, Result):
            problem = "" if 0 < reply.nesting <= MAX_RESULT_NESTING else _problem(reply.raw)
            if problem:
                self._post(inp.CallFailed(call, errors.ResultInvalid.code, f"the provider's result {problem}", None))
            else:
                self._post(inp.CallCompleted(call, reply.raw.copy()))
        elif isinstance(reply, Failure):
            self._failed(call, reply)
        # Lost: the link reports what became of the provider

    def _failed(self, call: Call, reply: Failure) -> None:
        data = _object(reply.data)
        message, kept = bounded(reply.message, reply.data if reply.data is None or not _problem(reply.data) else None)
        match reply.code:
            case errors.ProviderBusy.code:
                after, name = data.get("retryAfterSeconds"), data.get("name")
                seconds = after if isinstance(after, int | float) else None
                own_name = name if isinstance(name, str) else ""
                cost = Cost() if reply.data is None else cost_of(reply.data)
                self._post(inp.CallNotStarted(call, message, seconds, own_name, cost.tokens, cost.requests))
            case errors.WrongInstance.code:
                self._post(inp.CallNotStarted(call, message, 0.0))
            case errors.CallUnknown.code:
                self._post(inp.CallUnknown(call, str(data.get("instance", ""))))
            case errors.Fenced.code:
                if not call.workflow.disowned:
                    self._on_fenced(message)
            case _:
                self._post(inp.CallFailed(call, reply.code, message, None if kept is None else kept.copy()))


def _content(blob: Reference, content: bytes) -> Any:
    """What it holds, to be sent on: JSON is looked through, and never read. Raises msgspec.DecodeError."""
    return value_of(blob, content) if blob.get("as") else msgspec.json.decode(content, type=Raw)


async def _look_nowhere(look: Look) -> inp.LookedInto:
    return inp.LookedInto(look, problem=errors.BlobNotFound(f"no blob {look.name}"))


async def _no_blob(name: str) -> bytes:
    raise errors.BlobNotFound(f"no blob {name}")


def _problem(raw: Raw) -> str:
    """Why a value from a provider could not be used later on: valid JSON may say more than anybody can read."""
    if is_nested_deeper(raw, MAX_RESULT_NESTING):
        return f"is nested deeper than {MAX_RESULT_NESTING} levels"
    try:
        msgspec.json.decode(raw)
    except msgspec.MsgspecError as error:
        return f"cannot be read: {error}"
    return ""


def _object(data: Raw | None) -> dict[str, object]:
    if data is None:
        return {}
    try:
        value = msgspec.json.decode(data)
    except msgspec.MsgspecError:
        return {}
    return value if isinstance(value, dict) else {}
