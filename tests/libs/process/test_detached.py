"""`python -m gleitzeit.stack` as `gz run` starts it, over services that only follow the process conventions."""

import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from gleitzeit.errors import ConfigurationError
from gleitzeit.process.detached import Detached, DetachedFailed, start_detached
from gleitzeit.process.state import Address, find_running

FAKE = Path(__file__).with_name("fake_service.py")
SECONDS = 10.0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Detached]]:
    """Detached stacks in one folder, whose services are ours: a fake package each, which comes first on the path."""
    for package in ("gz_coordinator", "gz_provider_echo", "gz_provider_python"):
        (tmp_path / "fakes" / package).mkdir(parents=True)
        (tmp_path / "fakes" / package / "__init__.py").touch()
        (tmp_path / "fakes" / package / "__main__.py").write_text(f"import runpy\nrunpy.run_path({str(FAKE)!r})\n")
    path = os.pathsep.join([str(tmp_path / "fakes"), os.environ.get("PYTHONPATH", "")])
    environ = {**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)}
    pids: list[int] = []

    def start(*options: str, providers: tuple[str, ...] = ("echo", "python")) -> Detached:
        detached = start_detached(tmp_path / "state", providers=providers, environ=environ, options=options)
        pids.append(detached.pid)
        return detached

    yield start
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


def ask(address: Address, words: str) -> Any:
    with socket.create_connection(("127.0.0.1", urlsplit(address.url).port or 0)) as connection:
        connection.sendall(words.encode())
        answer = connection.makefile("rb").read()
    return msgspec.json.decode(answer) if answer else None


def test_it_says_its_address_and_ends_with_its_coordinator(start: Callable[..., Detached], tmp_path: Path) -> None:
    detached = start()
    address = detached.address(SECONDS)
    assert address.pid == detached.pid
    assert address.embedded
    assert find_running(tmp_path / "state") == address
    assert os.getsid(detached.pid) == detached.pid  # Ctrl-C in our terminal is not for it
    assert "--embedded" in ask(address, "args")["argv"]
    ask(address, "exit 0")
    assert os.waitpid(detached.pid, 0)[1] == 0
    assert find_running(tmp_path / "state") is None


def test_two_at_the_same_moment_are_one_stack(start: Callable[..., Detached]) -> None:
    both = [start(), start()]
    first, second = (detached.address(SECONDS) for detached in both)
    assert first == second
    assert first.pid in {detached.pid for detached in both}
    loser = next(detached.pid for detached in both if detached.pid != first.pid)
    assert os.waitpid(loser, 0)[1] == 0


async def test_nothing_of_it_survives_its_sudden_death(
    start: Callable[..., Detached], until_gone: Callable[[int], Awaitable[None]], tmp_path: Path
) -> None:
    detached = start()
    address = detached.address(SECONDS)
    coordinator = ask(address, "args")["pid"]
    nats = int(next((tmp_path / "state" / "nats").glob("*.ports")).stem.removeprefix("nats-server_"))
    os.kill(detached.pid, signal.SIGKILL)
    await until_gone(coordinator)
    await until_gone(nats)
    again = start().address(SECONDS)
    assert again.pid != address.pid


def test_why_it_cannot_start_is_told(start: Callable[..., Detached]) -> None:
    with pytest.raises(ConfigurationError, match="no provider 'nonsense'"):
        start(providers=("nonsense",)).address(SECONDS)


def test_one_that_ends_without_a_word_is_an_error_that_names_the_log(start: Callable[..., Detached]) -> None:
    with pytest.raises(DetachedFailed, match=r"stack\.log"):
        start("--no-such-option").address(SECONDS)


def test_waiting_has_an_end(start: Callable[..., Detached]) -> None:
    with pytest.raises(TimeoutError, match=r"not ready in 0 s.*stack\.log"):
        start().address(0)
