"""What comes in is acted upon in its order, however it is cut: by whichever of two ways a frame goes."""

import asyncio
import contextlib
import json
import random
import struct

import pytest
from msgspec import Raw

from gleitzeit.jsonrpc.methods import Methods
from gleitzeit.transport import Connection
from gleitzeit.transport.base import LARGE_FRAME_BYTES
from gleitzeit.transport.server import Server

MESSAGES = 300


def frame(opcode: int, data: bytes, *, fin: bool = True) -> bytes:
    """As a client sends it: masked, with zeros."""
    size = len(data)
    if size < 126:
        length = bytes([128 | size])
    else:
        length = struct.pack("!BH", 254, size) if size <= 0xFFFF else struct.pack("!BQ", 255, size)
    return bytes([fin << 7 | opcode]) + length + bytes(4) + data


def cut(message: bytes, chance: random.Random) -> list[bytes]:
    """The message in frames, with a ping between them now and then."""
    if chance.random() < 0.5:
        return [frame(chance.choice([1, 2]), message)]
    parts = [message[: len(message) // 2], b"" if chance.random() < 0.3 else message[len(message) // 2 :]]
    parts.append(message[len(b"".join(parts)) :])
    found = []
    for number, part in enumerate(parts):
        found.append(frame(0 if number else 1, part, fin=number == len(parts) - 1))
        if chance.random() < 0.3:
            found.append(frame(9, b"?"))
    return found


@pytest.mark.parametrize("seed", range(6))
async def test_messages_keep_their_order_however_they_are_cut(seed: int) -> None:
    chance = random.Random(seed)
    seen: list[int] = []
    all_here = asyncio.Event()

    def note(_connection: Connection, _method: str, params: Raw | None) -> None:
        seen.append(json.loads(bytes(params or b"[]"))[0])
        if seen[-1] == MESSAGES:
            all_here.set()

    server = Server(Methods(), on_notification=note)
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    for number in range(1, MESSAGES + 1):
        filler = "x" * (LARGE_FRAME_BYTES if chance.random() < 0.015 else chance.randrange(200))
        message = json.dumps({"jsonrpc": "2.0", "method": "note", "params": [number, filler]}).encode()
        sent = b"".join(cut(message, chance))
        at = chance.randrange(len(sent)) if chance.random() < 0.2 else len(sent)
        writer.write(sent[:at])
        if chance.random() < 0.2:
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(sent[at:])
    async with asyncio.timeout(60):
        await all_here.wait()
    await server.close()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    assert seen == list(range(1, MESSAGES + 1))
