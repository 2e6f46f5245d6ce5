"""Pipes to the three streams of a child that is talked with.

Our own, and not those of asyncio's subprocesses: with these the end of a process is known when it ends, not only when
its last grandchild has let go of them.
"""

import asyncio
import os

LIMIT_BYTES = 256 * 1024  # of what the child has written and nobody has read yet; twice that may be held


class Pipes:
    """Made by `open_pipes`. `stdin` is written, `stdout` and `stderr` are read, by us. The owner must `close` them."""

    def __init__(
        self,
        theirs: tuple[int, int, int],
        stdin: asyncio.StreamWriter,
        stdout: asyncio.StreamReader,
        stderr: asyncio.StreamReader,
        transports: tuple[asyncio.WriteTransport, asyncio.ReadTransport, asyncio.ReadTransport],
    ) -> None:
        self.theirs = theirs
        """The descriptors of the child's ends."""
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self._transports = transports
        self._theirs_are_open = True

    def started(self) -> None:
        """The child has its ends: let go of ours of them, so that we notice when it ends."""
        if self._theirs_are_open:
            self._theirs_are_open = False
            for descriptor in self.theirs:
                os.close(descriptor)

    def close(self) -> None:
        self.started()
        writing, *reading = self._transports
        if not writing.is_closing():
            writing.abort()  # what the child has not read is of no use any more
        for transport in reading:
            if not transport.is_closing():
                transport.close()


async def open_pipes() -> Pipes:
    their_stdin, our_stdin = os.pipe()
    our_stdout, their_stdout = os.pipe()
    our_stderr, their_stderr = os.pipe()
    stdin, writing = await _writer(our_stdin)
    stdout, reading = await _reader(our_stdout)
    stderr, complaining = await _reader(our_stderr)
    return Pipes((their_stdin, their_stdout, their_stderr), stdin, stdout, stderr, (writing, reading, complaining))


async def _reader(descriptor: int) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LIMIT_BYTES, loop=loop)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader, loop=loop), os.fdopen(descriptor, "rb", buffering=0)
    )
    return reader, transport


async def _writer(descriptor: int) -> tuple[asyncio.StreamWriter, asyncio.WriteTransport]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), loop=loop),
        os.fdopen(descriptor, "wb", buffering=0),
    )
    return asyncio.StreamWriter(transport, protocol, None, loop), transport
