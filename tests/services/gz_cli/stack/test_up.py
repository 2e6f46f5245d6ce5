import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gleitzeit.process.supervised import ChildEvent
from gz_cli.stack.up import words
from gz_cli.terminal.durations import clock
from gz_cli.terminal.ink import Ink


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (ChildEvent("started", "coordinator", pid=7), "coordinator      started (process 7)"),
        (ChildEvent("ready", "nats-server", url="nats://x"), "nats-server      ready at nats://x"),
        (ChildEvent("died", "provider-python", exit_code=1), "provider-python  died: exit code 1"),
        (ChildEvent("died", "provider-python", detail="killed by SIGKILL"), "provider-python  died: killed by SIGKILL"),
        (ChildEvent("restarting", "provider-python", delay_seconds=0.5), "provider-python  starts again in 500 ms"),
        (ChildEvent("stopped", "coordinator", exit_code=0), "coordinator      stopped"),
        (
            ChildEvent("stopped", "coordinator", exit_code=-15, detail="was killed by SIGTERM"),
            "coordinator      stopped",
        ),
        (ChildEvent("stopped", "coordinator", exit_code=2), "coordinator      stopped: exit code 2"),
    ],
)
def test_what_happens_to_a_process_is_one_line(event: ChildEvent, text: str) -> None:
    assert Ink(colour=False).line(words(event, 1000)) == f"{clock(1000)}  {text}"


def up(state: Path, listen: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "gz_cli", "up", "--state", str(state), "--provider", "echo", "--listen", listen]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "HOME": str(state)})


def test_who_interrupts_a_stack_that_starts_is_told_of_no_failure(tmp_path: Path) -> None:
    with up(tmp_path, "127.0.0.1:0") as starting:
        assert starting.stderr is not None
        while "coordinator      started" not in (line := starting.stderr.readline()):
            assert line, "it ended before"
        starting.send_signal(signal.SIGINT)
        rest = starting.stderr.read()
    assert starting.returncode == 130, rest
    assert "SIGTERM" not in rest


def test_a_port_that_another_has_is_a_matter_of_usage(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        up(tmp_path, f"127.0.0.1:{taken.getsockname()[1]}") as refused,
    ):
        said = refused.communicate()[1]
    assert refused.returncode == 2, said
    assert "is in use; choose another one with --listen HOST:PORT" in said
