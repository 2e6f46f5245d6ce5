"""What a method may know about the call that it serves, and what it may say before its result."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any, Literal

from msgspec import Struct

from gleitzeit.model.secrets import Place
from gleitzeit.provider.calls import Fence
from gleitzeit.provider.secrets import Sieve

STREAM_LIMIT_BYTES = 1024 * 1024
PIECE_CHARACTERS = 64 * 1024
"""Of a stream, in one message."""
PIECE_SECONDS = 0.016
"""Between two messages of a stream, a frame of a screen: no eye sees it, and a model that says a thousand words a
second would keep four processes busy that it may need the machine for itself."""

Level = Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
Say = Callable[[str, dict[str, Any]], None]
"""Sends a notification (method, params) to whoever the call belongs to at this moment; to nobody if that is lost."""

logger = logging.getLogger(__name__)


class Allowance(Struct, frozen=True):
    """What of the budgets of a call's task and workflow is left for it; None is no limit. `calls` are requests that are
    paid for, the first one included."""

    calls: int | None = None
    tokens: int | None = None


class Meta(
    Struct,
    frozen=True,
    rename={
        "call_id": "callId",
        "lease_seconds": "leaseSeconds",
        "progress_token": "progressToken",
        "deadline_seconds": "deadlineSeconds",
    },
):
    """`params._meta` of a call. All of it is optional: a request without a `callId` is a plain one."""

    workflow_id: str = ""
    task_id: str = ""
    attempt: int = 0
    call_id: str = ""
    instance: str = ""
    fence: Fence | None = None
    lease_seconds: float = 20.0
    progress_token: str | int | None = None
    deadline_seconds: float | None = None
    dependencies: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    untrusted: bool = False
    budget: Allowance = Allowance()
    secrets: list[Place] = []
    """Which texts of the params have secrets in them."""
    traceparent: str = ""
    batch: str = ""
    """Of `rpc.discover`: "split" if the caller takes the answers to a batch one by one, as they come."""
    blobs: str = ""
    """Of `rpc.discover`: "v1" if the caller serves large values, by a second connection."""


class StreamBuffer:
    """The last part of what a running call has streamed, by number, so that one who comes back can go on reading.

    Numbers start at 1 and have no gaps; chunks that no longer fit are dropped from the front.
    """

    def __init__(self, limit_bytes: int = STREAM_LIMIT_BYTES) -> None:
        self.seq = 0
        self.size_bytes = 0
        self._limit_bytes = limit_bytes
        self._dropped = 0
        """Characters that are kept no more."""
        self._chunks: deque[tuple[int, str, int]] = deque()

    def append(self, delta: str) -> int:
        """Returns the number of the chunk."""
        self.seq += 1
        size_bytes = len(delta.encode(errors="surrogatepass"))
        self._chunks.append((self.seq, delta, size_bytes))
        self.size_bytes += size_bytes
        while self.size_bytes > self._limit_bytes:
            _, dropped, size_bytes = self._chunks.popleft()
            self.size_bytes -= size_bytes
            self._dropped += len(dropped)
        return self.seq

    def after(self, seq: int) -> list[tuple[int, str, int]]:
        """The kept chunks with a higher number, each with how many characters of the text come before it."""
        offsets = accumulate((len(delta) for _, delta, _ in self._chunks), initial=self._dropped)
        placed = zip(self._chunks, offsets, strict=False)  # the last offset is the end
        return [(number, delta, offset) for (number, delta, _), offset in placed if number > seq]

    def messages(self, token: str | int | None, seq: int) -> Iterator[dict[str, Any]]:
        """Params of `notifications/stream` for all that came after `seq`."""
        for number, delta, offset in self.after(seq):
            yield {"progressToken": token, "seq": number, "delta": delta, "offset": offset}


class Call:
    """Declare a first parameter of this type, and your method gets it: `async def chat(call: Call, model: str): …`.

    `progress`, `log` and `stream` never wait, and may be called from other threads too; what they say is lost when
    nobody listens. They raise TypeError for what JSON cannot hold.
    An `async def` method is cancelled like every asyncio task; `cancelled` and `on_cancel` are for work done elsewhere.
    """

    __slots__ = (
        "_callbacks",
        "_chunks",
        "_deadline",
        "_loop",
        "_progress",
        "_said_at",
        "_say",
        "_sieve",
        "_thread",
        "_timer",
        "_unsaid",
        "_unsaid_characters",
        "cancelled",
        "meta",
        "method",
        "token",
    )

    def __init__(self, method: str, meta: Meta, say: Say, sieve: Sieve | None = None) -> None:
        self.method = method
        self.meta = meta
        self.token = meta.progress_token if meta.progress_token is not None else meta.call_id or None
        self.cancelled = False
        """Whether the call is to be stopped. Read it now and then from work in a thread."""
        self._say = say
        self._sieve = sieve
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._deadline = None if meta.deadline_seconds is None else self._loop.time() + meta.deadline_seconds
        self._callbacks: list[Callable[[], None]] = []
        self._chunks: StreamBuffer | None = None
        self._unsaid: list[str] = []
        self._unsaid_characters = 0
        self._said_at = -PIECE_SECONDS
        """When the last piece of the stream was said."""
        self._timer: asyncio.TimerHandle | None = None
        """For the next one, if something waits."""
        self._progress: dict[str, Any] = {"progress": 0}

    @property
    def workflow_id(self) -> str:
        return self.meta.workflow_id

    @property
    def task_id(self) -> str:
        return self.meta.task_id

    @property
    def attempt(self) -> int:
        """Counts from 1; 0 if the call is no task's."""
        return self.meta.attempt

    @property
    def dependencies(self) -> dict[str, Any]:
        """The results of the tasks that this one depends on, by id and by name; for methods that asked for them."""
        return self.meta.dependencies

    @property
    def traceparent(self) -> str:
        """W3C trace context, for programs that record traces and for what the method asks in its turn; "" if none."""
        return self.meta.traceparent

    @property
    def remaining_seconds(self) -> float | None:
        """Until the call is stopped for taking too long; None if it may take as long as it likes."""
        return None if self._deadline is None else max(0.0, self._deadline - self._loop.time())

    def progress(self, progress: float, total: float | None = None, message: str = "") -> None:
        """How far it is: `progress` out of `total`, in any unit."""
        said: dict[str, Any] = {"progress": progress}
        if total is not None:
            said["total"] = total
        if message:
            said["message"] = message
        self._run(self._do_progress, said)

    def log(self, data: Any, level: Level = "info") -> None:
        """A line, or any JSON value, for those who watch the task."""
        self._run(self._do_log, level, data)

    def stream(self, delta: str) -> None:
        """The next piece of a text that grows; the whole text belongs into the result too.

        The first leaves at once. Those that follow within 16 ms of the one before travel together.
        """
        if not isinstance(delta, str):
            raise TypeError(f"a piece of a text is a str, not {type(delta).__name__}")
        self._run(self._do_stream, delta)

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Call back, in the event loop, when the call is to be stopped; at once if it is already."""
        if self.cancelled:
            callback()
        else:
            self._callbacks.append(callback)

    def cancel(self) -> None:
        """For the service: mark the call, and tell those who asked to be told."""
        if self.cancelled:
            return
        self.cancelled = True
        for callback in self._callbacks:
            try:
                callback()
            except Exception:  # a stranger's code; the others must still be told
                logger.exception("a cancel callback of %s failed", self.method, extra=self.log_fields)

    def replay(self, seq: int) -> None:
        """For the service: one who attached hears at once how far it is, and what was streamed after `seq`."""
        self._number_unsaid()  # it is among what is said now
        self._do_progress(self._progress)
        if self._chunks is not None:
            for said in self._chunks.messages(self.token, seq):
                self._say("notifications/stream", said)

    @property
    def streamed(self) -> StreamBuffer | None:
        """For the service: what of the stream is kept; None if there was nothing."""
        return self._chunks

    @property
    def log_fields(self) -> dict[str, Any]:
        """For `logging`: `logger.info("…", extra=call.log_fields)`."""
        return {"workflow_id": self.workflow_id, "task_id": self.task_id, "attempt": self.attempt}

    def _run(self, function: Callable[..., None], *args: Any) -> None:
        if threading.get_ident() == self._thread:
            function(*args)
        else:
            self._loop.call_soon_threadsafe(function, *args)

    def _do_progress(self, said: dict[str, Any]) -> None:
        self.flush()
        self._progress = said
        if self.token is not None:
            self._say("notifications/progress", {"progressToken": self.token, **said})

    def _do_log(self, level: str, data: Any) -> None:
        self.flush()
        params = {"level": level, "logger": self.method, "data": data}
        if self.token is not None:
            params["progressToken"] = self.token
        self._say("notifications/message", params)

    def _do_stream(self, delta: str) -> None:
        if self.token is None:
            return
        if self._sieve is not None:
            delta = self._sieve.feed(delta)
        at = 0
        while len(delta) - at > PIECE_CHARACTERS:  # a message has a largest size, and what comes at once may be larger
            self._unsaid.append(delta[at : at + PIECE_CHARACTERS])
            self.flush()
            at += PIECE_CHARACTERS
        delta = delta[at:] if at else delta
        self._unsaid.append(delta)
        self._unsaid_characters += len(delta)
        if self._unsaid_characters > PIECE_CHARACTERS or self._loop.time() - self._said_at >= PIECE_SECONDS:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_at(self._said_at + PIECE_SECONDS, self.flush)

    def end(self) -> None:
        """For the service, before the result: say what is left of the stream."""
        if self._sieve is not None and (rest := self._sieve.end()):
            self._unsaid.append(rest)
        self.flush()

    def flush(self) -> None:
        """Say what was streamed and waits."""
        delta = self._number_unsaid()
        if delta and self._chunks is not None:
            self._said_at = self._loop.time()
            said = {"progressToken": self.token, "seq": self._chunks.seq, "delta": delta}
            self._say("notifications/stream", said)

    def _number_unsaid(self) -> str:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._unsaid:
            return ""
        delta = self._unsaid[0] if len(self._unsaid) == 1 else "".join(self._unsaid)
        self._unsaid, self._unsaid_characters = [], 0
        if not delta:
            return ""
        if self._chunks is None:
            self._chunks = StreamBuffer()
        self._chunks.append(delta)
        return delta
