"""Bytes to JSON-RPC messages and back. The only module that knows `jsonrpcclient`, which builds requests and reads
responses.

A frame is one message or one array of them (a batch). `decode` judges every member by itself, so that one bad member
spoils nothing else.
"""

import json
import re
from typing import Any

import msgspec
from jsonrpcclient import notification, parse, request
from msgspec import UNSET, Raw, Struct

from gleitzeit.errors import ParseError
from gleitzeit.jsonrpc.codes import INVALID_REQUEST
from gleitzeit.jsonrpc.messages import ABSENT, NULL, Encoded, Failure, Malformed, Message, Reply, Result

MAX_NESTING = 64
MAX_BATCH = 1_000
MAX_ID_BYTES = 4_096

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_decode_message = msgspec.json.Decoder(Message).decode
_decode_messages = msgspec.json.Decoder(list[Message]).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_raw = msgspec.json.Decoder(Raw).decode
_decode_array = msgspec.json.Decoder(list[Raw]).decode

_VERSION = rb'"jsonrpc"\s*:\s*"[^"]*"'
_BEGINS_AN_ANSWER = re.compile(
    rb'\s*\{\s*(?:%b\s*,\s*)?"id"\s*:\s*(\d{1,18})\s*,\s*(?:%b\s*,\s*)?"(?:result|error)"' % (_VERSION, _VERSION)
)
_ENDS_AN_ANSWER = re.compile(
    rb'[\]}]\s*(?:,\s*%b\s*)?,\s*"id"\s*:\s*(\d{1,18})\s*(?:,\s*%b\s*)?\}\s*\Z' % (_VERSION, _VERSION)
)
_LONGEST_END = 200
_BRACKETS = b"[]{}"
_NOT_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
_WHITESPACE = b" \t\r\n"


class BatchTooLong(Exception):
    """An array of `count` members or more, which is above MAX_BATCH. Its requests are not to be begun; `answers` are
    what it has of those, which somebody waits for."""

    def __init__(self, count: int, answers: list[Message]) -> None:
        super().__init__(count)
        self.count = count
        self.answers = answers


class _Envelope(Struct, frozen=True, gc=False):
    """The members of a message whatever their types, to say what is wrong with it."""

    jsonrpc: Raw = ABSENT
    method: Raw = ABSENT
    params: Raw = ABSENT
    id: Raw = ABSENT
    result: Raw = ABSENT
    error: Raw = ABSENT


class _ErrorObject(Struct, frozen=True, gc=False):
    code: int
    message: str = ""
    data: Raw = ABSENT


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_error = msgspec.json.Decoder(_ErrorObject).decode


def decode(data: bytes, nesting: int = 0, count: int = 0) -> tuple[list[Message | Malformed], bool]:
    """The members of a frame, and whether it is an array. `nesting` of the whole frame, and the `count` of its members
    (any above MAX_BATCH stands for all such), if somebody knows them.

    Raises ParseError if the frame as a whole is no JSON, and BatchTooLong. An empty array is returned as such: the
    caller answers it.
    """
    _check_text(data)
    is_batch = data.lstrip(_WHITESPACE)[:1] == b"["
    try:
        try:
            members: list[Message] = _decode_messages(data) if is_batch else [_decode_message(data)]
        except msgspec.ValidationError:
            # Of so many members none is looked at: a frame can hold eight million that are no messages.
            raws = [] if count > MAX_BATCH else _decode_array(data) if is_batch else [Raw(data)]
            if max(count, len(raws)) > MAX_BATCH:
                raise BatchTooLong(max(count, len(raws)), []) from None
            return [_judge(raw) for raw in raws], is_batch
    except msgspec.DecodeError as error:
        raise ParseError("Parse error", {"reason": str(error)}) from None
    except RecursionError:
        raise ParseError("Parse error", {"reason": f"nested far deeper than {MAX_NESTING} levels"}) from None
    too_many = len(members) if len(members) > MAX_BATCH else 0
    if too_many:
        members = [member for member in members if member.method is UNSET]
    simple = 0 < nesting <= MAX_NESTING or data.count(b"[") + data.count(b"{") <= MAX_NESTING
    judged = [_inspect(member, simple) for member in members]
    if too_many:
        raise BatchTooLong(too_many, [member for member in judged if isinstance(member, Message)])
    return judged, is_batch


