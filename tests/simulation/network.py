"""Sockets that delay, and that break with whatever is under way in them. Each direction keeps its order, as in TCP."""

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
from msgspec import Raw
from tests.simulation.loop import Process

from gleitzeit import errors
from gleitzeit.jsonrpc.messages import Failure, Lost, Reply, Result

_json = msgspec.json.Encoder().encode
Message = tuple[Any, ...]
Receiver = Callable[["End", Message], None]


class Wire:
    """Two ends. `random` is the wire's own, so that what happens on one does not depend on the traffic of others."""

    def __init__(self, random: Random, latency_seconds: float, near: Process, far: Process) -> None:
        self.random = random
        self.latency_seconds = latency_seconds
        self.broken = False
        self.near = End(self, near)
        self.far = End(self, far)
        self.near.peer, self.far.peer = self.far, self.near

    def carry(self, receiver: "End", message: Message) -> None:
        loop = receiver.process.loop
        delay = self.random.expovariate(1 / self.latency_seconds)
        receiver.arrives_at = max(receiver.arrives_at, loop.now + delay)
        loop.call_at(receiver.arrives_at, self._deliver, receiver, message, context=receiver.process.context)

    def _deliver(self, receiver: "End", message: Message) -> None:
        if not self.broken and not receiver.closed:
            receiver.take(message)

    def cut(self, reason: str, notice_seconds: float) -> None:
        """What is under way is lost; each end notices when it notices."""
        if not self.broken:
            self.broken = True
            for end in (self.near, self.far):
                delay = self.random.uniform(0, notice_seconds)
                end.process.loop.call_later(delay, end.shut, 1006, reason, context=end.process.context)

    def process_died(self, dead: "End", *, flushed: bool, notice_seconds: float) -> None:
        """`flushed`: what the dead process had sent still arrives, and then the end of it."""
        dead.closed = True
        if flushed:
            self.carry(dead.peer, ("close", 1006, "the peer died"))
        else:
            self.cut("the peer died", notice_seconds)


class End:
    """One end of a wire: to the code under test it is a Connection."""

    peer: "End"

    def __init__(self, wire: Wire, process: Process) -> None:
        self.wire = wire
        self.process = process
        self.data: dict[str, Any] = {}
        self.closed = False
        self.close_code: int | None = None
        self.close_reason = ""
        self.coalesce = 1
        self.split_batches = False
        self.buffered_bytes = 0
        self.answers = self.unmatched = 0
        self.arrives_at = 0.0
        self.receive: Receiver = lambda end, message: None
        self.observe: Callable[[End, Message], None] = lambda end, message: None
        """Sees every message before it leaves; may raise."""
        self.requests: dict[int, Callable[[Reply], None]] = {}
        self._numbers = 0
        self._on_close: list[Callable[[Any], None]] = []

    @property
    def outstanding(self) -> int:
        return len(self.requests)

    # What leaves

    def _post(self, message: Message) -> None:
        if self.process.alive and not self.closed:
            self.observe(self, message)
            self.wire.carry(self.peer, message)

    def send_request(self, method: str, params: bytes | None, on_reply: Callable[[Reply], None]) -> int:
        self._numbers += 1
        number = self._numbers
        if self.closed:
            on_reply(Lost("closed"))
        else:
            self.requests[number] = on_reply
            self._post(("request", number, method, params))
        return number

    async def call(self, method: str, params: Any = None, *, timeout_seconds: float | None = None) -> Any:
        loop = self.process.loop
        answered = loop.create_future()

        def reply_came(reply: Reply | None) -> None:
            if not answered.done():
                answered.set_result(reply)

        self.send_request(method, params, reply_came)  # type: ignore[arg-type]  # objects are not encoded here
        timer = loop.call_later(timeout_seconds, reply_came, None) if timeout_seconds is not None else None
        reply = await answered
        if timer is not None:
            timer.cancel()
        match reply:
            case Result(raw):
                return msgspec.json.decode(raw)
            case Failure(code, message, data):
                raise errors.error_for(code, message, msgspec.json.decode(data) if data is not None else None)
            case Lost(reason):
                raise errors.ConnectionLost(reason)
        raise TimeoutError(f"{method} was not answered")

    async def call_raw(self, method: str, params: Any = None, *, timeout_seconds: float | None = None) -> Raw:
        return Raw(_json(await self.call(method, params, timeout_seconds=timeout_seconds)))

    def notify(self, method: str, params: Any = None) -> None:
        self._post(("notify", method, params if isinstance(params, bytes | Raw) else _json(params)))

    def cancel(self, request_id: int, reason: str = "") -> None:
        self._post(("cancel", request_id, reason))

    def reply(self, number: int, reply: Reply) -> None:
        self._post(("reply", number, reply))

    async def drain(self) -> None:
        """Nothing is buffered, unless a test says so."""
        while self.buffered_bytes:
            await self.process.loop.create_future()

    # What comes

    def take(self, message: Message) -> None:
        match message:
            case ("reply", number, reply):
                on_reply = self.requests.pop(number, None)
                if on_reply is not None:
                    self.answers += 1
                    on_reply(reply)
            case ("close", code, reason):
                self.shut(code, reason)
            case _:
                self.receive(self, message)

    # Its end

    def add_close_callback(self, callback: Callable[[Any], None]) -> None:
        self._on_close.append(callback)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if not self.closed:
            self.wire.carry(self.peer, ("close", code, reason))
            self.shut(code, reason)

    def shut(self, code: int, reason: str) -> None:
        if self.closed:
            return
        self.closed, self.close_code, self.close_reason = True, code, reason
        waiting, self.requests = list(self.requests.values()), {}
        for on_reply in waiting:
            on_reply(Lost(reason))
        for callback in self._on_close:
            callback(self)
