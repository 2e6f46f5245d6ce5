"""The transport for servers without TLS, against real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from fake_server import CLOSE, answer, fake_server, stream

from gz_provider_llm.plain import HIGH_WATER_BYTES, PlainTransport


def request(url: str, content: bytes = b"{}", **headers: str) -> httpx.Request:
    return httpx.Request(
        "POST", url, content=content, headers=headers, extensions={"timeout": {"connect": 5.0, "write": 0.3}}
    )


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Yields the port. All of its connections end with it."""
    writers: list[asyncio.StreamWriter] = []

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await serve(reader, writer)

    server = await asyncio.start_server(serve_one, host, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


async def asked(transport: PlainTransport, url: str) -> bytes:
    response = await transport.handle_async_request(request(url))
    try:
        return await response.aread()
    finally:
        await response.aclose()


async def test_a_connection_is_used_again_until_it_has_rested_for_too_long() -> None:
    async with fake_server(answer(200, "a")) as server:
        transport = PlainTransport(keepalive_seconds=0.05)
        assert [await asked(transport, server.url) for _ in range(3)] == [b"a"] * 3
        assert server.connections == 1
        async with asyncio.timeout(5):
            while server.tasks:  # noqa: ASYNC110 - the server sees it close
                await asyncio.sleep(0)
        assert await asked(transport, server.url) == b"a"
        assert server.connections == 2
        await transport.aclose()


async def test_a_connection_that_the_server_has_closed_is_not_used_again() -> None:
    async def and_close(writer: asyncio.StreamWriter) -> str:
        await answer(200, "a")(writer)
        return CLOSE

    async with fake_server(and_close) as server:
        transport = PlainTransport(keepalive_seconds=60)
        for _ in range(3):
            assert await asked(transport, server.url) == b"a"
            async with asyncio.timeout(5):
                while server.tasks:  # noqa: ASYNC110
                    await asyncio.sleep(0)
        assert server.connections == 3
        await transport.aclose()


async def test_an_answer_that_is_left_closes_its_connection() -> None:
    async with fake_server(stream("a", then="hang")) as server:
        transport = PlainTransport(keepalive_seconds=60)
        response = await transport.handle_async_request(request(server.url))
        assert [await anext(response.aiter_raw())] == [b"a"]
        await response.aclose()
        await asyncio.wait_for(server.gone.get(), 5)


async def test_what_is_not_read_is_not_taken_from_the_socket() -> None:
    """The server can send no more than what buffers hold, and all of it once it is read."""
    piece, sent = b"x" * (1 << 20), 0

    async def much(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 << 20))
        for _ in range(64):
            writer.write(piece)
            await writer.drain()
            sent += 1

    async with fake_server(much) as server:
        transport = PlainTransport(keepalive_seconds=60)
        response = await transport.handle_async_request(request(server.url))
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 32
        size = 0
        async for part in response.aiter_raw():
            assert len(part) < 2 * HIGH_WATER_BYTES
            size += len(part)
        assert size == 64 << 20
        await response.aclose()
        await transport.aclose()


async def test_a_server_that_takes_nothing() -> None:
    async def not_a_byte(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]

    async with serving(not_a_byte) as port:
        transport = PlainTransport(keepalive_seconds=60)
        with pytest.raises(httpx.WriteTimeout):
            await transport.handle_async_request(request(f"http://127.0.0.1:{port}", b"x" * (64 << 20)))


async def test_a_large_request_that_is_refused_while_it_is_sent() -> None:
    async def too_large(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await answer(413, "too large", connection="close")(writer)

    async with serving(too_large) as port:
        transport = PlainTransport(keepalive_seconds=60)
        response = await transport.handle_async_request(request(f"http://127.0.0.1:{port}", b"x" * (64 << 20)))
        assert response.status_code == 413
        assert await response.aread() == b"too large"
        await response.aclose()


async def test_a_transport_that_is_closed_leaves_nothing_behind() -> None:
    async with fake_server(answer(200, "a")) as server:
        transport = PlainTransport(keepalive_seconds=60)
        assert await asked(transport, server.url) == b"a"
        await transport.aclose()
        async with asyncio.timeout(5):
            while server.tasks:  # noqa: ASYNC110
                await asyncio.sleep(0)


async def test_localhost_is_any_of_its_addresses() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await answer(200, "a")(writer)

    try:
        async with serving(serve, "::1") as port:
            transport = PlainTransport(keepalive_seconds=60)
            assert await asked(transport, f"http://localhost:{port}") == b"a"
            await transport.aclose()
    except OSError:
        pytest.skip("this machine has no IPv6")


async def test_a_header_cannot_smuggle_a_second_request() -> None:
    async with fake_server(answer(200, "a")) as server:
        transport = PlainTransport(keepalive_seconds=60)
        with pytest.raises(httpx.LocalProtocolError):
            await transport.handle_async_request(request(server.url, key="x\r\n\r\nGET /"))
        assert not server.asked
