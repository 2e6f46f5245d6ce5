"""One end of a JSON-RPC connection, without the connection: bytes go in and come out, nothing here waits or sends.

A `Peer` keeps what a conversation needs: the requests we sent that are not answered, the requests we received that we
have not answered, the batches they came in, and the messages that wait to leave. Its shell does three things:

    receive(frame)      for every frame that arrives; acts on the list that it returns, in its order
    take_frames()       after `wake` was called, and sends what it returns, in its order
    lose(reason)        once, when the connection is gone; delivers the list that it returns
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from msgspec import UNSET, Raw, Struct

from gleitzeit.errors import Overloaded, ParseError, PayloadTooLarge
from gleitzeit.jsonrpc import codec
from gleitzeit.jsonrpc.arrays import Batch, coalesced
from gleitzeit.jsonrpc.codes import INVALID_REQUEST, INVALID_REQUEST_TEXT, PARSE_ERROR, PARSE_ERROR_TEXT, failure_of
from gleitzeit.jsonrpc.inspection import Inspection
from gleitzeit.jsonrpc.messages import NULL, Encoded, Failure, Lost, Malformed, Message, Reply, Result
from gleitzeit.jsonrpc.request import Request

MAX_FRAME_BYTES = 16 * 1024 * 1024
# Requests of one connection that may wait for their answer here; beyond it a request is answered OVERLOADED at once.
MAX_UNANSWERED = 65_536
# Requests that we gave up and that may be answered yet; of an older one the answer counts as one to nothing.
MAX_FORGOTTEN = 65_536

CANCELLED = "notifications/cancelled"

OnReply: TypeAlias = Callable[[Reply], None]


class Answered(Struct, frozen=True, gc=False):
    """The shell calls `on_reply(reply)`."""

    on_reply: OnReply
    reply: Reply


class Cancelled(Struct, frozen=True, gc=False):
    """The shell calls `request.cancel(reason)`."""

    request: Request
    reason: str


Received: TypeAlias = Request | Answered | Cancelled


class Peer:
    """See the module. `wake` is called when messages begin to wait; `owner` is what a Request shows as its connection.

    `coalesce` and `split_batches` may be changed at any time; `unmatched` counts answers to nothing that we asked,
    `answers` all others.
    """

    def __init__(
        self, wake: Callable[[], None], *, owner: object = None, max_frame_bytes: int = MAX_FRAME_BYTES
    ) -> None:
        self.owner = owner
        self.coalesce = 1
        self.split_batches = False
        self.max_frame_bytes = max_frame_bytes
        self.waiting_bytes = 0
        self._nesting = 0
        """Of the frame that is being received, if it was looked through."""
        self.unmatched = 0
        self.answers = 0
        self._forgotten: dict[int, None] = {}
        """Given up, and not yet answered; the earliest first."""
        self._wake = wake
        self._outbox: list[bytes] = []
        self._outstanding: dict[int, OnReply] = {}
        self._unanswered: dict[bytes, Request] = {}
        self._last_id = 0
        self._lost = False

    # What we ask

    def send_request(self, method: str, params: Encoded | None, on_reply: OnReply) -> int:
        """Queue a request; its answer comes by `receive`, or Lost by `lose`. Raises PayloadTooLarge, and then nothing
        was queued.
        """
        self._last_id = request_id = self._last_id + 1
        message = codec.encode_request(request_id, method, params)
        self._check_size(message)
        self._outstanding[request_id] = on_reply
        self._push(message)
        return request_id

    def notify(self, method: str, params: Encoded | None) -> None:
        message = codec.encode_notification(method, params)
        self._check_size(message)
        self._push(message)

    def cancel(self, request_id: int, reason: str) -> None:
        """Tell the other side that the answer is not wanted. It still comes, as a rule as TaskCancelled; no news if it
        came already.
        """
        if request_id in self._outstanding:
            self.notify(CANCELLED, codec.encode({"requestId": request_id, "reason": reason}))

    def forget(self, request_id: int) -> None:
        """Its `on_reply` will not be called."""
        if self._outstanding.pop(request_id, None) is not None:
            self._forgotten[request_id] = None
            if len(self._forgotten) > MAX_FORGOTTEN:
                del self._forgotten[next(iter(self._forgotten))]

    @property
    def outstanding(self) -> int:
        """Requests of ours that have not been answered."""
        return len(self._outstanding)

    def lose(self, reason: str) -> list[Answered]:
        """The connection is gone: nothing leaves any more, and every outstanding request has its reply."""
        self._lost = True
        outstanding, self._outstanding = self._outstanding, {}
        self._unanswered = {}
        self.take_frames()
        lost = Lost(reason)
        return [Answered(on_reply, lost) for on_reply in outstanding.values()]

    # What leaves

    def take_frames(self) -> list[bytes]:
        """All that waits, in its order: a message a frame, or with `coalesce` above 1 arrays of up to that many."""
        waiting, self._outbox, self.waiting_bytes = self._outbox, [], 0
        return waiting if self.coalesce == 1 or len(waiting) < 2 else coalesced(waiting, self.coalesce)

    def _push(self, message: bytes) -> None:
        if self._lost:
            return
        self.waiting_bytes += len(message)
        self._outbox.append(message)
        if len(self._outbox) == 1:
            self._wake()

    def _check_size(self, message: bytes) -> None:
        if len(message) > self.max_frame_bytes:
            sizes = {"size_bytes": len(message), "limit_bytes": self.max_frame_bytes}
            raise PayloadTooLarge(
                f"a message of {len(message)} bytes; at most {self.max_frame_bytes} travel in one frame", sizes
            )

    # What we are asked

    def await_answer(self, request: Request) -> None:
        """The request is answered later; until then it can be cancelled by its id."""
        if request.raw_id is None or self._lost:
            return
        if len(self._unanswered) >= MAX_UNANSWERED:
            request.fail(
                Overloaded(f"{MAX_UNANSWERED} requests of this connection wait already", {"retryAfterSeconds": 1})
            )
        else:
            self._unanswered[request.raw_id] = request

    def answer(self, request: Request, message: bytes) -> None:
        """Queue the encoded response to a request, alone or when the array is complete that it came in."""
        assert request.raw_id is not None
        if self._unanswered.get(request.raw_id) is request:
            del self._unanswered[request.raw_id]
        batch = request.batch
        if len(message) > (self.max_frame_bytes if batch is None else batch.room_bytes(self.max_frame_bytes)):
            sizes = {"size_bytes": len(message), "limit_bytes": self.max_frame_bytes}
            failure = failure_of(PayloadTooLarge("the answer is larger than a frame may be", sizes))
            message = codec.encode_failure(request.raw_id, failure)
        if batch is None:
            self._push(message)
        else:
            batch.pending -= 1
            self._add_to(batch, message)

    def _add_to(self, batch: Batch, message: bytes) -> None:
        batch.add(message)
        self._complete(batch)

    def _complete(self, batch: Batch) -> None:
        if (message := batch.whole()) is not None:
            self._push(message)

    # What arrives

    def receive(self, frame: bytes, inspection: Inspection | None = None) -> list[Received]:
        """What the shell has to do about a frame. Never raises: what is wrong with the frame is answered to the other
        side. A large frame may have been looked through before.
        """
        self._nesting = inspection.deepest if inspection is not None and not inspection.odd_numbers else 0
        try:
            members, is_batch = codec.decode(frame, self._nesting, inspection.members if inspection is not None else 0)
        except codec.BatchTooLong as error:
            reason = f"a batch of {error.count}; at most {codec.MAX_BATCH} members are allowed"
            self._refuse(NULL, INVALID_REQUEST, INVALID_REQUEST_TEXT, reason)
            return self._receive_members([*error.answers], None)
        except ParseError as error:
            reason = str((error.data or {})["reason"])
            self._refuse(NULL, PARSE_ERROR, PARSE_ERROR_TEXT, reason)
            # Unless somebody waits, not all of it is read once more.
            ids = codec.ids_answered(frame) if self._outstanding else []
            return [*self._answered_in_vain(ids, f"the peer's answer is no JSON: {reason}", PARSE_ERROR)]
        if not is_batch:
            return self._receive_members(members, None)
        if not members:
            self._refuse(NULL, INVALID_REQUEST, INVALID_REQUEST_TEXT, "an empty batch")
        if self.split_batches:
            return self._receive_members(members, None)
        return self._receive_batch(members)

    def _receive_members(self, members: list[Message | Malformed], batch: Batch | None) -> list[Received]:
        received: list[Received] = []
        for member in members:
            if isinstance(member, Malformed):
                self._refuse(member.id, INVALID_REQUEST, INVALID_REQUEST_TEXT, member.reason, batch)
                if not member.is_request:
                    received += self._answered_in_vain([member.id], f"the peer's answer is none: {member.reason}")
            elif member.method is UNSET:
                self._receive_response(member, received)
            else:
                self._receive_request(member, member.method, received, batch)
        return received

    def _receive_batch(self, members: list[Message | Malformed]) -> list[Received]:
        """An array that is answered by one array. Its first pending place is held until all members are in, so that it
        cannot end early.
        """
        batch = Batch()
        batch.pending = 1
        received = self._receive_members(members, batch)
        batch.pending -= 1
        self._complete(batch)
        return received

    def _receive_request(self, message: Message, method: str, received: list[Received], batch: Batch | None) -> None:
        params = message.params if len(message.params) else None
        if not len(message.id):
            if method != CANCELLED or not self._receive_cancelled(params, received):
                received.append(Request(self, method, params, None, None))
            return
        if batch is not None:
            batch.pending += 1
        received.append(Request(self, method, params, bytes(message.id), batch))

    def _receive_cancelled(self, params: Raw | None, received: list[Received]) -> bool:
        """Whether it names a request by its id; other forms of it belong to whoever has a method of that name."""
        members = codec.decode_members(params)
        if "requestId" not in members:
            return False
        key = bytes(members["requestId"])
        # A request in this very frame is not in the table yet, and may be taken over only after we return: look it up
        # when it is its turn.
        request = self._unanswered.get(key) or _find(received, key)
        if request is not None:
            received.append(Cancelled(request, _text(members.get("reason"))))
        return True

    def _receive_response(self, message: Message, received: list[Received]) -> None:
        request_id = _own_id(message.id)
        on_reply = self._outstanding.pop(request_id, None)
        if on_reply is None:
            self.unmatched += request_id not in self._forgotten
            self._forgotten.pop(request_id, None)
        else:
            self.answers += 1
            reply = codec.read_reply(message)
            if self._nesting and isinstance(reply, Result):
                reply = Result(reply.raw, self._nesting)
            received.append(Answered(on_reply, reply))

    def _answered_in_vain(self, ids: Iterable[bytes], message: str, code: int = INVALID_REQUEST) -> Iterator[Answered]:
        """Of what came nothing can be used; whoever waits should learn that."""
        for request_id in ids:
            on_reply = self._outstanding.pop(_own_id(Raw(request_id)), None)
            if on_reply is not None:
                yield Answered(on_reply, Failure(code, message))

    def _refuse(self, request_id: bytes, code: int, text: str, reason: str, batch: Batch | None = None) -> None:
        message = codec.encode_failure(request_id, Failure(code, text, Raw(codec.encode({"reason": reason}))))
        if batch is None:
            self._push(message)
        else:
            self._add_to(batch, message)


def _find(received: list[Received], raw_id: bytes) -> Request | None:
    for item in received:
        if isinstance(item, Request) and item.raw_id == raw_id:
            return item
    return None


def _own_id(raw: Raw) -> int:
    """The id of a response as we count them; 0, which is none of ours, if it cannot be one. `7.0` is 7: some languages
    know no integers.
    """
    digits = bytes(raw)
    if digits.isdigit() and len(digits) < 20:
        return int(digits)
    try:
        value = codec.decode_value(digits) if digits else None
    except ParseError:
        return 0
    return int(value) if isinstance(value, float) and value.is_integer() else 0


def _text(raw: Raw | None) -> str:
    """A string as it stands; nothing for whatever else a peer may write there."""
    value = codec.decode_value(raw) if raw is not None and memoryview(raw)[0] == ord('"') else ""
    return str(value)
