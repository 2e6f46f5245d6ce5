"""Over a real socket: who may connect, the pages, and what a WebSocket adds."""

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gleitzeit.errors import ConfigurationError, ConnectionLost, Unauthorized
from gleitzeit.jsonrpc.messages import Lost, Reply
from gleitzeit.jsonrpc.methods import Methods, Request
from gleitzeit.transport import Connection, connect
from gleitzeit.transport.server import HttpReply, Server


def methods() -> Methods:
    made = Methods()
    made.add("echo", lambda request, /, **params: params)
    made.add("hold", lambda request, /: request.defer())
    return made


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Server]:
    server = Server(options.pop("methods", None) or methods(), **options)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


async def accepted(server: Server, websocket: ClientConnection) -> Connection:
    """The server's side of the only connection."""
    await websocket.send('{"jsonrpc": "2.0", "method": "ping", "id": 1}')
    await websocket.recv()
    (connection,) = server.connections
    return connection


PAGES = {
    "/healthz": lambda: HttpReply(200, "text/plain", b"ok\n"),
    "/metrics": lambda: HttpReply(200, "text/plain; version=0.0.4", b"up 1\n"),
    "/readyz": lambda: HttpReply(503, "text/plain", b"not yet\n"),
}


async def get(server: Server, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.request(method, f"http://127.0.0.1:{server.port}{path}", headers=headers)


async def test_pages():
    async with serving(http=PAGES) as server:
        health = await get(server, "/healthz?verbose=1")
        assert (health.status_code, health.text, health.headers["content-type"]) == (200, "ok\n", "text/plain")
        assert (await get(server, "/readyz")).status_code == 503
        head = await get(server, "/healthz", "HEAD")
        assert (head.status_code, head.text) == (200, "")
        assert (await get(server, "/nothing")).status_code == 404
        for method in ("DELETE", "POST", "OPTIONS"):
            refused = await get(server, "/healthz", method)
            assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
        root = await get(server, "/")
        assert root.status_code == 426
        assert "/healthz /metrics /readyz" in root.text


BODIES = [
    "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: 127.0.0.1\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: localhost\r\ncontent-length: 05\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 40000000\r\n\r\n" + "\x81\0" * 20_000_000,
    "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n{}",
]


@pytest.mark.parametrize("request_text", BODIES, ids=["length", "chunked", "GET", "large", "handshake"])
@pytest.mark.parametrize("cut", [0, 7, 30, 60])
async def test_who_sends_a_body_is_told_what_is_spoken_here(request_text: str, cut: int):
    async with serving(http=PAGES) as server:
        answer = await told(server, request_text[:cut], request_text[cut:])
    status, _, body = answer.partition("\r\n")[0], *answer.partition("\r\n\r\n")[1:]
    assert status == "HTTP/1.1 405 Method Not Allowed"
    assert f"JSON-RPC 2.0 over WebSocket at {server.url}, not over {request_text.split()[0]} with a body;" in body


@pytest.mark.parametrize("length", ["", "Content-Length: 0\r\n", "Content-Length:\t0 \r\n"])
async def test_no_body_is_none_however_it_is_said(length: str):
    async with serving(http=PAGES) as server:
        answer = await told(server, f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}", "\r\n")
    assert answer.startswith("HTTP/1.1 200 "), answer


@pytest.mark.parametrize("text", ["hello\n", "GET / HTTP/1.1\n\n", "POST / HTTP/2\r\n", "A: b\r\n\r\n", "\x16\x03\n"])
async def test_what_is_no_request_is_left_at_once(text: str):
    async with serving(http=PAGES) as server:
        assert await told(server, text) == ""


async def told(server: Server, *parts: str) -> str:
    """What the server says to these, each sent by itself, until it says no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    sending = asyncio.create_task(_send(writer, parts))
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    await asyncio.gather(sending, return_exceptions=True)
    return answer.decode()


async def _send(writer: asyncio.StreamWriter, parts: tuple[str, ...]) -> None:
    for part in parts:
        writer.write(part.encode("latin-1"))
        await writer.drain()
        await asyncio.sleep(0)


async def test_the_host_must_be_ours():
    async with serving(http=PAGES) as server:
        assert (await get(server, "/healthz", host="rebound.example")).status_code == 403
        assert (await get(server, "/healthz", host="[broken")).status_code == 400
        assert (await get(server, "/healthz", host="localhost:1")).status_code == 200
        assert (await get(server, "/healthz", host="[::1]")).status_code == 200


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("http://127.0.0.1:{port}", True),
        ("http://127.0.0.1:1", False),
        ("https://friend.example", True),
        ("https://evil.example", False),
        ("null", False),
    ],
)
async def test_pages_from_elsewhere_may_not_connect(origin, allowed):
    async with serving(origins=["https://friend.example"]) as server:
        opening = open_websocket(server.url, origin=origin and origin.format(port=server.port), proxy=None)
        if allowed:
            async with opening as websocket:
                await websocket.send('{"jsonrpc": "2.0", "method": "ping", "id": 1}')
                assert json.loads(await websocket.recv())["result"] == {}
        else:
            with pytest.raises(InvalidStatus) as caught:
                await opening
            assert caught.value.response.status_code == 403


@pytest.mark.parametrize(
    "ticket",
    [
        {"additional_headers": {"Authorization": "Bearer secret"}},
        {"additional_headers": {"Cookie": "a=b; gleitzeit_token=secret"}},
        {"subprotocols": ["token.secret"]},
        {"subprotocols": ["json-rpc", "token.secret"]},
    ],
)
async def test_a_token_by_header_subprotocol_or_cookie(ticket):
    async with serving(token="secret") as server, open_websocket(server.url, proxy=None, **ticket) as websocket:
        await websocket.send('{"jsonrpc": "2.0", "method": "ping", "id": 1}')
        assert json.loads(await websocket.recv())["result"] == {}
        if "subprotocols" in ticket:
            assert websocket.subprotocol == ticket["subprotocols"][0]


@pytest.mark.parametrize(
    "ticket",
    [
        {},
        {"additional_headers": {"Authorization": "Bearer wrong"}},
        {"additional_headers": {"Authorization": "Basic secret"}},
        {"additional_headers": {"Cookie": "token=secret"}},
        {"subprotocols": ["secret"]},
        {"subprotocols": ["token.secrets"]},
    ],
)
async def test_without_the_token_nobody_connects(ticket):
    async with serving(token="secret") as server:
        with pytest.raises(InvalidStatus) as caught:
            await open_websocket(server.url, proxy=None, **ticket)
        assert caught.value.response.status_code == 401


async def test_the_token_never_stands_in_the_url():
    async with serving(token="secret") as server:
        with pytest.raises(InvalidStatus):
            await open_websocket(f"{server.url}?token=secret", proxy=None)


async def test_pages_and_the_token():
    async with serving(token="secret", http=PAGES) as server:
        assert (await get(server, "/healthz")).status_code == 200
        assert (await get(server, "/metrics")).status_code == 401
        assert (await get(server, "/metrics", authorization="Bearer secret")).status_code == 200


async def test_connect_with_and_without_the_token():
    async with serving(token="secret") as server:
        connection = await connect(server.url, token="secret")
        assert await connection.call("echo", {"a": 1}) == {"a": 1}
        await connection.close()
        with pytest.raises(Unauthorized, match="a token is needed"):
            await connect(server.url, token="wrong")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
def test_other_addresses_need_a_token_and_tls(host):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    for short in ({}, {"token": "secret"}, {"tls": tls}):
        with pytest.raises(ConfigurationError, match="a token and TLS are needed"):
            Server(methods(), host=host, **short)
    Server(methods(), host=host, token="secret", tls=tls)


async def test_connect_says_what_is_wrong():
    async with serving() as server:
        gone = server.url
        with pytest.raises(ConnectionLost, match="speak TLS"):
            await connect(server.url.replace("ws:", "wss:"))
    with pytest.raises(ConnectionLost, match="cannot connect"):
        await connect(gone)
    for url in ("http://127.0.0.1:1/", "ws://", "nonsense", "ws://[::1"):
        with pytest.raises(ConfigurationError, match="cannot be understood"):
            await connect(url)


async def test_connect_does_not_wait_for_ever():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(ConnectionLost, match=r"did not answer within 0\.05 s"):
            await connect(f"ws://127.0.0.1:{port}/", open_timeout_seconds=0.05)


async def test_connections_are_known_from_first_to_last():
    seen: list[tuple[str, Connection]] = []
    async with serving(
        on_connect=lambda connection: seen.append(("connected", connection)),
        on_close=lambda connection: seen.append(("closed", connection)),
    ) as server:
        client = await connect(server.url)
        await client.call("ping")
        (connection,) = server.connections
        assert connection.peer_name.startswith("127.0.0.1:")
        await client.close()
        assert seen[1:] in ([], [("closed", connection)])
    assert seen == [("connected", connection), ("closed", connection)]
    assert server.connections == set()


async def test_the_server_asks_its_clients():
    async with serving() as server:
        client = await connect(server.url, methods=methods())
        await client.call("ping")
        (connection,) = server.connections
        both = await asyncio.gather(*(side.call("echo", {"n": n}) for n in range(100) for side in (client, connection)))
        assert [answer["n"] for answer in both] == [n for n in range(100) for _ in range(2)]
        await client.close()


async def test_closing_the_server_gives_code_and_reason():
    replies: list[Reply] = []
    async with serving() as server:
        client = await connect(server.url)
        client.send_request("hold", None, replies.append)
        await client.call("ping")
        await server.close(1012, "restart")
        await client.close()
        assert (client.close_code, client.close_reason) == (1012, "restart")
        assert [type(reply) for reply in replies] == [Lost]


async def test_answers_given_before_closing_arrive():
    kept: asyncio.Future[Request] = asyncio.get_running_loop().create_future()

    def keep(request: Request, /) -> None:
        request.defer()
        kept.set_result(request)

    made = methods()
    made.add("keep", keep)
    async with serving(methods=made) as server:
        client = await connect(server.url)
        call = asyncio.create_task(client.call("keep"))
        (await kept).answer("just in time")
        await server.close()
        assert await call == "just in time"
        await client.close()


async def test_notifications_that_arrive_while_we_close_are_heard():
    heard: list[str] = []
    made = methods()
    made.add("call.ack", lambda request, /: heard.append("ack"))
    made.add("work", lambda request, /: heard.append("work that nobody would get"))
    async with (
        serving(methods=made, on_notification=lambda _c, method, _p: heard.append(method)) as server,
        open_websocket(server.url, proxy=None) as websocket,
    ):
        connection = await accepted(server, websocket)
        closing = asyncio.create_task(connection.close())
        await websocket.send('{"jsonrpc": "2.0", "method": "first"}')
        await websocket.send('{"jsonrpc": "2.0", "method": "call.ack"}')
        await websocket.send('{"jsonrpc": "2.0", "method": "work", "id": 1}')
        await closing
    assert heard == ["first", "ack"]


async def test_a_frame_of_twenty_megabytes_closes_its_socket_only():
    async with serving() as server:
        bystander = await connect(server.url)
        websocket = await open_websocket(server.url, proxy=None, compression=None)
        with contextlib.suppress(ConnectionClosed):  # the server may close while we still send
            await websocket.send("x" * 20_000_000)
        await websocket.wait_closed()
        assert websocket.close_code == 1009
        assert "16777216" in websocket.close_reason
        assert await bystander.call("ping") == {}
        await bystander.close()


async def test_both_sides_know_that_a_frame_was_too_large():
    async with serving(max_frame_bytes=1000) as server:
        client = await connect(server.url)
        await client.call("ping")
        (connection,) = server.connections
        closed = asyncio.Event()
        connection.add_close_callback(lambda _c: closed.set())
        with pytest.raises(ConnectionLost, match=r"1009: .*exceeds limit of 1000 bytes"):
            await client.call("echo", {"text": "x" * 2000})
        await closed.wait()
        assert (connection.close_code, client.close_code) == (1009, 1009)
        await client.close()


async def test_a_broken_wire_is_1006():
    async with serving() as server:
        client = await connect(server.url)
        await client.call("ping")
        (connection,) = server.connections
        closed = asyncio.Event()
        connection.add_close_callback(lambda _c: closed.set())
        client._wire._websocket.transport.abort()  # type: ignore[attr-defined]
        await closed.wait()
        assert connection.close_code == 1006
        with pytest.raises(ConnectionLost):
            await client.call("ping")


@pytest.mark.parametrize("garbage", ["", "nonsense", "[", "\x00", "[" * 50_000, b"\xff\xfe", b"\x80" * 1000])
async def test_garbage_is_answered_and_the_connection_lives(garbage):
    async with serving() as server, open_websocket(server.url, proxy=None) as websocket:
        await websocket.send(garbage)
        answer = json.loads(await websocket.recv())
        assert (answer["id"], answer["error"]["code"]) == (None, -32700)
        # Binary frames are taken as text.
        await websocket.send(b'{"jsonrpc": "2.0", "method": "ping", "id": "still here"}')
        assert json.loads(await websocket.recv())["id"] == "still here"


async def raw_connection(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket whose answers nobody reads."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    writer.write(
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    return reader, writer


async def test_who_does_not_read_is_disconnected(monkeypatch: pytest.MonkeyPatch):
    """The kernel takes a few megabytes; what is above 64 MiB more is too much."""
    monkeypatch.setattr("gleitzeit.transport.websocket.GIVE_UP_SECONDS", 0.05)
    connected: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
    async with serving(on_connect=connected.set_result) as server:
        reader, writer = await raw_connection(server)
        connection = await connected
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        closed = asyncio.Event()
        connection.add_close_callback(lambda _c: closed.set())
        for _ in range(9):
            connection.notify("n", ["x" * 10_000_000])
        await closed.wait()
        assert connection.close_code == 1013
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_who_pings_and_does_not_read_is_disconnected():
    connected: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
    async with serving(on_connect=connected.set_result) as server:
        reader, writer = await raw_connection(server)
        connection = await connected
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        closed = asyncio.Event()
        connection.add_close_callback(lambda _c: closed.set())
        ping = b"\x89\xfd\0\0\0\0" + b"x" * 125
        most = 0
        for _ in range(400):
            if closed.is_set():
                break
            writer.write(ping * 500)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            most = max(most, connection.buffered_bytes)
        assert closed.is_set()
        assert most < 4 << 20
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_pings_that_are_answered_may_go_on_for_ever():
    async with serving() as server, open_websocket(server.url, proxy=None) as websocket:
        for _ in range(40):
            for pong in [await websocket.ping(b"%100d" % n) for n in range(300)]:
                await pong
        assert not (await accepted(server, websocket)).closed


async def test_drain_waits_for_a_slow_reader():
    async with serving() as server, open_websocket(server.url, proxy=None, max_size=None) as websocket:
        connection = await accepted(server, websocket)
        for _ in range(30):
            connection.notify("n", ["x" * 1_000_000])
        draining = asyncio.create_task(connection.drain())
        received = 0
        while not draining.done():
            await websocket.recv()
            received += 1
        assert received > 5
        assert connection.buffered_bytes <= 1024 * 1024
