import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from gleitzeit.errors import ParseError
from gleitzeit.jsonrpc import codec
from gleitzeit.jsonrpc.messages import Failure, Malformed, Message, Result

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def only(frame: bytes) -> Message | Malformed:
    members, is_batch = codec.decode(frame)
    assert not is_batch
    (member,) = members
    return member


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@given(st.integers(min_value=1), st.text(), st.dictionaries(st.text(), JSON))
def test_a_request_comes_back_as_it_was_sent(request_id, method, params):
    try:
        frame = codec.encode_request(request_id, method, codec.encode(params))
    except ValueError:
        return  # a lone surrogate: JSON of UTF-8 cannot hold it
    message = only(frame)
    assert isinstance(message, Message)
    assert message.method == method
    assert json.loads(bytes(message.id)) == request_id
    assert codec.decode_value(message.params) == params


def test_empty_params_are_not_left_out():
    assert json.loads(codec.encode_request(1, "m", b"{}"))["params"] == {}
    assert json.loads(codec.encode_notification("m", b"[]"))["params"] == []
    assert "params" not in json.loads(codec.encode_request(1, "m", None))


@pytest.mark.parametrize("raw_id", [b"1", b"1.0", b"-7", b"1e2", b'"a"', b'"\\u00e4"', b"null", b"9" * 40])
def test_an_id_is_kept_to_the_letter(raw_id):
    message = only(b'{"jsonrpc": "2.0", "method": "m", "id": %b}' % raw_id)
    assert isinstance(message, Message)
    assert bytes(message.id) == raw_id
    assert raw_id in codec.encode_result(bytes(message.id), b"1")


@pytest.mark.parametrize(
    ("frame", "raw_id", "word"),
    [
        (b"1", b"null", "object"),
        (b'"text"', b"null", "object"),
        (b"{}", b"null", "jsonrpc"),
        (b'{"method": "m", "id": 7}', b"7", "jsonrpc"),
        (b'{"jsonrpc": "1.0", "method": "m", "id": 7}', b"7", "jsonrpc"),
        (b'{"jsonrpc": 2.0, "method": "m", "id": 7}', b"7", "jsonrpc"),
        (b'{"jsonrpc": "2.0", "id": 7}', b"7", "neither"),
        (b'{"jsonrpc": "2.0", "method": 1, "id": "x"}', b'"x"', "method"),
        (b'{"jsonrpc": "2.0", "method": null, "id": 7}', b"7", "method"),
        (b'{"jsonrpc": "2.0", "method": "m", "params": "bar", "id": 7}', b"7", "params"),
        (b'{"jsonrpc": "2.0", "method": "m", "params": null, "id": 7}', b"7", "params"),
        (b'{"jsonrpc": "2.0", "method": "m", "id": true}', b"null", "id"),
        (b'{"jsonrpc": "2.0", "method": "m", "id": {}}', b"null", "id"),
        (b'{"jsonrpc": "2.0", "method": "m", "id": [1]}', b"null", "id"),
        (b'{"jsonrpc": "2.0", "method": "m", "id": "%b"}' % (b"x" * 5000), b"null", "id"),
        (b'{"jsonrpc": "2.0", "method": "m", "params": %b, "id": 7}' % nested(65), b"7", "deeper"),
    ],
)
def test_what_is_no_message_is_explained(frame, raw_id, word):
    member = only(frame)
    assert isinstance(member, Malformed)
    assert member.id == raw_id
    assert word in member.reason


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b" ",
        b"nonsense",
        b"[",
        b'{"jsonrpc": "2.0"',
        b"{}{}",
        b'{"jsonrpc": 1, oops',
        b"[1, 2",
        b"NaN",
        b"\x00\xff",
        b'{"jsonrpc": "2.0", "result": "\xff", "id": 1}',
        "\ufeff{}".encode(),
        '{"jsonrpc": "2.0"}'.encode("utf-16"),
        b'{"a":' * 5000,
        b"[" * 100_000,
        nested(100_000),
    ],
)
def test_what_is_no_json_is_a_parse_error_with_a_reason(frame):
    with pytest.raises(ParseError) as caught:
        codec.decode(frame)
    assert caught.value.data
    assert caught.value.data["reason"]


def test_members_of_a_batch_are_judged_one_by_one():
    members, is_batch = codec.decode(b' [1, {"jsonrpc": "2.0", "method": "m"}, {"foo": "boo"}] ')
    assert is_batch
    assert [type(member) for member in members] == [Malformed, Message, Malformed]


def test_a_response_without_version_is_taken():
    message = only(b'{"id": 3, "result": 1}')
    assert isinstance(message, Message)
    assert message.method is UNSET
    assert codec.read_reply(message) == Result(message.result)


@pytest.mark.parametrize(
    ("members", "code", "text"),
    [
        (b'"error": {"code": -5, "message": "no", "data": [1]}', -5, "no"),
        (b'"error": {"code": -5, "message": "no"}', -5, "no"),
        (b'"error": {"code": -5}', -5, ""),
        (b'"error": {"code": -5, "message": "no"}, "result": 1', -5, "no"),
        (b'"error": "no"', -32600, "error object"),
        (b'"error": {"code": "E", "message": "no"}', -32600, "error object"),
        (b'"error": null', -32600, "error object"),
        (b'"result": %b' % nested(65), -32600, "deeper"),
        (b'"error": {"code": 1, "message": "", "data": %b}' % nested(65), -32600, "deeper"),
    ],
)
def test_an_answer_that_is_no_result_is_a_failure(members, code, text):
    message = only(b'{"jsonrpc": "2.0", "id": 1, %b}' % members)
    assert isinstance(message, Message)
    failure = codec.read_reply(message)
    assert isinstance(failure, Failure)
    assert failure.code == code
    assert text in failure.message


def test_a_null_error_beside_a_result_is_a_result():
    message = only(b'{"jsonrpc": "2.0", "id": 1, "error": null, "result": null}')
    assert isinstance(message, Message)
    reply = codec.read_reply(message)
    assert isinstance(reply, Result)
    assert bytes(reply.raw) == b"null"


def depth(value: object) -> int:
    if isinstance(value, list | dict):
        return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)
    return 0


TRICKY = st.recursive(
    st.text('[]{}"\\', max_size=6) | st.integers(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text('[]{}"\\', max_size=4), inner, max_size=5),
    max_leaves=60,
)


@given(TRICKY, st.integers(min_value=1, max_value=6))
def test_nesting_is_counted_exactly_whatever_stands_in_strings(value, limit):
    assert codec.is_nested_deeper(codec.encode(value), limit) == (depth(value) > limit)


def test_nesting_at_the_limit():
    for tail in (b"", b"[]," * 200 + b"1"):
        exact = b"[" * 63 + b"[" + tail.replace(b"[]", b"1") + b"]" * 64
        assert not codec.is_nested_deeper(exact, 64)
        assert codec.is_nested_deeper(b"[" + exact + b"]", 64)


def test_raw_and_bytes_are_json_already():
    assert codec.encode(b'{"a": 1}') == b'{"a": 1}'
    assert codec.encode(Raw(b"[1]")) == b"[1]"
    assert codec.encode({"a": Raw(b"[1]")}) == b'{"a":[1]}'


@pytest.mark.parametrize("value", [b"", b"hello", b"{", b'"\xff"', "\ud800", [["x"], object()], {(1, 2): 3}])
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises((TypeError, ValueError)):
        codec.encode(value)


def test_a_value_that_contains_itself_is_refused():
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="recursion"):
        codec.encode(circle)
