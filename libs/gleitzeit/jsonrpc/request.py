"""A request as the function of its method sees it."""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from msgspec import UNSET, Raw

from gleitzeit.errors import InvalidParams, ParseError, TaskCancelled
from gleitzeit.jsonrpc import codec
from gleitzeit.jsonrpc.arrays import Batch
from gleitzeit.jsonrpc.codes import failure_of
from gleitzeit.jsonrpc.messages import Failure

OnCancel: TypeAlias = Callable[[str], object]


class Asked(Protocol):
    """The port to the peer at which a request arrived."""

    @property
    def owner(self) -> Any: ...

    def await_answer(self, request: "Request") -> None:
        """The request is answered later; until then it can be cancelled by its id."""

    def answer(self, request: "Request", message: bytes) -> None:
        """Queue the encoded response to a request that has an id; once."""


class Request:
    """A request or notification that arrived, as its method's function sees it.

    A function usually just returns its result or raises. To answer later, without a task that waits, it takes the
    request over:

        def execute(request: Request, /, **params: object) -> None:
            request.defer()
            calls[request.params["_meta"]["callId"]].append(request)    # … and one day, from wherever:
            request.answer({"exit_code": 0})                            # or request.fail(TaskError("…"))

    After `defer()` what the function returns means nothing. Exactly one of `answer` and `fail` counts: the first. Both
    are allowed at any time, also when the connection is gone or the request was a notification: then they do nothing.

    `cancel` comes from the other side (`notifications/cancelled`). The functions given to `on_cancel` are called with
    its reason; they have the duty to see that the request is answered soon, properly with TaskCancelled. A deferred
    request without any is answered so at once.
    """

    __slots__ = (
        "_asked",
        "_deferred",
        "_on_cancel",
        "_params",
        "answered",
        "batch",
        "cancelled",
        "method",
        "raw_id",
        "raw_params",
    )

    def __init__(
        self, asked: Asked, method: str, raw_params: Raw | None, raw_id: bytes | None, batch: Batch | None
    ) -> None:
        self.method = method
        self.raw_params = raw_params
        self.raw_id = raw_id
        self.answered = raw_id is None
        self.cancelled = False
        self.batch = batch
        """In which it came, for the peer."""
        self._asked = asked
        self._deferred = False
        self._on_cancel: list[OnCancel] | None = None
        self._params: Any = UNSET

    @property
    def connection(self) -> Any:
        """The `transport.Connection` on which it came (Any, because this layer is below that one)."""
        return self._asked.owner

    @property
    def id(self) -> str | int | float | None:
        """As the caller wrote it; None also for a notification."""
        return None if self.raw_id is None else codec.decode_value(self.raw_id)

    @property
    def is_notification(self) -> bool:
        return self.raw_id is None

    @property
    def params(self) -> Any:
        """Decoded once: a dict, a list, or None if there are none. `raw_params` is the same as JSON.

        Raises InvalidParams for a number that `codec.decode_value` cannot read.
        """
        if self._params is UNSET:
            try:
                self._params = None if self.raw_params is None else codec.decode_value(self.raw_params)
            except ParseError as error:
                raise InvalidParams(f"Invalid params: {error.message}") from None
        return self._params

    @property
    def deferred(self) -> bool:
        return self._deferred

    def defer(self) -> None:
        """Take the answer over: it comes by `answer` or `fail`, whenever that is. Twice is the same as once."""
        if not self._deferred:
            self._deferred = True
            self._asked.await_answer(self)

    def answer(self, result: object) -> None:
        """Send the result: any value that JSON can hold, or JSON already encoded as bytes or Raw."""
        if self.answered or self.raw_id is None:
            return
        try:
            encoded = codec.encode(result)
        except (TypeError, ValueError) as error:
            self.fail(error)
            return
        self._answered(codec.encode_result(self.raw_id, encoded))

    def fail(self, error: BaseException | Failure) -> None:
        """Send an error: one of ours as it is, a Failure of another peer as it came, anything else as an internal
        error.
        """
        if self.answered or self.raw_id is None:
            return
        failure = error if isinstance(error, Failure) else failure_of(error)
        self._answered(codec.encode_failure(self.raw_id, failure))

    def _answered(self, message: bytes) -> None:
        self.answered = True
        self._on_cancel = None  # they know the request: a cycle would keep its params until the next collection
        self._asked.answer(self, message)

    def on_cancel(self, callback: OnCancel) -> None:
        """Have `callback(reason)` called when the caller cancels; at once if it has; never once it is answered."""
        if self.cancelled:
            callback("")
        elif self.answered:
            return
        elif self._on_cancel is None:
            self._on_cancel = [callback]
        else:
            self._on_cancel.append(callback)

    def cancel(self, reason: str) -> None:
        """The caller does not want the answer any more (for the shell; see the class)."""
        if self.answered or self.cancelled:
            return
        self.cancelled = True
        callbacks, self._on_cancel = self._on_cancel, None
        if not callbacks:
            self.fail(TaskCancelled(reason or "cancelled by the caller"))
        for callback in callbacks or ():
            callback(reason)
