"""What the wire can carry: pipelined JSON-RPC round trips a second between two processes, 64 in flight.

    python tests/benchmarks/wire.py

`raw_rate` is the yardstick for everything else: bare `websockets` and `json`, nothing of ours on either side.
`connection_rate` is the same conversation over our Connection and Methods. Both start the answering side as a child of
their own on a free loopback port.
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import Raw
from websockets.asyncio.client import connect as open_websocket
from websockets.asyncio.server import ServerConnection, serve

from gleitzeit.jsonrpc.methods import Methods
from gleitzeit.transport import Connection, Reply, Request, Result, connect
from gleitzeit.transport.server import Server

# About 200 bytes a message, as a small task has.
PARAMS = {"text": "the quick brown fox " * 4, "_meta": {"callId": "0123456789abcdef/task-1/1", "leaseSeconds": 900}}


async def raw_rate(*, seconds: float = 1.0, in_flight: int = 64) -> float:
    """Round trips a second of bare `websockets` + `json`: one frame, one message."""
    async with _child("raw") as url, open_websocket(url, compression=None) as websocket:
        end = time.perf_counter() + seconds
        started = time.perf_counter()
        sent = done = 0

        async def send() -> None:
            nonlocal sent
            sent += 1
            await websocket.send(json.dumps({"jsonrpc": "2.0", "method": "echo", "params": PARAMS, "id": sent}))

        for _ in range(in_flight):
            await send()
        while done < sent:
            json.loads(await websocket.recv())
            done += 1
            if time.perf_counter() < end:
                await send()
        return done / (time.perf_counter() - started)


async def connection_rate(*, coalesce: int, seconds: float = 1.0, in_flight: int = 64) -> float:
    """Round trips a second of our Connection, with `coalesce` on both sides."""
    async with _child("ours", str(coalesce)) as url:
        connection = await connect(url)
        connection.coalesce = coalesce
        params = json.dumps(PARAMS).encode()
        end = time.perf_counter() + seconds
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done = running = 0

        def send() -> None:
            nonlocal running
            running += 1
            connection.send_request("echo", params, on_reply)

        def on_reply(reply: Reply) -> None:
            nonlocal done, running
            assert isinstance(reply, Result), reply
            done += 1
            running -= 1
            if time.perf_counter() < end:
                send()
            elif not running:
                finished.set_result(None)

        started = time.perf_counter()
        for _ in range(in_flight):
            send()
        await finished
        rate = done / (time.perf_counter() - started)
        await connection.close()
        return rate


async def round_trip_seconds(*, seconds: float = 0.5) -> float:
    """One call after the other over our Connection: what a chain of tasks feels."""
    async with _child("ours", "64") as url:
        connection = await connect(url)
        started = time.perf_counter()
        calls = 0
        while time.perf_counter() < started + seconds:
            await connection.call_raw("echo", PARAMS)
            calls += 1
        elapsed = time.perf_counter() - started
        await connection.close()
        return elapsed / calls


@asynccontextmanager
async def _child(*arguments: str) -> AsyncIterator[str]:
    """The answering side in a process of its own; gives its url, and ends it by closing its stdin."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "serve", *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        yield (await child.stdout.readline()).decode().strip()
    finally:
        child.stdin.close()
        await child.wait()


async def _serve_raw() -> None:
    async def echo(websocket: ServerConnection) -> None:
        async for text in websocket:
            message = json.loads(text)
            await websocket.send(json.dumps({"jsonrpc": "2.0", "result": message["params"], "id": message["id"]}))

    async with serve(echo, "127.0.0.1", 0, compression=None) as server:
        await _until_stdin_closes(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


async def _serve_ours(coalesce: int) -> None:
    def echo(request: Request, /, text: str, _meta: object) -> Raw | None:
        return request.raw_params

    methods = Methods()
    methods.add("echo", echo)

    def prepare(connection: Connection) -> None:
        connection.coalesce = coalesce
        connection.split_batches = True

    server = Server(methods, on_connect=prepare)
    await server.start()
    await _until_stdin_closes(server.url)
    await server.close()


async def _until_stdin_closes(url: str) -> None:
    print(url, flush=True)
    gc.freeze()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def main() -> None:
    raw = await raw_rate()
    print(f"{'round trips a second, 64 in flight':<44} {'rate':>9}  {'ratio':>5}")
    print(f"{'bare websockets + json':<44} {raw:>9,.0f}  {1:>5.2f}")
    for coalesce in (1, 64):
        rate = await connection_rate(coalesce=coalesce)
        print(f"{f'Connection and Methods, coalesce {coalesce}':<44} {rate:>9,.0f}  {rate / raw:>5.2f}")
    print(f"{'one at a time, a call takes (µs)':<44} {await round_trip_seconds() * 1e6:>9,.0f}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", "raw"]:
            asyncio.run(_serve_raw())
        case ["serve", "ours", coalesce]:
            asyncio.run(_serve_ours(int(coalesce)))
        case _:
            asyncio.run(main())
