"""Piece by piece a text looks the same as in one go."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.jsonrpc import codec
from gleitzeit.jsonrpc.inspection import Inspection, pieces
from gleitzeit.jsonrpc.messages import Result
from gleitzeit.jsonrpc.peer import Peer

TEXTS = st.text(alphabet=st.sampled_from('[]{}"\\ae1é, '), max_size=12)
VALUES = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=30,
)


def looked_through(text: bytes, size: int, most_members: int = 0) -> Inspection:
    inspection = Inspection(most_members)
    for start in range(0, len(text), size):
        inspection.feed(text[start : start + size])
    return inspection


def depth(value: Any) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inside is None else 1 + max(map(depth, inside), default=0)


@given(VALUES, st.integers(1, 40), st.booleans())
def test_how_deep_a_text_is_nested(value: Any, size: int, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert looked_through(text, size).deepest == depth(value)


@given(VALUES, st.integers(1, 40), st.sampled_from(["", " ", "\n  "]))
def test_the_members_of_an_array_are_counted(value: Any, size: int, before: str) -> None:
    count = max(len(value), 1) if isinstance(value, list) else 0
    found = looked_through((before + json.dumps(value)).encode(), size, 1_000)
    assert (found.members, found.deepest) == (count, depth(value))


def test_members_are_counted_until_there_are_too_many() -> None:
    assert 5 < looked_through(b"[" + b"1," * 100 + b"[[1]]]", 7, 5).members < 20


@pytest.mark.parametrize("number", ["1e400", "-1E+999", "1" * 5_000, "0." + "1" * 5_000])
@pytest.mark.parametrize("size", [1, 7, 4_000, 10_000])
def test_numbers_that_may_be_unreadable_are_noticed(number: str, size: int) -> None:
    assert looked_through(f'["e400", {number}]'.encode(), size).odd_numbers


@pytest.mark.parametrize("text", ['["1e400"]', "[1e30, 12345678901234567890]", '["' + "1" * 5_000 + '"]'])
def test_ordinary_numbers_and_texts_are_not(text: str) -> None:
    assert not looked_through(text.encode(), 7).odd_numbers


def test_a_large_answer_is_not_looked_through_again() -> None:
    peer, replies = Peer(lambda: None), list[Any]()
    peer.send_request("x/one", None, replies.append)
    frame = b'{"jsonrpc":"2.0","id":1,"result":%b}' % json.dumps([{"a": [n]} for n in range(100)]).encode()
    (answered,) = peer.receive(frame, looked_through(frame, 1_000))
    assert isinstance(answered.reply, Result)  # type: ignore[union-attr]
    assert answered.reply.nesting == 4  # type: ignore[union-attr]
    assert not codec.is_nested_deeper(answered.reply.raw, 4)  # type: ignore[union-attr]


def test_what_is_nested_too_deeply_is_refused_in_large_frames_too() -> None:
    peer, replies = Peer(lambda: None), list[Any]()
    peer.send_request("x/one", None, replies.append)
    frame = b'{"jsonrpc":"2.0","id":1,"result":%b}' % (b"[" * 70 + b"]" * 70)
    (answered,) = peer.receive(frame, looked_through(frame, 10))
    assert "nested deeper" in answered.reply.message  # type: ignore[union-attr]


def test_pieces_are_the_whole() -> None:
    text = msgspec.json.encode(["x" * 100_000] * 3)
    assert b"".join(pieces(text)) == text
