"""To serve JSON-RPC on our own stdin and stdout, as a host that has started us wants it."""

import asyncio
import os
import stat
import sys
import threading
from typing import BinaryIO

from gleitzeit.mcp.stdio import StdioWire
from gleitzeit.transport import Connection
from gleitzeit.transport.base import Methods


async def stdio_connection(methods: Methods) -> Connection:
    """Not reading yet: `run` it, and `close` it. Whatever else prints to stdout goes to stderr from now on."""
    loop = asyncio.get_running_loop()
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    reader = asyncio.StreamReader(loop=loop)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader, loop=loop), _waited_for(sys.stdin.buffer))
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), loop=loop),
        _written_to(os.fdopen(output, "wb")),
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    return Connection(StdioWire(reader, writer, "the host"), methods=methods)


def _waited_for(source: BinaryIO) -> BinaryIO:
    """Of a file, or /dev/null, which no event loop can wait for: a pipe with what is in it."""
    if _has_ends(source):
        return source
    read, write = os.pipe()
    threading.Thread(target=_pump, args=(source, os.fdopen(write, "wb")), daemon=True).start()
    return os.fdopen(read, "rb")


def _written_to(sink: BinaryIO) -> BinaryIO:
    """The same for what is written. The process ends when the pipe is closed and all of it is in the file."""
    if _has_ends(sink):
        return sink
    read, write = os.pipe()
    threading.Thread(target=_pump, args=(os.fdopen(read, "rb"), sink)).start()
    return os.fdopen(write, "wb")


def _has_ends(file: BinaryIO) -> bool:
    """Whether it is a pipe, a socket or a terminal."""
    mode = os.fstat(file.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or file.isatty()


def _pump(source: BinaryIO, sink: BinaryIO) -> None:
    with source, sink:
        while chunk := os.read(source.fileno(), 65536):
            sink.write(chunk)
            sink.flush()
