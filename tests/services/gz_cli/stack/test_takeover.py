"""`gz up` over the embedded stack that `gz submit` has started, with everything real."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from select import select
from typing import Any

import msgspec
import pytest

from gleitzeit.process.lifetime import Lifetime
from gleitzeit.process.state import Address, StackRunning, find_running
from gz_cli.stack.takeover import Takeover

SLOW = """\
name: Slow
tasks:
  - {id: sleep, method: python/execute, params: {code: "import time; time.sleep(1.2); result = 1"}}
  - {id: after, method: echo/echo, dependencies: [sleep], params: {message: "${sleep.result}"}}
"""
WAITING = "name: Waiting\ntasks: [{id: wait, method: signal/wait, params: {signal_name: go}}]\n"


class Gz:
    """The command as processes, with a home and a state folder of their own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._environ = {**os.environ, "HOME": str(home), "GLEITZEIT_STATE": str(home / "state")}

    def __call__(self, *arguments: str) -> Any:
        """What it answers."""
        return msgspec.json.decode(self.output(*arguments))

    def output(self, *arguments: str) -> bytes:
        done = subprocess.run(
            [sys.executable, "-m", "gz_cli", *arguments, "-o", "json"],
            env=self._environ, cwd=self.home, stdout=subprocess.PIPE, check=True, timeout=60,
        )  # fmt: skip
        return done.stdout

    def up(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "gz_cli", "up", "--listen", "127.0.0.1:0"]
        return subprocess.Popen(command, env=self._environ, stderr=subprocess.PIPE)


@pytest.fixture
def gz(tmp_path: Path) -> Iterator[Gz]:
    (tmp_path / "slow.yaml").write_text(SLOW)
    (tmp_path / "waiting.yaml").write_text(WAITING)
    yield Gz(tmp_path)
    left = find_running(tmp_path / "state")
    if left is not None:
        os.kill(left.pid, signal.SIGTERM)


def read_until(process: "subprocess.Popen[bytes]", words: bytes) -> None:
    assert process.stderr is not None
    read = b""
    while words not in read:
        assert select([process.stderr], [], [], 60)[0], read.decode()
        chunk = os.read(process.stderr.fileno(), 65536)
        assert chunk, read.decode()
        read += chunk


def ended(process: "subprocess.Popen[bytes]") -> int:
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    return process.returncode


def test_everything_goes_on_and_what_runs_is_not_done_twice(gz: Gz) -> None:
    waiting, slow = (gz("submit", f"{name}.yaml")["workflow_id"] for name in ("waiting", "slow"))
    embedded = find_running(gz.home / "state")
    up = gz.up()
    try:
        read_until(up, b"is up at ws://")
        running = find_running(gz.home / "state")
        assert embedded is not None
        assert running is not None
        assert (running.pid, running.embedded) == (up.pid, False)
        gz.output("watch", slow)
        assert [task["attempts"] for task in gz("get", slow)["tasks"]] == [1, 1]
        assert not gz("get", waiting)["held"]
    finally:
        assert ended(up) == 0


def test_who_does_not_want_to_wait_leaves_everything_there(gz: Gz) -> None:
    (gz.home / "slow.yaml").write_text(SLOW.replace("1.2", "30"))
    slow = gz("submit", "slow.yaml")["workflow_id"]
    up = gz.up()
    try:
        read_until(up, b"1 task still runs")
    finally:
        assert ended(up) == 130
    now = gz("get", slow)
    assert (now["status"], now["held"]) == ("running", False)
    gz("cancel", slow)


async def test_a_stack_that_stays_is_an_error(tmp_path: Path) -> None:
    running = StackRunning(tmp_path, 7, Address("ws://127.0.0.1:1/", 7))
    with Lifetime() as lifetime, pytest.raises(StackRunning):
        await Takeover(lifetime).wait(running)


async def test_one_that_ends_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Lifetime() as lifetime:
        takeover = Takeover(lifetime)
        assert await takeover.wait(StackRunning(tmp_path, 7, None))
        gone = Address("ws://127.0.0.1:1/", 7, embedded=True)  # between its end and the removal of its address
        assert await takeover.wait(StackRunning(tmp_path, 7, gone))
        lifetime.end("Ctrl-C")
        assert not await takeover.wait(StackRunning(tmp_path, 7, None))
    assert capsys.readouterr().err.count("process 7") == 1
