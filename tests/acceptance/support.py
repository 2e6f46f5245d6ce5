"""Real processes: a whole stack by `gz up`, its children by their pids, and a client."""

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gleitzeit.errors import GleitzeitError
from gleitzeit.transport import Connection, connect
from gz_cli.main import main

PATIENCE_SECONDS = 60.0
"""For what comes within a second or two where nobody else wants the machine."""


def gz(*arguments: str, state: Path, timeout: float = 60, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a `gz` command to its end, with the words on stdout and stderr kept apart."""
    environ = {**os.environ, "GLEITZEIT_STATE": str(state), "NO_COLOR": "1"}
    command = [sys.executable, "-m", "gz_cli", *arguments]
    return subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, **options
    )


class Ran(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def gz_here(*arguments: str, state: Path) -> Ran:
    """As `gz`, in this process: a tenth of the time."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as environment, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        environment.setenv("GLEITZEIT_STATE", str(state))
        code = main(list(arguments))
    return Ran(code, out.getvalue(), err.getvalue())


def wait_for(what: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """The first true answer. For processes that do not tell us; within asyncio use `eventually`."""
    end = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > end:
            raise TimeoutError(f"never came true: {what}")
        time.sleep(0.02)
    return found


async def eventually(what: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    pause = 0.01
    async with asyncio.timeout(seconds):
        while True:
            found = what()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, 0.05)  # who is asked has other things to do


class Stack:
    """A running `gz up`."""

    def __init__(self, state: Path, *options: str, environ: Mapping[str, str] | None = None) -> None:
        self.state = state
        environ = {**os.environ, "GLEITZEIT_STATE": str(state), "NO_COLOR": "1", **(environ or {})}
        command = [sys.executable, "-m", "gz_cli", "up", "--listen", "127.0.0.1:0", *options]
        self.log = state.parent / f"{state.name}.log"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def url(self) -> str:
        return str(wait_for(self._address)["url"])

    def _address(self) -> dict[str, Any] | None:
        assert self.process.poll() is None, f"gz up ended:\n{self.log.read_text()}"
        with contextlib.suppress(OSError, ValueError):
            address: dict[str, Any] = json.loads((self.state / "stack.json").read_text())
            if address["pid"] == self.process.pid:  # not what a stack that was killed left behind
                return address
        return None

    def pid(self, module: str) -> int:
        """Of the child that runs `python -m module`, or of `nats-server`."""
        return int(wait_for(lambda: next(self._pids(module), 0)))

    def _pids(self, module: str) -> Iterator[int]:
        for pid in descendants(self.process.pid):
            words = command_line(pid)
            if module in words or (words and Path(words[0]).name == module):
                yield pid

    def kill(self, module: str) -> int:
        """SIGKILL one child; returns the pid it had."""
        pid = self.pid(module)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not is_alive(pid))
        return pid

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise


def descendants(root: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{root}/task/{root}/children").read_text().split():
            yield int(child)
            yield from descendants(int(child))


def command_line(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    return []


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def kill_all(stack: Stack) -> None:
    """As when the machine loses its power: nobody gets to say goodbye."""
    pids = [*descendants(stack.process.pid), stack.process.pid]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    stack.process.wait()
    wait_for(lambda: not any(is_alive(pid) for pid in pids))


async def connected(stack: Stack, providers: int = 1) -> Connection:
    """To its coordinator, which may just be starting again, once so many providers are there."""

    async def reached() -> Connection | None:
        with contextlib.suppress(GleitzeitError):
            return await connect(stack.url)
        return None

    connection: Connection = await eventually(reached)
    await eventually(lambda: providers_ready(connection, providers))
    return connection


async def providers_ready(connection: Connection, count: int) -> bool:
    listed = (await connection.call("provider.list"))["providers"]
    return sum(provider["status"] == "ready" for provider in listed) >= count


async def submit(connection: Connection, *tasks: dict[str, Any], **more: Any) -> str:
    definition = {"name": more.pop("name", "test"), "tasks": list(tasks), **more}
    return str((await connection.call("workflow.submit", {"definition": definition}))["workflow_id"])


async def finished(url: str, workflow_id: str, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
    """`workflow.get` once it is final; the coordinator may come and go meanwhile."""
    async with looking(url) as look:
        return await look(workflow_id, seconds)


@contextlib.asynccontextmanager
async def looking(url: str) -> AsyncIterator[Callable[[str, float], Awaitable[dict[str, Any]]]]:
    """`finished` for many workflows, by one connection as long as it holds: a new one costs more than a look."""
    open_ones = contextlib.AsyncExitStack()
    connection: Connection | None = None

    async def seen(workflow_id: str) -> dict[str, Any]:
        nonlocal connection
        try:
            if connection is None:
                connection = await connect(url)
                open_ones.push_async_callback(connection.close)
            found = await connection.call("workflow.get", {"workflow_id": workflow_id}, timeout_seconds=10)
        except Exception:  # noqa: BLE001 - whatever a test does to its coordinator
            connection = None
            return {}
        return found if found["status"] in ("completed", "failed", "cancelled") else {}

    async def look(workflow_id: str, seconds: float) -> dict[str, Any]:
        view: dict[str, Any] = await eventually(lambda: seen(workflow_id), seconds)
        return view

    async with open_ones:
        yield look
