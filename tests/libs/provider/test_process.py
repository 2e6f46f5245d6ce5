"""A provider as a process: how it begins, what it says by HTTP, how it ends."""

import asyncio
import json
import os
import signal
import socket
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gleitzeit.discovery.base import ProviderLost, ProviderSeen, Report
from gleitzeit.discovery.nats import NatsDirectory
from gleitzeit.process.nats_server import start_nats_server
from gleitzeit.provider.process import parser
from gleitzeit.provider.provider import Provider
from gleitzeit.transport import connect

SOURCE = """
import asyncio
from gleitzeit.provider import Provider

provider = Provider("lab", protocols=["lab/v1"], capacity=2)

@provider.method("lab/wait")
async def wait(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"

provider.main()
"""


class Running:
    def __init__(self, process: asyncio.subprocess.Process, url: str, parent_fd: int) -> None:
        self.process = process
        self.url = url
        self.parent_fd = parent_fd

    def page(self, path: str) -> str:
        with urllib.request.urlopen(self.url.replace("ws:", "http:") + path) as reply:
            return str(reply.read().decode())


@asynccontextmanager
async def started(folder: Path, *options: str) -> AsyncIterator[Running]:
    script = folder / "provider.py"
    script.write_text(SOURCE)
    ready, tell_ready = os.pipe()
    held, parent = os.pipe()
    environment = {**os.environ, "GLEITZEIT_READY_FD": str(tell_ready), "GLEITZEIT_PARENT_FD": str(held)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, script, *options, env=environment, pass_fds=(tell_ready, held), stderr=asyncio.subprocess.PIPE
    )
    os.close(tell_ready)
    os.close(held)
    line = await asyncio.to_thread(os.read, ready, 4096)
    os.close(ready)
    try:
        said = json.loads(line)
        assert said["pid"] == process.pid
        yield Running(process, said["url"], parent)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_provider_says_that_it_is_ready_and_finishes_its_calls_at_sigterm(tmp_path: Path) -> None:
    async with started(tmp_path, "--log-format", "json") as running:
        assert await asyncio.to_thread(running.page, "healthz") == "ok\n"
        assert await asyncio.to_thread(running.page, "readyz") == "ready\n"
        connection = await connect(running.url)
        answer = asyncio.create_task(connection.call("lab/wait", {"seconds": 0.2}))
        await connection.call("ping")
        metrics = await asyncio.to_thread(running.page, "metrics")
        assert 'gleitzeit_provider_calls_running{provider="lab"} 1' in metrics
        assert 'gleitzeit_provider_calls_capacity{provider="lab"} 2' in metrics
        running.process.send_signal(signal.SIGTERM)
        assert await answer == "done"
        _, logged = await running.process.communicate()
        assert running.process.returncode == 0
        assert connection.closed
        messages = [json.loads(line)["message"] for line in logged.splitlines()]
        assert messages[-2:] == ["draining: SIGTERM; 1 calls run", "stopped"]
        await connection.close()
        os.close(running.parent_fd)


async def test_a_provider_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    async with started(tmp_path) as running:
        os.close(running.parent_fd)
        async with asyncio.timeout(30):
            assert await running.process.wait() == 0


async def test_a_provider_announces_itself_and_withdraws(tmp_path: Path) -> None:
    server = await start_nats_server(tmp_path / "nats", environ=os.environ, log=tmp_path / "log")
    url = await server.ready
    reports: asyncio.Queue[Report] = asyncio.Queue()
    directory = NatsDirectory(url, "c1")
    await directory.watch(reports.put_nowait)
    try:
        async with started(tmp_path, "--nats", url, "--cluster", "c1") as running, asyncio.timeout(30):
            seen = await reports.get()
            assert isinstance(seen, ProviderSeen)
            assert (seen.name, seen.url, seen.protocols) == ("lab", running.url, ("lab/v1",))
            running.process.send_signal(signal.SIGTERM)
            lost = await reports.get()
            assert isinstance(lost, ProviderLost)
            assert (lost.instance, await running.process.wait()) == (seen.instance, 0)
            os.close(running.parent_fd)
    finally:
        await directory.close()
        await server.stop(5)


async def run(folder: Path, *options: str) -> tuple[int | None, str]:
    script = folder / "provider.py"
    script.write_text(SOURCE)
    process = await asyncio.create_subprocess_exec(
        sys.executable, script, *options, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    _, said = await process.communicate()
    return process.returncode, said.decode()


@pytest.mark.parametrize(
    ("options", "status", "text"),
    [
        (("--listen", "nowhere"), 2, "is not HOST:PORT"),
        (("--capacity", "0"), 2, "is not a whole number above 0"),
        (("--listen", "0.0.0.0:0"), 2, "token"),
    ],
)
async def test_what_cannot_be_is_said_in_one_line(tmp_path: Path, options: list[str], status: int, text: str) -> None:
    code, said = await run(tmp_path, *options)
    assert code == status
    assert text in said.splitlines()[-1]
    assert "Traceback" not in said


async def test_an_address_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = await run(tmp_path, "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert code == 1
    assert "gz-provider-lab: " in said.splitlines()[-1]
    assert "Traceback" not in said


def test_help_teaches_how_it_is_found() -> None:
    text = parser(Provider("lab", protocols=["lab/v1"])).format_help()
    assert "provider.register" in text
    for option in ("--nats", "--cluster", "--listen", "--capacity", "--drain-seconds", "--log-level", "--log-format"):
        assert option in text


async def test_an_address_in_use_is_told_with_what_to_do(tmp_path: Path) -> None:
    script = tmp_path / "provider.py"
    script.write_text(SOURCE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        process = await asyncio.create_subprocess_exec(
            sys.executable, script, "--listen", place, stderr=asyncio.subprocess.PIPE
        )
        _, told = await process.communicate()
    assert process.returncode == 1
    assert f"the address {place} is in use; choose another one with --listen HOST:PORT" in told.decode()
