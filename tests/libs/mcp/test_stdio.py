"""Lines out of bytes, however these come; what is no message, and what is too long."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.mcp.stdio import LineSplitter, one_line

LIMIT = 2_000


def split(chunks: list[bytes], refused: list[bytes] | None = None) -> tuple[list[bytes], list[bytes]]:
    lines: list[bytes] = []
    noise: list[bytes] = []
    splitter = LineSplitter(lines.append, noise.append, LIMIT, (refused if refused is not None else []).append)
    for chunk in chunks:
        splitter.feed(chunk)
    return lines, noise


MESSAGES = st.lists(
    st.one_of(
        st.dictionaries(st.text(max_size=5), st.text(max_size=30), max_size=3).map(lambda d: json.dumps(d).encode()),
        st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")),
        st.integers(1, 99).map(lambda n: b'{"id":%d,"result":"%s"}' % (n, b"x" * (LIMIT + n))),
    ),
    max_size=8,
)


@given(lines=MESSAGES, sizes=st.lists(st.integers(1, 700), min_size=1, max_size=20))
def test_lines_do_not_depend_on_how_the_bytes_come(lines: list[bytes], sizes: list[int]) -> None:
    data = b"".join(line + b"\n" for line in lines)
    chunks, at = [], 0
    while at < len(data):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(data[at : at + size])
        at += size
    assert split(chunks) == split([data])
    found, noise = split(chunks)
    said = [line.strip(b" \t\r") for line in lines if len(line) <= LIMIT]
    assert [line for line in found if len(line) <= LIMIT and b"PAYLOAD" not in line] == [
        line for line in said if line[:1] in (b"{", b"[")
    ]
    assert len(noise) == sum(1 for line in said if line and line[:1] not in (b"{", b"["))


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":7,"result":{"content":"%s"}}',
        b'{"id": 7, "result": {"content": "%s"}, "jsonrpc": "2.0"}',
        b'{"result":{"content":"%s"},"jsonrpc":"2.0","id":7}',
        b'{"result":{"content":"%s"},"id":7,"jsonrpc":"2.0"}',
    ],
)
def test_a_line_that_is_too_long_answers_its_own_request(line: bytes) -> None:
    [answer], noise = split([line % (b"x" * 5_000), b"\n"])
    told = json.loads(answer)
    assert (told["id"], told["error"]["data"]["name"]) == (7, "PAYLOAD_TOO_LARGE")
    assert noise == []


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"%s"}}',
        b'{"method":"tools/call","params":{"name":"%s"},"jsonrpc":"2.0","id":7}',
    ],
)
def test_a_request_that_is_too_long_is_refused_to_who_asks(line: bytes) -> None:
    refused: list[bytes] = []
    assert split([line % (b"x" * 5_000), b"\n"], refused) == ([], [])
    [answer] = map(json.loads, refused)
    assert (answer["id"], answer["error"]["message"]) == (7, "the request is larger than 2000 bytes")


def test_a_notification_that_is_too_long_is_dropped() -> None:
    lines, [noise] = split([b'{"method":"m","params":"%s"}\n{"id":1,"result":1}\n' % (b"x" * 5_000)])
    assert lines == [b'{"id":1,"result":1}']
    assert noise.startswith(b'{"method":"m"')


def test_what_leaves_is_one_line() -> None:
    assert one_line(b'{\n "a": "b\\n"\r\n}') == b'{  "a": "b\\n"  }\n'
