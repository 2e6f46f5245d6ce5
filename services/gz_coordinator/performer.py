"""Effects become messages to providers; their answers become inputs of the engine."""

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Raw

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.jsonrpc.messages import Failure, Reply, Result
from gleitzeit.transport import Connection

_json = msgspec.json.Encoder().encode


class CallPerformer:
    def __init__(
        self,
        connection: Callable[[str], Connection | None],
        post: Callable[[fx.Input], None],
        fence: dict[str, object],
        on_fenced: Callable[[str], None],
    ) -> None:
        """`connection` finds the socket of a provider's instance. `on_fenced` hears that we were deposed."""
        self._connection = connection
        self._post = post
        self._fence = fence
        self._on_fenced = on_fenced
        self._requests: dict[str, tuple[Connection, int]] = {}
        """The request that stands for a call at the moment, by call id."""

    def perform(self, effects: Sequence[fx.Effect]) -> None:
        """What has no connection is left alone: the provider's return, or its end, brings the engine back to it."""
        acks: dict[str, list[str]] = {}
        for effect in effects:
            match effect:
                case fx.CallProvider(call):
                    self._send(call, call.method, call.params)
                case fx.AckCall(call):
                    acks.setdefault(call.instance, []).append(call.id)
                case fx.AttachCall(call):
                    attach = {"callId": call.id, "fence": self._fence, "progressToken": call.id, "seq": 0}
                    self._send(call, "call.attach", _json(attach))
                case fx.CancelCall(call, reason):
                    self._cancel(call, reason)
        for instance, call_ids in acks.items():
            connection = self._connection(instance)
            if connection is not None and not connection.closed:
                connection.notify("call.ack", _json({"callIds": call_ids}))

    def _send(self, call: fx.Call, method: str, params: bytes) -> None:
        connection = self._connection(call.instance)
        if connection is not None and not connection.closed:
            request_id = connection.send_request(method, params, lambda reply: self._replied(call, reply))
            self._requests[call.id] = connection, request_id

    def _cancel(self, call: fx.Call, reason: str) -> None:
        connection, request_id = self._requests.get(call.id, (None, 0))
        if connection is not None and not connection.closed:
            connection.cancel(request_id, reason)

    def _replied(self, call: fx.Call, reply: Reply) -> None:
        self._requests.pop(call.id, None)
        if isinstance(reply, Result):
            self._post(fx.CallCompleted(call, reply.raw.copy()))
        elif isinstance(reply, Failure):
            self._failed(call, reply)
        # Lost: the link reports what became of the provider

    def _failed(self, call: fx.Call, reply: Failure) -> None:
        data = _object(reply.data)
        match reply.code:
            case errors.ProviderBusy.code:
                after = data.get("retryAfterSeconds")
                self._post(fx.CallNotStarted(call, reply.message, after if isinstance(after, int | float) else None))
            case errors.WrongInstance.code:
                self._post(fx.CallNotStarted(call, reply.message, 0.0))
            case errors.CallUnknown.code:
                self._post(fx.CallUnknown(call, str(data.get("instance", ""))))
            case errors.Fenced.code:
                self._on_fenced(reply.message)
            case _:
                kept = reply.data.copy() if reply.data is not None else None
                self._post(fx.CallFailed(call, reply.code, reply.message, kept))


def _object(data: Raw | None) -> dict[str, object]:
    if data is None:
        return {}
    try:
        value = msgspec.json.decode(data)
    except msgspec.MsgspecError:
        return {}
    return value if isinstance(value, dict) else {}
