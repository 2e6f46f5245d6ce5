"""Every example of the JSON-RPC 2.0 specification (section 7), asked by nothing but `websockets` and `json`."""

import json
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket

from gleitzeit.jsonrpc.methods import Methods, Request
from gleitzeit.transport.server import Server


def subtract(request: Request, /, minuend: int, subtrahend: int) -> int:
    return minuend - subtrahend


async def total(request: Request, /, *numbers: int) -> int:
    return sum(numbers)


def methods() -> Methods:
    made = Methods()
    made.add("subtract", subtract)
    made.add("sum", total)  # one that runs in a task of its own, so that batches are mixed
    made.add("get_data", lambda request, /: ["hello", 5])
    for name in ("update", "notify_hello", "notify_sum"):
        made.add(name, lambda request, /, *anything: None)
    return made


@pytest.fixture
async def socket() -> AsyncIterator[ClientConnection]:
    server = Server(methods())
    await server.start()
    async with open_websocket(server.url, proxy=None) as websocket:
        yield websocket
    await server.close()


def error(code: int, message: str, request_id: object = None) -> dict[str, object]:
    return {"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": request_id}


PARSE_ERROR = error(-32700, "Parse error")
INVALID = error(-32600, "Invalid Request")

# name: what is sent, what must come back (None: nothing)
EXAMPLES: dict[str, tuple[str, object]] = {
    "positional 1": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}',
        {"jsonrpc": "2.0", "result": 19, "id": 1},
    ),
    "positional 2": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}',
        {"jsonrpc": "2.0", "result": -19, "id": 2},
    ),
    "named 1": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
        {"jsonrpc": "2.0", "result": 19, "id": 3},
    ),
    "named 2": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
        {"jsonrpc": "2.0", "result": 19, "id": 4},
    ),
    "notification 1": ('{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', None),
    "notification 2": ('{"jsonrpc": "2.0", "method": "foobar"}', None),
    "unknown method": (
        '{"jsonrpc": "2.0", "method": "foobar", "id": "1"}',
        error(-32601, "Method not found", "1"),
    ),
    "invalid json": ('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', PARSE_ERROR),
    "invalid request": ('{"jsonrpc": "2.0", "method": 1, "params": "bar"}', INVALID),
    "invalid json in a batch": (
        '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method"]',
        PARSE_ERROR,
    ),
    "empty array": ("[]", INVALID),
    "invalid batch of one": ("[1]", [INVALID]),
    "invalid batch": ("[1,2,3]", [INVALID, INVALID, INVALID]),
    "batch": (
        """[
            {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
            {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
            {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
            {"foo": "boo"},
            {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
            {"jsonrpc": "2.0", "method": "get_data", "id": "9"}
        ]""",
        [
            {"jsonrpc": "2.0", "result": 7, "id": "1"},
            {"jsonrpc": "2.0", "result": 19, "id": "2"},
            INVALID,
            error(-32601, "Method not found", "5"),
            {"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"},
        ],
    ),
    "batch of notifications": (
        """[
            {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
            {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}
        ]""",
        None,
    ),
}


def bare(answer: dict[str, dict[str, object]]) -> dict[str, object]:
    """Without `data`, which the specification leaves to the server."""
    return {
        key: {k: v for k, v in value.items() if k != "data"} if key == "error" else value
        for key, value in answer.items()
    }


def comparable(answers: object) -> object:
    """The specification allows any order within a batch."""
    if isinstance(answers, list):
        return sorted((bare(answer) for answer in answers), key=json.dumps)
    return bare(answers) if isinstance(answers, dict) else answers


@pytest.mark.parametrize("name", EXAMPLES)
async def test_example(socket: ClientConnection, name: str):
    request, expected = EXAMPLES[name]
    await socket.send(request)
    # Everything is answered in order here, so that a ping after it shows that nothing (more) comes.
    await socket.send('{"jsonrpc": "2.0", "method": "ping", "id": "after"}')
    answers = []
    while len(answers) < (1 if expected is None else 2):
        answers.append(json.loads(await socket.recv()))
    after = {"jsonrpc": "2.0", "result": {}, "id": "after"}
    answers.remove(after)
    assert [comparable(answer) for answer in answers] == ([] if expected is None else [comparable(expected)])


def test_there_are_fifteen():
    assert len(EXAMPLES) == 15
