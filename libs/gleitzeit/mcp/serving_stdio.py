"""To serve JSON-RPC on our own stdin and stdout, as a host that has started us wants it."""

import asyncio
import os
import sys

from gleitzeit.mcp.stdio import StdioWire
from gleitzeit.transport import Connection
from gleitzeit.transport.base import Methods
from gleitzeit.transport.connection import OnNotification


async def stdio_connection(
    methods: Methods, *, on_notification: OnNotification | None = None, peer_name: str = "the host"
) -> Connection:
    """Not reading yet: `run` it. Whatever else prints to stdout goes to stderr from now on."""
    loop = asyncio.get_running_loop()
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    reader = asyncio.StreamReader(loop=loop)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader, loop=loop), sys.stdin)
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), loop=loop), os.fdopen(output, "wb")
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    return Connection(StdioWire(reader, writer, peer_name), methods=methods, on_notification=on_notification)
