import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from gleitzeit.process.children import (
    LOG_LIMIT_BYTES,
    Child,
    ChildExited,
    describe_exit,
    filtered_environment,
    start_child,
)

FAKE = [sys.executable, "-S", str(Path(__file__).with_name("fake_service.py"))]
Start = Callable[..., Awaitable[Child]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    children = []

    async def start(*options: str, **settings: Any) -> Child:
        settings.setdefault("environ", os.environ)
        child = await start_child("fake", [*FAKE, *options], log=tmp_path / "logs" / "fake.log", **settings)
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        await child.wait()


async def ask(child: Child, words: str) -> dict[str, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(await child.ready).port)
    writer.write(words.encode())
    answer = await reader.read()
    writer.close()
    return msgspec.json.decode(answer) if answer else {}


async def test_a_child_is_ready_when_it_says_so_and_leads_a_group_of_its_own(start: Start) -> None:
    child = await start()
    assert (await child.ready).startswith("ws://127.0.0.1:")
    facts = await ask(child, "args")
    assert facts["pid"] == facts["pgid"] == child.pid
    assert child.running


async def test_its_exit_code_is_reported(start: Start) -> None:
    child = await start()
    await ask(child, "exit 7")
    assert await child.wait() == 7
    assert not child.running


async def test_the_signal_that_killed_it_is_reported(start: Start) -> None:
    child = await start()
    await child.ready
    os.kill(child.pid, signal.SIGKILL)
    assert await child.wait() == -signal.SIGKILL


async def test_a_child_may_say_why_it_will_not_be_ready(start: Start) -> None:
    child = await start("--cannot", "the address is in use")
    with pytest.raises(ChildExited, match=r"^fake cannot start: the address is in use$"):
        await child.ready
    assert child.last_words() == child.reason == "the address is in use"


async def test_a_child_that_ends_before_it_is_ready_leaves_its_last_words(start: Start, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "fake.log").write_text("of a life before\n")
    child = await start("--fail", "3")
    with pytest.raises(ChildExited, match=r"fake exited with status 3 before it was ready:\ncannot start: the reason$"):
        await child.ready
    assert await child.wait() == 3


async def test_stop_is_sigterm(start: Start) -> None:
    child = await start()
    await child.ready
    assert await child.stop(10) == 0


async def test_who_does_not_listen_to_sigterm_is_killed_after_the_grace(start: Start) -> None:
    child = await start("--stubborn")
    await child.ready
    assert await child.stop(0.01) == -signal.SIGKILL


@pytest.mark.parametrize("end", ["exit 0", "kill"])
async def test_what_it_leaves_in_its_group_ends_with_it(
    start: Start, end: str, until_gone: Callable[[int], Awaitable[None]]
) -> None:
    child = await start("--litter")
    grandchild = (await ask(child, "args"))["grandchild"]
    if end == "kill":
        child.kill()
    else:
        await ask(child, end)
    await child.wait()
    await until_gone(grandchild)


async def test_it_notices_that_its_parent_has_gone(start: Start) -> None:
    read_end, write_end = os.pipe()
    child = await start(parent_fd=read_end)
    os.close(read_end)
    await child.ready
    os.close(write_end)
    assert await child.wait() == 0


async def test_a_child_inherits_no_descriptors_but_its_own(tmp_path: Path) -> None:
    """Least of all the write end of a parent pipe: its siblings would never see the end of their parent."""
    read_end, write_end = os.pipe()
    text = "import os; print(sorted(int(n) for n in os.listdir('/dev/fd')), os.environ)"
    environ = {"GLEITZEIT_PARENT_FD": "98", "GLEITZEIT_READY_FD": "99", "A": "b"}
    log = tmp_path / "log"
    command = [sys.executable, "-S", "-c", text]
    child = await start_child("list", command, environ=environ, log=log, parent_fd=read_end, announces=False)
    assert await child.wait() == 0
    shown = log.read_text()
    descriptors = msgspec.json.decode(shown[: shown.index("]") + 1])
    assert write_end not in descriptors
    assert len(descriptors) == 5  # 0, 1, 2, the parent pipe, and the one that lists
    assert f"'GLEITZEIT_PARENT_FD': '{read_end}'" in shown
    assert "GLEITZEIT_READY_FD" not in shown
    assert "'A': 'b'" in shown
    os.close(read_end)
    os.close(write_end)


async def test_nonsense_on_the_ready_pipe_is_no_readiness(tmp_path: Path) -> None:
    text = "import os; os.write(int(os.environ['GLEITZEIT_READY_FD']), b'hello\\n')"
    child = await start_child("odd", [sys.executable, "-S", "-c", text], environ={}, log=tmp_path / "log")
    with pytest.raises(ChildExited):
        await child.ready


async def test_a_program_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(FileNotFoundError):
        await start_child("none", [str(tmp_path / "none")], environ={}, log=tmp_path / "log")
    assert len(os.listdir("/dev/fd")) == before


async def test_a_log_that_has_grown_is_set_aside(start: Start, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "fake.log"
    log.write_bytes(b"x" * (LOG_LIMIT_BYTES + 1))
    child = await start()
    await child.ready
    assert log.stat().st_size == 0
    assert log.with_name("fake.log.1").stat().st_size == LOG_LIMIT_BYTES + 1


def test_a_stranger_sees_only_what_is_named() -> None:
    environ = {"PATH": "/bin", "LC_ALL": "C", "API_KEY": "secret", "MODEL_A": "1", "HOME": "/h"}
    assert filtered_environment(environ) == {"PATH": "/bin", "LC_ALL": "C", "HOME": "/h"}
    kept = filtered_environment(environ, keep=["MODEL_*"], add={"HOME": "/other", "X": "1"})
    assert kept == {"PATH": "/bin", "LC_ALL": "C", "MODEL_A": "1", "HOME": "/other", "X": "1"}


def test_exits_in_words() -> None:
    assert describe_exit(3) == "exited with status 3"
    assert describe_exit(-9) == "was killed by SIGKILL"
    assert describe_exit(-99) == "was killed by signal 99"
