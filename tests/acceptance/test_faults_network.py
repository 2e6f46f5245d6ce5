"""The link between coordinator and provider is cut: in both directions, in one, silently or with a noise."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import support
from support import Stack

from gleitzeit.transport import Connection


class Proxy:
    """Forwards bytes between the coordinator and a provider, as long as it may."""

    def __init__(self, host: str, port: int) -> None:
        self._to = host, port
        self.open = {"to provider": asyncio.Event(), "to coordinator": asyncio.Event()}
        self.swallowing: frozenset[str] = frozenset()
        """The directions in which what is carried is lost."""
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        for gate in self.open.values():
            gate.set()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._to)
        except OSError:
            writer.transport.abort()
            return
        self._writers += [writer, far_writer]
        for direction, source, target in (
            ("to provider", reader, far_writer),
            ("to coordinator", far_reader, writer),
        ):
            task = asyncio.create_task(self._forward(direction, source, target))
            self._tasks.add(task)

    async def _forward(self, direction: str, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(65536):
                await self.open[direction].wait()
                if direction in self.swallowing:
                    continue
                target.write(chunk)
                await target.drain()
        target.close()

    def silence(self, *directions: str) -> None:
        for direction in directions or self.open:
            self.open[direction].clear()

    def heal(self) -> None:
        for gate in self.open.values():
            gate.set()

    def cut(self) -> None:
        """Every connection breaks, and what is under way is lost."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def close(self) -> None:
        self.cut()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


PROVIDER = """
import asyncio
from gleitzeit.provider import Call, Provider

provider = Provider("marker", protocols=["marker/v1"], capacity=8)

@provider.method("marker/mark")
async def mark(call: Call, path: str, seconds: float) -> dict[str, bool]:
    with open(path, "a") as marks:
        marks.write("x")
    await asyncio.sleep(seconds)
    return {"done": True}

provider.main()
"""


@pytest.fixture
async def far(tmp_path: Path) -> AsyncIterator[tuple[Stack, Connection, Proxy]]:
    """A stack whose `marker` is known to it by the proxy's address only."""
    program = tmp_path / "marker.py"
    program.write_text(PROVIDER)
    ready, ready_end = os.pipe()
    environ = {**os.environ, "GLEITZEIT_READY_FD": str(ready_end)}
    provider = await asyncio.create_subprocess_exec(sys.executable, str(program), env=environ, pass_fds=[ready_end])
    os.close(ready_end)
    url = json.loads(await asyncio.to_thread(os.read, ready, 4096))["url"]
    os.close(ready)
    proxy = Proxy("127.0.0.1", urlsplit(url).port or 0)
    stack = Stack(tmp_path / "state", "--provider", "echo")
    try:
        connection = await support.connected(stack, 1)
        await connection.call("provider.register", {"url": await proxy.start(), "name": "marker"})
        yield stack, connection, proxy
        await connection.close()
        await proxy.close()
    finally:
        stack.stop()
        provider.terminate()
        await provider.wait()


def mark(marks: Path, seconds: float) -> dict[str, Any]:
    return {"id": "m", "method": "marker/mark", "params": {"path": str(marks), "seconds": seconds}}


async def begin(connection: Connection, marks: Path, seconds: float) -> str:
    workflow_id = await support.submit(connection, mark(marks, seconds))
    await support.eventually(marks.exists)
    return workflow_id


async def test_a_link_that_breaks_and_is_there_again(far: tuple[Stack, Connection, Proxy], tmp_path: Path) -> None:
    stack, connection, proxy = far
    for number in range(5):
        marks = tmp_path / f"marks{number}"
        workflow_id = await begin(connection, marks, 0.5)
        proxy.cut()
        view = await support.finished(stack.url, workflow_id)
        assert (view["status"], view["tasks"][0]["attempts"], marks.read_text()) == ("completed", 1, "x"), view


async def test_a_link_that_falls_silent_in_both_directions_or_in_one(
    far: tuple[Stack, Connection, Proxy], tmp_path: Path
) -> None:
    for number, directions in enumerate(((), ("to provider",), ("to coordinator",))):
        await _falls_silent(*far, tmp_path / f"marks{number}", tmp_path / f"later{number}", directions)


async def _falls_silent(
    stack: Stack, connection: Connection, proxy: Proxy, marks: Path, later: Path, directions: tuple[str, ...]
) -> None:
    workflow_id = await begin(connection, marks, 0.5)
    proxy.silence(*directions)
    second = await support.submit(connection, mark(later, 0))
    during = await support.submit(connection, {"id": "e", "method": "echo/echo", "params": {"message": "x"}})
    assert (await support.finished(stack.url, during))["status"] == "completed", "others go on"
    proxy.cut()
    proxy.heal()
    for wanted, file in ((workflow_id, marks), (second, later)):
        view = await support.finished(stack.url, wanted)
        assert (view["status"], view["tasks"][0]["attempts"], file.read_text()) == ("completed", 1, "x"), view


@pytest.mark.long
@pytest.mark.parametrize("directions", [(), ("to provider",), ("to coordinator",)])
async def test_silence_until_the_sockets_are_given_up(
    far: tuple[Stack, Connection, Proxy], tmp_path: Path, directions: tuple[str, ...]
) -> None:
    """Nobody says that the link is cut: only the pings of the sockets find out, after 40 s."""
    stack, connection, proxy = far
    marks, later = tmp_path / "marks", tmp_path / "later"
    workflow_id = await begin(connection, marks, 1)
    proxy.silence(*directions)
    second = await support.submit(connection, mark(later, 0))
    await asyncio.sleep(60)  # the length of it is what is tested
    proxy.heal()
    for wanted, file in ((workflow_id, marks), (second, later)):
        view = await support.finished(stack.url, wanted, seconds=120)
        assert (view["status"], view["tasks"][0]["attempts"], file.read_text()) == ("completed", 1, "x"), view


@pytest.mark.long
async def test_a_link_that_swallows_what_it_carries_and_goes_on(
    far: tuple[Stack, Connection, Proxy], tmp_path: Path
) -> None:
    """Neither a request nor an answer arrives, and no socket closes."""
    stack, connection, proxy = far
    marks, later = tmp_path / "marks", tmp_path / "later"
    workflow_id = await begin(connection, marks, 1)
    proxy.swallowing = frozenset(proxy.open)
    second = await support.submit(connection, mark(later, 0))
    await asyncio.sleep(3)  # the length of it is what is tested
    proxy.swallowing = frozenset()
    for wanted, file in ((workflow_id, marks), (second, later)):
        view = await support.finished(stack.url, wanted, seconds=60)
        assert (view["status"], view["tasks"][0]["attempts"], file.read_text()) == ("completed", 1, "x"), view


@pytest.mark.long
async def test_a_hundred_cuts_under_load(far: tuple[Stack, Connection, Proxy], tmp_path: Path) -> None:
    stack, connection, proxy = far
    marks = [tmp_path / f"marks{number}" for number in range(100)]
    ids = []
    for file in marks:
        ids.append(await support.submit(connection, mark(file, 0.2)))
        await asyncio.sleep(0.05)
        proxy.cut()
    for workflow_id, file in zip(ids, marks, strict=True):
        view = await support.finished(stack.url, workflow_id, seconds=120)
        assert (view["status"], file.read_text()) == ("completed", "x"), view
