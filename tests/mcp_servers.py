"""MCP servers that we did not write. Those of npm are installed once, into the user's cache."""

import asyncio
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PACKAGES = {"server-everything": "2026.8.31", "server-filesystem": "2026.8.31", "server-memory": "2026.8.31"}
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gleitzeit-tests" / "mcp-npm"
NASTY = Path(__file__).parent / "services" / "gz_provider_mcp" / "nasty_server.py"


def npm_server(name: str) -> str:
    """The program of @modelcontextprotocol/NAME. Skips only where there is no npm."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm on this machine")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _installed():
            wanted = [f"@modelcontextprotocol/{package}@{version}" for package, version in PACKAGES.items()]
            command = [npm, "install", "--prefix", str(CACHE), "--no-fund", "--no-audit", "--loglevel=error", *wanted]
            subprocess.run(command, check=True, timeout=240)
    return str(CACHE / "node_modules" / ".bin" / f"mcp-{name}")


def _installed() -> bool:
    for package, version in PACKAGES.items():
        try:
            found = json.loads((CACHE / "node_modules/@modelcontextprotocol" / package / "package.json").read_text())
        except OSError:
            return False
        if found["version"] != version:
            return False
    return True


def python_server(name: str) -> str:
    """The program of a package of PyPI, which the extra `dev` has installed beside this Python."""
    return str(Path(sys.executable).with_name(name))


def time_server() -> dict[str, Any]:
    return {"command": python_server("mcp-server-time"), "args": ["--local-timezone", "UTC"]}


def nasty_server(*arguments: str) -> dict[str, Any]:
    """One of our own that does what servers must not do."""
    return {"command": sys.executable, "args": [str(NASTY), *arguments]}


async def eventually(what: Callable[[], Any], seconds: float = 30.0) -> None:
    """Until it, or what it awaits, is true."""
    async with asyncio.timeout(seconds):
        while True:
            found = what()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