def ids_answered(data: bytes) -> list[bytes]:
    """The ids of the responses in a frame that `decode` refused, as far as a more tolerant reader finds them.

    The peer meant to answer, with a NaN or half a character perhaps: whoever waits should learn that it was in vain.
    """
    try:
        value = json.loads(data.decode(errors="replace"))
    except (ValueError, RecursionError):
        ends = _BEGINS_AN_ANSWER.match(data) or _ENDS_AN_ANSWER.search(data[-_LONGEST_END:])
        return [ends[1]] if ends is not None else []
    members = value if isinstance(value, list) else [value]
    answers = (m for m in members if isinstance(m, dict) and "method" not in m and ("result" in m or "error" in m))
    return [b"%d" % answer["id"] for answer in answers if type(answer.get("id")) is int]


def _check_text(data: bytes) -> None:
    """msgspec does not look into strings that stay raw; passed on, bytes that are no UTF-8 would close somebody else's
    socket.
    """
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise ParseError("Parse error", {"reason": f"not UTF-8 at byte {error.start}"}) from None


def _inspect(message: Message, simple: bool) -> Message | Malformed:
    """What the types of Message do not say: a request's id and params. `simple`: the frame has too few brackets to be
    nested too deeply.
    """
    if message.method is not UNSET:
        if len(message.id) and not _is_id(message.id):
            return Malformed(NULL, f"id must be a string, a number or null, of at most {MAX_ID_BYTES} bytes")
        if len(message.params) and memoryview(message.params)[0] not in b"[{":
            return Malformed(_id_or_null(message.id), "params must be an array or an object")
        if not simple and is_nested_deeper(message.params, MAX_NESTING):
            return Malformed(_id_or_null(message.id), f"params are nested deeper than {MAX_NESTING} levels")
    elif not len(message.result) and not len(message.error):
        return Malformed(_id_or_null(message.id), "neither a method nor a result nor an error", is_request=False)
    elif not simple and (is_nested_deeper(message.result, MAX_NESTING) or is_nested_deeper(message.error, MAX_NESTING)):
        too_deep = {"code": INVALID_REQUEST, "message": f"the answer is nested deeper than {MAX_NESTING} levels"}
        return Message("2.0", id=message.id, error=Raw(_encode(too_deep)))
    return message


def _judge(raw: Raw) -> Message | Malformed:
    """A member of a frame in which at least one member has a wrong type somewhere: this one, or another."""
    try:
        message = _decode_message(raw)
    except msgspec.ValidationError:
        return _explain(raw)
    return _inspect(message, simple=False)


def _explain(raw: Raw) -> Message | Malformed:
    try:
        envelope = _decode_envelope(raw)
    except msgspec.ValidationError:
        return Malformed(NULL, "a message must be an object")
    if not len(envelope.method) and (len(envelope.result) or len(envelope.error)):
        # A response whose "jsonrpc" is missing or odd: its caller waits, and what it says is clear.
        return _inspect(Message("2.0", id=envelope.id, result=envelope.result, error=envelope.error), simple=False)
    if len(envelope.method) and memoryview(envelope.method)[0] != ord('"'):
        return Malformed(_id_or_null(envelope.id), "method must be a string")
    return Malformed(_id_or_null(envelope.id), 'jsonrpc must be exactly "2.0"', is_request=len(envelope.method) > 0)


def _is_id(raw: Raw) -> bool:
    return memoryview(raw)[0] in b'"-0123456789n' and len(raw) <= MAX_ID_BYTES


