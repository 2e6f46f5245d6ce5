"""HTTP/1.1 answers, cut wherever a network may cut them."""

import itertools

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gz_provider_llm.answers import HEAD_LIMIT_BYTES, Answer, Malformed

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def read(*pieces: bytes, ended: bool = False) -> tuple[Answer, bytes]:
    answer, body = Answer(), b""
    for piece in pieces:
        answer.feed(piece)
        body += answer.take()
    if ended:
        answer.end()
    return answer, body


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bytes, bool]:
    """What stands on the wire, its body, and whether the connection can be used again."""
    chunks = draw(st.lists(st.binary(max_size=40)))
    body = b"".join(chunks)
    status = draw(st.sampled_from([b"200 OK", b"404 Not Found", b"500", b"200 a b c"]))
    announced = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"]))
    wish = draw(st.sampled_from([b"", b"Connection: close\r\n", b"connection: Keep-Alive\r\n", b"X-Other: 1\r\n"]))
    head = b"%bHTTP/1.1 %b\r\n%b" % (announced, status, wish)
    if draw(st.booleans()):
        return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body), body, b"close" not in wish
    sent = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks if chunk)
    trailer = draw(st.sampled_from([b"", b"X-Trailer: 1\r\n"]))
    wire = b"%btransfer-encoding: Chunked\r\n\r\n%b0\r\n%b\r\n" % (head, sent, trailer)
    return wire, body, b"close" not in wish


@given(answers(), st.lists(st.integers(0, 400)))
def test_it_may_be_cut_anywhere(sent: tuple[bytes, bytes, bool], cuts: list[int]) -> None:
    wire, body, reusable = sent
    places = [0, *sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]
    answer, found = read(*(wire[a:b] for a, b in itertools.pairwise(places)))
    assert (answer.done, found, answer.reusable) == (True, body, reusable)


@given(answers())
def test_it_is_what_h11_reads(sent: tuple[bytes, bytes, bool]) -> None:
    wire, body, _ = sent
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(wire)
    theirs, data = None, b""
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            theirs = event
        elif isinstance(event, h11.Data):
            data += event.data
    answer, _ = read(wire)
    assert theirs is not None
    assert answer.head is not None
    assert data == body
    assert (answer.head.status, answer.head.reason) == (theirs.status_code, bytes(theirs.reason))
    ours = [(name.lower(), value.lower()) for name, value in answer.head.headers]
    assert ours == [(name, value.lower()) for name, value in theirs.headers]


@given(st.binary(max_size=60))
def test_nonsense_is_refused_or_waited_for(nonsense: bytes) -> None:
    answer = Answer()
    try:
        answer.feed(nonsense)
        answer.end()
    except Malformed:
        return
    assert answer.done


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (b"HTTP/2 200\r\n\r\n", "no HTTP/1.1"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "no HTTP/1.1"),
        (b"HTTP/1.1 2000 x\r\n\r\n", "no HTTP/1.1"),
        (OK + b"no colon\r\n\r\n", "without its name"),
        (OK + b" folded: x\r\n\r\n", "without its name"),
        (OK + b"content-length: -1\r\n\r\n", "no number"),
        (OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\n", "no number"),
        (OK + b"transfer-encoding: gzip, chunked\r\n\r\n", "other than chunked"),
        (CHUNKED + b"x\r\n", "without its size"),
        (CHUNKED + b"-1\r\n", "without its size"),
        (CHUNKED + b"\r\n", "without its size"),
        (CHUNKED + b"1\r\nab\r\n", "longer than its size"),
        (CHUNKED + b"1" * (HEAD_LIMIT_BYTES + 1), "does not end"),
        (OK + b"x: " + b"y" * HEAD_LIMIT_BYTES + b"\r\n\r\n", "too large"),
        (OK + b"x: " + b"y" * HEAD_LIMIT_BYTES, "does not end"),
    ],
)
def test_what_is_no_answer(wire: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        read(wire)


@pytest.mark.parametrize("wire", [b"", OK, CHUNKED, CHUNKED + b"2\r\nab\r\n", OK + b"content-length: 2\r\n\r\na"])
def test_an_end_in_the_middle(wire: bytes) -> None:
    with pytest.raises(Malformed, match="closed"):
        read(wire, ended=True)


def test_a_body_that_ends_with_its_connection() -> None:
    answer, body = read(b"HTTP/1.0 200 OK\r\n\r\nall ", b"of it", ended=True)
    assert (answer.done, body, answer.reusable) == (True, b"all of it", False)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_answers_without_a_body(status: bytes) -> None:
    answer, body = read(b"HTTP/1.1 %b\r\ncontent-length: 7\r\n\r\n" % status)
    assert (answer.done, body, answer.reusable) == (True, b"", True)


def test_what_follows_an_answer_is_none_of_it() -> None:
    answer, body = read(OK + b"content-length: 1\r\n\r\nab")
    assert (answer.done, body, answer.reusable) == (True, b"a", False)
