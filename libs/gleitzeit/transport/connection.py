"""A socket with JSON-RPC both ways: the thin shell around `jsonrpc.peer.Peer`."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeAlias, TypeGuard

from msgspec import Raw

from gleitzeit.errors import GleitzeitError, MethodNotFound, TaskCancelled
from gleitzeit.jsonrpc import codec
from gleitzeit.jsonrpc.codes import METHOD_NOT_FOUND, METHOD_NOT_FOUND_TEXT, exception_of
from gleitzeit.jsonrpc.inspection import Inspection, pieces
from gleitzeit.jsonrpc.messages import Encoded, Failure, Lost, Reply, Result
from gleitzeit.jsonrpc.peer import MAX_FRAME_BYTES, Answered, OnReply, Peer, Received
from gleitzeit.jsonrpc.request import Request
from gleitzeit.transport.base import (
    ABNORMAL,
    CLOSE_ABOVE_BYTES,
    LARGE_FRAME_BYTES,
    MESSAGE_TOO_BIG,
    NORMAL,
    TRY_AGAIN_LATER,
    Methods,
    Wire,
    WireClosed,
)

logger = logging.getLogger(__name__)

OnNotification: TypeAlias = Callable[["Connection", str, Raw | None], object]
OnClose: TypeAlias = Callable[["Connection"], object]


class Connection:
    """Both sides ask and answer on one wire.

    Messages are queued and leave at the end of the event loop's turn, in their order. `coalesce`: with 1 every message
    is a frame of its own; above 1 the messages of one turn leave as JSON arrays of up to that many (only for a peer
    that is known to take arrays apart). `split_batches`: False answers a received array with one array after its last
    member, as JSON-RPC 2.0 says; True answers members as they finish, for a peer that asked for it. `data` is for the
    owner of the connection.

    Nothing limits how much is queued but a fuse: beyond 64 MiB that the other side does not read, the connection is
    closed with 1013 (`close_above_bytes`: for an owner that has a limit of its own). Who sends much awaits `drain` now
    and then, or looks at `buffered_bytes`.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        methods: Methods | None = None,
        on_notification: OnNotification | None = None,
        max_frame_bytes: int = MAX_FRAME_BYTES,
    ) -> None:
        """Nothing is read before `run`. Needs a running event loop."""
        self.peer_name = wire.peer_name
        self.data: dict[str, Any] = {}
        self.close_above_bytes = CLOSE_ABOVE_BYTES
        self.close_code: int | None = None
        self.close_reason = ""
        self._wire = wire
        self._methods = methods
        self._on_notification = on_notification
        self._peer = Peer(self._wake, owner=self, max_frame_bytes=max_frame_bytes)
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._close_callbacks: list[OnClose] = []
        self._closing: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    @property
    def coalesce(self) -> int:
        return self._peer.coalesce

    @coalesce.setter
    def coalesce(self, messages: int) -> None:
        self._peer.coalesce = messages

    @property
    def split_batches(self) -> bool:
        return self._peer.split_batches

    @split_batches.setter
    def split_batches(self, split: bool) -> None:
        self._peer.split_batches = split

    @property
    def closed(self) -> bool:
        """Whether it is over: every reply has been delivered. `close_code` and `close_reason` say why."""
        return self.close_code is not None

    @property
    def buffered_bytes(self) -> int:
        """Queued here or in the wire, not yet handed to the kernel."""
        return self._peer.waiting_bytes + self._wire.buffered_bytes

    @property
    def unmatched(self) -> int:
        """How many answers came to nothing that we asked. They are ignored."""
        return self._peer.unmatched

    @property
    def answers(self) -> int:
        """How many of our requests were answered."""
        return self._peer.answers

    @property
    def outstanding(self) -> int:
        """How many of our requests wait for their answer."""
        return self._peer.outstanding

    # Asking

    def send_request(self, method: str, params: Encoded | None, on_reply: OnReply) -> int:
        """Send a request with params that are JSON already, and return its id.

        `on_reply` is called exactly once, later: with the Result or Failure that came, or with Lost when the connection
        closes first or has closed already. It must not block. Raises PayloadTooLarge for what is larger than a frame;
        then `on_reply` is not called.
        """
        request_id = self._peer.send_request(method, params, on_reply)
        if self.closed:
            self._peer.forget(request_id)
            self._loop.call_soon(on_reply, Lost(self._lost_reason()))
        return request_id

    async def call(self, method: str, params: object = None, *, timeout_seconds: float | None = None) -> Any:
        """The decoded result. Raises what `errors.error_for` makes of an error answer, ConnectionLost, or TimeoutError.

        When the time is up, and when the waiting task is cancelled, the other side is told by
        `notifications/cancelled`.
        """
        return codec.decode_value(await self.call_raw(method, params, timeout_seconds=timeout_seconds))

    async def call_raw(self, method: str, params: object = None, *, timeout_seconds: float | None = None) -> Raw:
        """Like `call`, with the result as JSON."""
        answer: asyncio.Future[Reply] = self._loop.create_future()
        encoded = None if params is None else codec.encode(params)
        request_id = self.send_request(method, encoded, partial(_settle, answer))
        try:
            async with asyncio.timeout(timeout_seconds):
                reply = await answer
        except TimeoutError:
            self._give_up(request_id, f"no answer within {timeout_seconds} s")
            raise TimeoutError(f"{method}: no answer within {timeout_seconds} s") from None
        except asyncio.CancelledError:
            self._give_up(request_id, "the caller was cancelled")
            raise
        if isinstance(reply, Result):
            return reply.raw
        raise self._no_method(method, reply) if _is_not_found(reply) else exception_of(reply)

    def _no_method(self, method: str, reply: Failure) -> GleitzeitError:
        """In more words than the specification has for it: whose method, and which was meant."""
        error = exception_of(reply)
        suggestion = (error.data or {}).get("suggestion")
        meant = f" (did you mean '{suggestion}'?)" if suggestion else ""
        return MethodNotFound(f"there is no method '{method}' at {self.peer_name}{meant}", error.data)

    def _give_up(self, request_id: int, reason: str) -> None:
        self._peer.cancel(request_id, reason)
        self._peer.forget(request_id)

    def notify(self, method: str, params: object = None) -> None:
        """Send a notification; params as a value, or as JSON in bytes or Raw.

        Does nothing if the connection is closed. Raises PayloadTooLarge for what is larger than a frame.
        """
        self._peer.notify(method, None if params is None else codec.encode(params))

    def cancel(self, request_id: int, reason: str = "") -> None:
        """Ask the other side to stop a request. Its `on_reply` is still called, with whatever comes."""
        self._peer.cancel(request_id, reason)

    # Sending

    async def drain(self) -> None:
        """Wait until little enough is buffered (1 MiB), or the connection is closed."""
        self._flush()
        await self._wire.drain()

    def _wake(self) -> None:
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        frames = self._peer.take_frames()
        if frames:
            self._wire.write(frames)
            if self._wire.buffered_bytes > self.close_above_bytes:
                self._begin_close(TRY_AGAIN_LATER, "too much is waiting to be read")

    # Receiving

    def start(self) -> None:
        """Read in a task of its own (for who does not await `run` himself)."""
        self._reader = self._loop.create_task(self.run(), name=f"connection to {self.peer_name}")

    async def run(self) -> None:
        """Read and act until the wire is closed; then deliver what is lost, and return."""
        try:
            while True:
                frame = await self._wire.read()
                self.take(frame, await _inspected(frame) if len(frame) > LARGE_FRAME_BYTES else None)
        except WireClosed as closed:
            self._end(closed.code, closed.reason)
        finally:
            # Only if the reader itself was cancelled: its owner gave the connection up.
            self._end(ABNORMAL, "the reader was stopped")

    def take(self, frame: bytes, inspection: Inspection | None = None) -> None:
        """Act on a frame; for a wire that has one while its `read` is waited for, and may give it here instead."""
        for received in self._peer.receive(frame, inspection):
            self._act(received)

    def _act(self, received: Received) -> None:
        if isinstance(received, Answered):
            self._guard(received.on_reply, received.reply)
        elif isinstance(received, Request):
            self._serve(received)
        else:
            self._guard(received.request.cancel, received.reason)

    def _serve(self, request: Request) -> None:
        methods = self._methods
        if request.is_notification and (methods is None or not methods.knows(request.method)):
            if self._on_notification is not None:
                self._guard(self._on_notification, self, request.method, request.raw_params)
        elif self._closing is not None and not request.is_notification:
            # An answer could not leave any more, so nothing is begun; the caller learns Lost from the close that is on
            # its way.
            logger.debug("%s: %s arrived while closing", self.peer_name, request.method)
        elif methods is None:
            request.fail(MethodNotFound(METHOD_NOT_FOUND_TEXT, {"method": request.method}))
        else:
            answering = methods.dispatch(request)
            if answering is not None:
                self._run_in_task(request, answering)

    def _run_in_task(self, request: Request, answering: Coroutine[Any, Any, None]) -> None:
        self._peer.await_answer(request)
        if request.answered and not request.is_notification:
            answering.close()
            return
        task = self._loop.create_task(answering, name=request.method)
        self._tasks.add(task)
        # A callback and not an `except` around it: what is cancelled before its first step never gets to that.
        task.add_done_callback(partial(self._task_ended, request))
        request.on_cancel(partial(_cancel, request, task))

    def _task_ended(self, request: Request, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            try:
                task.result()
            except asyncio.CancelledError as cancelled:
                request.fail(TaskCancelled(str(cancelled) or "cancelled by the caller"))

    def _guard(self, function: Callable[..., object], *args: object) -> None:
        """A callback of the owner must not stop the reader: the other callbacks are waiting for it."""
        try:
            function(*args)
        except Exception:
            logger.exception("%s: a callback failed", self.peer_name)

    # Ending

    def add_close_callback(self, callback: OnClose) -> None:
        """Have `callback(connection)` called once after the last reply was delivered; soon, if that is past."""
        if self.closed:
            self._loop.call_soon(callback, self)
        else:
            self._close_callbacks.append(callback)

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Send what is queued, close, and wait until the last replies and the close callbacks have been delivered.

        Answers and notifications that come in meanwhile count; requests are not begun any more, and methods that still
        run in tasks are cancelled: who wants them to finish waits for them first.
        """
        await asyncio.shield(self._begin_close(code, reason))

    def _begin_close(self, code: int, reason: str) -> asyncio.Task[None]:
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(code, reason))
        return self._closing

    async def _close(self, code: int, reason: str) -> None:
        # What was queued before is flushed already: its turn came first. What a close frame can hold is 123 bytes.
        await self._wire.close(code, reason.encode()[:120].decode(errors="ignore"))
        await self._ended.wait()

    def _lost_reason(self) -> str:
        why = f"{self.close_code}: {self.close_reason}" if self.close_reason else f"{self.close_code}"
        return f"the connection to {self.peer_name} closed ({why})"

    def _end(self, code: int, reason: str) -> None:
        if self.closed:
            return
        self.close_code, self.close_reason = code, reason
        if code == MESSAGE_TOO_BIG:
            logger.warning("%s: closed because of a frame that is too large: %s", self.peer_name, reason)
        for answered in self._peer.lose(self._lost_reason()):
            self._guard(answered.on_reply, answered.reply)
        for task in self._tasks:
            task.cancel("the connection closed")
        callbacks, self._close_callbacks = self._close_callbacks, []
        for callback in callbacks:
            self._guard(callback, self)
        self._ended.set()


async def _inspected(frame: bytes) -> Inspection:
    """Look through a large frame without keeping others waiting."""
    inspection = Inspection(codec.MAX_BATCH)
    for piece in pieces(frame):
        inspection.feed(piece)
        await asyncio.sleep(0)
    return inspection


def _is_not_found(reply: Failure | Lost) -> TypeGuard[Failure]:
    return isinstance(reply, Failure) and (reply.code, reply.message) == (METHOD_NOT_FOUND, METHOD_NOT_FOUND_TEXT)


def _settle(answer: asyncio.Future[Reply], reply: Reply) -> None:
    if not answer.done():
        answer.set_result(reply)


def _cancel(request: Request, task: asyncio.Task[None], reason: str) -> None:
    if task.done():  # it deferred the request and went away
        request.fail(TaskCancelled(reason or "cancelled by the caller"))
    else:
        task.cancel(reason)