def _id_or_null(raw: Raw) -> bytes:
    return bytes(raw) if len(raw) and _is_id(raw) else NULL


def is_nested_deeper(raw: Encoded, limit: int) -> bool:
    """Whether arrays and objects stand more than `limit` levels inside one another. `raw` must be valid JSON, or empty.

    Brackets are counted first: hardly a value has more than 64 of them. Those that have are reduced to their brackets
    by C loops: strings taken out, everything else dropped, and innermost pairs removed level by level.
    """
    if len(raw) <= 2 * limit:
        return False
    data = bytes(raw)
    if data.count(b"[") + data.count(b"{") <= limit:
        return False
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(data.split(b'"')[::2]).translate(None, _NOT_BRACKETS).translate(_AS_SQUARE)
    for _ in range(limit):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    return True


_AS_SQUARE = bytes.maketrans(b"{}", b"[]")


def encode(value: object) -> bytes:
    """JSON of any value; Raw is JSON already, and so are bytes, which are checked: a stranger's may be anything.

    Raises TypeError or ValueError for what JSON cannot hold.
    """
    if isinstance(value, Raw):
        return bytes(value)
    try:
        if isinstance(value, bytes):
            _check_text(value)
            _decode_raw(value)
            return value
        return _encode(value)
    except (msgspec.DecodeError, ParseError) as error:
        raise ValueError(f"bytes that are no JSON: {error}") from None
    except (OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from None


def decode_value(raw: Encoded) -> Any:
    """The Python value of params, a result or an error's data that came through `decode`. Raises ParseError for numbers
    that only exist on paper: `decode` does not look into what stays raw.
    """
    try:
        return _decode(raw)
    except msgspec.ValidationError:
        raise ParseError("a number is larger than 1.8e308, or has more than 4,300 digits") from None


def decode_members(params: Raw | None) -> dict[str, Raw]:
    """The members of params by name, undecoded; none if params are absent or by position."""
    return _decode_object(params) if params is not None and memoryview(params)[0] == ord("{") else {}


def encode_request(request_id: int, method: str, params: Encoded | None) -> bytes:
    """`params` are encoded already, or None for none."""
    return _encode(request(method, _as_raw(params), id=request_id))


def encode_notification(method: str, params: Encoded | None) -> bytes:
    """As `encode_request`, without an id."""
    return _encode(notification(method, _as_raw(params)))


def _as_raw(params: Encoded | None) -> Any:
    # jsonrpcclient leaves out what is falsy; `{}` as a Raw is not.
    return Raw(params) if isinstance(params, bytes) else params


def encode_result(request_id: bytes, result: bytes) -> bytes:
    """Both as JSON: the id as it came, also if it is a text or null."""
    return b'{"jsonrpc":"2.0","result":%b,"id":%b}' % (result, request_id)


def encode_failure(request_id: bytes, failure: Failure) -> bytes:
    """The id as JSON; `data` is left out where there is none."""
    # A message may quote a file name that is no Unicode; the answer must not be lost over it.
    message = failure.message.encode("utf-8", "replace").decode()
    error: dict[str, object] = {"code": failure.code, "message": message}
    if failure.data is not None:
        error["data"] = failure.data
    return b'{"jsonrpc":"2.0","error":%b,"id":%b}' % (_encode(error), request_id)


def read_reply(message: Message) -> Reply:
    """What a response says. One that is no proper response is a failure, so that its caller is not left waiting."""
    if not len(message.error) or (bytes(message.error) == NULL and len(message.result)):
        answer: Any = parse({"result": message.result, "id": None})
        return Result(answer.result)
    try:
        error = _decode_error(message.error)
    except msgspec.ValidationError:
        return Failure(INVALID_REQUEST, "the peer answered with an error that is no JSON-RPC error object")
    data = error.data if len(error.data) else None
    answer = parse({"error": {"code": error.code, "message": error.message, "data": data}, "id": None})
    return Failure(answer.code, answer.message, answer.data)
