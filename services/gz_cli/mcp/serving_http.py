"""`gz mcp serve --http`: MCP over HTTP, for hosts that do not start us."""

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path

from gleitzeit.config import read_token
from gleitzeit.errors import ConfigurationError
from gleitzeit.mcp.serving_http import HttpServing
from gleitzeit.process.lifetime import Lifetime
from gleitzeit.process.reach import Reach
from gleitzeit.transport.tls import identity
from gz_cli.exits import UsageError
from gz_cli.mcp.serving import Bridge
from gz_cli.terminal.talk import say


def serve(
    reach: Callable[[], Reach], listen: str, token_file: Path | None, certificate: Path | None, key: Path | None
) -> int:
    """At `PORT` of this machine, or `HOST:PORT`, until Ctrl-C or SIGTERM; the exit code. Raises UsageError and
    ConfigurationError."""
    host, port = _place(listen)
    token = read_token(token_file) if token_file is not None else None
    bridge = Bridge(reach)
    tls = identity(certificate, key)
    return asyncio.run(_serve(bridge, HttpServing(bridge, host=host, port=port, token=token, tls=tls), listen))


async def _serve(bridge: Bridge, serving: HttpServing, listen: str) -> int:
    with Lifetime() as lifetime:
        try:
            await serving.start()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ConfigurationError(f"{listen} cannot be listened on: {error.strerror or error}") from error
            raise ConfigurationError(f"the port of {listen} is in use; choose another one with --http PORT") from error
        say(f"MCP is spoken at {serving.url}  (Ctrl-C stops it)")
        try:
            await lifetime.drain.wait()
        finally:
            await serving.close()
            await bridge.close()
    return 0


def _place(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"--http {listen}: expected PORT or HOST:PORT, such as 8766")
    return host.strip("[]") or "127.0.0.1", int(port)
